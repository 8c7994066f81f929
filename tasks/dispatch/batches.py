"""Placed pieces in tasks: enough of them to keep every unit of a device busy, each worth what a task costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from scheduler_policies import Device
from tasks.execution.pieces import Piece
from tasks.runtime.batching import LEAST_WORTH, batches, target_seconds

PART_SECONDS = 1.0  # no part of a sampled piece on a simulator is longer: what is lost at most when it dies
JOBS_A_TASK = 4  # provider jobs that one task on a QPU submits: what is lost at most when it dies

Predicted = Callable[[Piece], float]
"""Seconds that a piece takes on one core."""


def tasks_of(
    placed: Sequence[tuple[Device, Piece]], predicted: Predicted, overhead_s: float
) -> Iterator[tuple[Device, tuple[Piece, ...]]]:
    """Pieces in tasks, device by device, the longest first.

    Args:
        placed: pieces with the devices they were placed on.
        predicted: how long each takes.
        overhead_s: what a task costs beside its work.
    """
    by_device: dict[str, list[Piece]] = {}
    devices = {device.name: device for device, _ in placed}
    for device, piece in placed:
        by_device.setdefault(device.name, []).append(piece)
    for name, pieces in by_device.items():
        device = devices[name]
        if not device.exact:
            yield from ((device, batch) for batch in provider_tasks(device, pieces))
            continue
        target = target_seconds(sum(map(predicted, pieces)), overhead_s, device.units)
        parts = [part for piece in pieces for part in _parts(piece, predicted, min(target, PART_SECONDS), overhead_s)]
        for members in batches([predicted(part) for part in parts], overhead_s, device.units):
            yield device, tuple(parts[member] for member in members)


def _parts(piece: Piece, predicted: Predicted, target: float, overhead_s: float) -> list[Piece]:
    """A piece in parts of about ``target`` seconds; each simulates the fragment again, so it must draw for as long."""
    seconds = predicted(piece)
    if piece.count < 2 or seconds <= target:
        return [piece]
    again = predicted(piece.share(piece.first, 1))
    worth = (seconds - again) / max(again, LEAST_WORTH * overhead_s, 1e-9)
    return piece.parts(min(math.ceil(seconds / target), max(int(worth), math.ceil(seconds / PART_SECONDS))))


def provider_tasks(device: Device, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, ...]]:
    """Pieces on a QPU in tasks of a few provider jobs; without a limit of circuits all go together."""
    most = math.inf if device.limits.circuits_per_job is None else device.limits.circuits_per_job * JOBS_A_TASK
    batch: list[Piece] = []
    for piece in pieces:
        for part in piece.parts(1 if most == math.inf else math.ceil(piece.count / most)):
            if batch and sum(member.count for member in batch) + part.count > most:
                yield tuple(batch)
                batch = []
            batch.append(part)
    if batch:
        yield tuple(batch)
