"""The driver around the state: folders that are not shared, tasks that die on the way, results that overlap."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tasks.cutting import make_plan
from tasks.dispatch import driver as driver_module
from tasks.dispatch.result_store import found_results
from tasks.errors import QompassError
from tasks.execution.device_results import ExecutionOptions
from tasks.execution.jobs import run_job, sampled_jobs, uniform_shots
from tasks.execution.pieces import Done, Piece, Report, outcome_document, outcome_from
from tasks.runs import RunDirectory, RunRecordError
from tasks.runtime import Failure, Outcome, Reason
from tasks.workflow import Options, RunError, run
from tests.dispatch.script import a_qpu
from tests.oracles import brickwork, random_problem, uncut_values

OPTIONS = Options(max_qubits=4, shots=60_000, seed=2, cache="off")


@pytest.fixture
def problem():
    rng = np.random.default_rng(3)
    return random_problem(brickwork(8, 2, rng), rng)


@pytest.fixture
def expected(problem, tmp_path):
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        return run(problem, OPTIONS, directory).estimates


def test_where_tasks_do_not_see_the_folder_the_application_stores_and_says_so(problem, expected, tmp_path, monkeypatch):
    def unseen(*arguments):
        raise RunRecordError("there is no such folder here")

    monkeypatch.setattr("tasks.execute.store_result", unseen)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        found = run(problem, OPTIONS, directory)
        stored = dict(directory.results.stored())
    assert found.estimates == expected
    assert set(stored) == set(found.record["results"])
    assert [note for note in found.record["notes"] if "does not see the run's folder" in note]


def dying(monkeypatch, times):
    """Every fragment's tensor task is killed so many times."""
    import tasks.tensors

    build = tasks.tensors.tensor.function
    seen = {}

    def killed(fragment, *arguments):
        seen[fragment.index] = seen.get(fragment.index, 0) + 1
        if seen[fragment.index] <= times:
            return Outcome(failure=Failure(Reason.KILLED, "its process was ended by signal 9 (SIGKILL)"))
        return build(fragment, *arguments)

    monkeypatch.setattr(tasks.tensors.tensor, "function", killed)
    return seen


def test_a_tensor_whose_task_dies_is_built_again(problem, expected, tmp_path, monkeypatch):
    seen = dying(monkeypatch, 1)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        assert run(problem, OPTIONS, directory).estimates == expected
    assert min(seen.values()) >= 2


def test_a_tensor_whose_task_dies_always_ends_the_run_with_its_reason(problem, tmp_path, monkeypatch):
    dying(monkeypatch, 99)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        with pytest.raises(RunError, match=r"allocation of shots: needs a result that failed: its process was ended"):
            run(problem, OPTIONS, directory)


def test_a_task_whose_process_is_not_heard_of_any_more_is_done_again(problem, expected, tmp_path, monkeypatch):
    real, lost = driver_module.as_completed, []

    def losing(futures, *more):
        if not lost:
            lost.append(Outcome(failure=Failure(Reason.KILLED, "process 7 on a node: no sign of life for 60 s")))
            yield 0, lost[0]
        yield from real(futures, *more)

    monkeypatch.setattr(driver_module, "as_completed", losing)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        result = run(problem, OPTIONS, directory)
        log = (directory.path / "log.jsonl").read_text()
    assert result.estimates == expected
    assert lost and "no sign of life for 60 s; trying again" in log


def test_shots_that_two_stored_results_share_count_once(problem, tmp_path):
    """A task that died may have left a part of what was then cut anew and done again."""
    plan = make_plan(problem, max_qubits=4, shots=60_000)
    job = sampled_jobs(plan, uniform_shots(plan, 60_000), 2)[0]
    count = len(job.variants)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        for first, n in ((0, 4), (2, count - 2), (count - 1, 1)):
            part = job.share(first, n)
            meta = {
                "device": "cpu", "digest": part.digest, "fragment": job.fragment.index, "round": 0, "first": first,
                "count": n,
            }  # fmt: skip
            directory.results.store(part.key, run_job(part), meta)
        found, todo = found_results([job], directory)
    covered = sorted(k for done, _ in found for k in range(done.piece.first, done.piece.first + done.piece.count))
    missing = [k for piece in todo for k in range(piece.first, piece.first + piece.count)]
    assert len(covered) == len(set(covered)), "a variant's shots were counted twice"
    assert sorted(covered + missing) == list(range(count))


def test_a_report_comes_through_the_folder_as_it_was():
    done = (Done(Piece(3, 1, 2, (5, 6)), "key", {"device": "cpu"}, True), Done(Piece(1), "exact", {}, False))
    report = Report(done, ("a note",), "it broke", "", 0.5, {"hits": 2.0})
    failure = Failure(Reason.MEMORY, "too little", "traceback")
    for outcome in (Outcome(report, device="cpu", attempt=1, seconds=2.0), Outcome(failure=failure, device="A")):
        assert outcome_from(json.loads(json.dumps(outcome_document(outcome)))) == outcome


@pytest.mark.slow
def test_what_fails_on_the_way_is_placed_again_with_what_follows_from_it(problem, expected, tmp_path, monkeypatch):
    """On an engine, where the way to the values was submitted before the failure was known."""
    monkeypatch.setattr("tasks.prediction.spending.INLINE_S", -1.0)
    real, seen = driver_module.Driver._limits, []

    def once(self, submit):
        from tasks.runtime import limits

        seen.append(submit.attempt)
        return limits(seconds=1e-9) if len(seen) == 1 else real(self, submit)

    monkeypatch.setattr(driver_module.Driver, "_limits", once)
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        found = run(problem, OPTIONS, directory)
    assert 1 in seen, "nothing failed"
    for one, other in zip(found.estimates, expected, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-12)
        assert one.std_error == pytest.approx(other.std_error, rel=1e-9)
    assert np.abs([e.value for e in found.estimates] - uncut_values(problem)).max() < 0.1


@pytest.mark.parametrize(("due", "measured"), [({}, True), ({"A": 16_384}, False), (QompassError("no answer"), True)])
def test_a_killed_task_has_measured_the_readout_that_is_due_no_longer_or_cannot_be_asked_for(
    due, measured, monkeypatch
):
    asked = []

    def of(devices, mitigation):
        asked.append((devices, mitigation))
        if isinstance(due, QompassError):
            raise due
        return due

    monkeypatch.setattr(driver_module, "readouts_due", of)
    driver = SimpleNamespace(_options=ExecutionOptions(mitigation="readout"))
    assert driver_module.Driver._measured(driver, a_qpu("A")) is measured
    assert asked == [([a_qpu("A")], "readout")]
