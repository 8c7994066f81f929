"""The circuits of the benchmark of primitives: free angles, one observable, and the gates that every tool cuts."""

from __future__ import annotations

from dataclasses import dataclass

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import SparsePauliOp


@dataclass(frozen=True)
class Problem:
    """What is evaluated.

    Attributes:
        name: as the table calls it.
        circuit: with free parameters.
        severed: instructions that are cut.
        observable: a sum of ZZ on neighbours; of Z alone, so that one measurement group does for every tool.
        max_qubits: widest fragment.
    """

    name: str
    circuit: QuantumCircuit
    severed: tuple[int, ...]
    observable: SparsePauliOp
    max_qubits: int


def _observable(edges: list[tuple[int, int]], qubits: int) -> SparsePauliOp:
    return SparsePauliOp.from_sparse_list([("ZZ", [a, b], 1.0) for a, b in edges], qubits)


def ansatz(parts: int, layers: int) -> Problem:
    """Layers of RY and RZ on every qubit and of CX along a line of parts of 6 qubits, cut between the parts."""
    qubits = 6 * parts
    angles = iter(ParameterVector("a", 2 * qubits * (layers + 1)))
    circuit, severed = QuantumCircuit(qubits), []
    for layer in range(layers + 1):
        for qubit in range(qubits):
            circuit.ry(next(angles), qubit)
            circuit.rz(next(angles), qubit)
        if layer < layers:
            for qubit in range(qubits - 1):
                if qubit % 6 == 5:
                    severed.append(len(circuit.data))
                circuit.cx(qubit, qubit + 1)
    name = f"{qubits} qubits, {parts} parts, {len(severed)} cuts"
    return Problem(name, circuit, tuple(severed), _observable([(q, q + 1) for q in range(qubits - 1)], qubits), 6)


def communities(parts: int = 4, size: int = 10) -> Problem:
    """QAOA of one layer on rings of ``size`` joined in a row by single edges, whose gates are cut."""
    qubits = parts * size
    inner = [(p * size + k, p * size + (k + 1) % size) for p in range(parts) for k in range(size)]
    outer = [(p * size + size // 2, (p + 1) * size) for p in range(parts - 1)]
    circuit, severed = QuantumCircuit(qubits), []
    cost, mixing = Parameter("cost"), Parameter("mixing")
    circuit.h(range(qubits))
    for a, b in inner + outer:
        if (a, b) in outer:
            severed.append(len(circuit.data))
        circuit.rzz(cost, a, b)
    circuit.rx(mixing, range(qubits))
    name = f"QAOA, {qubits} qubits, {parts} communities"
    return Problem(name, circuit, tuple(severed), _observable(inner + outer, qubits), size)
