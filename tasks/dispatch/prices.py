"""What a task costs: on a QPU that of the jobs which all its circuits are packed into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from scheduler_policies import Device, Work, work_price, work_seconds
from scheduler_policies.jobs import jobs_and_shots, shots_of_parts
from tasks.execution.pieces import Piece


def task_price(
    device: Device, pieces: Sequence[Piece], works: Sequence[Work], wholes: Sequence[Work], readout_shots: int = 0
) -> float:
    """What a task costs at most.

    Args:
        device: where it runs.
        pieces: of the task.
        works: what each is.
        wholes: what each one's whole fragment is.
        readout_shots: of two circuits besides that measure the readout.
    """
    if device.exact:
        return sum(work_price(device, work) for work in works)
    if not device.priced:
        return 0.0
    seconds = sum(work_seconds(device, work) for work in works) if device.price.per_second else 0.0
    asked = [_circuits(piece, whole) for piece, whole in zip(pieces, wholes, strict=True)]
    numbers, many = np.unique(np.concatenate([[readout_shots // 2] * 2, *asked]), return_counts=True)
    circuits = Counter[float]()
    for shots, count in zip(numbers.astype(int).tolist(), many.tolist(), strict=True):
        for part in shots_of_parts(shots, device.limits):
            circuits[part] += count
    jobs, taken = jobs_and_shots(device.limits, circuits)
    return device.price.per_job * jobs + device.price.per_shot * taken + device.price.per_second * seconds


def _circuits(piece: Piece, whole: Work) -> np.ndarray:
    """Shots of each circuit that a piece is: one at each noise factor, of variants that read a bit.

    Where not all variants are there, nobody knows which do; else those that do not are those with the fewest shots.
    """
    shots = np.array(piece.shots, dtype=np.int64)
    if piece.count == whole.variants:
        shots = np.sort(shots)[whole.silent :]
    return np.concatenate([np.maximum(1, np.round(share * shots)) for share in whole.shares])
