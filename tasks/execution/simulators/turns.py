"""Turns of a state into the bases in which many Paulis are diagonal (``tasks/cutting/pauli_bases.py``), in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial

import numpy as np
from scipy.linalg import hadamard

from scheduler_policies.machine import PART
from tasks.execution.simulators.products import Workers

_TURNED_TOGETHER = 3  # qubits of one product
_HIGH_TOGETHER = 6  # qubits, beyond the lowest ones, that are turned before what they are of goes back to memory
_SHORTEST = 8  # a product over fewer columns than this takes what stands behind the qubits into its matrix


def turn(state: np.ndarray, turns: Sequence[int], workers: Workers) -> None:
    """Turn all qubits in place.

    Args:
        state: (2**n, 2 branch) real, contiguous: real parts before imaginary ones.
        turns: numbers of the turns that are made, each one that follows the first after phases.
        workers: who does it.
    """
    width, columns = len(state).bit_length() - 1, state.shape[1]
    low = min(width, max(_TURNED_TOGETHER, (PART // columns).bit_length() - 1))
    blocks = state.reshape(-1, 1 << low, columns, copy=False)

    def turn_lowest(phases: bool, parts: Iterator[slice]) -> None:
        buffers = np.empty((2, 1 << low, columns))
        known = [_phases(low, more) for more in range(min(4, len(blocks).bit_length()))] if phases else []
        for part in parts:
            for number in range(part.start, part.stop):
                own = blocks[number]
                if phases:
                    own = _with_phases(own, *known[number.bit_count() & 3], buffers[1])
                blocks[number] = _turned(own, low, columns, buffers)

    for number in turns:
        workers.each(partial(turn_lowest, number > 0), len(blocks), 1, state.size // 2)
        for lowest in range(low, width, _HIGH_TOGETHER):
            bits = min(_HIGH_TOGETHER, width - lowest)
            _turn_high(state.reshape(-1, 1 << bits, columns << lowest, copy=False), bits, workers)


def _turn_high(view: np.ndarray, bits: int, workers: Workers) -> None:
    """The qubits of the middle axis."""
    step = max(1, PART >> bits)

    def work(parts: Iterator[slice]) -> None:
        buffers = np.empty((2, 1 << bits, min(step, view.shape[2])))
        for part in parts:
            for block in view:
                own = block[:, part]
                own[...] = _turned(own, bits, own.shape[1], buffers[:, :, : own.shape[1]])

    workers.each(work, view.shape[2], step, view.size // 2)


def _phases(bits: int, more: int) -> tuple[np.ndarray, np.ndarray]:
    """Of i to the number of ones of a row, and ``more``: which parts of the rows give the parts, with which signs."""
    power = (np.bitwise_count(np.arange(1 << bits)) + more) & 3
    parts = 2 * np.arange(1 << bits)[:, None] + ((power & 1)[:, None] ^ [0, 1])  # i exchanges real and imaginary ones
    signs = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])[power]
    return parts.reshape(-1), signs.reshape(-1, 1)


def _with_phases(own: np.ndarray, parts: np.ndarray, signs: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Rows of real and imaginary parts with their phases, in ``out``."""
    halves = out.reshape(len(parts), -1, copy=False)
    np.take(own.reshape(len(parts), -1), parts, axis=0, out=halves, mode="clip")
    halves *= signs
    return out


def _turned(own: np.ndarray, bits: int, after: int, buffers: np.ndarray) -> np.ndarray:
    """(2**bits, after) with all its qubits turned, in one of two buffers, of which the second may be what is turned."""
    source, target, behind = own, 0, after
    while bits:
        together = min(bits, _TURNED_TOGETHER + (bits % _TURNED_TOGETHER == 1))  # one left over is turned with others
        size = 1 << together
        result = buffers[target]
        if behind < _SHORTEST:  # few columns a product: one matrix from the right instead
            rows = -1, size * behind
            np.matmul(source.reshape(rows), _hadamard(size, behind), out=result.reshape(rows, copy=False))
        else:
            shape = -1, size, behind
            np.matmul(_hadamard(size), source.reshape(shape), out=result.reshape(shape, copy=False))
        source, target, behind, bits = result, 1 - target, behind << together, bits - together
    return source


@cache
def _hadamard(size: int, behind: int = 1) -> np.ndarray:
    """Normalised, on the first of two axes whose second has ``behind`` entries."""
    return np.kron(hadamard(size) * size**-0.5, np.eye(behind))
