"""A signal is obeyed while a huge input is read: soon and in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADERS = {
    "qasm2": 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[20];\n',
    "qasm3": 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[20] q;\n',
}
READING_S = 3.0  # of processor time: imports take about one


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize(("language", "number"), [("qasm2", signal.SIGTERM), ("qasm3", signal.SIGINT)])
def test_a_huge_circuit_that_is_being_read_does_not_hold_a_signal_back(
    tmp_path: Path, language: str, number: signal.Signals
) -> None:
    lines = [f"rz(0.{i % 997}) q[{i % 20}];\ncx q[{i % 20}],q[{(i + 1) % 20}];\n" for i in range(490_000)]
    circuit = tmp_path / "huge.qasm"
    circuit.write_text(HEADERS[language] + "".join(lines))
    command = [sys.executable, "-m", "apps.cli", "plan", str(circuit), "--max-qubits", "12", "--observable", "Z0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while sum(watched.cpu_times()[:2]) < READING_S:
            assert process.poll() is None, "it was read before anybody could interrupt: make it larger"
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.stdout.read(), process.stderr.read()
        _, wait_status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(wait_status)
    assert (process.returncode, out, err) == (130, "", "qompass: interrupted\n")
    assert used.ru_utime + used.ru_stime < READING_S + 3.0, "it was obeyed only when all was read"
