"""What is asked of an engine that runs, and what is said where none does."""

from __future__ import annotations

import os
import sys

import pytest

from tasks.runtime import (
    EngineError,
    Failure,
    Next,
    Outcome,
    Reason,
    RetryPolicy,
    engine,
    engine_info,
    limits,
    machine,
    next_step,
    units_now,
)
from tasks.runtime.engine import as_completed, cancel, constraint, shared_engine, start_engine, task, wait_on
from tasks.runtime.private_folder import PrivateFolder
from tasks.runtime.ranks import mpirun_path, run_ranks


def test_limits_end_work_with_the_run_and_leave_it_one_thread():
    with engine("embedded") as info:
        assert info.name == "embedded" and info.version.startswith("distributed ")
        found = limits()
        assert (found.seconds, found.memory_bytes, found.threads) == (None, None, 1)
        assert found.cancel_file == info.cancel_file and not found.cancelled()
        cancel()
        assert found.cancelled() and not limits().cancelled(), "what comes later is not part of what was cancelled"
        assert limits(2.5, 1000, 3) == type(found)(2.5, 1000, engine_info().cancel_file, 3)
    assert not os.path.exists(info.cancel_file) and not os.path.exists(os.path.dirname(info.cancel_file))


def test_a_task_goes_before_others_only_where_it_says_so():
    assert not task(returns=1)(os.getpid).priority
    assert task(returns=1, priority=True)(os.getpid).priority


def test_without_an_engine_every_question_says_so():
    for ask in (engine_info, limits, cancel, units_now, lambda: wait_on(1), lambda: list(as_completed([1]))):
        with pytest.raises(EngineError, match="no engine runs"):
            ask()


@pytest.mark.parametrize("name", ["dask", "", "Embedded"])
def test_an_engine_that_is_not_there_is_refused_by_name(name):
    with pytest.raises(EngineError, match=f"no engine is called {name}: choose auto, embedded or compss"):
        start_engine(name)
    with pytest.raises(EngineError, match="needs runcompss"):
        start_engine("compss")


def test_one_engine_at_a_time_and_a_shared_one_ends_with_its_last_block():
    with engine("embedded") as info, shared_engine() as same:
        assert same is info
        with pytest.raises(EngineError, match="the embedded engine runs already"):
            start_engine("auto")
    with shared_engine("embedded") as first:
        with shared_engine("embedded") as second:
            assert first is second
        assert engine_info() is first, "its first block has not ended"
    with pytest.raises(EngineError, match="no engine runs"):
        engine_info()


def test_nothing_is_assumed_of_other_devices():
    killed = Outcome(failure=Failure(Reason.KILLED, "so"), device="a")
    assert next_step([killed, killed], RetryPolicy()) is Next.GIVE_UP


def test_a_private_folder_lets_go_once(tmp_path, monkeypatch):
    closed = []
    folder = PrivateFolder(tmp_path / "mine")
    real = os.close
    monkeypatch.setattr(os, "close", lambda descriptor: closed.append(descriptor) or real(descriptor))
    folder.close()
    folder.close()
    assert len(closed) == 1 and closed[0] > 2


def test_whoever_still_works_is_told_before_the_engine_ends(monkeypatch):
    seen = []
    with engine("embedded") as info:
        backend = sys.modules["tasks.runtime.engine"]._backend
        real = backend.stop
        monkeypatch.setattr(backend, "stop", lambda: seen.append(os.path.exists(info.cancel_file)) or real())
    assert seen == [True]


def test_units_that_are_just_enough_are_enough():
    """Futures and other values are waited for alike."""

    @task(returns=1)
    def twice(value):
        return 2 * value

    constraint(processors=[{"ProcessorName": "one", "ComputingUnits": "1"}])(twice)
    with engine("embedded", units={"one": 1}):
        assert wait_on([twice(3), 4, {"a": (twice(twice(1)),)}]) == [6, 4, {"a": (4,)}]
        assert sorted(as_completed([twice(1), 7, twice(2)])) == [(0, 2), (1, 7), (2, 4)]
        constraint(processors=[{"ProcessorName": "none", "ComputingUnits": "1"}])(twice)
        with pytest.raises(EngineError, match="needs 1 computing units of processor none, and there are 0"):
            twice(1)


@pytest.fixture
def mpirun(tmp_path, monkeypatch):
    """A folder for programs, in which this Python seems to be."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()

    def write(place: str, text: str) -> str:
        path = tmp_path / place / "mpirun"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_cores_are_those_of_the_affinity_and_of_the_quota(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 7}, raising=False)
    for line, cores in ((None, 3), ("max 100000", 3), ("200000 100000", 2), ("50000 100000", 1), ("900000 100000", 3)):
        monkeypatch.setattr(machine, "_first_line", lambda name, line=line: line if name == "cpu.max" else None)
        assert machine.usable_cores() == cores
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.usable_cores() == 9


def test_the_mpirun_beside_this_python_is_preferred_to_that_of_the_path(mpirun):
    assert mpirun_path() is None
    other = mpirun("elsewhere", "exit 0")
    assert mpirun_path() == other
    assert mpirun_path() != mpirun("", "exit 0") == mpirun_path()


@pytest.mark.parametrize(
    ("text", "said"),
    [("echo first >&2; echo last >&2; exit 3", "status 3: last"), ("echo out; exit 4", "status 4: out"),
     ("exit 0", "status 0: it said nothing")],
)  # fmt: skip
def test_ranks_that_fail_are_told_by_their_last_words(mpirun, text, said):
    mpirun("", text)
    with pytest.raises(EngineError, match=f"the MPI task getpid ended with {said}$"):
        run_ranks(os.getpid, [], {}, 2)
