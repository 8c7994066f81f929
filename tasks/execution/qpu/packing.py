"""Which circuits share a job: as few jobs as a device's limits allow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler_policies.jobs import shot_levels, shots_of_parts
from tasks.execution.qpu.target import QpuTarget

Piece = tuple[int, str, int]
"""What is asked of a job: index of the request, digest of its circuit and stream, shots."""


@dataclass
class JobBatch:
    """The circuits of one job.

    Attributes:
        requests: indices of its circuits among those asked for, None for one that nobody wants now (a job found again).
        shots: (circuit,) of each in this job.
        digests: (circuit,) of what each computes.
        retries: submissions that got no answer.
    """

    requests: tuple[int | None, ...]
    shots: tuple[int, ...]
    digests: tuple[str, ...]
    retries: int = 0

    @property
    def key(self) -> str:
        """Digest of all that it computes."""
        text = ";".join(f"{digest}:{shots}" for digest, shots in zip(self.digests, self.shots, strict=True))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def wanted(self) -> list[Piece]:
        """What somebody wants of it."""
        own = zip(self.requests, self.digests, self.shots, strict=True)
        return [(index, digest, shots) for index, digest, shots in own if index is not None]


def pack_jobs(target: QpuTarget, wanted: Sequence[Piece]) -> list[JobBatch]:
    """Batches for pieces of work, each with as many circuits as the device takes.

    A circuit that asks for more shots than a job may have appears in several batches. Where a job has one number of
    shots for all its circuits, numbers are rounded up to a few levels.
    """
    pieces = [
        (variant, digest, part) for variant, digest, shots in wanted for part in shots_of_parts(shots, target.limits)
    ]
    groups = _by_level(pieces) if target.limits.common_shots else [pieces]
    batches: list[JobBatch] = []
    for group in groups:
        size = target.limits.circuits_per_job or len(group)
        # Even batches: the last one should not be a job for a single circuit.
        count = -(-len(group) // size)
        for index in range(count):
            chunk = group[index * len(group) // count : (index + 1) * len(group) // count]
            requests, digests, shots_each = zip(*chunk, strict=True)
            batches.append(JobBatch(requests, shots_each, digests))
    return batches


def _by_level(pieces: Sequence[Piece]) -> list[list[Piece]]:
    level = shot_levels([shots for _, _, shots in pieces])
    groups: dict[int, list[Piece]] = {}
    for variant, digest, shots in pieces:
        groups.setdefault(int(level[shots]), []).append((variant, digest, int(level[shots])))
    return [groups[shots] for shots in sorted(groups)]
