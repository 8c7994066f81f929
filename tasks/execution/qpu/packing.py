"""Which circuits share a job: as few jobs as a device's limits allow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler_policies.cost import LEVEL_RATIO, SHOT_LEVELS
from tasks.execution.qpu.target import QpuTarget


@dataclass
class JobBatch:
    """The circuits of one job.

    Attributes:
        requests: indices of its circuits among those asked for.
        shots: (circuit,) of each in this job.
        key: digest of the circuits and shots, and of how many jobs before it ask for the same.
        retries: submissions that got no answer.
    """

    requests: tuple[int, ...]
    shots: tuple[int, ...]
    key: str
    retries: int = 0


def pack_jobs(target: QpuTarget, wanted: Sequence[tuple[int, str, int]]) -> list[JobBatch]:
    """Batches for (request, digest of its circuit and stream, shots), each with as many circuits as the device takes.

    A circuit that asks for more shots than a job may have appears in several batches. Where a job has one number of
    shots for all its circuits, numbers are rounded up to a few levels.
    """
    most = target.limits.shots_per_job or max((shots for _, _, shots in wanted), default=1)
    pieces: list[tuple[int, str, int]] = []
    for variant, digest, shots in wanted:
        parts = -(-shots // most)
        pieces += [(variant, digest, shots // parts + (part < shots % parts)) for part in range(parts)]
    groups = _by_level(pieces) if target.limits.common_shots else [pieces]
    batches: list[JobBatch] = []
    seen: dict[str, int] = {}
    for group in groups:
        size = target.limits.circuits_per_job or len(group)
        # Even batches: the last one should not be a job for a single circuit.
        count = -(-len(group) // size)
        for index in range(count):
            chunk = group[index * len(group) // count : (index + 1) * len(group) // count]
            text = ";".join(f"{digest}:{shots}" for _, digest, shots in chunk)
            # Two jobs that ask for the same are two jobs all the same.
            seen[text] = seen.get(text, 0) + 1
            key = hashlib.sha256(f"{text}#{seen[text]}".encode()).hexdigest()
            batches.append(JobBatch(tuple(piece[0] for piece in chunk), tuple(piece[2] for piece in chunk), key))
    return batches


def _by_level(pieces: Sequence[tuple[int, str, int]]) -> list[list[tuple[int, str, int]]]:
    numbers = sorted({shots for _, _, shots in pieces})
    level = {shots: shots for shots in numbers}
    if len(numbers) > SHOT_LEVELS:
        current = numbers[-1]
        for shots in reversed(numbers):
            if shots * LEVEL_RATIO < current:
                current = shots
            level[shots] = current
    groups: dict[int, list[tuple[int, str, int]]] = {}
    for variant, digest, shots in pieces:
        groups.setdefault(level[shots], []).append((variant, digest, level[shots]))
    return [groups[shots] for shots in sorted(groups)]
