"""Turns of a state into the bases in which many Paulis are diagonal (``tasks/cutting/pauli_bases.py``), in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.linalg import hadamard

from scheduler_policies.machine import PART
from tasks.execution.simulators.products import Workers, multiply_axis

_TURNED_TOGETHER = 3  # qubits of one product


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
