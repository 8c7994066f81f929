"""The policy ``round_robin``: one device after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler_policies.device import Work
from scheduler_policies.placement import Candidate, Goal, Loads
from scheduler_policies.rules import Choice, place_by_rule


def round_robin(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> list[Choice]:
    """One device after the other, leaving out those that do not fit."""
    turn = 0

    def rule(options: Mapping[int, Work], loads: Loads) -> int:
        nonlocal turn
        index = min(options, key=lambda i: (i - turn) % len(pool))
        turn = index + 1
        return index

    return place_by_rule(works, pool, rule)
