"""`qompass optimise` on QPUs of which one gets worse on the way: the shots that remain are taken on the other."""

from __future__ import annotations

import json
from dataclasses import replace

import networkx as nx
import pytest

pytest.importorskip("qrmi")

from tests.execution.qpu.test_qpu_moves import once_placed
from tests.execution.qpu.test_qpu_run import only_qpus, qpus, say

__all__ = ["qpus", "say"]  # fixtures


def republished(emulator, device, factor):
    emulator.command("worsen", {"device": device, "factor": factor})
    emulator.command("publish", {"device": device})


@pytest.mark.timeout(400)
def test_shots_that_remain_leave_a_qpu_whose_calibration_got_worse(qpus, say, tmp_path):
    emulator, run = qpus
    republished(emulator, "QPU_B", 2.0)  # so that QPU_A is the better one
    nx.write_edgelist(nx.cycle_graph(6), tmp_path / "ring.txt", data=False)
    placed = []

    def worsen():
        placed.append("QPU_A")
        slow = emulator.devices["QPU_A"]
        slow.options = replace(slow.options, queue=600.0)  # what does not leave is not done in time
        republished(emulator, "QPU_A", 20.0)

    thread = once_placed(tmp_path, worsen)
    done = say(
        "optimise", str(tmp_path / "ring.txt"), "--max-qubits", "4",
        "--optimiser", "cobyla", "--iterations", "4", "--shots", "400", "--most-shots", "400", "--draws", "0",
        "--policy", "fidelity", "--mitigation", "none", "--resources", str(only_qpus(tmp_path)),
        "--out", str(run.out), "--engine", "embedded", "--cache", "off", "--json",
    )  # fmt: skip
    thread.join()
    assert done.returncode == 0, done.stderr
    assert placed, "nothing was to run on QPU_A"
    left, taken = (list(emulator.devices[name].jobs.values()) for name in ("QPU_A", "QPU_B"))
    assert {job.status for job in left} <= {"cancelled"}, "QPU_A was planned with again"
    found = json.loads(done.stdout)
    shots = sum(shots for job in taken for _, shots in job.work)
    assert shots >= found["shots"] >= 4 * 400, "all of every evaluation"
    assert -6 - 5 * found["std_error"] < found["energy"] < 5 * found["std_error"]
