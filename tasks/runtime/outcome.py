"""What a task returns, a value or a failure with its reason, and the policy that reads it: pure functions over data."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from tasks.errors import DefectError


class Reason(str, Enum):
    """Why a piece of work has no value."""

    RAISED = "raised"  # the work raised an exception that nobody foresaw: a defect
    SYSTEM = "system"  # the system refused it something: a file, a process, room on a disk
    EXITED = "exited"  # its process ended by itself
    KILLED = "killed"  # its process was ended by a signal
    MEMORY = "memory"  # it needed more memory than it may use
    TIME = "time"  # it ran past its time limit
    CANCELLED = "cancelled"  # the run was cancelled
    DEPENDENCY = "dependency"  # something it needed had failed
    REFUSED = "refused"  # the work itself is wrong: no device will ever accept it


@dataclass(frozen=True)
class Failure:
    """Why there is no value.

    Attributes:
        reason: one word a policy can act on.
        message: one line for the user.
        detail: the traceback, or what the process said last; for the log.
    """

    reason: Reason
    message: str
    detail: str = ""


@dataclass(frozen=True)
class Span:
    """When and where a task did its work.

    Attributes:
        work: name of the function.
        device: name of the device, "" where it was bound to none.
        node: host name.
        began: seconds since 1970, by the node's clock.
        seconds: wall time of the work itself.
        attempt: 0 for the first try.
        failure: why there is no value, "" where there is one.
    """

    work: str
    device: str
    node: str
    began: float
    seconds: float
    attempt: int
    failure: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a task returns; a task never raises.

    Attributes:
        value: what the work returned, None where it failed.
        failure: why there is no value, None where there is one.
        device: name of the device it ran on, "" where it was bound to none.
        attempt: 0 for the first try.
        seconds: wall time of the work itself, the engine's overhead not counted.
        work: name of the function that did it.
        node: host name of where it was done.
        began: when, in seconds since 1970 by that node's clock.
        inputs: the same of the outcomes that it took, so that nobody has to wait for those only to ask.
    """

    value: Any = None
    failure: Failure | None = None
    device: str = ""
    attempt: int = 0
    seconds: float = 0.0
    work: str = field(default="", compare=False)
    node: str = field(default="", compare=False)
    began: float = field(default=0.0, compare=False)
    inputs: tuple[Span, ...] = field(default=(), compare=False)

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.failure is None

    @property
    def span(self) -> Span:
        """When and where it was made."""
        why = "" if self.failure is None else self.failure.reason.value
        return Span(self.work, self.device, self.node, self.began, self.seconds, self.attempt, why)


class Next(str, Enum):
    """What to do after an outcome."""

    DONE = "done"
    SAME_DEVICE = "same device"  # try again where it was
    OTHER_DEVICE = "other device"  # try again elsewhere
    GIVE_UP = "give up"


@dataclass(frozen=True)
class RetryPolicy:
    """How often work is tried again, the same on every engine.

    Attributes:
        attempts: most tries of one piece of work, all devices together.
        attempts_per_device: most tries on one device.
    """

    attempts: int = 4
    attempts_per_device: int = 2


_NEVER_AGAIN = frozenset({Reason.RAISED, Reason.REFUSED, Reason.CANCELLED, Reason.DEPENDENCY})
_NOT_HERE_AGAIN = frozenset({Reason.TIME, Reason.MEMORY})


def next_step(outcomes: Sequence[Outcome], policy: RetryPolicy, other_devices: int = 0) -> Next:
    """Decide from all outcomes of one piece of work, oldest first, what happens to it next.

    A defect stays one wherever it runs, and another device would only hide it. Time and memory limits are properties
    of work and device, so the same device is not asked again unless it is the only one; there one more try is made,
    since a busy machine can be the cause.

    Args:
        outcomes: every outcome of this work so far; not empty.
        policy: how often to try.
        other_devices: how many devices that could take it have not failed it yet.
    """
    last = outcomes[-1]
    if last.failure is None:
        return Next.DONE
    if last.failure.reason in _NEVER_AGAIN or len(outcomes) >= policy.attempts:
        return Next.GIVE_UP
    here = sum(1 for outcome in outcomes if outcome.device == last.device)
    if other_devices and (here >= policy.attempts_per_device or last.failure.reason in _NOT_HERE_AGAIN):
        return Next.OTHER_DEVICE
    return Next.SAME_DEVICE if here < policy.attempts_per_device else Next.GIVE_UP


def located(outcome: Outcome, work: str, began: float, arguments: Sequence[Any]) -> Outcome:
    """An outcome that says what was done here since ``began``, and what of its arguments came from tasks."""
    inputs = tuple(member.span for value in arguments for member in _members(value) if isinstance(member, Outcome))
    return replace(outcome, work=work, node=platform.node(), began=began, inputs=inputs)


def raise_defect(outcome: Outcome, what: str) -> None:
    """Raise where a defect was the reason of a failure.

    Args:
        outcome: of the work.
        what: the work was to do, for the message.

    Raises:
        DefectError: with the work's own traceback.
    """
    if outcome.failure is not None and outcome.failure.reason is Reason.RAISED:
        message = outcome.failure.message
        raise DefectError(what if message in what else f"{what}: {message}", outcome.failure.detail)


def first_failure(values: Sequence[Any]) -> Failure | None:
    """The first failure among arguments, looking into lists, tuples and dictionaries one level deep."""
    for value in values:
        for member in _members(value):
            if isinstance(member, Outcome) and member.failure is not None:
                return member.failure
    return None


def _members(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else value.values() if isinstance(value, dict) else (value,)


def unwrapped(value: Any) -> Any:
    """The value behind an outcome, or behind the outcomes in a list, tuple or dictionary; anything else unchanged."""
    if isinstance(value, Outcome):
        return value.value
    if isinstance(value, (list, tuple)) and any(isinstance(member, Outcome) for member in value):
        return type(value)(unwrapped(member) for member in value)
    if isinstance(value, dict) and any(isinstance(member, Outcome) for member in value.values()):
        return {key: unwrapped(member) for key, member in value.items()}
    return value
