"""Bases in which many Paulis are diagonal: all qubits as they are, or turned so that X, and then Y, becomes Z.

A pass over the state gives the Paulis of one X part (``passes``), so that pairs X X or Y Y take a pass each, and all
pairs Z Z together take few. A turn of all qubits costs some passes and makes Z Z of X X, so it pays for many. After it
a Pauli is another one, with a sign:

    H:   X -> Z, Y -> -Y, Z -> X        H S H:   X -> X, Y -> Z, Z -> -Y
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import hadamard

from scheduler_policies.machine import PART
from tasks.execution.simulators.products import Workers, multiply_axis

_TURN_NS = 0.6  # of a turn, an amplitude and a qubit
_PASS_NS = 0.13  # of a pass, an amplitude and a branch: at 16 branches 2 ns
_LEAST_PASS_NS = 1.0
_TURNED_TOGETHER = 3  # qubits of one product


@dataclass(frozen=True)
class PauliBasis:
    """Paulis that are taken in one basis.

    Attributes:
        turns: how often the state has been turned before; 0 is the basis that it is given in.
        members: (Pauli,) positions.
        masks_x: (Pauli,) int64, X parts of what they are in this basis.
        masks_z: (Pauli,) int64, Z parts.
        signs: (Pauli,) 1 or -1, with which they are that.
    """

    turns: int
    members: np.ndarray
    masks_x: np.ndarray
    masks_z: np.ndarray
    signs: np.ndarray


def chosen_bases(
    masks_x: np.ndarray, masks_z: np.ndarray, width: int, branches: int, *, most: int, turns: int = 2
) -> list[PauliBasis]:
    """In which bases Paulis are taken, in the order of the turns.

    Each Pauli is taken where its X part is the shortest, in the first one, two or three bases, whatever takes the
    least time.

    Args:
        masks_x: (Pauli,) int64, X parts over the bits of a row's number.
        masks_z: (Pauli,) int64, Z parts.
        width: bits of a row's number.
        branches: columns of the state.
        most: Paulis of one pass.
        turns: of the state, at most.
    """
    both = masks_x & masks_z
    seen = [
        (masks_x, masks_z, 0 * both),
        (masks_z, masks_x, both),
        (masks_x ^ masks_z, masks_z, masks_z & ~masks_x),
    ]
    lengths = np.stack([np.bitwise_count(x) for x, _, _ in seen])
    cost = _TURN_NS * width / max(_LEAST_PASS_NS, _PASS_NS * branches)  # of a turn, in passes
    least, best = np.inf, np.zeros(len(masks_x), dtype=int)
    for number in range(1, turns + 2):
        chosen = lengths[:number].argmin(axis=0)
        passes = sum(_passes(seen[k][0][chosen == k], most) for k in range(number)) + cost * chosen.max(initial=0)
        if passes < least:
            least, best = passes, chosen
    bases = []
    for number, (own_x, own_z, negative) in enumerate(seen):
        members = np.flatnonzero(best == number)
        if len(members):
            signs = 1.0 - 2.0 * (np.bitwise_count(negative[members]) & 1)
            bases.append(PauliBasis(number, members, own_x[members], own_z[members], signs))
    return bases


def _passes(masks_x: np.ndarray, most: int) -> float:
    """About how many passes Paulis take: three of them, of twice the work, where they have no X part."""
    parts, sizes = np.unique(masks_x, return_counts=True)
    return float((np.ceil(sizes / most) * np.where(parts == 0, np.minimum(sizes, 6), 1)).sum())


def turn(amplitudes: np.ndarray, turns: Sequence[int], workers: Workers) -> None:
    """Turn all qubits in place.

    Args:
        amplitudes: (2**n, branch) complex, contiguous.
        turns: numbers of the turns that are made, each one that follows the first after phases.
        workers: who does it.
    """
    width, branches = len(amplitudes).bit_length() - 1, amplitudes.shape[1]
    step = max(1, PART // branches)

    def multiply_phases(parts: Iterator[slice]) -> None:
        for part in parts:
            ones = np.bitwise_count(np.arange(part.start, part.stop)) & 3
            amplitudes[part] *= np.array([1, 1j, -1, -1j])[ones, None]

    real = amplitudes.view(np.float64).reshape(-1, copy=False)
    for number in turns:
        if number:
            workers.each(multiply_phases, len(amplitudes), step, amplitudes.size)
        for lowest in range(0, width, _TURNED_TOGETHER):
            bits = min(_TURNED_TOGETHER, width - lowest)
            multiply_axis(real, hadamard(1 << bits) * 0.5 ** (bits / 2), 2 * branches << lowest, workers)
