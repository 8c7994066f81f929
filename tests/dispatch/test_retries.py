"""How often, where and with what a piece is tried again, and what is learned of the devices on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler_policies import DeviceState
from tasks.dispatch.instructions import GiveUp, Look
from tasks.dispatch.pool import LAST_RESORT
from tasks.execution.pieces import Done, Piece, Report
from tasks.runtime.outcome import Failure, Outcome, Reason
from tests.dispatch.script import CPU, a_qpu, counts, script
from tests.dispatch.test_state import everything_on, variants


def tried(run, end):
    """The devices that a piece is tried on, if ``end`` ends every task."""
    names = []
    while not run.all(GiveUp):
        (submit,) = run.place()
        names.append(submit.device.name)
        end(submit.number, names[-1])
    return names


def test_every_device_is_tried_twice_before_the_next_one():
    run = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"))
    run.state.ask([counts(0)])
    names = tried(run, lambda number, _: run.fail(number))
    assert names == ["A", "A", "B", "B", LAST_RESORT, LAST_RESORT]


def test_a_piece_that_is_never_whole_is_tried_six_times_and_on_one_device_twice():
    """Tasks that come back with a part of their work missing, instead of dying."""
    lost = Report(failure="a job was lost")
    for devices, most in (([a_qpu(name) for name in "ABCDE"], 6), ([CPU], 2)):
        run = script(*devices)
        run.state.ask([counts(0)])
        names = tried(run, lambda number, name, run=run: run.end(number, Outcome(lost, device=name, seconds=1.0)))
        assert len(names) == most, names


def test_what_one_simulator_refuses_is_not_asked_of_another():
    run = script(CPU, replace(CPU, name="cpu2"), policy=everything_on("cpu"))
    run.state.ask([counts(0)])
    run.fail(run.place()[0].number, Reason.REFUSED)
    assert run.all(GiveUp)


def test_an_exact_piece_stays_with_the_simulators():
    run = script(CPU, a_qpu("A"), policy=everything_on("cpu"))
    run.state.ask([counts(0)])
    for _ in range(2):
        (submit,) = run.place()
        assert submit.device.name == "cpu" and submit.pieces == (Piece(0),)
        run.fail(submit.number)
    assert run.all(GiveUp), "a QPU has no exact numbers"


def test_what_fails_or_leaves_while_other_pieces_wait_joins_them():
    run = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"))
    for round_index, end in enumerate((run.fail, run.leave)):
        wanted = [counts(0, round_index=round_index), counts(1, round_index=round_index)]
        submits = []
        for piece in wanted:
            run.state.ask([piece])
            submits += run.place()
        for submit in submits:
            end(submit.number)
        again = run.place()
        assert variants(piece for submit in again for piece in submit.pieces) == variants(wanted)
        for submit in again:
            run.succeed(submit.number)
    run.state.ask([counts(2)])
    run.state.ask([counts(3)])
    assert variants(p for submit in run.place() for p in submit.pieces) == variants([counts(2), counts(3)])


def test_two_missing_parts_of_a_piece_are_each_done_once():
    run = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"))
    run.state.ask([counts(0)])
    (first,) = run.place()
    middle = (Done(counts(0).share(2, 2), "middle", {}, True),)
    run.end(first.number, Outcome(Report(middle, failure="jobs were lost"), device="A", seconds=1.0))
    again = [piece for submit in run.place() for piece in submit.pieces]
    assert variants(again) == [(0, 0, k) for k in (0, 1, 4, 5)]
    assert sorted(piece.first for piece in again) == [0, 4]


def test_shots_add_up_over_rounds_and_processes():
    run = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"))
    run.state.recall(Done(counts(0), "", {}, True), "A")
    run.state.ask([counts(0, round_index=1)])
    run.succeed(run.place()[0].number)
    assert run.state.shots_of(0) == {"A": 1200}


def test_a_task_is_as_often_tried_as_the_worst_of_its_pieces():
    run = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"))
    run.state.ask([counts(0)])
    run.fail(run.place()[0].number)
    run.state.ask([counts(1)])
    (both,) = run.place()
    assert len(both.pieces) == 2 and both.attempt == 1


@pytest.mark.parametrize(("policy", "late"), [("availability", [True, False]), ("round_robin", [False, False])])
def test_the_engine_binds_late_at_the_first_try_and_with_one_policy_only(policy, late):
    run = script(CPU, a_qpu("A"), policy=policy)
    run.state.ask([counts(0)])
    for expected in late:
        (submit,) = run.place()
        assert submit.late == expected
        run.fail(submit.number)


@pytest.mark.parametrize(
    ("metas", "left", "learned"),
    [
        ([{}, {}], "", [10.0, 10.0]),
        ([{}, {"cache": "hit"}], "", [0.0, 0.0]),
        ([{}], "its queue grew", [0.0]),
    ],
)
def test_pace_is_learned_from_the_work_alone(monkeypatch, metas, left, learned):
    """Not from waiting, nor from what was found in the cache, nor from a task that left a part undone."""
    run = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"))
    run.state.ask([counts(0), counts(1)])
    (submit,) = run.place()
    seen = []
    monkeypatch.setattr(run.state.pool, "succeeded", lambda name, work, seconds: seen.append(seconds))
    done = tuple(Done(p, str(p.key), meta, True) for p, meta in zip(submit.pieces, metas, strict=False))
    run.end(submit.number, Outcome(Report(done, left=left, waited=1.0), device="A", seconds=21.0))
    assert seen == learned


@pytest.mark.parametrize(("until", "seconds"), [(102.0, 2.0), (100.01, 0.1), (1000.0, 5.0)])
def test_a_device_that_is_set_aside_is_looked_at_when_it_comes_back(until, seconds):
    run = script(a_qpu("A"), replace(CPU, memory_bytes=16))
    run.now = 100.0
    run.state.ask([counts(0)])
    run.place(A=DeviceState(set_aside_until=until))
    assert run.all(Look) == [Look(pytest.approx(seconds))]


def test_the_reason_of_the_last_failure_is_kept_by_device():
    run = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"))
    run.state.ask([counts(0)])
    (submit,) = run.place()
    run.end(submit.number, Outcome(failure=Failure(Reason.SYSTEM, "the disk is full"), device="A", seconds=1.0))
    assert run.state.trouble == {"A": "the disk is full"}
