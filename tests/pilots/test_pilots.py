"""Pilots on this machine: runs share one, it grows and shrinks under them, and what dies loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from apps.cli.main import main
from apps.cli.values import duration
from tasks.pilots import PilotError, grow_pilot, pilot_folder, pilot_status, shrink_pilot, start_pilot, stop_pilot
from tasks.pilots.keeper import LOCK
from tasks.pilots.start import is_alive
from tasks.runtime.cluster_folder import find_cluster
from tasks.runtime.dask_cluster import ClusterEngine
from tasks.runtime.dask_futures import wait_on
from tasks.runtime.errors import EngineError
from tasks.runtime.file_lock import lock
from tests.engines import work
from tests.engines.launching import ROOT, document, environment

pytestmark = [pytest.mark.uses("embedded engine"), pytest.mark.xdist_group("cluster")]
CIRCUIT = [ROOT / "apps/circuits/vqe40.qasm", "--observable", "Z0 Z1 Z20", "--max-qubits", "16"]
ARGUMENTS = [*CIRCUIT, "--seed", "3", "--shots", "300000", "--cache", "off", "--json"]
QOMPASS = [sys.executable, "-m", "apps.cli"]


@contextlib.contextmanager
def pilots_in(folder):
    """A folder of pilots of its own; whatever lives in it at the end is ended."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("QOMPASS_PILOTS", str(folder / "pilots"))
        yield folder
        for path in (folder / "pilots").glob("*/pilot.json"):
            stop_pilot(path.parent.name)
        deadline = time.monotonic() + 10
        while (left := left_of(folder)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == []


@pytest.fixture
def pilots(tmp_path):
    with pilots_in(tmp_path) as folder:
        yield folder


@pytest.fixture(scope="module")
def living(tmp_path_factory):
    """A pilot of two nodes, for the tests that change nothing of it: its folder."""
    with pilots_in(tmp_path_factory.mktemp("living")) as folder:
        start_pilot("one", "local", 2, 600, units={"CPU": 1})
        yield folder


@pytest.fixture
def pilot(living, monkeypatch):
    monkeypatch.setenv("QOMPASS_PILOTS", str(living / "pilots"))
    return living


@pytest.fixture
def say(own_folder, capsys):
    """A command in this process: (status, standard output, standard error)."""

    def command(*arguments):
        try:
            status = main(list(map(str, arguments)))
        except SystemExit as ended:  # by argparse
            status = ended.code
        return status, *capsys.readouterr()

    return command


def left_of(folder):
    """Processes of pilots in this folder."""
    found = subprocess.run(["pgrep", "-af", str(folder / "pilots")], capture_output=True, text=True).stdout
    return [line for line in found.splitlines() if "pgrep" not in line]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one machine finds."""
    return document("run", *ARGUMENTS, "--out", tmp_path_factory.mktemp("alone"))["estimates"]


def on_pilot(folder, name, *arguments):
    command = [*QOMPASS, "run", *(arguments or ARGUMENTS), "--out", folder / "runs", "--pilot", name]
    return subprocess.Popen(list(map(str, command)), env=environment(), cwd=folder, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def estimates(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)["estimates"]


def wait_until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def workers(name):
    return [worker["pid"] for worker in pilot_status(name).pilot.state()["workers"]]


@contextlib.contextmanager
def client(name):
    """What a run has of a pilot."""
    engine = ClusterEngine(find_cluster(str(pilot_folder(name))))
    try:
        yield engine
    finally:
        engine.close()


def submit(engine, count, seconds):
    """Tasks of a run that each hold a CPU unit so long."""
    return [engine.submit(work.busy, (seconds,), {}, {}, work.busy.resources) for _ in range(count)]


def executed_by(futures):
    """How many tasks each process executed."""
    return Counter(future.result().value[2] for future in futures)


def test_runs_share_a_pilot_and_find_what_one_machine_finds(pilot, tmp_path, alone):
    runs = [on_pilot(tmp_path, "one") for _ in range(2)]
    assert [estimates(process) for process in runs] == [alone, alone]
    assert len(pilot_status("one").nodes) == 2


def test_a_motif_runs_on_a_pilot_with_all_of_its_units(pilot, tmp_path, say):
    command = ["motif", "chain", "--qubits", "4", "--depth", "1", "--entries", "2", "--length", "3", "--units", "1"]
    wait_until(lambda: len(pilot_status("one").nodes) == 2, "the nodes did not come")
    status, out, err = say(*command, "--pilot", "one", "--to", tmp_path / "tables", "--json")
    assert status == 0, err
    (found,) = json.loads(out)["motifs"]
    assert (found["motif"], found["engine"], found["units"], found["tasks"]) == ("chain", "pilot", 2, 6)
    assert found["work"] > 0 and "pilot" in (tmp_path / "tables" / "chain.csv").read_text()


def test_work_that_waits_goes_to_a_node_that_comes_and_one_that_leaves_loses_none(pilots):
    start_pilot("one", "local", 1, 600, units={"CPU": 1})
    with client("one") as engine:
        submit(engine, 1, 0.0)[0].result()  # its process has started
        gate = pilots / "gate"
        held = engine.submit(work.until_there, (str(gate),), {}, {}, work.until_there.resources)
        futures = submit(engine, 40, 0.0)
        assert grow_pilot("one", 1) == 2
        wait_until(lambda: len(pilot_status("one").nodes) == 2, "the second node did not come")
        wait_until(lambda: any(future.done() for future in futures), "a node that came got no work")
        assert not held.done(), "the first node was not free meanwhile"
        gate.touch()
        assert held.result().ok and sum(executed_by(futures).values()) == 40
        futures = submit(engine, 40, 0.1)
        assert shrink_pilot("one", 1) == 1
        assert sum(executed_by(futures).values()) == 40
        wait_until(lambda: len(pilot_status("one").nodes) == 1, "it did not leave")
        assert pilot_status("one").restarts == 0


def test_a_worker_that_is_killed_is_replaced_and_its_tasks_are_executed_elsewhere(pilots):
    start_pilot("one", "local", 2, 600, units={"CPU": 1})
    with client("one") as engine:
        wait_until(lambda: len(pilot_status("one").nodes) == 2, "the nodes did not come")
        futures = submit(engine, 60, 0.1)
        wait_until(lambda: any(future.done() for future in futures), "nothing was done")
        os.kill(workers("one")[0], signal.SIGKILL)
        assert sum(executed_by(futures).values()) == 60
    status = wait_until(lambda: len((found := pilot_status("one")).nodes) == 2 and found, "it was not replaced")
    assert status.restarts == 1 and status.status == "running"


def test_a_scheduler_that_is_killed_ends_the_pilot_and_says_so(pilots, say):
    start_pilot("one", "local", 1, 600, units={"CPU": 1})
    with client("one") as engine:
        futures = submit(engine, 200, 0.1)
        wait_until(lambda: any(future.done() for future in futures), "nothing was done")
        (scheduler,) = (int(line.split()[0]) for line in left_of(pilots) if "serve_scheduler" in line)
        os.kill(scheduler, signal.SIGKILL)
        with pytest.raises(EngineError, match="has ended while a task was waited for: start it again"):
            wait_on(futures)
    wait_until(lambda: pilot_status("one").status == "ended", "it did not end")
    assert "its scheduler ended" in pilot_status("one").why
    with pytest.raises(PilotError, match="has ended"):
        grow_pilot("one", 1)
    status, _, err = say("run", *ARGUMENTS, "--pilot", "one")
    assert status == 2 and "takes no runs: it is ended" in err


def test_a_pilot_ends_when_its_time_is_over_and_runs_are_told(pilots):
    start_pilot("one", "local", 1, 25, units={"CPU": 1})
    with client("one") as engine:
        futures = submit(engine, 900, 0.1)
        with pytest.raises(EngineError, match="has ended while a task was waited for: start it again"):
            wait_on(futures)
    wait_until(lambda: pilot_status("one").status == "ended", "it did not end")
    assert "its time of 25 s is over" in pilot_status("one").why
    wait_until(lambda: left_of(pilots) == [], "processes were left")


def test_what_a_killed_keeper_left_is_seen_and_its_folder_is_used_again(pilots):
    start_pilot("one", "local", 1, 600, units={"CPU": 1})
    os.kill(pilot_status("one").pilot.state()["pid"], signal.SIGKILL)
    status = wait_until(lambda: (found := pilot_status("one")).status == "ended" and found, "it lives on")
    assert "its keeper is gone" in status.why
    key = (status.pilot.folder / "key.pem").read_text()
    wait_until(lambda: left_of(pilots) == [], "its members live on")
    again = start_pilot("one", "local", 1, 600, units={"CPU": 1})
    assert pilot_status("one").status == "running"
    assert (again.folder / "key.pem").read_text() != key


def test_only_one_of_two_starts_of_a_name_succeeds_in_a_folder_that_is_the_users_alone(pilots):
    folder = pilot_folder("one")
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    with pytest.raises(PilotError, match="others may use it"):
        start_pilot("one", "local", 1, 600)
    folder.chmod(0o700)
    found = []

    def start():
        try:
            found.append(start_pilot("one", "local", 1, 600, units={"CPU": 1}).name)
        except PilotError as error:
            found.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count("one") == 1
    (refusal,) = [text for text in found if text != "one"]
    assert "lives already" in refusal or "is being started by another process" in refusal
    with pytest.raises(PilotError, match="lives already: `qompass pilot stop one`"):
        start_pilot("one", "local", 1, 600)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.glob("*.pem"))
    key = (folder / "key.pem").read_text().splitlines()[1]
    for line in left_of(pilots):
        assert key not in line


def test_somebody_who_keeps_a_pilot_is_seen_by_the_lock(pilots):
    pilot = start_pilot("one", "local", 1, 600, units={"CPU": 1})
    assert is_alive(pilot)
    stop_pilot("one")
    assert not pilot.folder.exists()
    pilot.folder.mkdir(mode=0o700)
    with (pilot.folder / LOCK).open("w") as file:
        lock(file.fileno())  # of the open file, which says nothing of a process
        assert not is_alive(pilot)
    (pilot.folder / LOCK).unlink()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["start", "one", "--nodes", "0"], "--nodes 0 makes no sense"),
        (["start", "one", "--nodes", "20000"], "--nodes 20000 makes no sense"),
        (["start", "one", "--walltime", "0"], "--walltime 0 s is too short"),
        (["start", "one", "--walltime", "soon"], "'soon' is not a time"),
        (["start", "../one"], "cannot name a pilot"),
        (["start", "one", "--target", "moon"], "invalid choice: 'moon'"),
        (["start", "one", "--cpus", "0"], "'0' is not a whole number from 1"),
        (["start", "one", "--resources", "nowhere"], "nowhere"),
        (["grow", "one", "1"], "there is no pilot one"),
        (["shrink", "one", "1"], "there is no pilot one"),
        (["status", "one"], "there is no pilot one"),
        (["stop", "one"], "there is no pilot one"),
        (["grow", "one", "-1"], "'-1' is not a number of nodes"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_status_2(pilots, arguments, words, say):
    status, _, err = say("pilot", *arguments)
    assert status == 2 and words in err and err.count("\n") == 1, err
    assert not (pilots / "pilots").exists() or not list((pilots / "pilots").glob("*/pilot.json"))


def test_a_run_names_a_pilot_that_lives_or_none(pilots, say):
    for arguments, words in (
        (["--pilot", "one"], "there is no pilot one"),
        (["--pilot", "one", "--scheduler", "x"], "leave out --scheduler or --pilot"),
    ):
        status, _, err = say("run", *ARGUMENTS, *arguments)
        assert status == 2 and words in err and err.count("\n") == 1, err


def test_sizes_that_do_not_fit_are_refused_and_change_nothing(pilot):
    for change, nodes, words in (
        (shrink_pilot, 2, "has 2 nodes and keeps one at least"),
        (shrink_pilot, 0, "makes no sense"),
        (grow_pilot, 9999, "`nodes` 10001 makes no sense"),
    ):
        with pytest.raises(PilotError, match=words):
            change("one", nodes)
    assert pilot_status("one").wanted == 2


def test_a_damaged_folder_is_one_line(pilots):
    folder = pilot_folder("one")
    folder.mkdir(parents=True, mode=0o700)
    for text, words in (("{", "is damaged"), ('{"schema": 99}', "another version of Qompass")):
        (folder / "pilot.json").write_text(text)
        with pytest.raises(PilotError, match=words):
            pilot_status("one")
    (folder / "pilot.json").unlink()


def test_status_shows_nodes_devices_and_runs(pilot, say):
    wait_until(lambda: len(pilot_status("one").nodes) == 2, "the nodes did not come")
    _, text, _ = say("pilot", "status", "one")
    assert re.search(r"Pilot one \(local\): running, 0:0\d:\d\d", text) and "2 of 2 nodes" in text and "CPU" in text, (
        text
    )
    (document,) = json.loads(say("pilot", "status", "--json")[1])["pilots"]
    assert document["name"] == "one" and document["status"] == "running" and document["devices"]["CPU"]["units"] == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("45", 2700), ("45:30", 2730), ("1:30:00", 5400), ("90s", 90), ("1.5h", 5400), ("2m", 120)]
)
def test_times_as_slurm_has_them_and_with_units(text, seconds):
    assert duration(text) == seconds
