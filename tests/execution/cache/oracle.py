"""Exact outcome distributions by brute force: gate matrices from Qiskit, branching on measurement and reset."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Instruction
from qiskit.quantum_info import Operator

from tasks.execution.cache.semantic.canonical import CanonicalForm
from tasks.execution.cache.semantic.normal_form import MEASURE, ROTATION, Operation

_PAULI = {
    (0, 0): np.eye(2),
    (1, 0): np.array([[0, 1], [1, 0]]),
    (0, 1): np.diag([1, -1]),
    (1, 1): np.array([[0, -1j], [1j, 0]]),
}
Branches = dict[tuple[int, ...], list[np.ndarray]]


def exact_distribution(circuit: QuantumCircuit) -> dict[tuple[int, ...], float]:
    """Return the probability of every value of the classical bits (bit 0 first)."""
    n = circuit.num_qubits
    start = np.zeros(2**n, dtype=complex)
    start[0] = 1
    branches: Branches = {(0,) * circuit.num_clbits: [start]}
    for item in circuit.data:
        qubits = [circuit.find_bit(q).index for q in item.qubits]
        name = item.operation.name
        if name == "barrier":
            continue
        new: Branches = defaultdict(list)
        if name == "measure":
            bit = circuit.find_bit(item.clbits[0]).index
            for bits, states in branches.items():
                for value in (0, 1):
                    key = (*bits[:bit], value, *bits[bit + 1 :])
                    new[key] += [_project(s, qubits[0], value) for s in states]
        elif name == "reset":
            for bits, states in branches.items():
                for s in states:
                    new[bits].append(_project(s, qubits[0], 0))
                    new[bits].append(_apply(_PAULI[1, 0], _project(s, qubits[0], 1), qubits))
        else:
            matrix = _matrix(item.operation)
            for bits, states in branches.items():
                new[bits] = [_apply(matrix, s, qubits) for s in states]
        branches = {b: [s for s in states if np.vdot(s, s).real > 1e-14] for b, states in new.items()}
    out = {b: float(sum(np.vdot(s, s).real for s in states)) for b, states in branches.items()}
    return {b: p for b, p in out.items() if p > 1e-12}


def form_distribution(operations: list[Operation], form: CanonicalForm) -> dict[tuple[int, ...], float]:
    """Return the distribution that a reduced list has by its own definition, on the original circuit's bits."""
    n = form.num_qubits
    start = np.zeros(2**n, dtype=complex)
    start[0] = 1
    branches: Branches = {(0,) * form.num_bits: [start]}
    for op in operations:
        new: Branches = defaultdict(list)
        for bits, states in branches.items():
            for s in states:
                turned = pauli_on(s, op.x, op.z, n)
                if op.kind == ROTATION:
                    new[bits].append(np.cos(op.angle / 2) * s - 1j * np.sin(op.angle / 2) * turned)
                    continue
                for value in (0, 1):
                    sign = -1 if value != op.flipped else 1
                    key = bits
                    if op.kind == MEASURE:
                        key = (*bits[: op.tag], value, *bits[op.tag + 1 :])
                    new[key].append((s + sign * turned) / 2)
        branches = {b: [s for s in states if np.vdot(s, s).real > 1e-14] for b, states in new.items()}
    out = {b: float(sum(np.vdot(s, s).real for s in states)) for b, states in branches.items()}
    return {b: p for b, p in out.items() if p > 1e-12}


def pauli_on(state: np.ndarray, x: int, z: int, n: int) -> np.ndarray:
    """Apply a Pauli string to a state vector."""
    for q in range(n):
        letter = (x >> q & 1, z >> q & 1)
        if letter != (0, 0):
            state = _apply(_PAULI[letter], state, [q])
    return state


def difference(a: dict[tuple[int, ...], float], b: dict[tuple[int, ...], float]) -> float:
    """Return the largest difference of a probability."""
    return max((abs(a.get(k, 0.0) - b.get(k, 0.0)) for k in a.keys() | b.keys()), default=0.0)


_KNOWN: dict[tuple[object, ...], np.ndarray] = {}


def _matrix(operation: Instruction) -> np.ndarray:
    """Return the gate's matrix from Qiskit, remembered where name and numbers define it."""
    if getattr(operation, "_standard_gate", None) is None:
        return Operator(operation).data
    key = (operation.name, *map(float, operation.params))
    if key not in _KNOWN:
        _KNOWN[key] = Operator(operation).data
    return _KNOWN[key]


def _project(state: np.ndarray, qubit: int, value: int) -> np.ndarray:
    keep = (np.arange(len(state)) >> qubit & 1) == value
    return np.where(keep, state, 0)


def _apply(matrix: np.ndarray, state: np.ndarray, qubits: list[int]) -> np.ndarray:
    n = int(np.log2(len(state)))
    k = len(qubits)
    tensor = state.reshape([2] * n)
    axes = [n - 1 - q for q in reversed(qubits)]
    tensor = np.tensordot(matrix.reshape([2] * (2 * k)), tensor, axes=(list(range(k, 2 * k)), axes))
    return np.moveaxis(tensor, list(range(k)), axes).reshape(-1)
