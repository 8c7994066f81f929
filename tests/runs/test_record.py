"""A run's folder keeps what is complete through crashes, damage and second callers."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator

from tasks.errors import InputError
from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem
from tasks.runs.record import RunDirectory, RunRecordError, read_record

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def problem() -> Problem:
    circuit = QuantumCircuit(3, 1)
    circuit.h(0)
    circuit.rzz(0.1234567890123456, 0, 2)
    circuit.measure(0, 0)
    return make_problem(circuit, ["0.5*Z0 Z2 - X1 + 1", "XYZ"])


@pytest.fixture
def run(tmp_path: Path, problem: Problem) -> RunDirectory:
    return RunDirectory.create(tmp_path / "runs", {"options": {"shots": 100}, "inputs": {"circuit": "a"}}, problem)


def test_a_run_gives_its_problem_and_results_back_exactly(run: RunDirectory, problem: Problem) -> None:
    arrays = {"values": np.arange(6.0).reshape(2, 3), "bits": np.array([[True], [False]]), "empty": np.zeros((0, 4))}
    with run:
        run.store("fragment 0/α", arrays, {"device": "cpu", "seconds": np.float64(0.5)})
    with RunDirectory.open(run.path) as again:
        stored = again.load("fragment 0/α")
        assert stored is not None and stored.meta == {"device": "cpu", "seconds": 0.5}
        for name, array in arrays.items():
            assert np.array_equal(stored.arrays[name], array) and stored.arrays[name].dtype == array.dtype
        assert again.load("fragment 1") is None
        same = again.problem()
    assert Operator(same.circuit) == Operator(problem.circuit)
    assert same.names == problem.names and same.notes == problem.notes
    assert np.array_equal(same.terms.x, problem.terms.x) and np.array_equal(same.terms.z, problem.terms.z)
    assert np.array_equal(same.terms.coefficients.toarray(), problem.terms.coefficients.toarray())
    record = read_record(run.path)
    assert record["results"]["fragment 0/α"]["device"] == "cpu" and record["options"] == {"shots": 100}
    assert record["versions"]["qiskit"] and record["inputs"]["circuit"] == "a"


def test_keys_that_differ_only_in_odd_characters_stay_apart(run: RunDirectory) -> None:
    keys = ["a/b", "a:b", "a_b", "../a", "x" * 300, "x" * 301]
    with run:
        for number, key in enumerate(keys):
            run.store(key, {"n": np.array(number)}, {})
        assert [run.load(key).arrays["n"].item() for key in keys] == list(range(len(keys)))  # type: ignore[union-attr]
    assert {path.parent for path in run.path.parent.rglob("*.npz")} == {run.path, run.path / "fragments"}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "garbage", "another"])
def test_a_damaged_result_is_reported_and_counts_as_none(
    run: RunDirectory, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with run:
        run.store("other", {"values": np.ones(1000)}, {})
        other = next((run.path / "fragments").iterdir())
        whole = other.read_bytes()
        run.store("key", {"values": np.zeros(1000)}, {})
        path = next(path for path in (run.path / "fragments").iterdir() if path != other)
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(
            {
                "truncated": content[:middle],
                "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
                "emptied": b"",
                "garbage": os.urandom(len(content)),
                "another": whole,
            }[damage]
        )
        with caplog.at_level(logging.WARNING):
            assert run.load("key") is None
        assert str(path) in caplog.text and "computed again" in caplog.text
        run.store("key", {"values": np.zeros(1000)}, {})
        assert run.load("key") is not None


def test_every_single_flipped_byte_is_noticed_or_harmless(run: RunDirectory) -> None:
    with run:
        run.store("key", {"values": np.arange(3.0)}, {"device": "cpu"})
        path = next((run.path / "fragments").iterdir())
        content = path.read_bytes()
        harmless = 0
        for position in range(len(content)):
            path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
            stored = run.load("key")
            if stored is not None:
                harmless += 1
                assert np.array_equal(stored.arrays["values"], np.arange(3.0)) and stored.meta == {"device": "cpu"}
        assert harmless < len(content)


def test_objects_are_never_stored(run: RunDirectory) -> None:
    with run, pytest.raises(TypeError, match="cannot be stored"):
        run.store("key", {"values": np.array([object()])}, {})


def test_one_run_has_one_worker_at_a_time(run: RunDirectory) -> None:
    code = (
        "import sys; from tasks.runs.record import RunDirectory, RunRecordError\n"
        "try: RunDirectory.open(sys.argv[1]).close(); print('opened')\n"
        "except RunRecordError as error: print(error)"
    )

    def open_elsewhere() -> str:
        command = [sys.executable, "-c", code, str(run.path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout

    with run:
        with pytest.raises(RunRecordError, match="another process works"):
            RunDirectory.open(run.path)
        assert "another process works" in open_elsewhere()
        assert read_record(run.path)["status"] == "running"
    assert open_elsewhere() == "opened\n"
    RunDirectory.open(run.path).close()


def test_a_killed_run_reads_as_interrupted_and_keeps_what_it_stored(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, numpy, time; from qiskit import QuantumCircuit\n"
        "from tasks.inputs.validation import make_problem; from tasks.runs.record import RunDirectory\n"
        "run = RunDirectory.create(sys.argv[1], {}, make_problem(QuantumCircuit(2), 'Z0'))\n"
        "run.store('first', {'n': numpy.array(1)}, {'device': 'cpu'})\n"
        "print(run.path, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert died.returncode == -signal.SIGKILL, died.stderr
    path = Path(died.stdout.strip())
    assert read_record(path)["status"] == "interrupted"
    with RunDirectory.open(path) as run:
        stored = run.load("first")
        assert stored is not None and stored.arrays["n"] == 1
    assert read_record(path)["status"] == "done"
    assert read_record(path)["results"] == {"first": {"device": "cpu"}}


def test_status_follows_how_the_block_ended(tmp_path: Path, problem: Problem) -> None:
    def ended(error: BaseException | None, stored: bool) -> str | None:
        run = RunDirectory.create(tmp_path, {}, problem)
        try:
            with run:
                if stored:
                    run.store("key", {"n": np.array(1)}, {})
                if error:
                    raise error
        except BaseException as raised:
            assert raised is error
        return read_record(run.path)["status"] if run.path.exists() else None

    assert ended(None, stored=False) == "done"
    assert ended(KeyboardInterrupt(), stored=False) == "interrupted"
    assert ended(InputError("x"), stored=True) == "failed"
    assert ended(InputError("x"), stored=False) is None  # nothing was done: nothing half-written stays
    assert ended(OSError(28, "No space left on device"), stored=False) is None
    assert list(tmp_path.glob("*/traceback.txt")) == []


def test_a_defect_keeps_the_folder_with_its_traceback(tmp_path: Path, problem: Problem, caplog) -> None:
    run = RunDirectory.create(tmp_path, {}, problem)
    with pytest.raises(ZeroDivisionError), run:
        print(1 / 0)
    assert "print(1 / 0)" in (run.path / "traceback.txt").read_text()
    assert str(run.path / "traceback.txt") in caplog.text
    record = read_record(run.path)
    assert (record["status"], record["error"]) == ("failed", "ZeroDivisionError: division by zero")


def test_timings_add_up_over_resumption(run: RunDirectory) -> None:
    with run:
        with run.timing("plan"):
            pass
        run.record["timings"]["plan"] = 10.0
        with run.timing("plan"):
            pass
    assert read_record(run.path)["timings"]["plan"] >= 10.0


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"schema": 99}'])
def test_what_is_no_run_is_said_so_in_one_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    with pytest.raises(RunRecordError) as error:
        RunDirectory.open(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_changed_inputs_are_not_resumed(run: RunDirectory) -> None:
    run.close()
    path = run.path / "circuit.qpy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with RunDirectory.open(run.path) as again, pytest.raises(RunRecordError, match="not what the run stored"):
        again.problem()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, problem: Problem) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunRecordError, match=r"cannot write runs into .*--out"):
        RunDirectory.create(tmp_path / "file" / "runs", {}, problem)
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == '["file"]'


def test_what_fails_on_a_finished_run_takes_nothing_from_it(tmp_path, problem):
    """`qompass reconstruct` on a done run: a failure or Ctrl-C leaves the record saying done."""
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        directory.finish("done", estimates=[])
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), RunDirectory.open(directory.path):
            raise error
        assert read_record(directory.path)["status"] == "done"
