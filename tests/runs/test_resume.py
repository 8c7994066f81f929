"""What a resumed run finds, and that whatever goes wrong leaves it as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.errors import InputError
from tasks.inputs.validation import make_problem
from tasks.runs import RunDirectory, RunRecord, RunRecordError, directory, read_record
from tasks.runs.results import file_name, store_result


@pytest.fixture
def problem():
    return make_problem(QuantumCircuit(2), ["Z0", "Z0 Z1", "X1"])


@pytest.fixture
def left(tmp_path, problem):
    """A run that was interrupted before its first result."""
    with pytest.raises(KeyboardInterrupt), RunDirectory.create(tmp_path / "runs", {}, problem) as made:
        raise KeyboardInterrupt
    return made.path


def test_a_resumed_run_that_fails_is_kept_and_a_further_try_forgets_why(left):
    with pytest.raises(InputError), RunDirectory.open(left):
        raise InputError("no such device")
    assert read_record(left)["status"] == "failed" and "no such device" in read_record(left)["error"]
    with RunDirectory.open(left) as again:
        assert again.record["status"] == "running" and again.record["error"] is None
    assert read_record(left)["status"] == "done"


def test_what_a_run_says_at_its_end_is_not_said_again_by_leaving(left):
    with RunDirectory.open(left) as run:
        run.finish("failed", error="so")
    assert (read_record(left)["status"], read_record(left)["error"]) == ("failed", "so")


def test_a_folder_that_cannot_be_cleared_is_not_held(left, monkeypatch):
    def fails(path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(directory, "_remove_unfinished", fails)
    with pytest.raises(RunRecordError, match="Read-only file system"):
        RunDirectory.open(left)
    monkeypatch.undo()
    RunDirectory.open(left).close()


def test_a_run_whose_inputs_cannot_be_stored_leaves_nothing(tmp_path, problem, monkeypatch):
    def fails(self, problem):
        raise RunRecordError("the disk is full")

    monkeypatch.setattr(RunDirectory, "_store_problem", fails)
    with pytest.raises(RunRecordError, match="the disk is full"):
        RunDirectory.create(tmp_path, {}, problem)
    assert list(tmp_path.iterdir()) == []


def test_a_launcher_reads_which_run_it_is(tmp_path, problem, monkeypatch):
    monkeypatch.setenv("QOMPASS_RUN_NOTE", str(tmp_path / "note"))
    with RunDirectory.create(tmp_path / "runs", {}, problem) as run:
        assert (tmp_path / "note").read_text() == str(run.path)
    (tmp_path / "note").unlink()
    with RunDirectory.open(run.path):
        assert (tmp_path / "note").read_text() == str(run.path)


def test_a_round_is_only_that_of_the_same_rounds_before(left):
    shots = {0: np.array([[1, 2], [3, 4]]), 3: np.zeros((2, 1), dtype=np.int64)}
    with RunDirectory.open(left) as run:
        run.results.store_round(1, "asked", shots)
        assert run.results.load_round(1, "other") is None and run.results.load_round(2, "asked") is None
        for found in (run.results.load_round(1, "asked"), run.results.shots_of_round(1)):
            assert found is not None and found.keys() == {0, 3}
            assert all(np.array_equal(found[fragment], shots[fragment]) for fragment in shots)
        path = run.path / "round-1.npz"
        path.write_bytes(path.read_bytes()[:-40])
        assert run.results.load_round(1, "asked") is None and run.results.shots_of_round(1) is None


def test_a_result_that_the_record_does_not_know_is_known_after_it_is_read(left):
    """Tasks store results; an application that dies before its next word has not put them into the record."""
    with RunDirectory.open(left) as run:
        store_result(run.path, "key", {"n": np.array(1)}, {"device": "cpu"})
        assert run.results.load("key") is not None
    assert read_record(left)["results"]["key"]["device"] == "cpu"


def test_what_a_record_counts_adds_up():
    record = RunRecord({})
    for _ in range(2):
        record.count_cache("here", {"hits": 1, "seconds": 0.25})
        record.add_seconds("plan", 1.25)
        record.note("once")
        record.move({"fragment": 1}, "A", "B", "it broke")
    assert record["cache"] == {"store": "here", "hits": 2, "seconds": 0.5}
    assert record["timings"] == {"plan": 2.5} and record["notes"] == ["once"]
    assert record["moves"] == [{"fragment": 1, "from": "A", "to": "B", "why": "it broke"}] * 2


def test_time_is_counted_in_seconds(left):
    with RunDirectory.open(left) as run:
        with run.timing("plan"):
            pass
        assert 0.0 <= run.record["timings"]["plan"] < 5.0


def test_a_record_is_sealed_in_whatever_order_its_fields_are(left):
    document = json.loads((left / "record.json").read_text())
    (left / "record.json").write_text(json.dumps(document, sort_keys=True))
    assert read_record(left)["run"] == left.name


def test_file_names_are_short_and_stay_in_the_folder():
    for key in ("x" * 300, "../" * 100, ".hidden"):
        assert len(file_name(key)) <= 60 + 17 and "/" not in file_name(key) and not file_name(key).startswith(".")
