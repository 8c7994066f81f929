"""Each policy does what its name says, and balanced is nearly as good as trying everything."""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from scheduler_policies import DeviceState, NoDeviceError, policies, registry
from scheduler_policies.cost import variant_seconds
from scheduler_policies.place import place
from scheduler_policies.placement import Candidate, Goal, alike, check_complete, evaluate, usual_bound
from scheduler_policies.policies.availability import availability
from scheduler_policies.policies.balanced import _priced_plans, balanced
from scheduler_policies.policies.fastest import fastest
from scheduler_policies.policies.fidelity import fidelity
from scheduler_policies.policies.least_busy import least_busy
from scheduler_policies.policies.round_robin import round_robin
from scheduler_policies.registry import POLICIES
from scheduler_policies.rules import pieces
from scheduler_policies.search.improve import _targets
from scheduler_policies.search.table import Assignment, CostTable
from tests.scheduler_policies.brute_force import best_makespan
from tests.scheduler_policies.instances import cpu, qpu, tiny_instance, work

NO_BOUND = Goal()


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("seed", range(12))
def test_every_variant_is_placed_once_on_a_device_that_fits(name, seed):
    works, pool = tiny_instance(seed)
    for goal in (NO_BOUND, Goal(max_error=0.05, budget=3.0)):
        choices = POLICIES[name](works, pool, goal)
        check_complete(works, choices)
        assert math.isfinite(evaluate(choices, pool).makespan)


@pytest.mark.parametrize("name", POLICIES)
def test_a_fragment_that_fits_nowhere_is_refused_with_every_reason(name):
    with pytest.raises(NoDeviceError, match=r"fragment 1 .*small has 5 qubits, 50 needed; sim has .* bytes"):
        POLICIES[name]([work(0, width=4), work(1, width=50)], [qpu("small", 5, 0.01, 1e-4), cpu("sim")], NO_BOUND)


@pytest.mark.parametrize("name", POLICIES)
def test_a_device_that_failed_a_work_does_not_get_it_again(name):
    pool = [qpu("a", 20, 0.001, 1e-5), qpu("b", 20, 0.02, 1e-3, wait=50)]
    choices = POLICIES[name]([replace(work(0), avoid=("a",))], pool, NO_BOUND)
    assert {device for _, device in choices} == {"b"}


def test_availability_takes_the_first_free_device_and_sees_no_queue():
    pool = [qpu("queued", 20, 0.01, 1e-4, wait=1e5), qpu("idle", 20, 0.01, 1e-4)]
    assert availability([work(0, variants=1)], pool, NO_BOUND)[0][1] == "queued"
    taken = [Candidate(pool[0].device, replace(pool[0].state, free_units=0, busy=(9.0,))), pool[1]]
    assert availability([work(0, variants=1)], taken, NO_BOUND)[0][1] == "idle"


def test_round_robin_gives_each_device_that_fits_its_turn():
    pool = [qpu("a", 20, 0.01, 1e-4), qpu("narrow", 5, 0.01, 1e-4), qpu("c", 20, 0.01, 1e-4)]
    works = [work(f, variants=1) for f in range(6)]
    assert [device for _, device in round_robin(works, pool, NO_BOUND)] == ["a", "c"] * 3


def test_least_busy_counts_the_jobs_of_others_and_ours():
    pool = [qpu("a", 20, 0.01, 1e-4), qpu("b", 20, 0.01, 1e-4)]
    pool[0] = Candidate(pool[0].device, DeviceState(queue_length=2))
    devices = [device for _, device in least_busy([work(f, variants=1) for f in range(4)], pool, NO_BOUND)]
    assert devices == ["b", "b", "a", "b"]


def test_fidelity_follows_errors_and_their_drift():
    pool = [qpu("good", 20, 0.004, 1e-4), qpu("bad", 20, 0.008, 1e-4)]
    assert {device for _, device in fidelity([work(0)], pool, NO_BOUND)} == {"good"}
    drifted = [Candidate(pool[0].device, DeviceState(drift=2.0)), pool[1]]
    assert {device for _, device in fidelity([work(0)], drifted, NO_BOUND)} == {"bad"}
    assert fidelity([work(0)], [*pool, cpu("exact")], NO_BOUND)[0][1] == "exact"


def test_fastest_weighs_a_queue_against_speed():
    pool = [qpu("fast", 20, 0.01, 1e-4, wait=200.0), qpu("slow", 20, 0.01, 1e-3, wait=0.0)]
    assert fastest([work(0, variants=1)], pool, NO_BOUND)[0][1] == "slow"
    assert {device for _, device in fastest([work(0, variants=90)], pool, NO_BOUND)} == {"fast", "slow"}


def test_a_simulator_takes_a_fragment_whole():
    for policy in POLICIES.values():
        assert [(piece.whole, device) for piece, device in policy([work(0)], [cpu("c")], NO_BOUND)] == [(True, "c")]


def test_balanced_spends_noise_where_the_gradient_is_smallest():
    pool = [qpu("good", 20, 0.001, 1e-3), qpu("bad", 20, 0.01, 1e-3)]
    works = [work(f, variants=1, weight=weight) for f, weight in enumerate((0.01, 0.3, 0.02, 0.25))]
    schedule = evaluate(balanced(works, pool, Goal(max_error=0.05)), pool)
    where = {p.work.fragment: p.device for p in schedule.placements}
    assert where == {0: "bad", 1: "good", 2: "bad", 3: "good"}


def test_balanced_keeps_a_bound_that_fastest_breaks():
    pool = [qpu("good", 20, 0.001, 1e-3, wait=30.0), qpu("bad", 20, 0.01, 1e-4)]
    works = [work(f) for f in range(3)]
    loose, bound = evaluate(fastest(works, pool, NO_BOUND), pool), 0.04
    kept = evaluate(balanced(works, pool, Goal(max_error=bound)), pool)
    assert loose.error > bound >= kept.error and kept.makespan > loose.makespan


def test_balanced_keeps_a_budget():
    pool = [qpu("dear", 20, 0.001, 1e-4, price=1e-3), qpu("cheap", 20, 0.001, 1e-3, price=1e-5)]
    works = [work(f) for f in range(3)]
    free, kept = (evaluate(balanced(works, pool, goal), pool) for goal in (NO_BOUND, Goal(budget=10.0)))
    assert free.price > 10.0 >= kept.price and kept.makespan > free.makespan


def test_the_usual_bound_is_twice_what_cannot_be_avoided():
    works = [work(0, weight=0.3), work(1, weight=0.4)]
    shots_alone = 0.5 / math.sqrt(4000)
    assert usual_bound(works, [qpu("q", 20, 0.02, 1e-3), cpu("c")]) == pytest.approx(2 * shots_alone)
    noisy = [qpu("q", 20, 0.02, 1e-3), qpu("better", 20, 0.01, 1e-3)]
    best = evaluate(fidelity(works, noisy, NO_BOUND), noisy)
    assert usual_bound(works, noisy) == pytest.approx(2 * best.error)


def test_balanced_breaks_an_impossible_bound_as_little_as_it_can():
    pool = [qpu("good", 20, 0.001, 1e-3), qpu("bad", 20, 0.01, 1e-4)]
    schedule = evaluate(balanced([work(0), work(1)], pool, Goal(max_error=1e-6)), pool)
    assert {p.device for p in schedule.placements} == {"good"}


@pytest.mark.parametrize("block", range(4))
def test_balanced_against_every_possible_plan(block):
    """At most 8 % above the optimum anywhere, 1 % on average, and it finds a plan whenever there is one."""
    gaps = []
    for seed in range(10 * block, 10 * block + 10):
        works, pool = tiny_instance(seed)
        quick, exact = (evaluate(policy(works, pool, NO_BOUND), pool) for policy in (fastest, fidelity))
        between = math.sqrt(quick.error * exact.error)
        goal = (NO_BOUND, Goal(between), Goal(budget=0.8 * quick.price), Goal(between, 1.2 * exact.price))[seed % 4]
        found = evaluate(balanced(works, pool, goal), pool)
        optimum = best_makespan(works, pool, goal)
        kept = (goal.max_error is None or found.error <= goal.max_error * (1 + 1e-6)) and (
            goal.budget is None or found.price <= goal.budget * (1 + 1e-6)
        )
        assert kept == math.isfinite(optimum), f"seed {seed}: bounds kept is {kept}, optimum {optimum}"
        if kept:
            assert found.makespan >= optimum * (1 - 1e-9), f"seed {seed}: better than the oracle"
            gaps.append(found.makespan / optimum)
    assert max(gaps) <= 1.08 and np.mean(gaps) <= 1.01, f"seeds {10 * block}..: {Counter(np.round(gaps, 3))}"


def test_a_policy_is_a_file_in_the_folder(tmp_path, monkeypatch):
    """One new file with a function of its name is a policy; nothing else is touched."""
    (tmp_path / "first.py").write_text(
        "def first(works, pool, goal, /):\n    return [(work, pool[0].device.name) for work in works]\n"
    )
    monkeypatch.setattr(policies, "__path__", [*policies.__path__, str(tmp_path)])
    found = registry._of_this_room()
    assert set(found) == {*POLICIES, "first"} and found["balanced"] is balanced
    assert place(found["first"], [work(0)], [cpu("c")]).placements[0].device == "c"
    del sys.modules["scheduler_policies.policies.first"], policies.first


def test_of_many_units_the_least_loaded_of_each_kind_and_those_with_a_share_of_the_work_are_tried():
    states = [DeviceState(busy=(1.0 + k,), free_units=0) for k in range(60)]
    pool = [Candidate(qpu(f"q{k}", 20, 0.01, 1e-4).device, state) for k, state in enumerate(states)]
    table = CostTable([work(0), work(1)], pool)
    assignment = Assignment(table)
    for unit, number, variants in ((59, 0, 3), (40, 0, 3), (41, 1, 6)):
        assignment.give(unit, number, variants)
    assert _targets(assignment, 59) == [0, 40], "41 has nothing of what 59 has"


def test_with_few_units_all_others_are_tried():
    table = CostTable([work(0)], [qpu(f"q{k}", 20, 0.01, 1e-4) for k in range(5)])
    assert _targets(Assignment(table), 2) == [0, 1, 3, 4]


def test_round_robin_goes_around():
    pool = [qpu(name, 20, 0.01, 1e-3) for name in "abc"]
    choices = round_robin([work(f, variants=1) for f in range(7)], pool, NO_BOUND)
    assert [device for _, device in choices] == list("abcabca")
    pool.insert(1, qpu("small", 4, 0.01, 1e-3))
    choices = round_robin([work(f, variants=1) for f in range(5)], pool, NO_BOUND)
    assert [device for _, device in choices] == list("abcab")


def test_pieces_last_ten_times_what_it_takes_to_start_them():
    """A variant runs 4.1 s here; a piece costs a second to submit and the wait in the queue."""
    whole = work(0, variants=40)
    for wait, count in ((0.0, 4), (1.0, 4), (3.1, 4), (15.0, 1), (1e6, 1)):
        pool = [qpu(f"q{k}", 20, 0.01, 1e-3, wait=wait) for k in range(4)]
        run = 40 * variant_seconds(pool[0].device, whole.width, whole.depth, whole.shots)
        assert pieces(whole, pool, range(4)) == count == max(1, min(4, int(run / (10 * (1.0 + wait))))), wait


def test_devices_alike_share_a_row_but_for_those_that_are_apart():
    pool = [qpu(name, 20, 0.01, 1e-3) for name in "abcd"]
    busy = Candidate(pool[3].device, DeviceState(busy=(3.0,), free_units=0))
    assert alike([*pool[:3], busy]) == [0, 0, 0, 0], "leases do not tell devices apart"
    assert alike(pool, frozenset({"b", "d"})) == [0, 1, 0, 3]
    assert alike([pool[0], qpu("b", 20, 0.02, 1e-3), qpu("c", 20, 0.01, 1e-3, wait=1.0)]) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(6))
def test_balanced_is_never_slower_than_a_simple_policy(seed):
    works, pool = tiny_instance(seed)
    ours = evaluate(balanced(works, pool, NO_BOUND), pool).makespan
    for simple in (availability, round_robin, least_busy, fidelity, fastest):
        assert ours <= evaluate(simple(works, pool, NO_BOUND), pool).makespan * (1 + 1e-9), (simple.__name__, seed)
    assert balanced([], pool, NO_BOUND) == []


@pytest.mark.parametrize(("works", "units", "count"), [(10, 10, 8), (11, 10, 3), (4, 1, 8)])
def test_local_search_starts_from_every_candidate_of_a_small_instance_and_three_of_a_large_one(
    monkeypatch, works, units, count
):
    """Without bounds there are three list schedules and five simple answers; 100 works times units is small."""
    starts = []
    monkeypatch.setattr("scheduler_policies.policies.balanced.improve", lambda plan, goal: starts.append(plan) or plan)
    pool = [qpu(f"q{k}", 20, 0.01, 1e-3) for k in range(units)]
    balanced([work(f, variants=2) for f in range(works)], pool, NO_BOUND)
    assert len(starts) == count
    assert [plan.makespan for plan in starts] == sorted(plan.makespan for plan in starts)


@pytest.mark.parametrize("what", ["error", "money"])
def test_prices_close_in_on_the_least_that_keeps_the_bound(monkeypatch, what):
    """A pool that keeps a bound from a price of 8000 on, a thousand times the first price tried."""
    asked = []

    class Plan:
        makespan = 2.0

        def __init__(self, kept):
            self.squares = self.price = 0.2 if kept else 1.0

        def excess(self, goal):
            return max(0.0, self.squares / 0.25 - 1.0)

    def schedule(table, prices, finest):
        asked.append(getattr(prices, what))
        return Plan(asked[-1] >= 8000.0)

    monkeypatch.setattr("scheduler_policies.policies.balanced.list_schedule", schedule)
    goal = Goal(max_error=0.5) if what == "error" else Goal(budget=0.25)
    plans = _priced_plans(CostTable([work(0)], [qpu("q", 20, 0.01, 1e-3)]), goal)
    assert len(plans) == len(asked) == 2 + 16 + 1 + 2
    assert asked[:7] == pytest.approx([0.0, 0.0, 8.0, 64.0, 512.0, 4096.0, 32768.0])
    assert 7000 < asked[17] < 9200 and 7000 < asked[18] < 9200
    assert max(asked[19:]) == pytest.approx(2e6), "in the end nothing else counts"
