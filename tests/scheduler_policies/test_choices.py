"""Single decisions of the policies, each where the other choice would be as plausible."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler_policies import DeviceState, Speed
from scheduler_policies.place import _broken, _when_back
from scheduler_policies.placement import Candidate, Decision, Goal
from scheduler_policies.search.improve import _steps, _targets
from scheduler_policies.search.list_scheduling import Prices, list_schedule
from scheduler_policies.search.table import Assignment, CostTable
from tests.scheduler_policies.instances import cpu, qpu, work


@pytest.mark.parametrize(
    ("money", "pieces"),
    [
        (0.0, [{0: 6}, {0: 6}]),  # two halves, the faster unit ends sooner than the slower
        (30.0, [{0: 12}, {}]),  # half on the dear unit would end in 25.6 s, at a price of 30 s more
    ],
)
def test_a_work_is_divided_only_where_its_parts_together_are_better_than_the_whole(money, pieces):
    pool = [qpu("A", 20, 0.01, 1e-3), qpu("B", 20, 0.01, 0.9e-3 if not money else 0.5e-3, price=1 / 24_000)]
    plan = list_schedule(CostTable([work(0, variants=12)], pool), Prices(money=money), 2)
    assert plan.pieces == pieces


@pytest.mark.parametrize(("held", "amounts"), [(1, {1}), (2, {2, 1}), (5, {5, 3, 2}), (7, {7, 4, 2}), (8, {8, 4, 2})])
def test_a_whole_piece_half_of_it_or_a_quarter_moves(held, amounts):
    plan = Assignment(CostTable([work(0, variants=held)], [qpu("A", 20, 0.01, 1e-3), qpu("B", 20, 0.01, 1e-3)]))
    plan.give(0, 0, held)
    found = sorted(_steps(plan, 0, [1]))
    assert found == sorted(((0, 0, -n), (1, 0, n)) for n in amounts)


def test_pieces_move_and_are_swapped_only_where_they_fit():
    """Work 0 is too wide for the small device: work 1 may not be swapped for it, and it may not go there."""
    wide, narrow = work(0, width=18, variants=2), work(1, variants=2)
    pool = [qpu("large", 20, 0.01, 1e-3), qpu("small", 12, 0.01, 1e-3)]
    plan = Assignment(CostTable([wide, narrow], pool))
    plan.give(0, 0, 2)
    plan.give(1, 1, 2)
    assert [*_steps(plan, 0, [1])] == []
    assert sorted(_steps(plan, 1, [0])) == [((1, 1, -2), (0, 1, 2)), ((1, 1, -1), (0, 1, 1))]


def test_among_many_units_the_least_loaded_of_each_device_are_targets():
    pool = [Candidate(replace(qpu(name, 20, 0.01, 1e-3).device, units=30), DeviceState(free_units=30)) for name in "AB"]
    pool[1] = Candidate(replace(pool[1].device, speed=Speed(job=2.0, circuit=0.1, shot=2e-3)), pool[1].state)
    plan = Assignment(CostTable([work(0, variants=200), work(1, variants=200)], pool))
    for unit in range(60):
        plan.give(unit, 0 if unit == 7 else 1, 3 if unit in (20, 45) else 4)
    assert plan.table.row_of_unit[29] != plan.table.row_of_unit[30]
    assert _targets(plan, 7) == [20, 45], "nobody else has a share of work 0"
    assert _targets(plan, 20)[:1] == [0], "the last unit is no target of its own"
    assert len(_targets(plan, 0)) == 48, "0, 7 and then as many sharing units as are tried"


@pytest.mark.parametrize(("until", "now", "delay"), [(None, 5.0, 1.0), (9.0, 5.0, 5.0), (3.0, 5.0, 1.0)])
def test_a_device_at_rest_counts_as_busy_until_it_may_be_back(until, now, delay):
    device = replace(cpu("C").device, units=3, speed=Speed(job=1.0))
    found = _when_back(Candidate(device, DeviceState(set_aside_until=until, free_units=2)), now)
    assert found.state.busy == (delay,) * 3 and found.state.free_units == 0 and found.device is device


@pytest.mark.parametrize(
    ("error", "bound", "broken"), [(0.101, 0.1, 0.0), (0.1011, 0.1, 1.011), (0.2, 0.1, 2.0), (0.3, 0.0, 0.3), (0, 0, 0)]
)
def test_a_bound_is_broken_by_more_than_a_hundredth(error, bound, broken):
    assert _broken(Decision((), makespan=0.0, error=error, price=0.0), Goal(max_error=bound)) == pytest.approx(broken)
