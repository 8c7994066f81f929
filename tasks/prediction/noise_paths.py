"""On which gates' errors a factor of a fragment depends, and how much: shares of the Pauli paths that meet each gate.

Seen backwards a factor is a sum of Paulis, and an error behind a gate spoils those that act on the gate's qubits. Of a
gate of Pauli transfer matrix R a Pauli Q comes from P with the weight R[Q, P]^2, as if signs were random; and a Pauli
counts by the square of what the state shows of it. Qubits are taken to be independent between gates, so that a pass
forward tells the state's squares, one backward the paths' weights.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from qiskit.circuit.library import CXGate
from qiskit.synthesis import TwoQubitBasisDecomposer

from tasks.cutting import Fragment
from tasks.cutting.kinds import LegKind
from tasks.cutting.pauli_program import leg_map, unitary_map
from tasks.cutting.pauli_rows import PauliMap
from tasks.cutting.plan import Leg

_START = np.array([1.0, 0.0, 1.0, 0.0])  # (I, X, Z, Y) of |0>, squared


def met_gates(fragment: Fragment) -> np.ndarray:
    """(instruction, factor) float64: which share of a factor's Pauli paths acts on each gate's qubits behind it."""
    number = {bit: q for q, bit in enumerate(fragment.circuit.qubits)}
    own = [[number[bit] for bit in item.qubits] for item in fragment.circuit.data]
    spread = [_squares(unitary_map(item.matrix)) for item in fragment.circuit.data]
    legs: dict[int, list[Leg]] = {}
    for leg in fragment.legs:
        legs.setdefault(leg.position, []).append(leg)
    state = np.tile(_START, (fragment.num_qubits, 1))
    before, behind = [], []
    for position, (qubits, squares) in enumerate(zip(own, spread, strict=True)):
        for leg in legs.get(position, ()):
            state[leg.qubit] = np.ones(4) if leg.kind.prepares else _through(leg.kind) @ state[leg.qubit]
        before.append(state[qubits].copy())
        joint = squares @ _joined(state[qubits])
        behind.append(joint)
        table = joint.reshape((4,) * len(qubits))
        for k, q in enumerate(reversed(qubits)):  # the first qubit's letter is the last axis
            state[q] = np.moveaxis(table, k, 0).reshape(4, -1)[:, 0]
    codes = fragment.factors_x + 2 * fragment.factors_z
    paths = np.eye(4)[codes].transpose(1, 2, 0)  # (qubit, letter, factor)
    met = np.zeros((len(own), len(codes)))
    for position in range(len(own), -1, -1):
        if position < len(own):
            qubits = own[position]
            joint = _joined(paths[qubits])
            weights = joint * behind[position][:, None]
            total = weights.sum(axis=0)
            met[position] = 1 - np.divide(weights[0], total, out=np.zeros_like(total), where=total > 0)
            table = (spread[position].T @ joint).reshape(*(4,) * len(qubits), -1)
            for k, q in enumerate(reversed(qubits)):
                rest = np.moveaxis(table, k, 0)
                for other in before[position][::-1][[j for j in range(len(qubits)) if j != k]]:
                    rest = np.einsum("abf,b->af", rest, other)
                paths[q] = rest / np.maximum(rest.sum(axis=0), np.finfo(float).tiny)
        for leg in legs.get(position, ()):
            paths[leg.qubit] = 0.25 if leg.kind.opens_qubit else _through(leg.kind).T @ paths[leg.qubit]
    return met


@lru_cache(maxsize=4096)
def cx_needed(raw: bytes) -> int:
    """CX gates that a two-qubit gate takes; ``raw``: of its (4, 4) complex matrix."""
    matrix = np.frombuffer(raw, dtype=complex).reshape(4, 4)
    return int(TwoQubitBasisDecomposer(CXGate()).num_basis_gates(matrix))


def _joined(apart: np.ndarray) -> np.ndarray:
    """(letters together, ...) of (qubit, letter, ...), the first qubit's counting least."""
    if len(apart) == 1:
        return apart[0]
    both = apart[1][:, None] * apart[0][None]
    return np.asarray(both.reshape(16, *apart.shape[2:]))


def _squares(found: PauliMap) -> np.ndarray:
    """(behind, before) float64, squares of what each Pauli becomes."""
    squares = np.zeros((len(found.count),) * 2)
    there = np.arange(found.most) < found.count[:, None]
    rows = np.broadcast_to(np.arange(len(found.count))[:, None], there.shape)
    np.add.at(squares, (rows[there], found.codes[there]), found.coefficients[there] ** 2)
    return squares


@lru_cache(maxsize=64)
def _through(kind: LegKind) -> np.ndarray:
    """(behind, before) float64: the same of a leg, all its entries alike."""
    squares = _squares(leg_map(kind))
    return np.asarray(squares / np.maximum(squares.sum(axis=1, keepdims=True), np.finfo(float).tiny))
