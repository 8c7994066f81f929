"""Every possible plan of a tiny instance, tried: the oracle of the balanced policy. Shares no search code with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from scheduler_policies.cost import squared_error, why_not, work_price
from scheduler_policies.device import Work
from scheduler_policies.placement import Candidate, Goal, placed_seconds


def _splits(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _splits(total - first, parts - 1):
            yield first, *rest


def best_makespan(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal) -> float:
    """Least makespan of all plans within the bounds, infinite where there is none. Devices have one unit each."""
    ways = []
    for work in works:
        options = []
        for split in _splits(work.variants, len(pool)):
            loads, squares, price = [0.0] * len(pool), 0.0, 0.0
            possible = True
            for index, count in enumerate(split):
                if count == 0:
                    continue
                candidate = pool[index]
                if why_not(candidate.device, work) is not None:
                    possible = False
                    break
                piece = work.share(work.first, count)
                loads[index] = placed_seconds(candidate, piece)
                squares += squared_error(*candidate, piece)
                price += work_price(candidate.device, piece)
            if possible:
                options.append((loads, squares, price))
        ways.append(options)
    best = math.inf
    for combination in itertools.product(*ways):
        squares = sum(option[1] for option in combination)
        price = sum(option[2] for option in combination)
        if goal.max_error is not None and squares > goal.max_error**2 * (1 + 1e-9):
            continue
        if goal.budget is not None and price > goal.budget * (1 + 1e-9):
            continue
        loads = [sum(option[0][index] for option in combination) for index in range(len(pool))]
        ends = [load + c.state.expected_wait for load, c in zip(loads, pool, strict=True) if load > 0]
        best = min(best, max(ends))
    return best
