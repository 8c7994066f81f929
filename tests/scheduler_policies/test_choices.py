"""Single decisions of the policies, each where the other choice would be as plausible."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler_policies import Device, DeviceState, Kind, Speed
from scheduler_policies.cost import mean_fidelity, work_seconds
from scheduler_policies.machine import QPU_SPEED, TYPICAL_CPU
from scheduler_policies.place import _broken, _when_back, place
from scheduler_policies.placement import Candidate, Decision, Goal, Placement
from scheduler_policies.policies import balanced as policy
from scheduler_policies.policies.fastest import fastest
from scheduler_policies.search.improve import _steps, _targets, spend_slack
from scheduler_policies.search.list_scheduling import Prices, list_schedule
from scheduler_policies.search.table import Assignment, CostTable
from scheduler_policies.simulator.events import simulate_run
from scheduler_policies.simulator.scenario import Scenario
from scheduler_policies.simulator.world import Behaviour
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


@pytest.mark.parametrize(("times", "waits"), [(6, True), (7, False)])
def test_a_device_set_aside_too_often_is_not_waited_for(times, waits):
    state = DeviceState(set_aside_until=50.0, set_aside_count=times)
    pool = [Candidate(qpu("good", 20, 0.001, 1e-3).device, state), qpu("bad", 20, 0.01, 1e-4)]
    found = place(policy.balanced, [work(0, weight=0.3)], pool, Goal(max_error=0.05))
    assert bool(found.waiting) is waits and bool(found.placements) is not waits


def test_idle_time_goes_to_the_better_of_two_idle_devices():
    pool = [qpu(name, 20, error, 1e-3) for name, error in (("A", 0.01), ("B", 0.01), ("worse", 0.03), ("good", 0.001))]
    plan = Assignment(CostTable([work(0, variants=12), work(1, variants=6)], pool))
    plan.give(0, 0, 12)
    plan.give(1, 1, 6)
    assert spend_slack(plan, Goal()).pieces == [{0: 12}, {}, {}, {1: 6}]


@pytest.fixture
def prices(monkeypatch):
    """The prices and most pieces of every list schedule, and how many plans were improved."""
    found = {"asked": [], "improved": 0}
    real, better = policy.list_schedule, policy.improve

    def list_schedule(table, prices, most_pieces):
        plan = real(table, prices, most_pieces)
        found["asked"].append((prices, most_pieces, plan))
        return plan

    def improve(plan, goal):
        found["improved"] += 1
        return better(plan, goal)

    monkeypatch.setattr(policy, "list_schedule", list_schedule)
    monkeypatch.setattr(policy, "improve", improve)
    return found


@pytest.mark.parametrize("bound", ["error", "money"])
def test_only_what_is_bounded_has_a_price_and_at_first_that_of_the_makespan(prices, bound):
    pool = [qpu("A", 20, 0.01, 1e-6, price=1e-3), qpu("B", 20, 0.002, 2e-6, price=1e-2)]
    pool = [Candidate(replace(c.device, speed=Speed(job=1e-3, shot=c.device.speed.shot)), c.state) for c in pool]
    goal = Goal(max_error=1e-3) if bound == "error" else Goal(budget=1.0)
    policy.balanced([work(0), work(1)], pool, goal)
    free, whole = prices["asked"][:2]
    assert free[0] == whole[0] == Prices() and whole[1] == 1 and free[2].makespan < 1
    searched = prices["asked"][2:-2]  # the last two are for error alone and for money alone
    allowed = goal.max_error**2 if bound == "error" else goal.budget
    one, other = (0, 1) if bound == "error" else (1, 0)
    assert searched[0][0][one] == pytest.approx(free[2].makespan / allowed, rel=1e-12)
    assert {asked[0][other] for asked in searched} == {0.0} and len({asked[0][one] for asked in searched}) > 5


def test_few_works_on_few_units_are_searched_from_many_starts(prices):
    pool = [qpu("A", 20, 0.01, 1e-3, price=1e-3), qpu("B", 20, 0.002, 1e-3, price=1e-2)]
    policy.balanced([work(0), work(1)], pool, Goal(max_error=1e-3))
    assert prices["improved"] >= 20
    prices["improved"] = 0
    policy.balanced([work(k) for k in range(51)], pool, Goal(max_error=1e-3))
    assert prices["improved"] == 3


def test_a_device_with_a_map_of_pairs_pays_each_gate_twice():
    device = qpu("A", 20, 0.01, 1e-3).device
    free, mapped = (mean_fidelity(replace(device, coupling=pairs), 0, 3, 0) for pairs in (None, ((0, 1),)))
    assert free == pytest.approx(0.99**3) and mapped == pytest.approx(0.99**6)


def test_a_simulated_device_has_all_its_units():
    device = cpu("a").device
    calm = Behaviour(jitter=0.0)
    times = [
        simulate_run(
            Scenario("test", ((replace(device, units=units), calm),), tuple(work(k) for k in range(6)), 0, 0.0),
            policy.balanced,
        ).makespan
        for units in (1, 3)
    ]
    assert times[1] == pytest.approx(times[0] / 3)


def test_each_work_goes_to_the_unit_with_least_whatever_the_order_in_which_units_got_theirs():
    """Five, four and three pieces of one length on three units: the next two go to the third."""
    works = [work(number, variants=size) for number, size in enumerate((50, 40, 30, 20))]
    pool = [Candidate(replace(qpu("A", 20, 0.01, 1e-3).device, units=3), DeviceState(free_units=3))]
    assert list_schedule(CostTable(works, pool), Prices(), 1).pieces == [{0: 50}, {1: 40}, {2: 30, 3: 20}]


def test_nobody_waits_for_a_device_that_keeps_the_bound_no_better():
    soon = replace(qpu("soon", 20, 0.01, 1e-4).state, set_aside_until=1.0, set_aside_count=1)
    pool = [Candidate(qpu("soon", 20, 0.01, 1e-4).device, soon), qpu("slow", 20, 0.01, 1.0)]
    found = place(fastest, [work(0)], pool, Goal(max_error=0.5))
    assert not found.waiting and [piece.device for piece in found.placements] == ["slow"]


def test_devices_of_which_nothing_is_said_are_as_fast_as_typical_ones():
    """4,000 shots take a QPU a second of its 250 microseconds each; ten qubits take a CPU core milliseconds."""
    plain = replace(work(0, variants=1), depth=0)
    assert work_seconds(Device("q", Kind.QPU, qubits=20, speed=QPU_SPEED), plain) == pytest.approx(2.0 + 0.02 + 1.0)
    assert 0.001 < work_seconds(TYPICAL_CPU, plain) < 1.0


def test_what_is_placed_without_a_unit_is_on_the_first():
    assert Placement(work(0), "A").unit == 0 and DeviceState().free_units == 1
