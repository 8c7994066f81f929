"""The state machine of a run, by script: failures in any order, moves, money, devices set aside, and the end."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from scheduler_policies import DeviceState, Goal
from tasks.dispatch import state as state_module
from tasks.dispatch.instructions import GiveUp, Look, Move, Submit, Warn
from tasks.dispatch.pool import LAST_RESORT
from tasks.execution.pieces import Done, Piece, Report
from tasks.runtime.outcome import Failure, Outcome, Reason
from tests.dispatch.script import CPU, a_qpu, counts, script


def variants(pieces):
    return sorted((p.fragment, p.round_index, p.first + k) for p in pieces for k in range(p.count))


def everything_on(name):
    """A policy that knows one device while it is in use, and takes the first that fits otherwise."""

    def policy(works, pool, goal, /):
        def chosen(work):
            usable = [c.device.name for c in pool if c.device.name not in work.avoid]
            return name if name in usable else usable[0]

        return [(work, chosen(work)) for work in works]

    return policy


@pytest.mark.parametrize("seed", range(60))
def test_whatever_fails_in_whatever_order_every_variant_is_done_once_or_the_run_gives_up(seed):
    rng = random.Random(seed)
    devices = rng.choice([[CPU], [CPU, a_qpu("A")], [a_qpu("A"), a_qpu("B")], [CPU, a_qpu("A"), a_qpu("B")]])
    run = script(*devices, policy=rng.choice(["fastest", "round_robin", "balanced", "availability"]))
    asked = [counts(fragment) for fragment in range(4)]
    run.state.ask(asked)
    done = []
    for _ in range(2000):
        run.place()
        if run.state.idle or run.all(GiveUp):
            break
        run.now += 30.0
        if not run.running:
            continue
        number = rng.choice(list(run.running))
        pieces = run.running[number].pieces
        act = rng.choice(["succeed", "succeed", "succeed", "fail", "part", "leave"])
        if act == "succeed":
            done += pieces
            run.succeed(number)
        elif act == "fail":
            run.fail(number, rng.choice([Reason.KILLED, Reason.TIME, Reason.MEMORY, Reason.RAISED]))
        elif run.running[number].device.exact:
            continue
        else:
            kept = [piece.share(piece.first, rng.randint(0, piece.count)) for piece in pieces]
            kept = [piece for piece in kept if piece.count]
            done += kept
            notes = tuple(Done(piece, str(piece.key), {}, True) for piece in kept)
            why = {"failure": "a job was lost"} if act == "part" else {"left": "its queue grew"}
            run.end(number, Outcome(Report(notes, **why), device=run.running[number].device.name, seconds=1.0))
    if run.all(GiveUp):
        return
    exact = {piece.fragment for piece in done if piece.exact}
    assert run.state.idle, f"seed {seed}"
    assert variants(done) == variants(piece for piece in asked if piece.fragment not in exact), f"seed {seed}"
    assert sorted(piece.fragment for piece in done if piece.exact) == sorted(exact), f"seed {seed}"


def test_a_piece_is_tried_twice_on_a_device_and_the_user_reads_why():
    run = script(CPU)
    run.state.ask([counts(2)])
    (first,) = run.place()
    assert first.attempt == 0
    run.fail(first.number)
    (second,) = run.place()
    assert second.attempt == 1 and variants(second.pieces) == variants([counts(2)])
    run.fail(second.number)
    (end,) = run.all(GiveUp)
    assert end.text == "fragment 2: it broke (device cpu, try 2)"
    assert [one.text for one in run.all(Warn)] == ["fragment 2 on cpu: it broke; trying again"]


@pytest.mark.parametrize("reason", [Reason.CANCELLED, Reason.REFUSED])
def test_what_is_cancelled_or_refused_by_a_simulator_is_not_tried_again(reason):
    run = script(CPU, a_qpu("A"), policy=everything_on("cpu"))
    run.state.ask([counts(0)])
    (only,) = run.place()
    run.fail(only.number, reason)
    assert run.all(GiveUp) and run.state.idle


def test_what_a_qpu_refuses_goes_elsewhere_and_never_there_again():
    run = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"))
    run.state.ask([counts(0)])
    (first,) = run.place()
    assert first.device.name == "A"
    run.fail(first.number, Reason.REFUSED)
    (second,) = run.place()
    assert second.device.name == "B"
    assert run.all(Move) == [Move(counts(0), "A", "B", "it broke")]
    run.succeed(second.number)
    run.state.ask([counts(0, round_index=1)])
    assert [submit.device.name for submit in run.place()] == ["B"], "nor in a later round"


def test_pieces_leave_queues_only_so_often():
    """A policy that is blind to queues sends every piece back; in the end it stays where it is."""
    run = script(a_qpu("A"), a_qpu("B"), policy="round_robin", fragments=1)
    run.state.ask([counts(0)])
    moves = 0
    while True:
        (submit,) = run.place()
        if submit.placed is None:
            break
        run.leave(submit.number)
        moves += 1
        assert moves <= run.state.pool.rules.moves, "it would never start"
    assert moves == run.state.pool.rules.moves
    assert len(run.all(Move)) == moves and submit.attempt == 0, "to leave is not to fail"
    run.succeed(submit.number)
    assert run.state.idle


def test_what_was_done_before_a_piece_left_is_not_done_again():
    run = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"))
    run.state.ask([counts(0)])
    (first,) = run.place()
    assert run.leave(first.number, done=2)[-1] == Warn("fragment 0 leaves A: its queue grew")
    (second,) = run.place()
    assert second.device.name == "B" and variants(second.pieces) == [(0, 0, k) for k in range(2, 6)]
    assert run.state.shots_of(0) == {"A": 200}


def test_a_lone_qpu_is_not_left_for_the_simulator_of_last_resort():
    run = script(a_qpu("A"))
    run.state.ask([counts(0)])
    (submit,) = run.place()
    assert submit.placed is None
    assert LAST_RESORT in run.state.pool.devices and LAST_RESORT not in script(CPU, a_qpu("A")).state.pool.devices


def test_a_device_that_fails_is_set_aside_and_comes_back_with_one_small_piece():
    run = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"), fragments=8)
    for fragment in range(run.state.pool.rules.failures):
        run.state.ask([counts(fragment)])
        (submit,) = run.place()
        assert submit.device.name == "A"
        run.fail(submit.number)
        (other,) = run.place() if fragment == 2 else [None]
        if other is None:
            run.state._todo.clear()
        else:
            assert other.device.name == "B", "A is set aside"
    run.now += 2 * run.state.pool.rules.rest
    run.state.ask([counts(5), counts(6)])
    on_a = [submit for submit in run.place() if submit.device.name == "A"]
    assert [variants(submit.pieces) for submit in on_a] == [[(5, 0, 0)]], "a trial is one variant"
    run.state.ask([counts(7)])
    assert {submit.device.name for submit in run.place()} == {"B"}, "its trial is still in work"
    run.succeed(on_a[0].number)
    run.state.ask([counts(4)])
    assert {submit.device.name for submit in run.place()} == {"A"}, "the trial is passed"


def test_where_every_device_is_set_aside_it_is_waited_for_and_not_for_ever():
    small = replace(CPU, memory_bytes=16)
    run = script(a_qpu("A"), a_qpu("B"), small, fragments=1)
    run.state.ask([counts(0)])
    away = {name: DeviceState(set_aside_until=1e9) for name in "AB"}
    assert run.place(**away) == []
    assert [type(one) for one in run.told] == [Warn, Look] and run.told[1] == Look(5.0)
    run.now += state_module.LONGEST_WAIT_S
    run.place(**away)
    assert isinstance(run.told[-1], Look)
    run.now += 1.0
    run.place(**away)
    assert isinstance(run.told[-1], GiveUp) and "came back within 600 s" in run.told[-1].text
    assert len(run.all(Warn)) == 1, "it is said once"


def test_a_piece_that_fits_nowhere_ends_the_run():
    run = script(replace(a_qpu("A"), qubits=3), replace(CPU, memory_bytes=16))
    run.state.ask([counts(0)])
    assert run.place() == [] and "fragment 0 (10 qubits) fits no device" in run.all(GiveUp)[0].text


def test_money_is_spent_from_submission_on_and_not_for_what_the_cache_gave():
    """Two rounds; a budget for one and a half sends what is left to the simulator, unless the cache paid the first."""
    each = 6 * 100 * 0.01
    for cache, second in (("", "cpu"), ("hit", "A")):
        run = script(a_qpu("A", price=0.01), CPU, policy=cheapest_within("A"), goal=Goal(1e9, 1.5 * each))
        run.state.ask([counts(0)])
        (first,) = run.place()
        assert first.device.name == "A"
        run.state.ask([counts(1)])
        (while_it_runs,) = run.place()
        assert while_it_runs.device.name == "cpu", "what is promised counts as spent"
        run.succeed(first.number, **({"cache": cache} if cache else {}))
        run.state.ask([counts(2)])
        assert [submit.device.name for submit in run.place()] == [second]


def test_readout_that_a_failed_task_measured_is_paid():
    run = script(a_qpu("A", price=0.01), CPU, policy=everything_on("A"), goal=Goal(1e9, 1000.0))
    run.state.ask([counts(0)])
    (first,) = run.place()
    run.end(first.number, Outcome(Report(failure="it broke", readout_shots=200), device="A", seconds=1.0))
    assert run.state.pool.price == run.state.pool.readout_price == pytest.approx(2.0)


@pytest.mark.parametrize("measured", [False, True])
def test_readout_that_a_killed_task_was_to_measure_is_paid_or_due_again(measured):
    run = script(a_qpu("A", price=0.01), policy=everything_on("A"), goal=Goal(1e9, 1000.0), readouts={"A": 200})
    run.state.ask([counts(0)])
    (first,) = run.place()
    each = 6 * 100 * 0.01
    assert run.state.pool.committed == pytest.approx(each + 2.0) and run.state.pool.measures(first.number)
    killed = Outcome(failure=Failure(Reason.KILLED, "it broke"), device="A", seconds=1.0)
    run.told += run.state.end(first.number, killed, run.now, measured=measured)
    assert run.state.pool.price == run.state.pool.readout_price == pytest.approx(2.0 if measured else 0.0)
    (second,) = run.place()
    assert run.state.pool.committed == pytest.approx(each + 2.0), "paid or promised"
    assert run.state.pool.measures(second.number) is not measured
    run.succeed(second.number)
    (third,) = run.state.ask([counts(1)]) or run.place()
    assert run.state.pool.committed == pytest.approx(2 * each + (2.0 if measured else 0.0)), "found, if it is not told"
    run.state.end(third.number, killed, run.now, measured=False)
    assert run.state.pool.committed == pytest.approx(each + (2.0 if measured else 0.0))


def test_what_a_killed_task_had_paid_is_counted_when_the_cache_has_it():
    run = script(a_qpu("A", price=0.01), policy=everything_on("A"), goal=Goal(1e9, 1000.0))
    run.state.ask([counts(0)])
    (first,) = run.place()
    run.end(first.number, Outcome(failure=Failure(Reason.KILLED, "it broke"), device="A", seconds=1.0))
    assert run.state.pool.price == 0.0, "it is not known yet"
    (second,) = run.place()
    run.succeed(second.number, cache="hit")
    assert run.state.pool.price == pytest.approx(6 * 100 * 0.01)
    run.state.ask([counts(1)])
    (third,) = run.place()
    run.succeed(third.number, cache="hit")
    assert run.state.pool.price == pytest.approx(6 * 100 * 0.01), "what nobody died of was paid by others"


def cheapest_within(name):
    """A device while the budget allows it, else whatever costs nothing."""

    def policy(works, pool, goal, /):
        from scheduler_policies import work_price

        chosen = []
        left = goal.budget
        for work in works:
            device = next(c.device for c in pool if c.device.name == name)
            price = work_price(device, work)
            chosen.append((work, name if price <= left else "cpu"))
            left -= price if price <= left else 0.0
        return chosen

    return policy


def test_what_an_earlier_process_paid_is_paid_and_its_counts_stay_counts():
    each = 6 * 100 * 0.01
    run = script(a_qpu("A", price=0.01), CPU, policy=cheapest_within("A"), goal=Goal(1e9, 1.5 * each))
    run.state.recall(Done(counts(0), "", {}, True), "A")
    run.state.recall(Done(counts(1), "", {}, True), "gone")
    run.state.ask([counts(0, round_index=1)])
    (submit,) = run.place()
    assert submit.device.name == "cpu", "the budget is gone"
    assert submit.pieces == (counts(0, round_index=1),), "a fragment with counts stays sampled"
    run.state.ask([counts(2)])
    (fresh,) = run.place()
    assert fresh.pieces == (Piece(2),), "a simulator beside QPUs does a fragment without counts exactly"


def test_a_qpu_gets_pieces_in_few_tasks_and_a_cpu_as_many_as_it_has_units():
    few = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"), seconds=0.05)
    few.state.ask([counts(0), counts(1)])
    assert [len(submit.pieces) for submit in few.place()] == [2]
    lone = script(CPU, seconds=0.005, fragments=1)
    lone.state.ask([counts(0)])
    submits = lone.place()
    assert len(submits) > 1, "one fragment keeps both units busy"
    assert variants(piece for submit in submits for piece in submit.pieces) == variants([counts(0)])


def test_a_run_that_fails_too_often_ends_whatever_its_pieces_say(monkeypatch):
    monkeypatch.setattr(state_module, "MOST_FAILURES", 3)
    run = script(CPU, fragments=8)
    for fragment in range(4):
        run.state.ask([counts(fragment)])
        submit = run.place()[-1]
        run.fail(submit.number)
        run.state._todo.clear()
    assert [one.text[:10] for one in run.all(GiveUp)] == ["fragment 3"]


def test_an_engine_that_bound_late_says_where_a_piece_ran():
    run = script(CPU, a_qpu("A"), policy="availability")
    run.state.ask([counts(0)])
    (submit,) = run.place()
    assert isinstance(submit, Submit) and submit.late
    done = tuple(Done(piece, str(piece.key), {}, True) for piece in submit.pieces)
    run.end(submit.number, Outcome(Report(done), device="cpu", seconds=0.5))
    assert run.state.idle


def test_a_device_that_learned_its_pace_keeps_it_when_it_is_seen_anew():
    run = script(a_qpu("A"), a_qpu("B"), policy=everything_on("A"))
    run.state.ask([counts(0)])
    (submit,) = run.place()
    run.end(submit.number, Outcome(failure=Failure(Reason.KILLED, "it broke"), device="A", seconds=1.0))
    run.place(A=DeviceState(expected_wait=50.0))
    seen = run.state.pool.state("A")
    assert (seen.expected_wait, seen.consecutive_failures) == (50.0, 1)
