"""What is asked of an engine that runs, and what is said where none does."""

from __future__ import annotations

import os

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
    next_step,
)
from tasks.runtime.engine import as_completed, cancel, shared_engine, start_engine, wait_on
from tasks.runtime.private_folder import PrivateFolder


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


def test_without_an_engine_every_question_says_so():
    for ask in (engine_info, limits, cancel, lambda: wait_on(1), lambda: list(as_completed([1]))):
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
