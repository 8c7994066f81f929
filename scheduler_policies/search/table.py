"""The search space of the balanced policy: costs of every piece on every kind of device, and a plan that can change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scheduler_policies.cheapest import cheapest_devices
from scheduler_policies.cost import squared_error, start_delays, why_not, work_price
from scheduler_policies.device import Work
from scheduler_policies.placement import Candidate, Goal, alike, fitting, placed_seconds


class Cost(NamedTuple):
    """Of one piece on one device: seconds on a unit, squared error of the estimate, money."""

    seconds: float
    squares: float
    price: float


_NOTHING = Cost(0.0, 0.0, 0.0)
_HARD = 1e30  # how much more a budget counts than the bound on the error, each relative to itself


class CostTable:
    """Costs of pieces by (work, number of variants, row), where devices that are alike share a row.

    Attributes:
        works: what is to be placed.
        pool: the candidates.
        rows: for each row the index of its first candidate.
        row_of_unit: for each unit its row.
        device_of_unit: for each unit its candidate.
        delays: for each unit the seconds until it is free.
        fits: for each work the rows that can run it.
    """

    def __init__(self, works: Sequence[Work], pool: Sequence[Candidate]) -> None:
        self.works = works
        self.pool = pool
        apart = frozenset(name for work in works for name, _ in work.fidelities)
        first = alike(pool, apart | frozenset(name for work in works for name in work.avoid))
        self.rows = sorted(set(first))
        number = {index: row for row, index in enumerate(self.rows)}
        units = [
            (number[first[index]], index, delay)
            for index, candidate in enumerate(pool)
            for delay in start_delays(*candidate)
        ]
        self.row_of_unit = [unit[0] for unit in units]
        self.device_of_unit = [unit[1] for unit in units]
        self.delays = [unit[2] for unit in units]
        self.fits = [
            [row for row, index in enumerate(self.rows) if why_not(pool[index].device, work) is None] for work in works
        ]
        for work, rows in zip(works, self.fits, strict=True):
            if not rows:
                fitting(work, pool)  # raises, with the reasons
        self._costs: dict[tuple[int, int, int], Cost] = {}

    def keep_cheapest(self) -> float:
        """Keep every work to the rows that it costs least on; what that is in all."""
        self.fits = cheapest_devices(self.works, [self.pool[index].device for index in self.rows], self.fits)
        return math.fsum(self.cost(k, w.variants, self.fits[k][0]).price for k, w in enumerate(self.works))

    def cost(self, work: int, variants: int, row: int) -> Cost:
        """Of a piece with that many of the work's variants; all of them on a simulator run as one exact tensor."""
        if variants == 0:
            return _NOTHING
        key = (work, variants, row)
        known = self._costs.get(key)
        if known is None:
            candidate = self.pool[self.rows[row]]
            piece = self.works[work].share(self.works[work].first, variants)
            known = Cost(
                placed_seconds(candidate, piece),
                squared_error(*candidate, piece),
                work_price(candidate.device, piece),
            )
            self._costs[key] = known
        return known


class Assignment:
    """Which unit runs how many variants of which work, with the totals kept up to date."""

    def __init__(self, table: CostTable) -> None:
        self.table = table
        self.loads = list(table.delays)
        self.pieces: list[dict[int, int]] = [{} for _ in table.delays]
        self.squares = 0.0
        self.price = 0.0

    def copy(self) -> Assignment:
        """An independent copy."""
        other = Assignment.__new__(Assignment)
        other.table, other.loads = self.table, list(self.loads)
        other.pieces = [dict(pieces) for pieces in self.pieces]
        other.squares, other.price = self.squares, self.price
        return other

    def difference(self, unit: int, work: int, variants: int) -> Cost:
        """What giving that many more (or fewer) variants of a work to a unit would change."""
        row = self.table.row_of_unit[unit]
        now = self.pieces[unit].get(work, 0)
        before, after = self.table.cost(work, now, row), self.table.cost(work, now + variants, row)
        return Cost(after.seconds - before.seconds, after.squares - before.squares, after.price - before.price)

    def give(self, unit: int, work: int, variants: int) -> None:
        """Gives a unit more (or fewer) variants of a work."""
        seconds, squares, price = self.difference(unit, work, variants)
        self.loads[unit] += seconds
        self.squares += squares
        self.price += price
        left = self.pieces[unit].get(work, 0) + variants
        if left:
            self.pieces[unit][work] = left
        else:
            del self.pieces[unit][work]

    @property
    def makespan(self) -> float:
        """When the last unit with a piece is done."""
        return max((load for load, pieces in zip(self.loads, self.pieces, strict=True) if pieces), default=0.0)

    def excess(self, goal: Goal) -> float:
        """By how much the bounds are broken, relative to each; 0 when both are kept."""
        return excess(self.squares, self.price, goal)

    def choices(self) -> list[tuple[Work, str]]:
        """As a policy's answer: longest piece of a unit first, and for each work its variants in order."""
        starts = []
        for unit, pieces in enumerate(self.pieces):
            row, clock = self.table.row_of_unit[unit], self.table.delays[unit]
            sized = [(self.table.cost(work, n, row).seconds, work, n) for work, n in pieces.items()]
            for seconds, work, variants in sorted(sized, reverse=True):
                starts.append((clock, unit, work, variants))
                clock += seconds
        next_variant = [work.first for work in self.table.works]
        answer = []
        for _, unit, work, variants in sorted(starts):
            piece = self.table.works[work].share(next_variant[work], variants)
            next_variant[work] += variants
            answer.append((piece, self.table.pool[self.table.device_of_unit[unit]].device.name))
        return answer


def assignment_from(table: CostTable, choices: Iterable[tuple[Work, str]]) -> Assignment:
    """A policy's answer as a plan, each piece on the unit of its device that is free first."""
    plan = Assignment(table)
    of_fragment: dict[int, list[int]] = {}
    for index, work in enumerate(table.works):
        of_fragment.setdefault(work.fragment, []).append(index)
    units: dict[str, list[int]] = {}
    for unit, device in enumerate(table.device_of_unit):
        units.setdefault(table.pool[device].device.name, []).append(unit)
    for piece, name in choices:
        index = next(
            i for i in of_fragment[piece.fragment] if 0 <= piece.first - table.works[i].first < table.works[i].variants
        )
        unit = min(units[name], key=lambda u: plan.loads[u])
        plan.give(unit, index, piece.variants)
    return plan


def excess(squares: float, price: float, goal: Goal) -> float:
    """By how much a squared error and a price break the goal's bounds, relative to each; 0 when both are kept.

    Money weighs so much more that no error is worth a budget: it is kept wherever it can be.
    """
    bound = None if goal.max_error is None else goal.max_error**2
    return _over(squares, bound) + _HARD * _over(price, goal.budget)


def _over(value: float, bound: float | None) -> float:
    if bound is None or value <= bound * (1.0 + 1e-9):
        return 0.0
    return value / bound - 1.0 if bound > 0 else math.inf
