"""What the cache does in a default run: exact fragments, as a simulator computes them, off, cold, warm and rewritten.

*Rewritten* is the circuit as another compiler would leave it: rotations about X as H RZ H, barriers between layers.
CPU seconds of one process, medians; *off* and *cold* in turn, and the ratio of the two with its standard error.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median, stdev

from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from scheduler_policies import Device, Kind
from tasks.cutting import make_plan
from tasks.execution.jobs import FragmentJob, exact_jobs, predicted_seconds
from tasks.execution.on_device import ExecutionOptions, run_on_device
from tasks.inputs.validation import make_problem

_CPU = Device("CPU", Kind.CPU)


def _qaoa(qubits: int, layers: int, *, rewritten: bool = False) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    for _ in range(layers):
        for a in range(qubits - 1):
            circuit.rzz(0.7, a, a + 1)
        _mix(circuit, 0.5, rewritten)
    return circuit


def _ising(qubits: int, steps: int, *, rewritten: bool = False) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits)
    for _ in range(steps):
        for first in (0, 1):
            for a in range(first, qubits - 1, 2):
                circuit.rzz(0.4, a, a + 1)
        _mix(circuit, 0.3, rewritten)
    return circuit


def _communities(qubits: int, layers: int, *, rewritten: bool = False) -> QuantumCircuit:
    """Three chains, each joined to the next in one layer only: every fragment is a whole chain, and sees all of it."""
    third = qubits // 3
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    for layer in range(layers):
        for a in range(qubits - 1):
            if a % third != third - 1 or layer == layers // 2:
                circuit.rzz(0.7, a, a + 1)
        _mix(circuit, 0.5, rewritten)
    return circuit


def _mix(circuit: QuantumCircuit, angle: float, rewritten: bool) -> None:
    if not rewritten:
        circuit.rx(angle, range(circuit.num_qubits))
        return
    circuit.barrier()
    for qubit in range(circuit.num_qubits):
        circuit.h(qubit)
        circuit.rz(angle, qubit)
        circuit.h(qubit)


def _jobs(circuit: QuantumCircuit, width: int) -> list[FragmentJob]:
    qubits = circuit.num_qubits
    energy = SparsePauliOp.from_sparse_list([("ZZ", [a, a + 1], 1.0) for a in range(qubits - 1)], num_qubits=qubits)
    return exact_jobs(make_plan(make_problem(circuit, [energy]), max_qubits=width))


def measure(quick: bool) -> dict[str, dict[str, float]]:
    """CPU seconds and hits for each circuit and way."""
    small, large, rounds = ((24, 9), (24, 8), 2) if quick else ((48, 17), (66, 22), 9)
    cases = {
        "QAOA, 2 layers": (_qaoa, 2, *small), "Ising, 3 steps": (_ising, 3, *small),
        "QAOA on communities, 8 layers": (_communities, 8, *large),
    }  # fmt: skip
    out = {}
    for name, (make, depth, qubits, width) in cases.items():
        plain, other = (_jobs(make(qubits, depth, rewritten=how), width) for how in (False, True))
        row: dict[str, float] = {"qubits": qubits, "width": width, "fragments": len(plain)}
        row["predicted"] = sum(map(predicted_seconds, plain))
        found: dict[str, list[float]] = {way: [] for way in ("off", "cold", "warm", "rewritten")}
        for turn in range(-1, rounds):  # the first is not counted: what is loaded once is loaded then
            with tempfile.TemporaryDirectory() as folder:
                where = str(Path(folder) / "cache")
                ways = [("off", plain, "off"), ("cold", plain, where)][:: 1 if turn % 2 else -1]
                for way, jobs, place in (*ways, ("warm", plain, where), ("rewritten", other, where)):
                    began = time.process_time()
                    done = run_on_device(jobs, _CPU, ExecutionOptions(place))
                    found[way] += [time.process_time() - began][: turn + 1]
                    row[f"{way}, hits"] = sum("cache" in result.origin for result in done.results)
        ratios = [off / cold for off, cold in zip(found["off"], found["cold"], strict=True)]
        row |= {way: median(seconds) for way, seconds in found.items()}
        row |= {"ratio": median(ratios), "ratio_error": stdev(ratios) / rounds**0.5}
        out[name] = row
    return out
