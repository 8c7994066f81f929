"""The simulator against runs worked out by hand, and what must hold of any run."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from scheduler_policies import POLICIES, Goal, PolicyError
from scheduler_policies.cost import squared_error, work_price, work_seconds
from scheduler_policies.health import Rules
from scheduler_policies.simulator.events import simulate_run
from scheduler_policies.simulator.scenario import Scenario, give_variants_back, take_variants
from scheduler_policies.simulator.world import Behaviour, World
from tests.scheduler_policies.instances import cpu, qpu, tiny_instance, work

CALM = Behaviour(jitter=0.0)


def _scenario(devices, works, seed=0, start=0.0) -> Scenario:
    return Scenario("test", tuple(devices), tuple(works), seed, start)


def _random(seed: int) -> Scenario:
    works, pool = tiny_instance(seed)
    works = [replace(w, variants=12 * w.variants) for w in works]
    troubled = Behaviour(
        slowness=1.2, jitter=0.2, wait=20.0, wait_spread=0.7, surge=0.05, failure=0.15, drift=0.3, calibration=7200.0
    )
    dropped = replace(troubled, dropouts=((30.0, 90.0), (200.0, 260.0)))
    behaviours = [troubled, dropped, troubled]
    return _scenario([(c.device, b) for c, b in zip(pool, behaviours, strict=True)], works, seed, 3600.0 * seed)


@pytest.mark.parametrize("name", POLICIES)
def test_one_calm_device_takes_the_sum_of_its_pieces(name):
    device = cpu("c").device
    works = [work(f, width=8 + f) for f in range(4)]
    result = simulate_run(_scenario([(device, CALM)], works), POLICIES[name])
    assert result.makespan == pytest.approx(sum(work_seconds(device, w) for w in works))
    assert result.price == pytest.approx(sum(work_price(device, w) for w in works))
    assert (result.error, result.pieces, result.failures, result.qpu_busy) == (0.0, 4, 0, 0.0)
    assert (result.decisions, result.moved) == (4, 0), "one for each piece"


def test_what_is_submitted_together_waits_once():
    device, _ = qpu("q", 20, 0.005, 1e-3)
    works = [work(f, variants=1) for f in range(3)]
    behaviour = replace(CALM, wait_trace=((0.0, 7.0), (1e6, 7.0)))
    result = simulate_run(_scenario([(device, behaviour)], works), POLICIES["availability"])
    run = sum(work_seconds(device, w) for w in works)
    assert result.makespan == pytest.approx(7.0 + run)
    assert result.qpu_busy == pytest.approx(run / result.makespan)
    assert (result.decisions, result.moved) == (1, 0)
    state = qpu("q", 20, 0.005, 1e-3).state
    assert result.error == pytest.approx(math.sqrt(sum(squared_error(device, state, w) for w in works)))


def test_two_equal_devices_halve_the_time():
    device = cpu("a").device
    works = [work(f) for f in range(8)]
    one = simulate_run(_scenario([(device, CALM)], works), POLICIES["balanced"])
    two = simulate_run(_scenario([(device, CALM), (replace(device, name="b"), CALM)], works), POLICIES["balanced"])
    assert two.makespan == pytest.approx(one.makespan / 2)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("seed", range(6))
def test_every_run_ends_with_every_variant_done_and_is_the_same_again(name, seed):
    scenario = _random(seed)
    result = simulate_run(scenario, POLICIES[name])
    assert result == simulate_run(scenario, POLICIES[name])
    assert sum(count for _, count in result.by_device) == result.pieces >= len(scenario.works)
    assert 0.0 <= result.qpu_busy <= 1.0
    # No plan can have less shot noise than all fragments exact, nor more error than all noise and all shots.
    worst = sum(w.weight**2 * (1.0 / w.shots + 1.0) for w in scenario.works)
    assert 0.0 <= result.error <= math.sqrt(worst)


def test_a_dead_device_is_set_aside_and_its_work_done_elsewhere():
    dead, alive = qpu("dead", 20, 0.001, 1e-5).device, qpu("alive", 20, 0.01, 1e-3).device
    devices = [(dead, replace(CALM, dropouts=((0.0, 1e9),))), (alive, CALM)]
    result = simulate_run(_scenario(devices, [work(f) for f in range(3)]), POLICIES["fastest"])
    assert dict(result.by_device).keys() == {"alive"}
    # Three tries before the first rest and one for each rest that ended since: 60 s, then 120 s, ...
    assert 3 <= result.failures <= 3 + math.log2(result.makespan / 60 + 1) + 1


def test_a_device_that_comes_back_is_used_again_after_one_trial():
    back, slow = qpu("back", 20, 0.001, 1e-5).device, cpu("slow", amplitude_gate=1e-4).device
    devices = [(back, replace(CALM, dropouts=((0.0, 50.0),))), (slow, CALM)]
    result = simulate_run(_scenario(devices, [work(f) for f in range(8)]), POLICIES["fastest"], rules=Rules(rest=60.0))
    done = dict(result.by_device)
    assert done["back"] >= 2 and result.failures == 3


def test_nothing_fits_once_the_only_device_is_gone_for_ever_is_an_error_not_a_hang():
    device = qpu("dead", 20, 0.001, 1e-3).device
    scenario = _scenario([(device, replace(CALM, failure=1.0))], [work(0)])
    with pytest.raises(PolicyError, match="does not end"):
        rules = Rules(rest=0.1, growth=1.0, longest_rest=0.1)
        simulate_run(scenario, POLICIES["availability"], rules=rules, most_decisions=200)


def test_a_grown_queue_is_left():
    jam, slow = qpu("jam", 20, 0.001, 1e-5).device, qpu("slow", 20, 0.001, 1e-4).device
    devices = [(jam, replace(CALM, wait=20.0, surge=1.0)), (slow, CALM)]
    result = simulate_run(_scenario(devices, [work(f) for f in range(4)]), POLICIES["availability"])
    assert result.moved >= 1


def test_a_queue_is_left_only_so_often_or_a_policy_blind_to_it_would_never_start():
    jam = qpu("jam", 20, 0.001, 1e-3).device
    devices = [(jam, replace(CALM, wait=20.0, surge=1.0))]
    works = [work(f, variants=1) for f in range(2)]
    for moves in (0, 3):
        result = simulate_run(_scenario(devices, works), POLICIES["availability"], rules=Rules(moves=moves))
        assert result.pieces == 2 and result.moved == moves, "both wait together, as one"


def test_variants_taken_and_given_back_are_whole_again():
    ranges = [(0, 12)]
    whole = work(0, variants=12)
    for first, count in ((3, 2), (8, 4), (0, 1)):
        take_variants(ranges, first, count)
    assert ranges == [(1, 2), (5, 3)]
    with pytest.raises(PolicyError, match="variants 2 to 5 are not among"):
        take_variants(ranges, 2, 4)
    for first, count in ((8, 4), (0, 1), (3, 2)):
        give_variants_back(ranges, whole.share(first, count))
    assert ranges == [(0, 12)]


def test_one_simulation_of_a_whole_fragment_varies_as_one_circuit_does():
    device, behaviour = cpu("c").device, Behaviour(jitter=0.5)
    result = simulate_run(_scenario([(device, behaviour)], [work(0, variants=9)], seed=4), POLICIES["fastest"])
    alone = World([(device, behaviour)], 4, 0.0).fate(0, 0.0, work_seconds(device, work(0, variants=9)), 1)
    assert result.makespan == pytest.approx(alone.run)


def test_drift_shows_in_the_error_of_the_estimate_and_ends_with_a_calibration():
    device = qpu("q", 20, 0.002, 1e-3).device
    world = World([(device, Behaviour(drift=0.5, calibration=7200.0))], 3, 0.0)
    drifts = np.array([world.drift(0, t) for t in np.arange(0.0, 14_400.0, 60.0)])
    assert drifts.max() == pytest.approx(0.5 * 7140 / 3600, rel=0.02), "seed 3"
    assert (np.diff(drifts) < -0.9).sum() == 2, "two calibrations in four hours, seed 3"
    calm = simulate_run(_scenario([(device, CALM)], [work(0)]), POLICIES["fastest"])
    drifting = replace(CALM, drift=5.0, calibration=1e5)
    assert simulate_run(_scenario([(device, drifting)], [work(0)]), POLICIES["fastest"]).error > 1.5 * calm.error


def test_waits_have_the_mean_and_spread_asked_for():
    world = World([(qpu("q", 20, 0.01, 1e-3).device, Behaviour(wait=100.0, wait_spread=0.5))], 5, 0.0)
    waits = np.array([world.wait(0, t) for t in np.arange(0.0, 86_400.0, 300.0)])
    assert np.log(waits).std() == pytest.approx(0.5, rel=0.01), "seed 5"
    assert waits.mean() == pytest.approx(100.0, rel=0.25), "seed 5"
    assert world.wait(0, 300.0) == pytest.approx(world.wait(0, 300.0 + 86_400.0))


def test_a_bound_is_kept_in_the_world_it_was_planned_for():
    pool = [qpu("good", 20, 0.001, 1e-3), qpu("bad", 20, 0.01, 1e-4)]
    scenario = _scenario([(c.device, CALM) for c in pool], [work(f) for f in range(3)])
    loose, kept = (simulate_run(scenario, POLICIES["balanced"], goal) for goal in (Goal(), Goal(max_error=0.04)))
    assert loose.error > 0.04 >= kept.error


def test_a_trace_is_followed_between_its_points_and_held_beyond_them():
    device = qpu("q", 20, 0.01, 1e-3).device
    world = World([(device, Behaviour(wait_trace=((100.0, 10.0), (200.0, 40.0), (220.0, 0.0))))], 0, 90.0)
    for now, wait in ((0.0, 10.0), (10.0, 10.0), (60.0, 25.0), (110.0, 40.0), (115.0, 30.0), (130.0, 0.0), (1e5, 0.0)):
        assert world.wait(0, now) == pytest.approx(wait), now


def test_waits_come_again_after_a_day_and_not_after_half_a_day():
    world = World([(qpu("q", 20, 0.01, 1e-3).device, Behaviour(wait=100.0, wait_spread=0.5))], 5, 0.0)
    times = np.arange(0.0, 40_000.0, 1000.0)
    day, half = ([world.wait(0, t + shift) for t in times] for shift in (86_400.0, 43_200.0))
    assert day == pytest.approx([world.wait(0, t) for t in times]) and day != pytest.approx(half, rel=0.1)
    # Smooth: an hour's memory, also over midnight.
    steps = np.diff(np.log([world.wait(0, t) for t in np.arange(80_000.0, 95_000.0, 300.0)]))
    assert 0 < np.abs(steps).max() < 0.2, "seed 5"


def test_a_device_at_rest_is_tried_when_its_rest_ends():
    """Down until 25 s: it fails at 10, 20 and 30 s, rests for 47 s, and takes one variant, then the others."""
    device = qpu("back", 20, 0.001, 1e-3).device
    whole = work(0, variants=5)
    result = simulate_run(
        _scenario([(device, replace(CALM, dropouts=((0.0, 25.0),)))], [whole]),
        POLICIES["fastest"],
        rules=Rules(rest=47.0),
    )
    trial, others = (work_seconds(device, whole.share(first, n)) for first, n in ((0, 1), (1, 4)))
    assert result.makespan == pytest.approx(30.0 + 47.0 + trial + others) and result.failures == 3


def test_the_policy_sees_how_long_what_was_submitted_will_take_with_its_wait():
    slow, quick = qpu("slow", 20, 0.01, 1e-3).device, qpu("quick", 20, 0.01, 1e-4).device
    seen = []

    def both(works, pool, goal, /):
        seen.append(tuple(candidate.state.busy for candidate in pool))
        places = {0: "slow", 1: "quick", 2: "quick"}
        return [(work, places[work.fragment]) for work in works]

    wait = replace(CALM, wait_trace=((0.0, 50.0), (1e6, 50.0)))
    works = [work(f, variants=2) for f in range(2)]
    scenario = _scenario([(slow, wait), (replace(quick, units=1), replace(CALM, failure=0.0))], works)
    failing = _scenario([(slow, wait), (quick, replace(CALM, dropouts=((0.0, 1.0),)))], works)
    simulate_run(scenario, both)
    assert seen == [((), ())]
    seen.clear()
    simulate_run(failing, both)
    reported = World(failing.devices, 0, 0.0).seen(0, 0.0).wait
    (left,) = seen[1][0]
    assert left == pytest.approx(reported + work_seconds(slow, works[0]) - 10.0)


def test_when_a_device_was_calibrated_has_nothing_to_do_with_how_well_it_is_seen():
    """Over 400 worlds: the phase is uniform, what is seen is off by up to exp(0.2), and none tells of another."""
    device = qpu("q", 20, 0.01, 1e-3).device
    behaviour = Behaviour(wait=90.0, drift=1.0, calibration=3600.0)
    told = []
    for seed in range(400):
        world = World([(device, behaviour)], seed, 0.0)
        seen, phase = world.seen(0, 0.0), world.drift(0, 0.0)
        told.append((phase, math.log(seen.wait / 90.0) / 0.4 + 0.5, math.log(seen.drift / phase) / 0.4 + 0.5))
        assert seen.queue_length == round(seen.wait / 60.0)
    for column in np.array(told).T:
        assert column.min() >= 0.0 and column.max() <= 1.0
        assert column.mean() == pytest.approx(0.5, abs=0.05) and column.std() == pytest.approx(12**-0.5, rel=0.07)
    assert np.abs(np.corrcoef(np.array(told).T) - np.eye(3)).max() < 0.2


def test_a_surge_is_ten_times_the_wait():
    device = qpu("q", 20, 0.01, 1e-3).device
    worlds = [World([(device, Behaviour(wait=7.0, surge=surge))], 0, 0.0) for surge in (0.0, 1.0, 0.25)]
    waits = [[world.queue(0, 0.0) for _ in range(400)] for world in worlds]
    assert set(waits[0]) == {7.0} and set(waits[1]) == {70.0} and set(waits[2]) == {7.0, 70.0}
    assert waits[2].count(70.0) == pytest.approx(100, abs=30), "seed 0"


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        (0.0, (15.0, False, True)),  # gone at 5, noticed ten seconds later
        (7.0, (10.0, False, True)),
        (9.0, (6.0, True, False)),  # back
    ],
)
def test_a_piece_that_meets_a_dropout_fails_ten_seconds_after_it_began(begun, expected):
    device = qpu("q", 20, 0.01, 1e-3).device
    world = World([(device, replace(CALM, slowness=1.5, dropouts=((5.0, 9.0),)))], 0, 0.0)
    assert world.fate(0, begun, 4.0, 1) == expected
    assert world.fate(0, 0.0, 5.0 / 1.5, 1) == (5.0, True, False), "done as it goes"


@pytest.mark.parametrize(("variants", "share"), [(6, 10.0 / 25.6), (1, 1.0)])
def test_a_failed_piece_costs_its_share_and_no_more_than_a_whole_one(variants, share):
    """Down at first: 10 s are lost of a piece of 25.6 s at 24, or of one of 5.1 s at 4."""
    device = qpu("q", 20, 0.001, 1e-3, price=1e-3).device
    scenario = _scenario([(device, replace(CALM, dropouts=((0.0, 1.0),)))], [work(0, variants=variants)])
    result = simulate_run(scenario, POLICIES["fastest"])
    assert result.failures == 1 and result.price == pytest.approx(4.0 * variants * (1.0 + share))
    assert result.makespan == pytest.approx(10.0 + 1.0 + 4.1 * variants) and result.qpu_busy == pytest.approx(1.0)


def test_an_overdue_piece_is_expected_to_take_another_twentieth():
    """Predicted to take 5.1 s, it takes three times as long; another device is done every 3 s and something."""
    late, other = qpu("late", 20, 0.01, 1e-3).device, cpu("c").device
    other = replace(other, speed=replace(other.speed, job=3.0))
    seen, free = [], []

    def both(works, pool, goal, /):
        seen.append(pool[0].state.busy)
        free.append(tuple(candidate.state.free_units for candidate in pool))
        return [(work, "c" if work.fragment else "late") for work in works]

    works = [work(f, variants=1) for f in range(5)]
    simulate_run(_scenario([(late, replace(CALM, slowness=3.0)), (other, CALM)], works), both)
    step = work_seconds(other, works[1])
    assert 3.0 < step < 3.5
    left = [busy for (busy,) in seen[1:]]
    assert seen[0] == () and left == pytest.approx([5.1 - step, 0.05 * 5.1, 0.05 * 5.1])
    assert free == [(1, 1), (0, 1), (0, 1), (0, 1)]


def test_without_work_a_run_takes_nothing():
    result = simulate_run(_scenario([(qpu("q", 20, 0.01, 1e-3).device, CALM)], []), POLICIES["balanced"])
    assert result == type(result)(0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, ())


def test_what_is_seen_is_off_by_the_same_for_an_hour():
    world = World([(qpu("q", 20, 0.01, 1e-3).device, Behaviour(wait=90.0))], 1, 1800.0)
    waits = [world.seen(0, now).wait for now in (0.0, 1799.0, 1801.0, 5399.0, 5401.0)]
    assert waits[0] == waits[1] != waits[2] == waits[3] != waits[4]


def test_waits_an_hour_apart_are_alike_and_those_of_four_hours_are_not():
    """White noise under a Gaussian of an hour's width: a correlation of exp(-t**2 / 4) after t hours, seeds 0 to 39.

    The mean over the day is taken out, and with it the mean of that over 24 hours.
    """
    device, found = qpu("q", 20, 0.01, 1e-3).device, []
    for seed in range(40):
        world = World([(device, Behaviour(wait=1.0, wait_spread=1.0))], seed, 0.0)
        level = np.log([world.wait(0, 300.0 * step) for step in range(288)]) + 0.5
        assert (level.mean(), level.std()) == pytest.approx((0.0, 1.0), abs=1e-9)
        found.append([(level * np.roll(level, 12 * hours)).mean() for hours in (1, 2, 4)])
    mean = math.sqrt(4 * math.pi) / 24
    assert np.mean(found, axis=0) == pytest.approx((np.exp([-1 / 4, -1, -4]) - mean) / (1 - mean), abs=0.07)


def test_waits_between_two_points_of_the_grid_are_their_weighted_geometric_mean():
    world = World([(qpu("q", 20, 0.01, 1e-3).device, Behaviour(wait=50.0, wait_spread=0.8))], 2, 0.0)
    low, high = (math.log(world.wait(0, time)) for time in (600.0, 900.0))
    for part in (0.25, 0.5, 0.9):
        assert math.log(world.wait(0, 600.0 + 300.0 * part)) == pytest.approx((1 - part) * low + part * high)
