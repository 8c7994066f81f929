"""The pieces of the search for assignments: totals that add up, shares that are spread, jobs that are counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler_policies.cost import jobs_needed
from scheduler_policies.device import DeviceLimits
from scheduler_policies.search.list_scheduling import Prices, list_schedule
from scheduler_policies.search.table import Assignment, CostTable
from tests.scheduler_policies.instances import cpu, qpu, work


@pytest.mark.parametrize(
    ("circuits", "shots", "expected"),
    [(None, None, 1), (4, None, 7), (25, None, 1), (24, None, 2), (None, 1000, 1), (4, 1000, 25), (4, 3999, 13)],
)
def test_jobs_of_25_variants_with_4000_shots_each(circuits, shots, expected):
    device = replace(
        qpu("Q", 20, 0.01, 1e-4).device, limits=DeviceLimits(circuits_per_job=circuits, shots_per_job=shots)
    )
    assert jobs_needed(device, work(0, variants=25)) == expected
    assert jobs_needed(cpu("C").device, work(0, variants=25)) == 1


def test_totals_of_an_assignment_are_the_sums_of_what_was_given():
    table = CostTable([work(0, variants=6), work(1, variants=4)], [qpu("A", 20, 0.01, 1e-4, wait=3.0, price=1e-3)])
    assignment = Assignment(table)
    assert (assignment.squares, assignment.price, assignment.makespan) == (0.0, 0.0, 0.0)
    for index, variants in ((0, 6), (1, 1), (1, 3)):
        assignment.give(0, index, variants)
    costs = [table.cost(0, 6, 0), table.cost(1, 4, 0)]
    assert assignment.squares == pytest.approx(sum(cost.squares for cost in costs))
    assert assignment.price == pytest.approx(sum(cost.price for cost in costs)) and assignment.price > 0
    assert assignment.makespan == pytest.approx(3.0 + sum(cost.seconds for cost in costs))
    assert sorted((w.fragment, name) for w, name in assignment.choices()) == [(0, "A"), (1, "A")]


@pytest.mark.parametrize("pieces", [1, 2, 5, 12])
def test_a_large_work_is_spread_over_equal_units_in_as_many_pieces_as_allowed(pieces):
    big = work(0, variants=12)
    table = CostTable([big], [qpu("A", 20, 0.01, 1e-3), qpu("B", 20, 0.01, 1e-3)])
    plan = list_schedule(table, Prices(), pieces)
    assert sum(w.variants for w, _ in plan.choices()) == 12
    shares = sorted(sum(w.variants for w, name in plan.choices() if name == device) for device in "AB")
    assert shares == {1: [0, 12], 2: [6, 6], 5: [5, 7], 12: [6, 6]}[pieces]
