"""Setting aside, trials, last resort and the check of a user's policy."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from scheduler_policies import DeviceState, NoDeviceError, PolicyError, UnknownPolicyError, fitting, work_price
from scheduler_policies.health import Rules, after_failure, after_success, at, why_leave
from scheduler_policies.place import Spent, beyond, place
from scheduler_policies.placement import Candidate, Goal, evaluate
from scheduler_policies.policies.balanced import balanced
from scheduler_policies.policies.fastest import fastest
from scheduler_policies.registry import POLICY_GROUP, find_policy
from tests.scheduler_policies.instances import cpu, qpu, work

RULES = Rules(failures=3, rest=60.0, growth=2.0, longest_rest=200.0)


def _with(candidate: Candidate, **changes) -> Candidate:
    return Candidate(candidate.device, replace(candidate.state, **changes))


def test_three_failures_in_a_row_set_a_device_aside_and_each_rest_is_longer():
    state = DeviceState()
    for now in (1.0, 2.0):
        state = after_failure(state, now, RULES)
        assert state.set_aside_until is None
    rests, now = [], 3.0
    for _ in range(4):
        state = after_failure(state, now, RULES)
        assert state.set_aside_until is not None
        rests.append(state.set_aside_until - now)
        now = state.set_aside_until
        assert at(state, now - 0.1) == state
        state = at(state, now)
        assert state.on_trial and state.set_aside_until is None
    assert rests == [60.0, 120.0, 200.0, 200.0]
    fresh = after_success(state)
    assert (fresh.consecutive_failures, fresh.set_aside_count, fresh.on_trial) == (0, 0, False)


def test_a_success_between_failures_keeps_a_device_in_use():
    state = DeviceState()
    for now in range(10):
        state = after_failure(state, now, RULES)
        state = after_success(state) if now % 2 else state
    assert state.set_aside_until is None


def test_a_piece_leaves_for_rest_drift_and_a_grown_queue_only():
    placed = DeviceState(expected_wait=20.0, drift=0.1)
    assert why_leave(placed, placed, 30.0) is None
    assert why_leave(placed, replace(placed, expected_wait=50.0), 30.0) is None
    assert "queue grew" in (why_leave(placed, replace(placed, expected_wait=70.0), 30.0) or "")
    assert "error rates grew 1.82 times" in (why_leave(placed, replace(placed, drift=1.0), 0.0) or "")
    assert "set aside after 3" in (
        why_leave(placed, replace(placed, set_aside_until=9.0, consecutive_failures=3), 0.0) or ""
    )


def test_the_bounds_at_which_a_piece_leaves():
    """Just within each bound it stays, just beyond it leaves; an expected queue is no reason however long it is."""
    idle = DeviceState()
    for expected, waited, more, stays in (
        (0.0, 20.0, 9.9, True), (0.0, 20.0, 10.1, False),  # the least wait, 30 s
        (0.0, 40.0, 0.0, True),  # it is about to start
        (50.0, 0.0, 149.0, True), (50.0, 0.0, 151.0, False),  # three times as long as expected
        (50.0, 1000.0, 149.0, True),
    ):  # fmt: skip
        placed = replace(idle, expected_wait=expected)
        assert (why_leave(placed, replace(placed, expected_wait=more), waited) is None) == stays, (expected, waited)
    placed = replace(idle, drift=1.0)
    assert why_leave(placed, replace(placed, drift=1.99), 0.0) is None
    assert "1.50 times" in (why_leave(placed, replace(placed, drift=2.01), 0.0) or "")
    usual = Rules()
    assert (usual.failures, usual.rest, usual.growth, usual.longest_rest, usual.moves) == (3, 60.0, 2.0, 3600.0, 8)


def test_a_failed_trial_sets_a_device_aside_at_once_however_few_its_failures():
    failed = after_failure(DeviceState(on_trial=True), 5.0, RULES)
    assert failed.set_aside_until == 65.0 and not failed.on_trial


def test_a_trial_is_the_piece_that_is_done_soonest():
    pool = [_with(qpu("back", 60, 0.01, 1e-4), on_trial=True), qpu("other", 60, 0.01, 1e-4)]
    works = [replace(work(f), shots=shots) for f, shots in enumerate((4000, 500, 9000))]
    trials = [p.work for p in place(fastest, works, pool).placements if p.device == "back"]
    assert [(piece.fragment, piece.variants) for piece in trials] == [(1, 1)]


def test_a_schedule_is_in_order_of_start_and_counts_what_was_spent_only_where_told():
    pool = [qpu("a", 20, 0.01, 1e-3), qpu("b", 20, 0.01, 2e-3, wait=4.0)]
    schedule = place(fastest, [work(f, variants=1 + f % 2) for f in range(9)], pool)
    starts = [placement.start for placement in schedule.placements]
    assert starts == sorted(starts) and len({p.device for p in schedule.placements}) == 2
    again = place(fastest, [work(f, variants=1 + f % 2) for f in range(9)], pool, spent=Spent(error=1.0))
    assert again.error == pytest.approx((schedule.error**2 + 1.0) ** 0.5) and Spent().price == 0.0


def test_a_device_at_rest_gets_nothing_and_one_on_trial_one_variant():
    pool = [qpu("a", 20, 0.01, 1e-4), qpu("b", 20, 0.01, 1e-4)]
    resting = [pool[0], _with(pool[1], set_aside_until=100.0)]
    during = place(fastest, [work(0)], resting, now=99.0)
    assert {p.device for p in during.placements} == {"a"} and during.retry_at == 100.0
    after = place(fastest, [work(0)], resting, now=100.0)
    assert [(p.work.first, p.work.variants) for p in after.placements if p.device == "b"] == [(0, 1)]
    assert sum(p.work.variants for p in after.placements) == 6
    busy = [pool[0], _with(pool[1], on_trial=True, busy=(5.0,), free_units=0)]
    assert {p.device for p in place(fastest, [work(0)], busy).placements} == {"a"}


def test_a_simulator_is_the_last_resort():
    pool, resort = [qpu("a", 20, 0.01, 1e-4)], [cpu("simulator")]
    assert {p.device for p in place(balanced, [work(0)], pool, last_resort=resort).placements} == {"a"}
    resting = [_with(pool[0], set_aside_until=100.0)]
    assert {p.device for p in place(balanced, [work(0)], resort, now=1.0).placements} == {"simulator"}
    schedule = place(balanced, [work(0)], resting, last_resort=resort, now=1.0)
    assert {p.device for p in schedule.placements} == {"simulator"}


def test_the_bound_is_worth_waiting_for_a_better_device_that_will_be_back():
    pool = [_with(qpu("good", 20, 0.001, 1e-3), set_aside_until=50.0, set_aside_count=1), qpu("bad", 20, 0.01, 1e-4)]
    works = [work(0, weight=0.3), work(1, weight=0.01)]
    patient = place(balanced, works, pool, Goal(max_error=0.05))
    assert {w.fragment for w in patient.waiting} == {0} and patient.retry_at == 50.0
    assert {(p.work.fragment, p.device) for p in patient.placements} == {(1, "bad")}
    for hasty in (place(balanced, works, pool), place(balanced, works, pool, Goal(max_error=0.5))):
        assert not hasty.waiting and {p.device for p in hasty.placements} == {"bad"}
    roomy = Candidate(replace(pool[0].device, qubits=30), pool[0].state)
    wide = place(balanced, [*works, work(2, width=25)], [roomy, pool[1]], Goal(max_error=0.05))
    assert {w.fragment for w in wide.waiting} == {0, 2}, "one for its error and one for its width"
    hopeless = [_with(pool[0], set_aside_count=9), pool[1]]
    given_up = place(balanced, works, hopeless, Goal(max_error=0.05))
    assert not given_up.waiting and "predicted error" in given_up.notes[0]


def test_the_pace_of_a_device_is_learned_and_counted():
    pool = [qpu("a", 20, 0.01, 1e-3), qpu("b", 20, 0.01, 1.3e-3)]
    assert [d for _, d in fastest([work(0, variants=1)], pool, Goal())] == ["a"]
    state = pool[0].state
    for _ in range(12):
        state = after_success(state, predicted=10.0, taken=20.0)
    assert state.pace == pytest.approx(2.0, rel=0.01)
    slower = [Candidate(pool[0].device, state), pool[1]]
    assert [d for _, d in fastest([work(0, variants=1)], slower, Goal())] == ["b"]


def test_work_that_only_a_resting_device_fits_waits_and_says_until_when():
    wide = [qpu("wide", 60, 0.01, 1e-4), qpu("narrow", 12, 0.01, 1e-4)]
    pool = [_with(wide[0], set_aside_until=40.0), wide[1]]
    schedule = place(fastest, [work(0, width=50), work(1)], pool, last_resort=[cpu("c")])
    assert [w.fragment for w in schedule.waiting] == [0] and schedule.retry_at == 40.0
    assert {p.work.fragment for p in schedule.placements} == {1}
    with pytest.raises(NoDeviceError, match="70 needed"):
        place(fastest, [work(0, width=70)], pool)


def test_bounds_hold_for_the_whole_run_and_broken_ones_are_told():
    pool = [qpu("good", 20, 0.001, 1e-3, wait=30.0), qpu("bad", 20, 0.01, 1e-4)]
    works, goal = [work(f) for f in range(3)], Goal(max_error=0.04)
    fresh = place(balanced, works, pool, goal)
    later = place(balanced, works, pool, goal, spent=Spent(error=0.035))
    assert fresh.error <= 0.04 and not fresh.notes
    assert {p.device for p in later.placements} == {"good"} and later.error <= 0.04
    broken = place(balanced, works, pool, goal, spent=Spent(error=0.2))
    assert "predicted error" in broken.notes[0] and "0.04" in broken.notes[0]


def test_without_a_time_it_is_zero_and_a_rest_until_then_is_over():
    pool = [_with(qpu("back", 20, 0.01, 1e-4), set_aside_until=0.0), qpu("other", 20, 0.01, 1e-4)]
    assert {p.device for p in place(fastest, [work(0)], pool).placements} == {"back", "other"}


def test_a_budget_that_is_broken_is_told_with_what_was_spent_before():
    pool = [qpu("a", 20, 0.01, 1e-4, price=1e-4)]
    price = place(fastest, [work(0)], pool).price
    assert not beyond(price, Goal(budget=1.01 * price), Spent())
    said = beyond(price, Goal(budget=1.01 * price), Spent(price=price))
    assert f"{1.01 * price:.4g} does not hold the {price:.4g} that this takes beside {price:.4g} paid" in said


def test_an_aim_guides_the_policy_and_the_budget_is_the_bound():
    pool = [qpu("dear", 20, 0.001, 1e-4, price=1e-3), qpu("cheap", 20, 0.01, 1e-4, price=1e-4)]
    works = [work(0)]
    dear, cheap = (evaluate([(works[0], name)], pool).price for name in ("dear", "cheap"))
    goal, spent = Goal(max_error=1e-9, budget=3.0 + 2 * dear), Spent(price=3.0)
    whole = place(balanced, works, pool, goal, spent=spent)
    assert {p.device for p in whole.placements} == {"dear"} and not beyond(whole.price, goal, spent)
    half = place(balanced, works, pool, goal, spent=spent, aim=3.0 + dear / 2)
    assert cheap < half.price <= dear / 2 and half.error > whole.error
    least = place(balanced, works, pool, goal, spent=spent, aim=1e-6)
    assert {p.device for p in least.placements} == {"cheap"}
    assert not beyond(least.price, goal, spent), "the budget itself holds it"


@pytest.mark.parametrize("budget", [0.2, 0.35, 0.5, 0.8])
def test_where_both_bounds_cannot_be_kept_the_budget_is_and_the_error_is_nearly_the_least_that_it_allows(budget):
    """Against every split of one work over three devices."""
    devices = [qpu("good", 20, 0.001, 2e-4, price=1e-3), qpu("usual", 20, 0.004, 1e-4, price=3e-4),
               qpu("bad", 20, 0.02, 5e-5, price=1e-4)]  # fmt: skip
    whole = work(0, variants=24)
    dearest = evaluate([(whole, "good")], devices).price
    found = place(balanced, [whole], devices, Goal(max_error=1e-6, budget=budget * dearest))
    assert found.price <= budget * dearest * (1 + 1e-6)
    errors = []
    for good in range(25):
        for usual in range(25 - good):
            parts = [(0, good, "good"), (good, usual, "usual"), (good + usual, 24 - good - usual, "bad")]
            plan = evaluate([(whole.share(first, n), name) for first, n, name in parts if n], devices)
            errors += [plan.error] if plan.price <= budget * dearest else []
    assert min(errors) * (1 - 1e-9) <= found.error <= 1.05 * min(errors)


def cheapest(works, pool, goal, /):
    """A user's policy, the one of the documentation, found through an entry point below."""

    def price(work, candidate):
        return work_price(candidate.device, work)

    return [
        (work, min((pool[i] for i in fitting(work, pool)), key=lambda c: price(work, c)).device.name) for work in works
    ]


def forgetful(works, pool, goal, /):
    """A user's policy that is wrong: half of the variants are lost."""
    return [(work.share(work.first, work.variants // 2), pool[0].device.name) for work in works]


def repetitive(works, pool, goal, /):
    """Wrong too: everything is placed, and the first variant of each fragment once more."""
    return [(piece, pool[0].device.name) for work in works for piece in (work, work.share(work.first, 1))]


def swapping(works, pool, goal, /):
    """As many variants as there are, one of them twice and one never."""
    return [
        (piece, pool[0].device.name)
        for work in works
        for piece in (work.share(0, work.variants - 1), work.share(work.variants - 2, 1))
    ]


def _installed(*names: str) -> list[EntryPoint]:
    return [EntryPoint(name, f"{__name__}:{name}", POLICY_GROUP) for name in names]


def test_a_users_policy_is_found_by_its_entry_point():
    policy = find_policy("cheapest", _installed("cheapest"))
    pool = [qpu("a", 20, 0.01, 1e-4, price=2e-4), qpu("b", 20, 0.01, 1e-4, price=1e-4)]
    assert {p.device for p in place(policy, [work(0)], pool).placements} == {"b"}
    assert find_policy("balanced", _installed("cheapest")) is balanced


def test_a_users_policy_that_forgets_variants_is_refused():
    policy = find_policy("forgetful", _installed("forgetful"))
    with pytest.raises(PolicyError, match="variant 3 of fragment 0 0 times"):
        place(policy, [work(0)], [qpu("a", 20, 0.01, 1e-4)])


def test_a_users_policy_that_places_variants_twice_is_refused():
    pool = [qpu("a", 20, 0.01, 1e-4)]
    with pytest.raises(PolicyError, match="variant 0 of fragment 0 2 times and must place it once; 2 variants are"):
        place(repetitive, [work(0), work(1)], pool)
    with pytest.raises(PolicyError, match="variant 5 of fragment 0 0 times and must place it once"):
        place(swapping, [work(0)], pool)


def test_a_users_policy_that_names_a_device_that_is_not_there_or_cannot_take_it_is_refused():
    pool = [qpu("a", 20, 0.01, 1e-4), qpu("small", 3, 0.01, 1e-4)]
    with pytest.raises(PolicyError, match="on elsewhere, which is not in use"):
        place(lambda works, pool, goal: [(w, "elsewhere") for w in works], [work(0)], pool)
    with pytest.raises(PolicyError, match="on small, which has 3 qubits, 10 needed"):
        place(lambda works, pool, goal: [(w, "small") for w in works], [work(0)], pool)


def test_names_that_are_wrong_say_what_there_is():
    with pytest.raises(UnknownPolicyError, match=r"no policy 'best'; choose one of availability, balanced, .*cheapest"):
        find_policy("best", _installed("cheapest"))
    with pytest.raises(PolicyError, match="cannot be imported"):
        find_policy("missing", _installed("missing"))
    with pytest.raises(PolicyError, match="rename it"):
        find_policy("balanced", [EntryPoint("balanced", "x:y", POLICY_GROUP)])


def test_where_more_was_spent_than_the_bounds_allow_nothing_is_left_of_them():
    asked = []

    def first(works, pool, goal, /):
        asked.append(goal)
        return [(piece, pool[0].device.name) for piece in works]

    for spent, left in (
        (Spent(error=0.5, price=9.0), Goal(0.0, 0.0)),
        (Spent(error=0.3, price=3.0), Goal(0.4, 5.0)),
        (Spent(), Goal(0.5, 8.0)),
    ):
        place(first, [work(0, variants=1)], [qpu("a", 20, 0.01, 1e-3)], Goal(0.5, 8.0), spent=spent)
        assert (asked[-1].max_error, asked[-1].budget) == pytest.approx((left.max_error, left.budget))
    place(first, [work(0, variants=1)], [qpu("a", 20, 0.01, 1e-3)], Goal(0.5, 8.0), spent=Spent(0.6, 0.0))
    assert asked[-1].max_error == 0.0
