"""Child processes that die, overrun or cannot be started: an outcome each, and no process is left."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from pathlib import Path

import pytest

from tasks.runtime import Limits, Reason, children, isolated
from tests.engines.work import WORK


@pytest.fixture(autouse=True)
def no_children():
    children.end_children()
    yield
    children.end_children()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def tell_and_sleep(path: str, seconds: float) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)


def test_an_idle_child_is_used_again_and_a_dead_one_is_not():
    first = isolated(os.getpid).value
    assert isolated(os.getpid).value == first
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    outcome = isolated(os.getpid)
    assert outcome.ok and outcome.value != first, outcome


@pytest.mark.parametrize("way", ["time", "cancelled"])
def test_work_that_overruns_or_is_cancelled_leaves_no_process(tmp_path, way):
    cancel = tmp_path / "cancel"
    limits = Limits(seconds=1.0) if way == "time" else Limits(cancel_file=str(cancel))
    isolated(tell_and_sleep, os.devnull, 0.0)  # now the child is there, with its imports
    if way == "cancelled":

        def later() -> None:
            while not (tmp_path / "pid").exists():
                time.sleep(0.01)
            cancel.touch()

        threading.Thread(target=later).start()
    outcome = isolated(tell_and_sleep, str(tmp_path / "pid"), 60.0, limits=limits)
    assert outcome.failure is not None and outcome.failure.reason.value == way
    assert not alive(int((tmp_path / "pid").read_text()))
    assert not children._children and not children._idle


def test_work_within_its_time_limit_is_not_ended():
    outcome = isolated(WORK["time"], 0.3, limits=Limits(seconds=30))
    assert outcome.ok and outcome.seconds >= 0.3


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        ("import os; os.kill(os.getpid(), 9)", Reason.KILLED, "signal 9 (SIGKILL) while it started"),
        ("raise SystemExit(3)", Reason.EXITED, "exit status 3 while it started"),
    ],
    ids=["killed", "exited"],
)
def test_a_child_that_dies_while_it_starts_is_a_failure_like_any_other(monkeypatch, code, reason, words):
    real = children.python_command
    monkeypatch.setattr(children, "python_command", lambda _, *arguments: real(code, *arguments))
    outcome = isolated(os.getpid, device="somewhere", attempt=2)
    assert outcome.failure is not None and outcome.failure.reason is reason and words in outcome.failure.message
    assert (outcome.device, outcome.attempt) == ("somewhere", 2)
    monkeypatch.undo()
    assert isolated(os.getpid).ok


def test_a_child_started_ahead_that_died_costs_nothing():
    children.start_children(2)
    for child in list(children._idle):
        child.process.kill()
    assert isolated(os.getpid).ok


def test_a_child_that_never_gets_ready_is_a_failure(monkeypatch):
    real = children.python_command
    monkeypatch.setattr(children, "python_command", lambda _, *a: real("import time; time.sleep(60)", *a))
    monkeypatch.setattr(children, "_START_S", 0.3)
    outcome = isolated(os.getpid)
    assert outcome.failure is not None and "did not start within" in outcome.failure.message
    assert not children._children


def test_without_files_left_no_child_is_started_and_that_is_a_failure_too():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, hard))
        children.start_children(1)
        outcome = isolated(os.getpid)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)
    assert outcome.failure is not None and outcome.failure.reason is Reason.SYSTEM, outcome
    assert "Too many open files" in outcome.failure.message
    assert isolated(os.getpid).ok
