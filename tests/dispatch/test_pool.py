"""What the application knows of its devices: who else could take a piece, and that a trial is one job."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from scheduler_policies import Device, DeviceState, Goal, Kind
from tasks.dispatch.pool import LAST_RESORT, Pool
from tests.scheduler_policies.instances import qpu, work


def two_qpus():
    return [replace(qpu(name, 20, 0.01, 1e-3).device, name=name) for name in ("A", "B")]


def test_a_piece_can_go_elsewhere_only_where_another_device_in_use_takes_it():
    pool = Pool(two_qpus(), "fastest", Goal())
    piece = work(0)
    assert pool.elsewhere("A", piece)
    assert not pool.elsewhere("A", replace(piece, avoid=("B",)))
    assert not pool.elsewhere("A", replace(piece, width=21)), "the simulator of last resort does not count"
    for _ in range(pool.rules.failures):
        pool.failed("B")
    assert not pool.elsewhere("A", piece), "B rests"
    assert not Pool(two_qpus()[:1], "fastest", Goal()).elsewhere("A", piece)
    assert Pool([*two_qpus()[:1], Device("cpu", Kind.CPU)], "fastest", Goal()).elsewhere("A", piece)


def test_a_device_that_comes_back_gets_one_small_job_until_that_is_done(monkeypatch):
    pool = Pool(two_qpus(), "fastest", Goal())
    now = time.monotonic()
    for _ in range(pool.rules.failures):
        pool.failed("A")
    monkeypatch.setattr("tasks.dispatch.pool.time.monotonic", lambda: now + 10 * pool.rules.rest)
    works = [work(f, variants=6) for f in range(2)]

    def on(name):
        return [p.work for p in pool.place(works).placements if p.device == name]

    (trial,) = on("A")
    assert trial.variants == 1
    launch = pool.launched("A")
    assert on("A") == [] and sum(w.variants for w in on("B")) == 12
    pool.landed("A", launch)
    pool.succeeded("A", trial, 1.0)
    assert sum(w.variants for w in on("A")) > 1, "the trial is passed"


def test_the_last_resort_is_there_only_where_nothing_simulates():
    assert LAST_RESORT in Pool(two_qpus(), "fastest", Goal()).devices
    assert LAST_RESORT not in Pool([*two_qpus(), Device("cpu", Kind.CPU)], "fastest", Goal()).devices


@pytest.mark.parametrize("name", ["balanced", "availability"])
def test_a_state_is_what_was_seen_at_the_last_placement(name):
    waits = iter([0.0, 50.0])
    pool = Pool(two_qpus()[:1], name, Goal(), refresh=lambda device: DeviceState(expected_wait=next(waits)))
    for wait in (0.0, 50.0):
        pool.place([work(0)])
        assert pool.state("A").expected_wait == wait


def test_money_is_spent_from_the_launch_on_and_not_for_what_the_cache_gave(monkeypatch):
    spent = []
    monkeypatch.setattr("tasks.dispatch.pool.place", lambda *arguments: spent.append(arguments[-1].price))
    pool = Pool([qpu("A", 20, 0.01, 1e-3, price=0.01).device], "balanced", Goal(None, 1000.0))
    piece = work(0)
    each = 0.01 * piece.variants * piece.shots
    first = pool.launched("A", [piece, piece])
    second = pool.launched("A", [piece])
    pool.place([piece])
    pool.landed("A", first)
    pool.done("A", piece, paid=True)
    pool.done("A", piece, paid=False)
    pool.place([piece])
    pool.landed("A", second)  # it failed: nothing is known to be paid
    pool.paid("A", piece)
    pool.paid("gone", piece)
    pool.place([piece])
    assert spent == pytest.approx([3 * each, 2 * each, 2 * each])
