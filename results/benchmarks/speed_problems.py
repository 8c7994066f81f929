"""The circuits of the speed benchmark, each with the cuts that every tool is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import PauliList

from tasks.cutting import Cut, GateCut, WireCut
from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem


@dataclass(frozen=True)
class Case:
    """A circuit, its cuts and one observable.

    Attributes:
        name: as the table calls it.
        family: "gate" or "wire", the kind of its cuts.
        circuit: what is cut.
        cuts: where.
        labels: Pauli strings of the observable; all of Z, so that one measurement group does for every tool.
        weights: (string,) float64.
    """

    name: str
    family: str
    circuit: QuantumCircuit
    cuts: tuple[Cut, ...]
    labels: tuple[str, ...]
    weights: np.ndarray

    @property
    def paulis(self) -> PauliList:
        """The strings for Qiskit's tools."""
        return PauliList(list(self.labels))

    @property
    def problem(self) -> Problem:
        """The same as Qompass takes it."""
        text = " + ".join(
            f"{weight:.12f}*{sparse(label)}" for weight, label in zip(self.weights, self.labels, strict=True)
        )
        return make_problem(self.circuit, text)


def sparse(label: str) -> str:
    """``Z0 Z3`` for a Qiskit label."""
    return " ".join(f"{letter}{q}" for q, letter in enumerate(reversed(label)) if letter != "I")


def gate_case(parts: int, cuts: int, seed: int = 7) -> Case:
    """Blocks of 6 qubits on a line, as many layers of CZ as every boundary has cuts, CX between blocks severed."""
    rng = np.random.default_rng([seed, parts, cuts])
    qubits, layers = 6 * parts, cuts // (parts - 1)
    circuit = QuantumCircuit(qubits)
    severed = []
    for _ in range(layers):
        _rotate(circuit, range(qubits), rng)
        for q in range(qubits - 1):
            if q % 6 == 5:
                severed.append(GateCut(len(circuit.data)))
                circuit.cx(q, q + 1)
            else:
                circuit.cz(q, q + 1)
    _rotate(circuit, range(qubits), rng)
    return Case(
        f"{qubits} qubits, {parts} parts, {cuts} gate cut{'s' * (cuts > 1)}",
        "gate",
        circuit,
        tuple(severed),
        *_ising(qubits),
    )


def wire_case(wires: int, seed: int = 8) -> Case:
    """Two blocks of 6 qubits that share ``wires`` qubits, cut between them."""
    rng = np.random.default_rng([seed, wires])
    qubits = 12 - wires
    circuit = QuantumCircuit(qubits)
    severed: list[WireCut] = []
    shared = range(6 - wires, 6)
    for block in (range(6), range(6 - wires, qubits)):
        for _ in range(3):
            for q in block:
                if block.start and q in shared and not any(c.qubit == q for c in severed):
                    severed.append(WireCut(len(circuit.data), q))
                circuit.u(*rng.uniform(0, np.pi, 3), q)
            for q in block[:-1]:
                circuit.cz(q, q + 1)
    letters = ["Z" if q in (0, 6, qubits - 1) else "I" for q in range(qubits)]
    label = "".join(reversed(letters))
    return Case(
        f"two 6-qubit blocks, {wires} wire cut{'s' * (wires > 1)}",
        "wire",
        circuit,
        tuple(severed),
        (label,),
        np.ones(1),
    )


def _rotate(circuit: QuantumCircuit, qubits: range, rng: np.random.Generator) -> None:
    for q in qubits:
        circuit.u(*rng.uniform(0, np.pi, 3), q)


def _ising(qubits: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Mean of Z_q Z_q+1 over all bonds."""
    labels = []
    for q in range(qubits - 1):
        letters = ["Z" if k in (q, q + 1) else "I" for k in range(qubits)]
        labels.append("".join(reversed(letters)))
    return tuple(labels), np.full(len(labels), 1 / len(labels))
