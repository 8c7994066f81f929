"""How many jobs circuits on a QPU are, and how many shots these take: what its service bills."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from scheduler_policies.device import DeviceLimits

# Where a job has one number of shots for all circuits: more numbers than that are rounded up, by this at most.
SHOT_LEVELS = 4
LEVEL_RATIO = 1.25
_ROUNDING = 1e-6  # of how many circuits are expected


def shot_levels(numbers: Iterable[float]) -> dict[float, float]:
    """To what each number of shots is rounded up on a device whose jobs have one number for all their circuits."""
    different = sorted(set(numbers))
    level = {shots: shots for shots in different}
    if len(different) > SHOT_LEVELS:
        current = different[-1]
        for shots in reversed(different):
            if shots * LEVEL_RATIO < current:
                current = shots
            level[shots] = current
    return level


def parts_needed(shots: int, limits: DeviceLimits) -> int:
    """How many circuits one circuit is in jobs of a device: several where it asks for more shots than a job has."""
    return min(1, shots) if limits.shots_per_job is None else -(-shots // limits.shots_per_job)


def shots_of_parts(shots: int, limits: DeviceLimits) -> list[int]:
    """Shots of the circuits that one circuit is in jobs of a device."""
    parts = parts_needed(shots, limits)
    return [shots // parts + (part < shots % parts) for part in range(parts)]


def jobs_and_shots(limits: DeviceLimits, circuits: Mapping[float, float]) -> tuple[int, float]:
    """Jobs that circuits are packed into, and shots of them all.

    Args:
        limits: of the QPU.
        circuits: how many there are of each number of shots, none of more than a job may have.
    """
    taken, jobs = circuits, [sum(circuits.values())]
    if limits.common_shots:
        level, levels = shot_levels(circuits), dict[float, float]()
        for shots, many in circuits.items():
            levels[level[shots]] = levels.get(level[shots], 0.0) + many
        taken, jobs = levels, list(levels.values())
    most = limits.circuits_per_job or math.inf
    count = sum(max(1, math.ceil(many / most - _ROUNDING)) for many in jobs if many > 0)
    return count, sum(shots * many for shots, many in taken.items())
