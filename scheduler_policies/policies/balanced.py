"""The default policy: least predicted completion within a bound on the estimate's error and a budget.

The problem. Work f takes p(f, d) seconds on device d, adds e(f, d) = weight_f**2 (1 / shots + infidelity**2) to the
squared error of the estimate and costs c(f, d). Minimise the last completion over all units subject to
sum e <= max_error**2 and sum c <= budget. A unit that is used at all begins after its wait in the queue. A fragment's
variants may be spread over devices, each piece paying its own start; a simulator takes a fragment whole, exactly.

That is scheduling on unrelated machines with two knapsack constraints, NP-hard already without them. The way here:
both constraints are priced (Lagrange multipliers, raised while violated and lowered while slack), each price gives a
list schedule (longest fragment first, each piece where completion + priced error + priced money is least), the simple
policies' answers join the candidates, and the best that keeps the bounds is improved by moving, splitting and
swapping pieces of the unit that finishes last. With a price on it, a unit of error is worth the same seconds
everywhere, so noise goes where the gradient is smallest. Time left over at the end buys error back.

Where no plan keeps both bounds, the budget is kept and the error is as small as it allows: then only the ratio of the
two prices counts, and is searched by halving. Where not even the budget can be kept, the cheapest plan is returned.

Where the goal is to spend as little as can be, every work is kept to the devices that it costs least on, and the budget
is what that costs: error and time are looked at among these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from scheduler_policies.device import Work
from scheduler_policies.placement import Candidate, Goal
from scheduler_policies.policies.availability import availability
from scheduler_policies.policies.fastest import fastest
from scheduler_policies.policies.fidelity import fidelity
from scheduler_policies.policies.least_busy import least_busy
from scheduler_policies.policies.round_robin import round_robin
from scheduler_policies.search.improve import buy_error, improve, spend_slack
from scheduler_policies.search.list_scheduling import Prices, list_schedule
from scheduler_policies.search.table import Assignment, CostTable, assignment_from, excess

_ROUNDS = 16
_HALVINGS = 14
_PIECES_IN_ALL = 400
_MOST_PIECES = 48
# How many of the best candidates local search starts from, and how many when works times units are few.
_STARTS = 3
_STARTS_SMALL = 24
_SMALL = 100


def balanced(works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> list[tuple[Work, str]]:
    """Least predicted completion within the goal's bounds on error and money.

    Raises:
        NoDeviceError: a work fits no candidate.
    """
    table = CostTable(works, pool)
    if not works:
        return []
    if goal.cheapest:
        least = table.keep_cheapest()
        goal = replace(goal, budget=least if goal.budget is None else min(least, goal.budget))
    candidates = _priced_plans(table, goal)
    others = () if goal.cheapest else (fastest, fidelity, least_busy, round_robin, availability)
    for simple in others:  # which know of no price
        candidates.append(assignment_from(table, simple(works, pool, goal)))

    def rank(plan: Assignment) -> tuple[float, ...]:
        beyond = plan.excess(goal)
        return beyond, plan.price if math.isinf(beyond) else 0.0, plan.makespan, plan.squares

    candidates.sort(key=rank)
    starts = _STARTS_SMALL if len(works) * len(table.delays) <= _SMALL else _STARTS
    improved = [improve(plan, goal) for plan in candidates[:starts]]
    return spend_slack(min(improved, key=rank), goal).choices()


def _priced_plans(table: CostTable, goal: Goal) -> list[Assignment]:
    finest = max(1, min(_MOST_PIECES, _PIECES_IN_ALL // len(table.works)))
    free = list_schedule(table, Prices(), finest)
    plans = [free, list_schedule(table, Prices(), 1)]
    if not plans[0].excess(goal) and not plans[1].excess(goal):
        return [*plans, list_schedule(table, Prices(), max(1, finest // 4))]
    # Prices at which breaking a bound entirely is worth the whole makespan.
    scale = max(free.makespan, 1e-9)
    error = scale / goal.max_error**2 if goal.max_error else 0.0
    money = scale / goal.budget if goal.budget else 0.0
    step = 8.0
    for _ in range(_ROUNDS):
        plan = list_schedule(table, Prices(error, money), finest)
        plans.append(plan)
        error *= _towards(plan.squares, None if goal.max_error is None else goal.max_error**2, step)
        money *= _towards(plan.price, goal.budget, step)
        step = max(1.1, math.sqrt(step)) if not plan.excess(goal) else step
    plans.append(list_schedule(table, Prices(error, money), 1))
    # Nothing but error, nothing but money: whether the bounds can be kept at all.
    if free.squares > 0:
        plans.append(list_schedule(table, Prices(1e6 * scale / free.squares, 0.0), finest))
    if free.price > 0:
        plans.append(list_schedule(table, Prices(0.0, 1e6 * scale / free.price), finest))
    both = goal.budget is not None and goal.max_error is not None
    if both and free.squares > 0 and free.price > 0 and all(plan.excess(goal) for plan in plans):
        plans += _least_error(table, goal, finest, 1e6 * scale / free.squares, free.squares / free.price)
    return plans


def _least_error(table: CostTable, goal: Goal, finest: int, error: float, ratio: float) -> list[Assignment]:
    """Plans towards the least error within the budget; time counts as good as nothing.

    Args:
        table: of all costs.
        goal: with a budget.
        finest: pieces of a work.
        error: price of error, far above what time is worth.
        ratio: of the prices of money and error where a plan's money weighs what its error does.
    """
    plans, low, high = [], -6.0, 6.0  # powers of ten about that ratio
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        plans.append(list_schedule(table, Prices(error, error * ratio * 10.0**middle), finest))
        if not excess(0.0, plans[-1].price, goal):
            plans[-1] = buy_error(plans[-1], goal)
        too_dear = goal.budget is not None and plans[-1].price > goal.budget
        low, high = (middle, high) if too_dear else (low, middle)
    return plans


def _towards(value: float, bound: float | None, step: float) -> float:
    if bound is None:
        return 1.0
    return step if value > bound else 1.0 / step
