"""``qompass run`` while a QPU's queue grows or its calibration gets worse: what waits goes elsewhere, nothing twice."""

import json
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from qiskit import QuantumCircuit

from launch.emulator.jobs import Job, new_id
from tasks.execution.leases.files import FileLeases
from tests.engines.launching import LAUNCHER, ROOT, needs_runcompss
from tests.execution.qpu.conftest import until
from tests.execution.qpu.test_qpu_run import here, only_qpus, qpus, say

__all__ = ["here", "qpus", "say"]  # fixtures
OPTIONS = ("--policy", "round_robin", "--mitigation", "none", "--shots", "500")  # so few are taken in one round


def once_placed(tmp_path, act):
    """A thread that acts when QPU_A's jobs are placed and not submitted yet: it has the unit that a task waits for."""
    held = threading.Event()

    def hold():
        leases = FileLeases(tmp_path / "leases")
        with leases.hold("QPU_A", 1):
            held.set()
            until(lambda: leases.wanted("QPU_A") > 1, 120)
            act()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    return thread


def crowd(emulator):
    """Twenty jobs of somebody else, each of which waits ten minutes."""
    crowded = emulator.devices["QPU_A"]
    crowded.options = replace(crowded.options, queue=600.0)
    for _ in range(20):
        crowded.submit(Job(new_id(), [(lambda: QuantumCircuit(1), 5)]))


def variants(entries):
    return [(e["fragment"], e["round"], e["first"] + k) for e in entries for k in range(e["count"])]


def check_moved(emulator, folder, why):
    """All of QPU_A's pieces went to QPU_B, for this reason, unpaid and uncounted at QPU_A."""
    record = json.loads((folder / "record.json").read_text())
    assert record["moves"]
    for move in record["moves"]:
        assert (move["from"], move["to"]) == ("QPU_A", "QPU_B") and why in move["why"], move
    results = list(record["results"].values())
    assert {result["device"] for result in results} == {"QPU_B"}
    assert {result["attempt"] for result in results} == {0}, "to leave is not to fail"
    done = variants(results)
    assert len(done) == len(set(done)), "a variant was counted twice"
    assert set(variants(record["moves"])) <= set(done)
    ours = [job for job in emulator.devices["QPU_A"].jobs.values() if job.session]
    assert [job.charged for job in ours] == [0.0] * len(ours)
    assert {job.status for job in ours} <= {"cancelled"}
    assert not [session for session in emulator.sessions.values() if session["accepting_jobs"]]


@pytest.mark.timeout(400)
def test_pieces_behind_a_queue_that_grew_go_elsewhere_and_the_record_says_why(qpus, here, tmp_path):
    emulator, _ = qpus
    thread = once_placed(tmp_path, lambda: crowd(emulator))
    done, (folder,) = here("--resources", str(only_qpus(tmp_path)), *OPTIONS)
    thread.join()
    assert done.returncode == 0, done.stderr
    assert "leaves QPU_A" in done.stderr and "queue grew" in done.stderr
    check_moved(emulator, folder, "queue grew")


@pytest.mark.timeout(400)
def test_pieces_that_wait_leave_a_qpu_whose_calibration_got_worse(qpus, here, tmp_path):
    emulator, _ = qpus
    slow = emulator.devices["QPU_A"]

    def worsen():
        slow.options = replace(slow.options, queue=600.0)
        emulator.command("worsen", {"device": "QPU_A", "factor": 4.0})
        emulator.command("publish", {"device": "QPU_A"})

    thread = once_placed(tmp_path, worsen)
    done, (folder,) = here("--resources", str(only_qpus(tmp_path)), *OPTIONS)
    thread.join()
    assert done.returncode == 0, done.stderr
    check_moved(emulator, folder, "error rates grew")


def test_what_a_qpu_refuses_is_planned_elsewhere_and_not_sent_there_again(qpus, here, tmp_path):
    emulator, _ = qpus
    picky = emulator.devices["QPU_A"]
    picky.options = replace(picky.options, circuits=0)  # its target still says 300
    done, (folder,) = here("--resources", str(only_qpus(tmp_path)), *OPTIONS)
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "record.json").read_text())
    assert {result["device"] for result in record["results"].values()} == {"QPU_B"}
    assert {(move["from"], move["to"]) for move in record["moves"]} == {("QPU_A", "QPU_B")}
    assert all("1 to 0 circuits" in move["why"] for move in record["moves"])
    assert not picky.jobs and emulator.requests["job_create"] - len(emulator.devices["QPU_B"].jobs) == 1


def test_a_qpu_that_is_offline_when_work_is_placed_is_not_waited_for(qpus, here, tmp_path):
    emulator, _ = qpus
    away = emulator.devices["QPU_A"]
    away.options = replace(away.options, up=1e-9, down=1e9)
    done, (folder,) = here("--resources", str(only_qpus(tmp_path)), *OPTIONS)
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "record.json").read_text())
    assert {result["device"] for result in record["results"].values()} == {"QPU_B"}
    assert not away.jobs


@needs_runcompss
@pytest.mark.xdist_group("runcompss")
@pytest.mark.timeout(500)
def test_on_compss_they_go_elsewhere_too(qpus, tmp_path):
    emulator, run = qpus
    thread = once_placed(tmp_path, lambda: crowd(emulator))
    done = subprocess.run(
        [
            "bash", str(LAUNCHER), "--resources", str(only_qpus(tmp_path)), "--logs", str(tmp_path / "logs"),
            str(ROOT / "apps/expectation.py"), str(tmp_path / "ghz.qasm"), "--observable", "Z0 Z7", "--max-qubits", "4",
            "--out", str(run.out), "--cache", "off", "--json", *OPTIONS,
        ],
        cwd=tmp_path, env=run.environ | {"QOMPASS_PYTHON": sys.executable}, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    thread.join()
    assert done.returncode == 0, done.stderr
    (folder,) = run.out.iterdir()
    assert json.loads(done.stdout)["engine"]["name"] == "compss"
    check_moved(emulator, folder, "queue grew")
