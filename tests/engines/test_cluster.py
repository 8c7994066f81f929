"""The embedded engine across nodes: the same bits, workers and schedulers that die, and who may not take part."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.cli.main import main
from tasks.errors import QompassError
from tasks.runs import read_record
from tasks.runtime.cluster_folder import Cluster, check_address, check_host, find_cluster, prepare_folder
from tasks.runtime.dask_cluster import ClusterEngine
from tasks.runtime.errors import EngineError
from tests.engines.launching import ROOT, document, environment, member, running_cluster, said

pytestmark = [pytest.mark.uses("embedded engine"), pytest.mark.xdist_group("cluster")]
CIRCUIT = [ROOT / "apps/circuits/vqe40.qasm", "--observable", "Z0 Z1 Z20", "--max-qubits", "16"]  # takes seconds
ARGUMENTS = [*CIRCUIT, "--seed", "3", "--shots", "3000000", "--cache", "off", "--json"]
RUN = [sys.executable, "-m", "apps.cli", "run"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one machine finds."""
    return document("run", *ARGUMENTS, "--out", tmp_path_factory.mktemp("alone"))["estimates"]


def started(folder, cluster):
    command = [*RUN, *ARGUMENTS, "--out", folder / "runs", "--scheduler", cluster]
    return subprocess.Popen(
        list(map(str, command)),
        env=environment(),
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def first_results(folder, process):
    """Wait until the run has stored something."""
    deadline = time.monotonic() + 300
    while not (found := list(folder.glob("runs/*/fragments/[!.]*.npz"))) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers, for the tests that end none of them."""
    folder = tmp_path_factory.mktemp("several") / "cluster"
    with running_cluster(folder, {"CPU": 1}, {"CPU": 1}):
        yield folder
    assert sorted(path.name for path in folder.iterdir()) == ["certificate.pem", "key.pem"]


@pytest.mark.slow  # of runs that share a pilot, which is a cluster with a keeper
def test_two_runs_share_a_cluster_and_give_the_bits_of_one_machine(tmp_path, cluster, alone):
    two = [started(tmp_path, cluster) for _ in range(2)]
    for process in two:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert json.loads(out)["estimates"] == alone


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_workers_come_and_go_and_nothing_is_lost_or_computed_twice(tmp_path, alone, number):
    """One that is killed takes what it had made with it; one that is told to leave hands it on first."""
    with running_cluster(tmp_path / "cluster", {"CPU": 1}) as processes:
        process = started(tmp_path, tmp_path / "cluster")
        first = processes[1]
        files = first_results(tmp_path, process)
        first.send_signal(signal.SIGSTOP)  # or the run might be over before the other has come
        before = {path: path.stat().st_mtime_ns for path in files}
        processes.append(member("worker", "--folder", tmp_path / "cluster", "--units", "CPU=1"))
        said(processes[-1], "offers CPU=1")
        assert process.poll() is None
        first.send_signal(number)
        first.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert json.loads(out)["estimates"] == alone
        assert before.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/fragments/*")}.items()


def test_a_scheduler_that_dies_is_one_line_and_the_run_is_resumed(tmp_path, alone):
    with running_cluster(tmp_path / "cluster", {"CPU": 1}) as (scheduler, worker):
        process = started(tmp_path, tmp_path / "cluster")
        first_results(tmp_path, process)
        worker.send_signal(signal.SIGSTOP)  # or the run might be over before the scheduler is
        scheduler.kill()
        out, err = process.communicate(timeout=200)
        worker.kill()
        assert process.returncode == 2 and not out
        assert "has ended while a task was waited for: start it again, then" in err.splitlines()[-1], err
    (path,) = (tmp_path / "runs").iterdir()
    assert read_record(path)["status"] == "failed"
    with running_cluster(tmp_path / "cluster", {"CPU": 1}):
        assert document("resume", path, "--json")["estimates"] == alone


def test_a_node_whose_environment_differs_is_told_in_one_line_and_does_not_take_part(cluster, own_folder, capsys):
    file = cluster / "cluster.json"
    content = file.read_text()
    about = json.loads(content)
    about["environment"]["qiskit"] = "9.9"
    file.write_text(json.dumps(about))
    try:
        for command in (["cluster", "worker", "--folder", cluster], ["run", *ARGUMENTS, "--scheduler", cluster]):
            status, err = main(list(map(str, command))), capsys.readouterr().err
            assert status == 2 and "another environment (qiskit" in err and err.count("\n") == 1, err
        file.write_text(json.dumps({**about, "schema": 2}))
        with pytest.raises(EngineError, match="another version of Qompass"):
            find_cluster(str(cluster))
    finally:
        file.write_text(content)


def test_who_has_not_the_key_may_not_talk_to_the_scheduler(tmp_path, cluster, monkeypatch):
    prepare_folder(tmp_path / "other")
    monkeypatch.setattr("tasks.runtime.dask_cluster._CONNECT_S", 3)
    address = json.loads((cluster / "cluster.json").read_text())["address"]
    with pytest.raises(EngineError, match="does not answer"):
        ClusterEngine(Cluster(tmp_path / "other", address))
    host, _, port = address.removeprefix("tls://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        plain.sendall(b"\x01" * 64)  # not TLS: nothing of it is unpickled
    ClusterEngine(Cluster(cluster, address)).close()


def test_a_folder_that_others_can_read_is_not_used(tmp_path):
    prepare_folder(tmp_path / "cluster")
    (tmp_path / "cluster").chmod(0o755)
    with pytest.raises(QompassError, match="others may use it"):
        find_cluster(str(tmp_path / "cluster"))


def test_where_no_scheduler_runs_one_line_says_how_to_start_it(tmp_path):
    prepare_folder(tmp_path / "cluster")
    with pytest.raises(EngineError, match="no scheduler runs there: start one with `qompass cluster scheduler`"):
        find_cluster(str(tmp_path / "cluster"))


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8786", "tls://127.0.0.1", "tls://:8786", "ucx://n1:1", "tls://n:x"]
)
def test_addresses_without_tls_are_refused(address):
    with pytest.raises(EngineError, match="is no scheduler of ours"):
        check_address(address)


def test_only_loopback_and_the_clusters_network_are_listened_to(monkeypatch):
    assert check_host("localhost") in ("127.0.0.1", "::1") and check_host("10.1.2.3") == "10.1.2.3"
    for host in ("0.0.0.0", "::", "8.8.8.8"):
        with pytest.raises(EngineError, match="is not on a private network"):
            check_host(host)
    monkeypatch.setenv("QOMPASS_CLUSTER_NETWORK", "8.8.0.0/16")
    assert check_host("8.8.8.8") == "8.8.8.8" and check_host("127.0.0.1") == "127.0.0.1"
    with pytest.raises(EngineError, match=r"is not on 8\.8\.0\.0/16"):
        check_host("10.1.2.3")
    monkeypatch.setenv("QOMPASS_CLUSTER_NETWORK", "here")
    with pytest.raises(EngineError, match="is no network"):
        check_host("10.1.2.3")


def test_a_scheduler_asks_for_a_host_of_its_own(tmp_path, own_folder, capsys):
    assert main(["cluster", "scheduler", "--folder", str(tmp_path / "c"), "--host", "8.8.8.8"]) == 2
    assert "is not on a private network" in capsys.readouterr().err and not (tmp_path / "c").exists()


def test_no_key_is_in_the_list_of_processes(cluster):
    key = (cluster / "key.pem").read_text().splitlines()[1]
    assert (cluster / "key.pem").stat().st_mode & 0o077 == 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            assert key not in path.read_text()
