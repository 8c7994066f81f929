"""Work done in this process: its limits hold, and nothing of them is left behind."""

from __future__ import annotations

import contextvars
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from tasks.runtime import Limits, Outcome, Reason, isolated
from tasks.runtime.inline import inline, is_inline, limited, one_thread, within
from tasks.runtime.interpreter import python_command, python_environment
from tasks.runtime.isolation import contained
from tasks.runtime.outcome import Failure, first_failure, unwrapped

LOST = Failure(Reason.KILLED, "it broke", "its last words")


@pytest.fixture(autouse=True)
def here():
    with inline(True):
        yield


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def fail():
    raise ValueError("so")


def test_inline_is_undone_however_the_block_ends():
    with pytest.raises(ValueError, match="so"), inline(False):
        assert not is_inline()
        fail()
    assert is_inline()


def test_work_past_its_limit_is_ended_and_leaves_no_alarm():
    before = signal.getsignal(signal.SIGALRM)
    outcome = isolated(spin, 30.0, limits=Limits(seconds=0.05), device="cpu", attempt=2)
    assert outcome.failure is not None and outcome.failure.reason is Reason.TIME
    assert (outcome.device, outcome.attempt) == ("cpu", 2) and 0.05 <= outcome.seconds < 20
    assert isolated(spin, 0.0, limits=Limits(seconds=50.0)).ok
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0) and signal.getsignal(signal.SIGALRM) is before


def test_an_alarm_of_somebody_else_goes_on():
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        signal.setitimer(signal.ITIMER_REAL, 50.0)
        with limited(20.0, 1):
            spin(0.02)
        assert 30.0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 49.99
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a limit of address space")
def test_the_memory_limit_is_on_top_of_what_there_is_and_ends_with_the_work():
    before = resource.getrlimit(resource.RLIMIT_AS)
    for work, arguments in ((bytearray, [2**24]), (fail, [])):
        try:
            assert len(within(2**28, work, arguments)) == 2**24
        except ValueError:
            assert work is fail
        assert resource.getrlimit(resource.RLIMIT_AS) == before
    with pytest.raises(MemoryError):
        within(2**26, bytearray, [2**30])
    soft, _ = within(2**28, resource.getrlimit, [resource.RLIMIT_AS])
    assert 2**28 < soft < 2**28 + 2**45, "more than the process has, and no more than asked for"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a limit of address space")
def test_the_memory_limit_stays_below_the_hard_one():
    code = (
        "import resource\n"
        "from tasks.runtime.inline import _address_space, within\n"
        "hard = _address_space() + 2**29\n"
        "resource.setrlimit(resource.RLIMIT_AS, (hard, hard))\n"
        "assert within(2**40, resource.getrlimit, [resource.RLIMIT_AS]) == (hard, hard)\n"
        "soft, same = within(2**24, resource.getrlimit, [resource.RLIMIT_AS])\n"
        "assert soft < hard and same == hard, (soft, same, hard)\n"
        "assert resource.getrlimit(resource.RLIMIT_AS) == (hard, hard)\n"
    )
    done = subprocess.run(python_command(code), env=python_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_work_without_a_memory_limit_keeps_that_of_the_process():
    assert within(None, resource.getrlimit, [resource.RLIMIT_AS]) == resource.getrlimit(resource.RLIMIT_AS)


def test_work_on_another_thread_that_overran_is_said_to_have():
    found = []

    def elsewhere():
        with inline(True):
            found.append(isolated(spin, 0.1, limits=Limits(seconds=0.02)))
            found.append(isolated(spin, 0.0, limits=Limits(seconds=50.0)))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found[0].failure is not None and found[0].failure.reason is Reason.TIME and found[1].ok
    assert found[0].seconds >= 0.1, "no signal can end it: its overrun is seen at its end"


def test_cancelled_work_is_not_begun(tmp_path):
    (tmp_path / "cancelled").touch()
    limits = Limits(cancel_file=str(tmp_path / "cancelled"))
    outcome = isolated(fail, limits=limits, device="cpu", attempt=2)
    assert outcome.failure == Failure(Reason.CANCELLED, "the run was cancelled")
    assert (outcome.device, outcome.attempt) == ("cpu", 2)


def test_the_libraries_have_the_threads_of_the_limits(monkeypatch):
    asked = []

    class Controller:
        lib_controllers = ()

        def limit(self, *, limits):
            asked.append(limits)
            return self

        def restore_original_limits(self):
            asked.append(None)

    monkeypatch.setattr(sys.modules["tasks.runtime.inline"], "_controller", Controller)
    assert isolated(int).ok and isolated(int, limits=Limits(threads=3)).ok
    assert asked == [1, None, 3, None]


def test_a_process_does_its_work_elsewhere_until_told_otherwise():
    assert contextvars.Context().run(is_inline) is False


@pytest.fixture
def timers(monkeypatch):
    """Every time that a timer was set to, as it is set."""
    real, found = signal.setitimer, []
    monkeypatch.setattr(signal, "setitimer", lambda which, *times: found.append(times[0]) or real(which, *times))
    return found


def test_the_alarm_comes_at_the_limit_even_where_that_is_now(timers):
    for seconds in (0.05, 0.0):
        outcome = isolated(spin, 30.0, limits=Limits(seconds=seconds))
        assert outcome.failure is not None and outcome.failure.reason is Reason.TIME and outcome.seconds < 20
    assert [timers[0], timers[2]] == [0.05, pytest.approx(0.0, abs=1e-3)] and timers[2] > 0, "0 would be no alarm"


def test_an_alarm_of_somebody_else_that_is_overdue_comes_at_once(timers, monkeypatch):
    times = iter((0.0, 100.0))  # a hundred seconds go by in the block, fifty more than were left
    here = sys.modules["tasks.runtime.inline"]
    monkeypatch.setattr(here, "time", SimpleNamespace(monotonic=lambda: next(times)))
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        signal.setitimer(signal.ITIMER_REAL, 50.0)
        with here._alarm(500.0):
            pass
        assert timers[-2] == 0 and 0 < timers[-1] < 1e-3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("run", [isolated, contained])
def test_an_outcome_says_where_and_at_which_try(run):
    for work in (int, fail):
        outcome = run(work, device="cpu", attempt=3)
        assert outcome.ok is (work is int)
        assert (outcome.device, outcome.attempt) == ("cpu", 3) and 0 <= outcome.seconds < 5
    lost = run(int, Outcome(failure=LOST), device="cpu", attempt=3)
    assert lost.failure == Failure(Reason.DEPENDENCY, "needs a result that failed: it broke", "its last words")
    assert (lost.device, lost.attempt) == ("cpu", 3)


def test_failures_are_found_and_values_taken_out_among_other_things():
    good, bad = Outcome(value=2), Outcome(failure=LOST)
    for holder in (bad, [1, good, bad], (good, bad), {"a": 1, "b": bad}):
        assert first_failure([3, good, holder]) == LOST
    for holder in (3, good, [1, good], {"a": good}, None):
        assert first_failure([holder]) is None
    assert unwrapped([1, good]) == [1, 2] and unwrapped((good, 1)) == (2, 1)
    assert unwrapped({"a": good, "b": 1}) == {"a": 2, "b": 1}
    assert unwrapped([[good]]) == [[good]], "one level deep, like first_failure"


def test_one_thread_is_given_back_by_the_last_block_that_asked_for_it():
    import numpy  # noqa: F401  (its BLAS is what is counted)
    from threadpoolctl import threadpool_info

    sys.modules["tasks.runtime.inline"]._controller.cache_clear()  # made before NumPy was loaded, it knows of no BLAS

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    first, second = one_thread(), one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(threads()) == {1}
    second.__exit__(None, None, None)
    assert threads() == before

    def in_another_thread() -> list[int]:
        with one_thread():
            return threads()

    with ThreadPoolExecutor(1) as other:  # threadpoolctl hears only the first thread that asked
        assert set(other.submit(in_another_thread).result()) == {1}
    assert threads() == before
