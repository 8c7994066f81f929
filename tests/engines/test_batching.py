"""Batches: every piece once, worth their overhead, balanced, and the same for the same input."""

from __future__ import annotations

import random

import pytest

from tasks.runtime.batching import LEAST_WORTH, batches, target_seconds, task_statistics


@pytest.mark.parametrize("seed", range(40))
def test_batches_hold_every_piece_once_and_are_worth_their_overhead(seed):
    generator = random.Random(seed)
    seconds = [generator.choice([0.0, 0.005, 0.2, 3.0]) * generator.random() for _ in range(generator.randint(1, 400))]
    overhead, workers = generator.choice([0.002, 0.015, 0.025]), generator.randint(1, 8)
    made = batches(seconds, overhead, workers)
    message = f"seed {seed}"
    assert sorted(piece for batch in made for piece in batch) == list(range(len(seconds))), message
    assert made == batches(list(seconds), overhead, workers), message
    loads = [sum(seconds[piece] for piece in batch) for batch in made]
    assert loads == sorted(loads, reverse=True), message
    # A batch is at most one longest piece from the mean, and the mean is worth the overhead.
    mean, longest = sum(loads) / len(loads), max(seconds)
    assert max(loads) <= mean + longest + 1e-9, message
    if sum(seconds) >= LEAST_WORTH * overhead:
        assert mean >= LEAST_WORTH * overhead - 1e-9, message
    else:
        assert len(made) == 1, message


def test_plenty_of_work_keeps_every_worker_busy_with_few_tasks():
    made = batches([0.005] * 2000, 0.025, 2)
    assert len(made) == 8
    assert {len(batch) for batch in made} == {250}


def test_with_plenty_of_work_each_worker_gets_four_tasks_of_at_most_five_seconds():
    assert target_seconds(16.0, 0.001, 2) == pytest.approx(16 / (2 * 4))
    assert target_seconds(1600.0, 0.001, 2) == 5


def test_little_work_still_keeps_every_worker_busy_where_a_share_is_worth_a_task():
    assert [len(batch) for batch in batches([0.01] * 24, 0.023, 2)] == [12, 12], "0.24 s: one task each"
    assert len(batches([0.01] * 8, 0.023, 2)) == 1, "0.08 s: a second task would cost more than half of its share"
    assert len(batches([0.01] * 35, 0.0065, 2)) % 2 == 0, "no last round with one batch"


def test_long_pieces_stay_alone():
    made = batches([5.0, 0.01, 0.01, 7.0], 0.02, 2)
    assert made[0] == (3,)
    assert not any({0, 3} <= set(batch) for batch in made)


def test_nothing_to_do():
    assert batches([], 0.02, 2) == []
    assert batches([0.0, 0.0], 0.02, 2) == [(0, 1)]


def test_statistics_for_the_record():
    found = task_statistics([1.0] * 8, 4.4, 2)
    assert (found.tasks, found.mean_seconds) == (8, 1.0)
    assert found.overhead_seconds == pytest.approx(0.1)
    assert found.overhead_share == pytest.approx(0.8 / 8.8)
    assert task_statistics([], 1.0, 2).overhead_share == 0.0
    assert task_statistics([2.0], 2.0, 8).overhead_share == 0.0
