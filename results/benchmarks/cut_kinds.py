"""Sever the gate or its wire: ``python -m results.benchmarks.cut_kinds [--quick]``.

The planner prices a cut of the sampled path by its sampling overhead kappa**2. Here the same circuit is cut once
through a gate and once through the wire before it, both are sampled with the same total of shots, and the variance that
either pays (squared standard error times shots, median over circuits and observables) is held beside that price.
Writes cut_kinds.md and cut_kinds.json beside this file (cut_kinds_quick.* with --quick).
"""

from __future__ import annotations

import argparse
import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Gate
from qiskit.circuit.library import CXGate, RZZGate, SwapGate, iSwapGate

from tasks.cutting import Cut, GateCut, WireCut
from tasks.cutting.schmidt import schmidt_form
from tasks.runtime import engine
from tasks.workflow import estimate

_HERE = Path(__file__).parent
_OBSERVABLES = ["Z1 Z4", "X0 X5", "Z2 Z3", "Y2 Z5"]
_GATES: dict[str, Gate] = {
    "rzz(0.1)": RZZGate(0.1),
    "rzz(0.3)": RZZGate(0.3),
    "rzz(0.8)": RZZGate(0.8),
    "cx": CXGate(),
    "iswap": iSwapGate(),
    "swap": SwapGate(),
}


def circuit_with(gate: Gate, rng: np.random.Generator) -> tuple[QuantumCircuit, int]:
    """Two entangled blocks of three qubits, ``gate`` between them, and more on the second: the circuit, the gate."""
    circuit = QuantumCircuit(6)
    _block(circuit, (0, 1, 2), rng)
    _block(circuit, (3, 4, 5), rng)
    at = len(circuit.data)
    circuit.append(gate, [2, 3])
    _block(circuit, (3, 4, 5), rng)
    return circuit, at


def _block(circuit: QuantumCircuit, qubits: tuple[int, ...], rng: np.random.Generator) -> None:
    for _ in range(2):
        for qubit in qubits:
            circuit.ry(rng.uniform(0, 2 * np.pi), qubit)
            circuit.rz(rng.uniform(0, 2 * np.pi), qubit)
        for first, second in pairwise(qubits):
            circuit.cz(first, second)


def variances(circuit: QuantumCircuit, cut: Cut, shots: int, seed: int) -> list[float]:
    """Squared standard error times shots, of every observable."""
    found = estimate(circuit, _OBSERVABLES, cuts=(cut,), shots=shots, seed=seed)
    return [one.std_error**2 * shots for one in found]


def main() -> None:
    """Run everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two circuits a gate")
    options = parser.parse_args()
    circuits, shots = (2, 20_000) if options.quick else (8, 100_000)
    rows = []
    with engine("embedded", units={"CPU": os.cpu_count() or 1}):
        for name, gate in _GATES.items():
            rng = np.random.default_rng(7)
            by_gate, by_wire = [], []
            for number in range(circuits):
                circuit, at = circuit_with(gate, rng)
                by_gate += variances(circuit, GateCut(at), shots, number)
                by_wire += variances(circuit, WireCut(at, 2), shots, number)
            kappa2 = schmidt_form(gate, name).kappa() ** 2
            rows.append(
                {
                    "gate": name,
                    "kappa2_gate": kappa2,
                    "kappa2_wire": 16.0,
                    "planner": "gate" if kappa2 < 16 else "wire",
                    "variance_gate": float(np.median(by_gate)),
                    "variance_wire": float(np.median(by_wire)),
                    "measured": "gate" if np.median(by_gate) < np.median(by_wire) else "wire",
                }
            )
            print(rows[-1], flush=True)
    name = "cut_kinds_quick" if options.quick else "cut_kinds"
    (_HERE / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    head = "| gate | kappa², gate | kappa², wire | planner severs | variance, gate | variance, wire | less has |"
    lines = [
        f"| {r['gate']} | {r['kappa2_gate']:.2f} | {r['kappa2_wire']:.0f} | {r['planner']} | {r['variance_gate']:.2f} |"
        f" {r['variance_wire']:.2f} | {r['measured']} |"
        for r in rows
    ]
    text = [
        "# Sever the gate or its wire",
        f"Made by `python -m results.benchmarks.cut_kinds{' --quick' if options.quick else ''}`: {circuits} circuits"
        f" of 6 qubits a gate, {len(_OBSERVABLES)} observables, {shots:,} shots in all for either way. *Variance*:"
        " squared standard error times shots, median.",
        "\n".join([head, "|---|---|---|---|---|---|---|", *lines]),
    ]
    (_HERE / f"{name}.md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
