"""The policy ``least_busy``: fewest jobs a unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler_policies.cost import jobs_needed
from scheduler_policies.device import Work
from scheduler_policies.placement import Candidate, Goal, Loads
from scheduler_policies.rules import Choice, place_by_rule


def least_busy(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> list[Choice]:
    """The device with the fewest jobs a unit, others' and ours together."""
    jobs = [state.queue_length + len(state.busy) for _, state in pool]

    def rule(options: Mapping[int, Work], loads: Loads) -> int:
        index = min(options, key=lambda i: (jobs[i] / pool[i].device.units, i))
        jobs[index] += jobs_needed(pool[index].device, options[index])
        return index

    return place_by_rule(works, pool, rule)
