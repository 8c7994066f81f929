"""What a run has spent, what it knows of its devices, and how pieces become tasks: against hand-made numbers."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest

from scheduler_policies import CPU_SPEED, DeviceLimits, DeviceState, Goal, work_price
from scheduler_policies.cost import squared_error
from tasks.dispatch import pool as pool_module
from tasks.dispatch.batches import JOBS_A_TASK, tasks_of
from tasks.dispatch.pool import LAST_RESORT, Pool, work_of
from tasks.execution.pieces import Piece
from tests.dispatch.script import CPU, a_qpu
from tests.scheduler_policies.instances import work


@pytest.fixture
def asked(monkeypatch):
    """What the placement is told: (goal, spent) of each call."""
    calls = []
    monkeypatch.setattr(
        pool_module,
        "place",
        lambda policy, works, candidates, goal, now, resort, spent, aim: calls.append((goal, spent)),
    )
    return calls


def test_error_and_price_of_what_is_done_add_up(asked):
    device = a_qpu("A", price=0.01)
    pool = Pool([device, CPU], None, Goal(max_error=0.5))
    one = work(0)
    price, error = work_price(device, one), squared_error(device, DeviceState(free_units=1), one)
    pool.submitted(7, "A", 2 * price)
    pool.place([one], 0.0)
    pool.done("A", one)
    pool.done("A", one)
    pool.pay(price)
    pool.ended(7, "A")
    pool.place([one], 0.0)
    assert price > 0 and error > 0
    assert [spent.price for _, spent in asked] == pytest.approx([2 * price, price])
    assert [spent.error for _, spent in asked] == pytest.approx([0.0, sqrt(2 * error)])


def test_the_simulator_of_last_resort_is_as_fast_as_a_typical_one():
    resort = Pool([a_qpu("A")], None, Goal()).devices[LAST_RESORT]
    assert resort.exact and resort.speed == CPU_SPEED


def test_the_error_bound_is_the_users_or_that_of_the_first_works(asked):
    given = Pool([a_qpu("A"), CPU], None, Goal(max_error=0.5))
    given.place([work(0)], 0.0)
    assert asked.pop()[0].max_error == 0.5
    free = Pool([a_qpu("A"), CPU], None, Goal())
    for works in ([work(0), work(1), work(2)], [replace(work(0), weight=10.0)]):
        free.place(works, 0.0)
    (first, _), (second, _) = asked
    assert first.max_error is not None and first.max_error == second.max_error


def test_a_device_set_aside_twice_rests_until_the_later_time():
    pool = Pool([a_qpu("A"), CPU], None, Goal())
    for read, known in ((100.0, 100.0), (50.0, 100.0), (None, 100.0), (200.0, 200.0)):
        pool.seen({"A": DeviceState(set_aside_until=read)})
        assert pool.state("A").set_aside_until == known


def test_a_device_whose_rest_ends_now_takes_work_now():
    pool = Pool([a_qpu("A"), a_qpu("B")], None, Goal())
    assert pool.elsewhere("A", work(0), 0.0), "B was never set aside"
    pool.seen({"B": DeviceState(set_aside_until=10.0)})
    assert [pool.elsewhere("A", work(0), now) for now in (9.0, 10.0)] == [False, True]


def test_what_a_policy_is_told_of_a_piece():
    whole = work(3, variants=6, weight=0.1)
    piece = Piece(3, 0, 2, (100, 200, 301))
    found = work_of(piece, whole, 2.0, ["A"])
    assert (found.variants, found.first, found.shots, found.whole, found.avoid) == (3, 2, 201, False, ("A",))
    assert found.weight == pytest.approx(2.0 * 0.1 * sqrt(0.5))
    assert work_of(Piece(3, 0, 0, (0, 1)), whole, 1.0).shots == 1
    for all_of_it, counted, exact in (
        (Piece(3, 0, 0, (9,) * 6), False, True),
        (Piece(3, 0, 0, (9,) * 6), True, False),
        (Piece(3), True, True),
    ):
        told = work_of(all_of_it, whole, 1.0, counted=counted)
        assert told.whole is exact and told.variants == 6


@pytest.mark.parametrize(
    ("sizes", "tasks"), [([10, 10], [20]), ([6, 6, 6, 6], [18, 6]), ([45], [15, 15, 15]), ([20, 1], [20, 1])]
)
def test_a_task_on_a_qpu_fills_a_few_jobs_and_loses_nothing(sizes, tasks):
    device = replace(a_qpu("A"), limits=DeviceLimits(circuits_per_job=20 // JOBS_A_TASK))
    placed = [(device, Piece(fragment, 0, 0, (9,) * size)) for fragment, size in enumerate(sizes)]
    made = [batch for _, batch in tasks_of(placed, lambda piece: 1.0, 0.01)]
    assert [sum(piece.count for piece in batch) for batch in made] == tasks
    done = sorted((piece.fragment, piece.first + k) for batch in made for piece in batch for k in range(piece.count))
    assert done == [(fragment, k) for fragment, size in enumerate(sizes) for k in range(size)]


@pytest.mark.parametrize(("again", "in_parts"), [(1e-4, True), (0.15, False)])
def test_a_simulator_gets_a_piece_in_parts_where_drawing_takes_longer_than_simulating(again, in_parts):
    piece = Piece(0, 0, 0, (9,) * 64)
    made = list(tasks_of([(CPU, piece)], lambda part: again + 0.004 * (part.count - 1), 0.0065))
    assert sum(part.count for _, batch in made for part in batch) == 64
    assert (len(made) > 1) is in_parts, made
