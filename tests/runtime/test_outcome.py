"""What is tried again: the whole table, said a second time in other words."""

from __future__ import annotations

import itertools

import pytest

from tasks.errors import DefectError
from tasks.runtime import Failure, Next, Outcome, Reason, RetryPolicy, next_step, raise_defect
from tasks.runtime.isolation import describe_error
from tests.engines.work import refused

# reason: (what follows the first failure where there is another device, and where there is none)
AFTER_ONE = {
    Reason.RAISED: (Next.GIVE_UP, Next.GIVE_UP),
    Reason.SYSTEM: (Next.SAME_DEVICE, Next.SAME_DEVICE),
    Reason.EXITED: (Next.SAME_DEVICE, Next.SAME_DEVICE),
    Reason.KILLED: (Next.SAME_DEVICE, Next.SAME_DEVICE),
    Reason.MEMORY: (Next.OTHER_DEVICE, Next.SAME_DEVICE),
    Reason.TIME: (Next.OTHER_DEVICE, Next.SAME_DEVICE),
    Reason.CANCELLED: (Next.GIVE_UP, Next.GIVE_UP),
    Reason.DEPENDENCY: (Next.GIVE_UP, Next.GIVE_UP),
    Reason.REFUSED: (Next.GIVE_UP, Next.GIVE_UP),
}


def failed(reason: Reason, device: str = "a") -> Outcome:
    return Outcome(failure=Failure(reason, "so"), device=device)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_after_one_failure(reason):
    found = tuple(next_step([failed(reason)], RetryPolicy(), others) for others in (1, 0))
    assert found == AFTER_ONE[reason]


@pytest.mark.parametrize("reason", [Reason.KILLED, Reason.TIME, Reason.MEMORY], ids=lambda reason: reason.value)
def test_one_device_is_tried_as_often_as_allowed_and_no_more(reason):
    twice = [failed(reason), failed(reason)]
    assert next_step(twice, RetryPolicy(), 0) is Next.GIVE_UP
    assert next_step(twice, RetryPolicy(), 1) is Next.OTHER_DEVICE
    assert next_step(twice, RetryPolicy(attempts_per_device=3), 0) is Next.SAME_DEVICE


def test_all_devices_together_are_tried_as_often_as_allowed():
    history = [failed(Reason.KILLED, device) for device in "aabb"]
    assert next_step(history[:3], RetryPolicy(attempts=4), 1) is Next.SAME_DEVICE
    assert next_step(history, RetryPolicy(attempts=4), 5) is Next.GIVE_UP
    assert next_step(history, RetryPolicy(attempts=5), 5) is Next.OTHER_DEVICE


def test_a_value_is_the_end():
    for history in itertools.product([failed(Reason.KILLED), Outcome(value=1)], repeat=2):
        if history[-1].ok:
            assert next_step(history, RetryPolicy(), 1) is Next.DONE


def reason_of(error: Exception) -> str:
    try:
        raise error
    except Exception as caught:
        return describe_error(caught)[0]


def test_exceptions_are_told_apart():
    assert reason_of(KeyError("x")) == "raised"
    assert reason_of(OSError(28, "No space left on device")) == "system"
    assert reason_of(MemoryError()) == "memory"
    with pytest.raises(Exception) as error:
        refused("rename it")
    assert describe_error(error.value)[:2] == ("refused", "rename it")


def test_a_defect_keeps_its_traceback():
    raise_defect(failed(Reason.KILLED), "the plan")
    raise_defect(Outcome(value=3), "the plan")
    with pytest.raises(DefectError, match=r"^the plan: KeyError: 'x'\n\nTraceback of it$"):
        raise_defect(Outcome(failure=Failure(Reason.RAISED, "KeyError: 'x'", "Traceback of it")), "the plan")
    with pytest.raises(DefectError, match=r"^the plan, KeyError: 'x'\n"):
        raise_defect(Outcome(failure=Failure(Reason.RAISED, "KeyError: 'x'", "T")), "the plan, KeyError: 'x'")
