"""Work done in this process: its limits hold, and nothing of them is left behind."""

from __future__ import annotations

import resource
import signal
import sys
import time

import pytest

from tasks.runtime import Limits, Outcome, Reason, isolated
from tasks.runtime.inline import inline, is_inline, limited, within
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
