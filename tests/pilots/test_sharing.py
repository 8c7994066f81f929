"""How runs share a pilot: turn by turn, QPUs by their leases, and nothing is paid twice when a node dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time

import pytest

from apps.cli.main import main
from launch.emulator.options import parse_device
from launch.emulator.server import Emulator
from launch.emulator.services import environment as service_environment
from tasks.pilots import PilotError, pilot_status, shrink_pilot, start_pilot
from tasks.runtime.accounting import key_of, run_of, run_of_client
from tasks.runtime.cluster_folder import find_cluster
from tasks.runtime.dask_cluster import ClusterEngine
from tests.engines import work
from tests.engines.launching import ROOT, environment
from tests.pilots.test_pilots import QOMPASS, estimates, pilots, pilots_in, submit, wait_until

__all__ = ["pilots"]
pytestmark = [pytest.mark.uses("embedded engine"), pytest.mark.xdist_group("cluster")]
CIRCUIT = [ROOT / "apps/circuits/ghz12.qasm", "--observable", "Z0 Z11", "--max-qubits", "6", "--shots", "3000"]


@pytest.fixture(scope="module")
def living(tmp_path_factory):
    """A pilot of one node, for the tests that change nothing of it: its folder."""
    with pilots_in(tmp_path_factory.mktemp("living")):
        yield start_pilot("one", "local", 1, 600, units={"CPU": 1}).folder


@pytest.fixture
def pilot(living, monkeypatch):
    monkeypatch.setenv("QOMPASS_PILOTS", str(living.parent))
    return living


def order_of_start(*runs):
    """Which run each task belongs to, in the order in which they were executed."""
    begun = [
        (outcome.value[0], number) for number, run in enumerate(runs) for outcome in (future.result() for future in run)
    ]
    return [number for _, number in sorted(begun)]


def test_runs_take_turns_whoever_came_first_and_nobody_catches_up_alone(pilot, tmp_path):
    engines = [ClusterEngine(find_cluster(str(pilot))) for _ in range(2)]
    try:
        submit(engines[0], 1, 0.0)[0].result()  # its process has started
        gate = tmp_path / "gate"
        first = submit(engines[0], 15, 0.0)
        held = engines[0].submit(work.until_there, (str(gate),), {}, {}, work.until_there.resources)
        first += submit(engines[0], 25, 0.0)
        wait_until(lambda: all(future.done() for future in first[:15]), "nothing was done")
        second = submit(engines[1], 10, 0.0)
        wait_until(lambda: sum(run["waiting"] for run in pilot_status("one").runs) == 36, "they did not arrive")
        gate.touch()  # nothing was executed while the second run submitted
        assert held.result().ok
        order = order_of_start(first, second)
        begins, ends = order.index(1), len(order) - order[::-1].index(1)
        together = order[begins:ends]
        # 10 of each take turns, but for what was under way and for the order within a hand's breadth.
        assert 7 <= together.count(0) <= 13, order
        assert begins < 22, f"the second run waited for the first: {order}"
    finally:
        for engine in engines:
            engine.close()


def test_status_counts_the_tasks_of_each_run_and_the_time_they_held(pilot):
    name = "20261128-171834-15d1be"  # by which `qompass runs show` knows it

    def told():
        (run,) = [run for run in pilot_status("one").runs if run["run"] == name]
        return run

    engine = ClusterEngine(find_cluster(str(pilot)), name)
    try:
        for future in submit(engine, 5, 0.1):
            assert future.result().value
        run = told()
        assert run["here"] and run["tasks"] == 5 and run["waiting"] == 0 and run["busy_s"] >= 0.5
        assert 0 < pilot_status("one").devices["CPU"]["busy_share"] <= 1
    finally:
        engine.close()
    wait_until(lambda: not told()["here"], "it is still there")


@pytest.mark.parametrize("task", ["execute", "execute_on_QPU_A", "tensor"])
def test_keys_say_whose_a_task_is(task):
    assert run_of(key_of(task, "3f2a", 7)) == "3f2a"
    assert run_of("sum-123") == "" and run_of(("tuple", 1)) == ""
    assert run_of_client("Client-run--20261128-1-a.3f2a---b1c2-11f1") == "20261128-1-a.3f2a"
    assert run_of_client("Client-b1c2-11f1") == ""


@pytest.fixture
def qpu(tmp_path, monkeypatch):
    """An emulated QPU of one unit, how to reach it, and a pair of files that has it alone."""
    device = parse_device("QPU_A:kind=ibm,backend=hanoi,noise=0,readout=0,overhead=0.02")
    emulator = Emulator([device], "token-of-the-tests")
    threading.Thread(target=emulator.serve_forever, args=(0.02,), daemon=True).start()
    config = tmp_path / "qrmi_config.json"
    config.touch(mode=0o600)
    reached = service_environment(device, emulator.url, "token-of-the-tests")
    config.write_text(json.dumps({"resources": [{"name": "QPU_A", "type": device.kind, "environment": reached}]}))
    monkeypatch.setenv("QOMPASS_QRMI_CONFIG", str(config))
    monkeypatch.setenv("QRMI_JOB_QPU_RESOURCES", "QPU_A")
    monkeypatch.setenv("QRMI_JOB_QPU_TYPES", device.kind)
    monkeypatch.setenv("QOMPASS_LEASES", str(tmp_path / "leases"))
    pair = tmp_path / "pair"
    pair.mkdir()
    (pair / "resources.xml").write_text("<ResourcesList/>")
    (pair / "project.xml").write_text(
        "<Project><MasterNode><Processor Name='Clients'><ComputingUnits>2</ComputingUnits><Type>CPU</Type>"
        "<ProcessorProperty><Key>qompass</Key><Value>clients</Value></ProcessorProperty></Processor>"
        "<Processor Name='QPU_A'><ComputingUnits>1</ComputingUnits><Type>OTHER</Type><ProcessorProperty>"
        f"<Key>qompass</Key><Value>qubits=27 type={device.kind}</Value></ProcessorProperty></Processor>"
        "</MasterNode></Project>"
    )
    yield emulator.devices["QPU_A"], pair
    emulator.shutdown()
    emulator.server_close()


def on_qpu(folder, *arguments):
    command = [*QOMPASS, "run", *CIRCUIT, "--cache", "off", "--mitigation", "none", "--json", "--out", folder / "runs",
               "--pilot", "one", *arguments]  # fmt: skip
    return subprocess.Popen(list(map(str, command)), env=environment(), cwd=folder, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


@pytest.mark.uses("QPU emulator")
def test_several_runs_share_a_qpu_that_never_has_more_than_its_units(pilots, qpu, own_folder):
    device, pair = qpu
    assert main(["pilot", "start", "one", "--cpus", "1", "--resources", str(pair)]) == 0
    devices = wait_until(lambda: pilot_status("one").devices, "no node came")
    assert devices["QPU_A"]["units"] == 2  # one holds the lease, the next is made ready
    runs = [on_qpu(pilots, "--seed", number) for number in range(3)]
    for run in runs:
        (found,) = estimates(run)
        assert abs(found["value"] - 1.0) < 5 * found["std_error"] + 0.05
    assert device.most_at_once == 1 and device.received >= 3
    assert pilot_status("one").devices["QPU_A"]["busy_share"] > 0


@pytest.mark.uses("QPU emulator")
def test_a_node_that_dies_with_a_job_at_the_qpu_pays_for_it_once(pilots, qpu):
    device, pair = qpu
    start_pilot("one", "local", 1, 600, units={"CPU": 1}, shared={"QPU_A": 2}, resources=pair / "resources.xml")
    whole = on_qpu(pilots, "--seed", 1)
    wanted = estimates(whole)
    jobs = device.received
    device.options = type(device.options)(**{**vars(device.options), "queue": 3600.0})
    process = on_qpu(pilots, "--seed", 1)
    wait_until(lambda: device.received > jobs or process.poll() is not None, "no job came")
    os.kill(pilot_status("one").pilot.state()["workers"][0]["pid"], signal.SIGKILL)
    time.sleep(0.5)
    device.options = type(device.options)(**{**vars(device.options), "queue": 0.0})
    (found,) = estimates(process)
    assert abs(found["value"] - wanted[0]["value"]) < 5 * found["std_error"] + 0.05
    paid = [job for job in device.jobs.values() if job.charged]  # what waited may be cancelled
    assert len(paid) == 2 * jobs, "a job was paid for twice"


@pytest.mark.slow  # it stops the run between its plan and its first placement, which a loaded machine can miss
@pytest.mark.uses("QPU emulator")
def test_a_qpu_that_comes_with_a_node_gets_work_of_a_run_that_has_begun(pilots, qpu):
    device, pair = qpu
    start_pilot("one", "local", 1, 600, units={"CPU": 1})
    process = on_qpu(pilots, "--seed", 1, "--policy", "round_robin")
    try:
        wait_until(lambda: "plan" in events(pilots) or process.poll() is not None, "it did not begin")
        process.send_signal(signal.SIGSTOP)  # until the node is there
        done = subprocess.run([*QOMPASS, "pilot", "grow", "one", "1", "--resources", str(pair)],
                              env=environment(), capture_output=True, text=True, timeout=100)  # fmt: skip
        assert done.returncode == 0, done.stderr
        wait_until(lambda: "QPU_A" in pilot_status("one").devices, "the node did not come")
        assert device.received == 0 and process.poll() is None
    finally:
        process.send_signal(signal.SIGCONT)
    (found,) = estimates(process)
    assert abs(found["value"] - 1.0) < 5 * found["std_error"] + 0.05
    assert device.received > 0 and "device" in events(pilots)
    (path,) = (pilots / "runs").glob("*/record.json")
    record = json.loads(path.read_text())
    seen = record["devices"]["QPU_A"]
    assert (seen["kind"], seen["units"]) == ("QPU", 1) and seen["calibrations"]
    assert "QPU_A" in {result["device"] for result in record["results"].values()}
    with pytest.raises(PilotError, match="has QPU_A by a node that would leave"):
        shrink_pilot("one", 1)


def events(folder):
    """What has happened in the one run of a folder."""
    logs = [path.read_text() for path in (folder / "runs").glob("*/log.jsonl")]
    return [json.loads(line)["event"] for log in logs for line in log.splitlines() if line.endswith("}")]
