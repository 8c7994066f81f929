"""The policy ``fastest``: least predicted completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler_policies.device import Work
from scheduler_policies.placement import Candidate, Goal, Loads, placed_seconds
from scheduler_policies.rules import Choice, place_by_rule


def fastest(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> list[Choice]:
    """The device that is predicted to complete the piece first."""

    def rule(options: Mapping[int, Work], loads: Loads) -> int:
        return min(options, key=lambda i: (loads.free_at(i) + placed_seconds(pool[i], options[i]), i))

    return place_by_rule(works, pool, rule)
