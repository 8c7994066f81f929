"""Local search on a plan: the improving half of the balanced policy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from scheduler_policies.placement import Goal
from scheduler_policies.search.table import Assignment, excess

_MAX_STEPS = 400
# With more units than this, only the least loaded unit of each row is tried as a target.
_FEW_UNITS = 48
# Of a unit with more pieces than this only so many are tried, of all durations: each is a small part of its load.
_FEW_PIECES = 32
_MAX_TRIES = 100_000
# Time left over that may be spent on less error: the rest is kept against wrong predictions.
_FILL = 0.9

_AFFORDABLE_TRIES = 4  # a job's fixed price makes prices not quite linear in variants

# (unit, work, variants more or fewer)
_Change = tuple[int, int, int]


def improve(plan: Assignment, goal: Goal) -> Assignment:
    """Takes work off the unit that finishes last while that helps and the bounds are kept.

    Each step is the best of: moving a piece, half of it or a quarter of it to another unit; swapping two pieces. A step
    must lower the larger of the two loads, so no plan comes twice. The work is bounded: the application waits for it,
    and there can be thousands of pieces.
    """
    plan = plan.copy()
    if math.isinf(plan.excess(goal)):  # no money is left: no step may cost more than what is
        goal = replace(goal, budget=plan.price)
    allowed = plan.excess(goal)
    tries = 0
    for _ in range(_MAX_STEPS):
        used = [unit for unit, pieces in enumerate(plan.pieces) if pieces]
        if not used:
            break
        last = max(used, key=lambda unit: plan.loads[unit])
        best, best_load = None, plan.loads[last] * (1.0 - 1e-9)
        targets = _targets(plan, last)
        for changes in _steps(plan, last, targets):
            tries += 1
            load = _try(plan, changes, goal, allowed, best_load)
            if load is not None:
                best, best_load = changes, load
        if best is None or tries > _MAX_TRIES:
            break
        for change in best:
            plan.give(*change)
    return plan


def spend_slack(plan: Assignment, goal: Goal) -> Assignment:
    """Uses units that would idle before the end for less error, where that costs no time and keeps the budget."""
    plan = plan.copy()
    end = plan.makespan
    pieces = [
        (plan.table.cost(work, n, plan.table.row_of_unit[unit]).squares, unit, work, n)
        for unit, held in enumerate(plan.pieces)
        for work, n in held.items()
    ]
    for _, unit, work, variants in sorted(pieces, reverse=True):
        if plan.pieces[unit].get(work) != variants:
            continue
        gains = []
        for target in _targets(plan, unit):
            if plan.table.row_of_unit[target] not in plan.table.fits[work]:
                continue
            there, here = plan.difference(target, work, variants), plan.difference(unit, work, -variants)
            price = plan.price + there.price + here.price
            affordable = there.price + here.price <= 0 or goal.budget is None or price <= goal.budget
            if plan.loads[target] + there.seconds <= _FILL * end and affordable:
                gains.append((there.squares + here.squares, target))
        if gains and min(gains)[0] < 0:
            plan.give(min(gains)[1], work, variants)
            plan.give(unit, work, -variants)
    return plan


def buy_error(plan: Assignment, goal: Goal) -> Assignment:
    """Spends what the budget leaves on less error, whatever time that takes, while the error is above its bound.

    Each step moves variants to where a unit of money takes off most squared error, as many as there is money for.
    """
    plan, table = plan.copy(), plan.table
    for _ in range(_MAX_STEPS):
        if goal.budget is None or goal.max_error is None or plan.squares <= goal.max_error**2:
            break
        best, best_worth = None, 0.0
        for unit, held in enumerate(plan.pieces):
            for work, amount in held.items():
                for target in _targets(plan, unit):
                    if table.row_of_unit[target] not in table.fits[work]:
                        continue
                    found = _bought(plan, (unit, work, target), amount, goal.budget - plan.price)
                    if found is not None and found[0] > best_worth:
                        best_worth, best = found[0], (unit, work, target, found[1])
        if best is None:
            break
        unit, work, target, amount = best
        plan.give(target, work, amount)
        plan.give(unit, work, -amount)
    return plan


def _bought(plan: Assignment, move: tuple[int, int, int], most: int, left: float) -> tuple[float, int] | None:
    """Squared error off a unit of money, and how many variants are moved for it; None where nothing is gained."""
    unit, work, target = move
    for _ in range(_AFFORDABLE_TRIES):
        there, here = plan.difference(target, work, most), plan.difference(unit, work, -most)
        price, gain = there.price + here.price, -(there.squares + here.squares)
        if gain <= 1e-12 * plan.squares:
            return None
        if price <= left * (1 + 1e-12):
            return gain / max(price, 1e-12 * abs(left) + 1e-300), most
        most = min(most - 1, int(most * left / price))
        if most < 1:
            return None
    return None


def _targets(plan: Assignment, last: int) -> list[int]:
    if len(plan.loads) <= _FEW_UNITS:
        return [unit for unit in range(len(plan.loads)) if unit != last]
    least: dict[int, int] = {}
    for unit, row in enumerate(plan.table.row_of_unit):
        if unit != last and (row not in least or plan.loads[unit] < plan.loads[least[row]]):
            least[row] = unit
    # Units that already hold a share of the last unit's works take more of it at no further start.
    sharing = [
        unit
        for unit, held in enumerate(plan.pieces)
        if unit != last and any(work in held for work in plan.pieces[last])
    ]
    return sorted({*least.values(), *sharing[:_FEW_UNITS]})


def _steps(plan: Assignment, last: int, targets: list[int]) -> Iterator[tuple[_Change, ...]]:
    table = plan.table
    held_there = {target: _some(plan, target) for target in targets}
    for work, held in _some(plan, last):
        amounts = {held, (held + 1) // 2, (held + 3) // 4}
        for target in targets:
            if table.row_of_unit[target] not in table.fits[work]:
                continue
            for amount in amounts:
                yield (last, work, -amount), (target, work, amount)
            for other, others in held_there[target]:
                if other != work and table.row_of_unit[last] in table.fits[other]:
                    yield (last, work, -held), (target, work, held), (target, other, -others), (last, other, others)


def _some(plan: Assignment, unit: int) -> list[tuple[int, int]]:
    """Pieces of a unit, (work, variants): all where they are few, else some from the shortest to the longest."""
    pieces = list(plan.pieces[unit].items())
    if len(pieces) <= _FEW_PIECES:
        return pieces
    row = plan.table.row_of_unit[unit]
    pieces.sort(key=lambda piece: (plan.table.cost(piece[0], piece[1], row).seconds, piece))
    return [pieces[(len(pieces) - 1) * place // (_FEW_PIECES - 1)] for place in range(_FEW_PIECES)]


def _try(plan: Assignment, changes: tuple[_Change, ...], goal: Goal, allowed: float, best_load: float) -> float | None:
    # Works of a swap differ, so the changes of one unit are independent of each other.
    squares, price = plan.squares, plan.price
    loads: dict[int, float] = {}
    for unit, work, variants in changes:
        difference = plan.difference(unit, work, variants)
        loads[unit] = loads.get(unit, plan.loads[unit]) + difference.seconds
        squares += difference.squares
        price += difference.price
    load = max(loads.values())
    if load >= best_load:
        return None
    return load if excess(squares, price, goal) <= allowed else None
