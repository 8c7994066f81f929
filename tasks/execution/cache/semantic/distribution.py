"""The key of last resort: a circuit's exact outcome distribution, rounded, its bits in an order of their own.

It finds every equality of distributions, whatever the spelling, at the price of one small statevector simulation; worth
it where an execution is slow, noisy or paid, and only up to :data:`MOST_QUBITS` qubits.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Barrier, Delay, Gate, Measure
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Statevector

MOST_QUBITS = 12
PROBABILITY_GRID = 1e-6
"""Probabilities are rounded to this in the bytes; the exact ones are compared on a hit, to about 1e-12."""


@dataclass(frozen=True)
class CanonicalDistribution:
    """A distribution over bits in canonical order.

    Attributes:
        data: its bytes, rounded.
        probabilities: (2**m,) float64, canonical bit k at bit k of the index.
        bits: for each canonical bit the circuit's classical bit.
        inverted: whether the circuit's bit is its inverse.
    """

    data: bytes
    probabilities: np.ndarray
    bits: tuple[int, ...]
    inverted: tuple[bool, ...]


def canonical_distribution(circuit: QuantumCircuit) -> CanonicalDistribution | None:
    """Return the distribution of a circuit's measured bits, or None if this is no way to key it.

    None: more than MOST_QUBITS qubits, a bit written twice, anything after a measurement on its qubit, or an operation
    that is no gate (resets, initial states, control flow).
    """
    if circuit.num_qubits > MOST_QUBITS:
        return None
    unitary = QuantumCircuit(circuit.num_qubits)
    qubit_of: dict[int, int] = {}
    for item in circuit.data:
        qubits = [circuit.find_bit(q).index for q in item.qubits]
        operation = item.operation
        if isinstance(operation, Barrier | Delay):
            continue
        # Gates only: what may hold a reset (initialize, ...) has no one final state.
        if not isinstance(operation, Measure | Gate) or not set(qubits).isdisjoint(qubit_of.values()):
            return None
        if isinstance(operation, Measure):
            bit = circuit.find_bit(item.clbits[0]).index
            if bit in qubit_of:
                return None
            qubit_of[bit] = qubits[0]
        else:
            unitary.append(operation, qubits)
    bits = sorted(qubit_of)
    try:
        exact = Statevector(unitary).probabilities([qubit_of[bit] for bit in bits]) if bits else np.ones(1)
    except (QiskitError, TypeError):  # not unitary, or a free parameter
        return None
    tensor = exact.reshape((2,) * len(bits)).transpose(range(len(bits) - 1, -1, -1))  # axis k is bits[k]
    ones = _marginals(tensor)
    inverted = ones > 0.5 + PROBABILITY_GRID
    for axis in np.flatnonzero(inverted):
        tensor = np.flip(tensor, int(axis))
    order = _order(tensor)
    moved = tensor.transpose(order[::-1]).reshape(-1) if bits else tensor.reshape(-1)
    rounded = np.rint(moved / PROBABILITY_GRID).astype("<i8")
    return CanonicalDistribution(
        struct.pack("<Hd", len(bits), PROBABILITY_GRID) + rounded.tobytes(),
        np.ascontiguousarray(moved),
        tuple(bits[k] for k in order),
        tuple(bool(inverted[k]) for k in order),
    )


def _marginals(tensor: np.ndarray) -> np.ndarray:
    """(bit,) probability that each bit is 1."""
    m = tensor.ndim
    return np.array([tensor.sum(axis=tuple(a for a in range(m) if a != k))[1] for k in range(m)])


def _order(tensor: np.ndarray) -> list[int]:
    """Order bits by what does not depend on their names: marginals, then joint probabilities with the others."""
    m = tensor.ndim
    joint = np.zeros((m, m))
    for a in range(m):
        for b in range(a + 1, m):
            rest = tuple(k for k in range(m) if k not in (a, b))
            joint[a, b] = joint[b, a] = tensor.sum(axis=rest)[1, 1]
    ones = np.rint(_marginals(tensor) / PROBABILITY_GRID).astype(int).tolist()
    pairs = np.sort(np.rint(joint / PROBABILITY_GRID), axis=1).astype(int).tolist()
    return sorted(range(m), key=lambda k: (ones[k], pairs[k], k))
