"""The policy ``availability``: the usual practice, kept as the baseline."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler_policies.device import Work
from scheduler_policies.placement import Candidate, Goal
from scheduler_policies.rules import Choice, place_by_rule


def availability(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> list[Choice]:
    """The first device that fits and has a free unit, in the order of the resources file: the usual practice.

    It sees its own leases only, neither queues nor speeds; when all are taken, it takes the first to become free.
    """
    return place_by_rule(
        works, pool, lambda options, loads: min(options, key=lambda i: (loads.free_at(i), i)), queues=False
    )
