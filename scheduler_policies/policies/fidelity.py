"""The policy ``fidelity``: best expected fidelity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler_policies.cost import expected_fidelity
from scheduler_policies.device import Work
from scheduler_policies.placement import Candidate, Goal, Loads
from scheduler_policies.rules import Choice, place_by_rule


def fidelity(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> list[Choice]:
    """The device with the best expected fidelity; among equals (all simulators are) the first to be free."""

    def rule(options: Mapping[int, Work], loads: Loads) -> int:
        return min(options, key=lambda i: (-expected_fidelity(*pool[i], options[i]), loads.free_at(i), i))

    return place_by_rule(works, pool, rule)
