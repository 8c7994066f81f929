"""A sweep on QPUs with prices that is killed: what it had asked of them counts against its budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from launch.emulator.jobs import COMPLETED

pytest.importorskip("qrmi")

from tests.execution.qpu.conftest import until
from tests.execution.qpu.test_qpu_run import ROOT, qpus
from tests.variational.test_budget import PRICES, priced

__all__ = ["priced", "qpus"]  # fixtures

TEXT = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[4];
h q[0];
ry({theta}) q[1];
cx q[0],q[1];
rzz(0.4) q[1],q[2];
cx q[2],q[3];
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_a_sweep_that_was_killed_had_asked_of_devices_is_paid_when_it_is_resumed(priced, qpus, tmp_path):
    emulator, run = qpus
    (tmp_path / "c.qasm").write_text(TEXT)
    document = {"circuits": ["c.qasm"], "observables": ["Z0 Z3"], "parameters": {"theta": [0.3, 0.9]}}
    (tmp_path / "grid.json").write_text(json.dumps(document))
    for device in emulator.devices.values():
        device.options = replace(device.options, queue=1.0)
    command = [
        sys.executable, "-m", "apps.cli", "sweep", str(tmp_path / "grid.json"), "--max-qubits", "3", "--shots", "2000",
        "--mitigation", "none", "--policy", "availability", "--budget", "9", "--engine", "embedded", "--cache", "off",
        "--resources", str(tmp_path / "priced"), "--out", str(run.out),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=run.environ, start_new_session=True)
    jobs = [device.jobs for device in emulator.devices.values()]
    until(
        lambda: process.poll() is not None or any(job.status == COMPLETED for own in jobs for job in own.values()), 100
    )
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for device in emulator.devices.values():
        device.options = replace(device.options, queue=0.0)
    (folder,) = run.out.iterdir()
    resumed = [sys.executable, "-m", "apps.cli", "resume", str(folder), "--json"]
    done = subprocess.run(resumed, cwd=ROOT, env=run.environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert all(row["error"] == "" for row in json.loads(done.stdout)["table_rows"]), done.stdout
    lines = [json.loads(line.partition(" ")[2]) for line in (folder / "journal.jsonl").read_text().splitlines()]
    told = sum(line.get("price", 0.0) for line in lines)
    paid = sum(PRICES[name] * n for name, d in emulator.devices.items() for job in d.jobs.values() for _, n in job.work)
    assert 0 < paid <= told * (1 + 1e-9) <= 9 * (1 + 1e-9), (paid, told)
