"""Pieces that a sweep follows, as numbers: what is in each, and whether states hold the same ones.

A piece is the qubits whose wire is in it now and those that a copy in it serves now, a bit each; how many stretches of
wire began in it; and how many copies it had at once. Of pieces that are joined the last is the larger number, though
both may have had theirs at once: a bound from below.
"""

from __future__ import annotations

import numpy as np

MOST_QUBITS = 24  # that a piece's number has bits for
WIRES, COPIES, STRETCHES, COUNT = 40, 16, 8, 0xFF
_QUBITS = (1 << MOST_QUBITS) - 1
WIRE = [np.uint64(1 << (WIRES + q)) for q in range(MOST_QUBITS)]
COPY = [np.uint64(1 << (COPIES + q)) for q in range(MOST_QUBITS)]
ALONE = np.uint64(1 << STRETCHES)
ALL_WIRES, ALL_COPIES = np.uint64(_QUBITS << WIRES), np.uint64(_QUBITS << COPIES)
ALL, SIZES = ALL_WIRES | ALL_COPIES, np.uint64(0xFFFF)  # a number up to the latter is of no piece any more


def width_of(pieces: np.ndarray) -> np.ndarray:
    """Stretches and copies."""
    return (pieces >> STRETCHES & COUNT) + (pieces & COUNT)


def doubled(pieces: np.ndarray) -> np.ndarray:
    """The bits of copies of qubits whose wires are in each."""
    return pieces >> WIRES << COPIES


def mixed_of(pieces: np.ndarray) -> np.ndarray:
    """Numbers whose sum is, in practice, another for other pieces, whatever their order."""
    mixed = pieces * np.uint64(0x9E3779B97F4A7C15)
    high = mixed >> np.uint64(29)
    mixed ^= high
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(mixed, np.uint64(32), out=high)
    mixed ^= high
    mixed *= np.uint64(0x94D049BB133111EB)
    return mixed


def in_order(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How to sort numbers, equal ones as they come, and they sorted, all but the last bits of each: quicker by far."""
    bits = len(numbers).bit_length()
    sorted_ = numbers.view(np.int64) >> bits << bits | np.arange(len(numbers))
    sorted_.sort()
    return sorted_ & (1 << bits) - 1, sorted_ >> bits


def firsts_of(names: np.ndarray) -> np.ndarray:
    """Where each name comes first, in order."""
    order, names = in_order(names)
    new = np.ones(len(names), dtype=bool)
    np.not_equal(names[1:], names[:-1], out=new[1:])
    firsts = order[new]
    firsts.sort()
    return firsts
