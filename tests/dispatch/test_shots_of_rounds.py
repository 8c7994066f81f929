"""How many shots each round takes, what they cost, and that a resumed run takes no other ones."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from scheduler_policies import Goal, Price
from tasks import execute
from tasks.cutting import make_plan
from tasks.dispatch.driver import steps_of
from tasks.dispatch.errors import value_of
from tasks.dispatch.result_store import found_results
from tasks.dispatch.rounds import _affordable, _mean_price, first_round, shots_by_fragment
from tasks.execution.jobs import run_job, sampled_jobs, uniform_shots
from tasks.execution.pieces import Piece
from tasks.runs import RunDirectory, RunRecordError
from tasks.runtime import Failure, Outcome, Reason
from tasks.workflow import Options, RunError, run
from tests.dispatch.script import a_qpu, script
from tests.oracles import brickwork, random_problem
from tests.scheduler_policies.instances import work


@pytest.fixture
def problem():
    rng = np.random.default_rng(3)
    return random_problem(brickwork(8, 2, rng), rng)


@pytest.fixture
def plan(problem):
    return make_plan(problem, max_qubits=4, shots=60_000)


def test_a_first_round_leaves_shots_for_a_second_where_there_are_enough(plan):
    variants = sum(cost.variants for cost in plan.costs)
    for shots, taken, halves in (
        (None, 400 * variants, 2),
        (100 * variants, 25 * variants, 2),
        (100 * variants - 1, 100 * variants - 1, 1),
    ):
        found = first_round(plan, shots)
        assert sum(int(own.sum()) for own in found) == taken
        assert {own.shape[0] for own in found} == {halves}


def test_a_fragment_of_which_nothing_is_said_takes_no_shots_in_either_half(plan):
    variants = [cost.variants for cost in plan.costs]
    last = plan.fragments[-1].index
    found = shots_by_fragment(plan, {last: np.ones((2, variants[-1]), dtype=np.int64)})
    assert [own.shape for own in found] == [(2, count) for count in variants]
    assert [int(own.sum()) for own in found] == [0] * (len(variants) - 1) + [2 * variants[-1]]


def test_the_price_of_a_shot_is_that_of_the_devices_that_took_them():
    assert _mean_price({"A": 300, "free": 100}, {"A": 0.02}) == pytest.approx(0.015)
    assert _mean_price({}, {"A": 0.02}) == 0.0


def test_two_rounds_spend_all_shots_and_the_second_is_kept_for_a_resumed_run(problem, plan, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        run(problem, Options(max_qubits=4, shots=60_000, seed=2, cache="off"), directory)
        first, second = first_round(plan, 60_000), directory.results.shots_of_round(1)
        assert second is not None and directory.results.shots_of_round(2) is None
    spent = sum(int(own.sum()) for own in [*first, *second.values()])
    assert spent == pytest.approx(60_000, abs=sum(cost.variants for cost in plan.costs))


def test_a_resumed_run_uses_the_second_round_that_it_finds(problem, tmp_path):
    options = Options(max_qubits=4, shots=60_000, seed=2, cache="off")
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        first = run(problem, options, directory).estimates
    (directory.path / "round-1.npz").unlink()  # so that the first round's tensors are built once more
    with RunDirectory.open(directory.path) as again:
        assert run(problem, options, again).estimates == first


def test_results_that_only_some_tasks_could_store_are_all_stored(problem, tmp_path, monkeypatch):
    real, calls = execute.store_result, []

    def every_second(*arguments):
        calls.append(arguments)
        if len(calls) % 2:
            raise RunRecordError("there is no such folder here")
        return real(*arguments)

    monkeypatch.setattr(execute, "store_result", every_second)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        run(problem, Options(max_qubits=4, shots=1_000, seed=2, cache="off"), directory)
        assert {key for key, _ in directory.results.stored()} == set(directory.record["results"])
        covered = sum(entry["count"] for entry in directory.record["results"].values())
    assert covered == sum(cost.variants for cost in make_plan(problem, max_qubits=4, shots=1_000).costs)
    assert len(calls) > 1


def test_few_shots_are_spent_in_one_round(problem, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        run(problem, Options(max_qubits=4, shots=1_000, seed=2, cache="off"), directory)
        assert directory.results.shots_of_round(1) is None
        assert {entry["round"] for entry in directory.record["results"].values()} == {0}


@pytest.fixture
def job(plan):
    return sampled_jobs(plan, uniform_shots(plan, 60_000), 2)[0]


def stored(directory, job, **changed):
    piece = job.piece
    meta = {
        "device": "cpu", "digest": job.digest, "fragment": piece.fragment, "round": piece.round_index,
        "first": piece.first, "count": piece.count,
    }  # fmt: skip
    directory.results.store(job.key, run_job(job), {**meta, **changed})


def test_neighbours_that_share_no_shots_all_count(problem, job, tmp_path):
    count = len(job.variants)
    parts = [job.share(2, 2), job.share(4, count - 4), job.share(0, 2)]
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        for part in parts:
            stored(directory, part)
        found, todo = found_results([job], directory)
    assert sorted((done.piece.first, done.piece.count) for done, _ in found) == [(0, 2), (2, 2), (4, count - 4)]
    assert todo == [] and all(done.stored for done, _ in found)


def test_a_result_that_was_asked_for_in_other_words_does_not_count(problem, job, tmp_path):
    exact = job.as_exact()
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        directory.results.store(exact.key, run_job(exact), {"device": "cpu", "digest": "another"})
        stored(directory, job, digest="another")
        assert found_results([job], directory) == ([], [job.piece])
        directory.results.store(exact.key, run_job(exact), {"device": "cpu", "digest": exact.digest})
        ((done, _),), todo = found_results([job], directory)
    assert done.piece == job.piece.as_exact() and todo == []


def test_the_record_counts_every_task_once(problem, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        record = run(problem, Options(max_qubits=4, shots=60_000, seed=2, cache="off"), directory).record
    assert record["tasks"]["tasks"] >= 2 and record["tasks"]["mean_seconds"] > 0


def test_steps_and_values():
    assert [steps_of(Piece(0)), steps_of(Piece(0, 0, 0, (9, 9)))] == [1, 2]
    assert value_of(Outcome(value=3), "the plan") == 3
    for reason, words in ((Reason.REFUSED, "^no such gate$"), (Reason.KILLED, "^the plan: no such gate$")):
        with pytest.raises(RunError, match=words):
            value_of(Outcome(failure=Failure(reason, "no such gate")), "the plan")


@pytest.mark.parametrize("free", [True, False])
def test_a_round_that_the_money_left_does_not_hold_runs_on_what_is_free(plan, free):
    """A job of A costs more than is left, however few its shots; the policy takes A while there is any money."""
    devices = [replace(a_qpu("A"), price=Price(per_job=1.0, per_shot=0.001))] + [a_qpu("B")] * free

    def policy(works, pool, goal, /):
        return [(work, "A" if goal.budget > 0 or not free else "B") for work in works]

    told = []
    script_of_run = script(*devices, policy=policy, goal=Goal(1e9, 0.5), fragments=len(plan.fragments))
    script_of_run.state.pool.aim = 0.5
    record = SimpleNamespace(note=told.append)
    driver = SimpleNamespace(state=script_of_run.state, directory=SimpleNamespace(record=record))
    more = {f.index: np.full((2, c.variants), 9) for f, c in zip(plan.fragments, plan.costs, strict=True)}
    found = _affordable(plan, more, driver, 2, 1)
    assert all((found[index] == (shots if free else 0)).all() for index, shots in more.items())
    assert bool(told) is not free


@pytest.mark.parametrize("policy", ["balanced", "fastest"])
@pytest.mark.parametrize("job", [0.0, 100.0])
def test_only_what_the_money_left_does_not_hold_is_dropped(plan, job, policy):
    """One fragment fits no device but the one with a price: the others' shots cost nothing, or need not."""
    widest = max(plan.fragments, key=lambda fragment: fragment.num_qubits).index
    devices = [replace(a_qpu("A"), price=Price(per_job=job, per_shot=0.001)), replace(a_qpu("B"), qubits=10)]
    run = script(*devices, policy=policy, goal=Goal(1e9, 0.2), fragments=len(plan.fragments))
    run.state._works[widest] = work(widest, width=12)
    run.state.pool.aim = 0.2
    told = []
    driver = SimpleNamespace(state=run.state, directory=SimpleNamespace(record=SimpleNamespace(note=told.append)))
    more = {f.index: np.full((2, c.variants), 9) for f, c in zip(plan.fragments, plan.costs, strict=True)}
    found = _affordable(plan, more, driver, 2, 1)
    kept = {index: int(shots.sum()) / int(more[index].sum()) for index, shots in found.items()}
    assert (0 < kept.pop(widest) < 1) == (job == 0), kept
    assert set(kept.values()) == {1.0} or policy == "fastest", kept
    assert len(told) == 1 and "of round 2" in told[0]
