"""List scheduling with prices on error and money: the constructive half of the balanced policy."""

from __future__ import annotations

import heapq
from typing import NamedTuple

from scheduler_policies.search.table import Assignment, CostTable


class Prices(NamedTuple):
    """What one unit of squared error and one unit of money are worth, in seconds."""

    error: float = 0.0
    money: float = 0.0


class _Option(NamedTuple):
    score: float
    pieces: list[tuple[int, int]]


class _Units:
    """The units of each row, the one that is free first on top."""

    def __init__(self, table: CostTable) -> None:
        self.heaps: list[list[tuple[float, int]]] = [[] for _ in table.rows]
        for unit, row in enumerate(table.row_of_unit):
            self.heaps[row].append((table.delays[unit], unit))
        for heap in self.heaps:
            heapq.heapify(heap)


def list_schedule(table: CostTable, prices: Prices, most_pieces: int) -> Assignment:
    """Longest work first, each where its completion plus its priced error and money is least.

    A work runs whole on one unit, or its variants are divided into up to ``most_pieces`` pieces one after the
    other, a piece on a unit that already has some of the work costing only what it adds.
    """
    plan = Assignment(table)
    units = _Units(table)
    order = sorted(
        range(len(table.works)),
        key=lambda f: (-min(table.cost(f, table.works[f].variants, row).seconds for row in table.fits[f]), f),
    )
    for work in order:
        best = _whole(table, units, prices, work)
        if most_pieces > 1 and table.works[work].variants > 1:
            divided = _divided(table, units, prices, work, most_pieces)
            best = min(best, divided, key=lambda option: option.score)
        for unit, variants in best.pieces:
            row = table.row_of_unit[unit]
            units.heaps[row].remove((plan.loads[unit], unit))
            plan.give(unit, work, variants)
            units.heaps[row].append((plan.loads[unit], unit))
        for row in {table.row_of_unit[unit] for unit, _ in best.pieces}:
            heapq.heapify(units.heaps[row])
    return plan


def _whole(table: CostTable, units: _Units, prices: Prices, work: int) -> _Option:
    options = []
    variants = table.works[work].variants
    for row in table.fits[work]:
        load, unit = units.heaps[row][0]
        seconds, squares, price = table.cost(work, variants, row)
        score = load + seconds + prices.error * squares + prices.money * price
        options.append(_Option(score, [(unit, variants)]))
    return min(options, key=lambda option: option.score)


def _divided(table: CostTable, units: _Units, prices: Prices, work: int, most_pieces: int) -> _Option:
    variants = table.works[work].variants
    count = min(variants, most_pieces)
    opened: dict[int, tuple[int, float, int]] = {}  # unit -> (row, load before, variants)
    taken: list[tuple[int, tuple[float, int]]] = []
    for k in range(count):
        size = variants * (k + 1) // count - variants * k // count
        best_score, best = float("inf"), (-1, -1, 0.0, 0)
        for unit, (row, load, held) in opened.items():
            before, after = table.cost(work, held, row), table.cost(work, held + size, row)
            score = load + after.seconds + prices.error * (after.squares - before.squares)
            score += prices.money * (after.price - before.price)
            if score < best_score:
                best_score, best = score, (unit, row, load, held)
        for row in table.fits[work]:
            if units.heaps[row]:
                load, unit = units.heaps[row][0]
                cost = table.cost(work, size, row)
                score = load + cost.seconds + prices.error * cost.squares + prices.money * cost.price
                if score < best_score:
                    best_score, best = score, (unit, row, load, 0)
        unit, row, load, held = best
        if held == 0:
            taken.append((row, heapq.heappop(units.heaps[row])))
        opened[unit] = (row, load, held + size)
    for row, entry in taken:
        heapq.heappush(units.heaps[row], entry)
    completion, priced = 0.0, 0.0
    for row, load, held in opened.values():
        cost = table.cost(work, held, row)
        completion = max(completion, load + cost.seconds)
        priced += prices.error * cost.squares + prices.money * cost.price
    return _Option(completion + priced, [(unit, held) for unit, (_, _, held) in opened.items()])
