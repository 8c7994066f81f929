"""The frame around very many variants: a whole command with 98,125 variants and 1e7 shots, for limit.py."""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, qasm2

ROOT = Path(__file__).resolve().parents[2]
_BLOCKS, _SIZE, _BETWEEN, _SHOTS = 31, 6, 3, 10**7


def chain() -> tuple[QuantumCircuit, list[int]]:
    """A line of blocks and the gates between them, three at each joint."""
    rng = np.random.default_rng(1)
    qubits = _BLOCKS * _SIZE
    circuit, cuts = QuantumCircuit(qubits), []
    for layer in range(_BETWEEN + 1):
        for q in range(qubits):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for q in range(qubits - 1):
            if (q + 1) % _SIZE:
                circuit.cz(q, q + 1)
        for q in range(_SIZE, qubits, _SIZE) if layer < _BETWEEN else ():
            cuts.append(len(circuit.data))
            circuit.cz(q - 1, q)
    return circuit, cuts


def frame() -> dict[str, Any]:
    """Wall and processor seconds of ``qompass run`` and of its steps."""
    circuit, cuts = chain()
    last = circuit.num_qubits - 1
    wanted = [f"Z0 Z{last}", *(f"Z{a} Z{a + 1}" for a in range(0, last, 5))]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "circuit.qasm").write_text(qasm2.dumps(circuit))
        (Path(folder) / "cuts.json").write_text(json.dumps({"gates": cuts}))
        command = [str(ROOT / "launch" / "qompass"), "run", f"{folder}/circuit.qasm", "--cuts", f"{folder}/cuts.json"]
        command += ["--shots", str(_SHOTS), "--cache", "off", "--json", "--out", f"{folder}/out"]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        asked = [word for text in wanted for word in ("--observable", text)]
        done = subprocess.run([*command, *asked], cwd=ROOT, capture_output=True, text=True, check=True)
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "processor": processor, "timings": json.loads(done.stdout)["timings"]}


def frame_lines(found: dict[str, Any] | None) -> list[str]:
    """Its part of the page."""
    lines = ["", "## Very many variants", ""]
    if not found:
        return []
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found["timings"].items())
    return [
        *lines,
        f"`qompass run` of {_BLOCKS} blocks of {_SIZE} qubits in a line, {_BETWEEN} gates severed at each joint: "
        f"98,125 variants, {_SHOTS:,} shots in two rounds, on 2 cores: {found['wall']:.1f} s of wall time, "
        f"{found['processor']:.1f} s of the processors ({steps}). A run of 97,750 variants and as many shots took "
        "252 s before this table was begun.",
    ]
