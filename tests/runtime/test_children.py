"""Child processes are kept, told apart by their threads, belong to one process, and say how they ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks.runtime import Limits, Outcome, Reason, children, isolated
from tasks.runtime.outcome import Failure

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


@pytest.fixture(autouse=True)
def no_children():
    children.end_children()
    yield
    children.end_children()


def threads_and_pid() -> tuple[set[str], int]:
    return {os.environ[name] for name in THREADS}, os.getpid()


def say(text: str) -> None:
    print(text)
    os.write(1, text.encode())
    os.write(2, b"seen")


def end_by(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def refuse(*_: object) -> None:
    raise AssertionError("nothing was to run")


def test_each_number_of_threads_has_children_of_its_own():
    (one, first), (two, second) = (
        isolated(threads_and_pid).value,
        isolated(threads_and_pid, limits=Limits(threads=2)).value,
    )
    assert (one, two) == ({"1"}, {"2"}) and first != second and children.idle_children() == 2
    assert isolated(threads_and_pid).value[1] == first
    assert isolated(threads_and_pid, limits=Limits(threads=2)).value[1] == second


def test_the_child_that_was_used_last_is_used_next():
    children.start_children(2)
    assert children.idle_children() == 2
    last, other = children._idle[-1].process.pid, children._idle[0].process.pid
    assert [isolated(os.getpid).value for _ in range(3)] == [last] * 3
    children._idle.reverse()
    assert isolated(os.getpid).value == other and children.idle_children() == 2


def test_children_started_ahead_have_the_threads_asked_for():
    children.start_children(1, 3)
    pid = children._idle[0].process.pid
    assert isolated(threads_and_pid, limits=Limits(threads=3)).value == ({"3"}, pid)


def test_what_work_prints_does_not_reach_standard_output(capfd):
    assert isolated(say, "heard").ok
    found = capfd.readouterr()
    assert found.out == "" and "seen" in found.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_is_named_and_only_the_kill_may_be_want_of_memory(number):
    outcome = isolated(end_by, int(number), device="d", attempt=1)
    assert outcome.failure is not None and outcome.failure.reason is Reason.KILLED
    assert f"signal {int(number)} ({number.name})" in outcome.failure.message
    assert ("out of memory" in outcome.failure.message) == (number == signal.SIGKILL)
    assert "started" not in outcome.failure.message and outcome.seconds > 0
    assert (outcome.device, outcome.attempt) == ("d", 1) and not children._children


def test_an_exit_has_its_status_in_the_message():
    outcome = isolated(os._exit, 7)
    assert outcome.failure == Failure(Reason.EXITED, "its process ended by itself with exit status 7")


def test_cancelled_work_starts_no_child(tmp_path, monkeypatch):
    (tmp_path / "cancelled").touch()
    monkeypatch.setattr(children, "python_command", refuse)
    outcome = isolated(os.getpid, limits=Limits(cancel_file=str(tmp_path / "cancelled")), device="d", attempt=2)
    assert outcome.failure == Failure(Reason.CANCELLED, "the run was cancelled")
    assert (outcome.device, outcome.attempt) == ("d", 2)


def test_a_failed_argument_starts_no_child(monkeypatch):
    monkeypatch.setattr(children, "python_command", refuse)
    lost = Outcome(failure=Failure(Reason.KILLED, "it broke", "last words"))
    outcome = isolated(abs, lost, device="d", attempt=2)
    assert outcome.failure == Failure(Reason.DEPENDENCY, "needs a result that failed: it broke", "last words")
    assert (outcome.device, outcome.attempt) == ("d", 2)


def test_a_child_that_is_starting_is_ended_when_the_run_is_cancelled(tmp_path, monkeypatch):
    real, cancel = children.python_command, tmp_path / "cancelled"
    monkeypatch.setattr(children, "python_command", lambda _, *a: real("import time; time.sleep(60)", *a))
    threading.Timer(0.2, cancel.touch).start()
    outcome = isolated(os.getpid, limits=Limits(cancel_file=str(cancel)))
    assert outcome.failure is not None and outcome.failure.reason is Reason.CANCELLED
    assert not children._children and not children._idle


def test_a_child_ended_by_a_cancelled_run_is_no_failure_of_its_own(tmp_path):
    cancel = tmp_path / "cancelled"
    limits = Limits(cancel_file=str(cancel))
    assert isolated(os.getpid, limits=limits).ok

    def both() -> None:
        cancel.touch()
        children._children.copy().pop().process.kill()

    threading.Timer(0.2, both).start()
    outcome = isolated(time.sleep, 60, limits=limits)
    assert outcome.failure is not None and outcome.failure.reason is Reason.CANCELLED


def test_seconds_are_those_of_the_work():
    children.start_children(1)
    outcome = isolated(time.sleep, 0.2)
    assert 0.2 <= outcome.seconds < 20
    failed = isolated(time.sleep, "long")
    assert failed.failure is not None and failed.failure.reason is Reason.RAISED and 0 <= failed.seconds < 20


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_process_neither_uses_nor_ends_its_parents_children():
    pid = isolated(os.getpid).value
    forked = os.fork()
    if forked == 0:
        status = 1
        try:
            if children.idle_children() == 0 and not children._children:
                children.end_children()
                outcome = isolated(os.getpid)
                status = 0 if outcome.ok and outcome.value != pid else 2
                children.end_children()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
    assert isolated(os.getpid).value == pid


def told() -> str | None:
    return os.environ.get("QRMI_RESOURCES")


def test_a_variable_of_a_qpu_that_is_set_after_a_first_run_reaches_the_next(monkeypatch):
    first = isolated(os.getpid).value
    monkeypatch.setenv("SOMETHING_ELSE", "1")
    assert isolated(os.getpid).value == first
    for resources in ("fez", "fez,aachen"):
        monkeypatch.setenv("QRMI_RESOURCES", resources)
        assert isolated(told).value == resources and children.idle_children() == 1
    monkeypatch.delenv("QRMI_RESOURCES")
    assert isolated(told).value is None and not Path("/proc", str(first)).exists()
