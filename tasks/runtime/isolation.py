"""Run a piece of work in a child process of the task, so that whatever happens to it comes back as an outcome.

The same code runs under every engine. Each thread that executes tasks (embedded engine) and each process that does
(COMPSs, which does not survive the death of a task's process) keeps one child and reuses it.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from tasks.errors import QompassError
from tasks.runtime.children import converse, take_child
from tasks.runtime.errors import EngineError
from tasks.runtime.inline import Overrun, is_inline, limited, within
from tasks.runtime.limits import Limits
from tasks.runtime.outcome import Failure, Outcome, Reason, first_failure, located, unwrapped
from tasks.runtime.wire import packed


def isolated(
    work: Callable[..., Any], *arguments: Any, limits: Limits | None = None, device: str = "", attempt: int = 0
) -> Outcome:
    """Run ``work(*arguments)`` in a child process and say what became of it. Never raises on account of the work.

    Outcomes among the arguments are replaced by their values; where one failed, that failure is passed on and nothing
    runs.

    Args:
        work: a function at the top level of an importable module (not ``__main__``).
        arguments: anything that can be pickled.
        limits: what it may use.
        device: for the outcome.
        attempt: for the outcome.

    Raises:
        EngineError: if the work cannot be named from another process.
    """
    began = time.time()
    outcome = _isolated(work, arguments, limits or Limits(), device, attempt)
    return located(outcome, work.__name__, began, arguments)


def _isolated(work: Callable[..., Any], arguments: Sequence[Any], limits: Limits, device: str, attempt: int) -> Outcome:
    failed = first_failure(arguments)
    if failed is not None:
        message = f"needs a result that failed: {failed.message}"
        return Outcome(failure=Failure(Reason.DEPENDENCY, message, failed.detail), device=device, attempt=attempt)
    if is_inline():
        return _here(work, arguments, limits, device, attempt)
    if work.__module__ == "__main__" or "<" in work.__qualname__:
        raise EngineError(f"task work {work.__qualname__} of {work.__module__} cannot be imported by another process: "
                          "define it at the top level of a module")  # fmt: skip
    call = packed(
        (work.__module__, work.__qualname__, [unwrapped(argument) for argument in arguments], limits.memory_bytes)
    )
    if limits.cancelled():
        return Outcome(failure=Failure(Reason.CANCELLED, "the run was cancelled"), device=device, attempt=attempt)
    child = take_child(limits)
    if isinstance(child, Failure):
        return Outcome(failure=child, device=device, attempt=attempt)
    started = time.monotonic()
    answer = converse(child, call, limits)
    seconds = time.monotonic() - started
    if isinstance(answer, Failure):
        return Outcome(failure=answer, device=device, attempt=attempt, seconds=seconds)
    kind, payload, seconds = answer
    if kind == "value":
        return Outcome(value=payload, device=device, attempt=attempt, seconds=seconds)
    return Outcome(failure=Failure(Reason(kind), *payload), device=device, attempt=attempt, seconds=seconds)


def _here(work: Callable[..., Any], arguments: Sequence[Any], limits: Limits, device: str, attempt: int) -> Outcome:
    """The work in this process, within the limits that a process can set itself."""
    if limits.cancelled():
        return Outcome(failure=Failure(Reason.CANCELLED, "the run was cancelled"), device=device, attempt=attempt)
    started = time.monotonic()
    try:
        with limited(limits.seconds, limits.threads):
            return contained(within, limits.memory_bytes, work, [unwrapped(argument) for argument in arguments],
                             device=device, attempt=attempt)  # fmt: skip
    except Overrun:
        failure = Failure(Reason.TIME, f"ran past its limit of {limits.seconds:g} s and was ended")
        return Outcome(failure=failure, device=device, attempt=attempt, seconds=time.monotonic() - started)


def contained(work: Callable[..., Any], *arguments: Any, device: str = "", attempt: int = 0) -> Outcome:
    """Run ``work(*arguments)`` here and now; what it raises becomes a failure. For work that cannot die or overrun."""
    began = time.time()
    return located(_contained(work, arguments, device, attempt), work.__name__, began, arguments)


def _contained(work: Callable[..., Any], arguments: Sequence[Any], device: str, attempt: int) -> Outcome:
    failed = first_failure(arguments)
    if failed is not None:
        message = f"needs a result that failed: {failed.message}"
        return Outcome(failure=Failure(Reason.DEPENDENCY, message, failed.detail), device=device, attempt=attempt)
    started = time.monotonic()
    try:
        value = work(*(unwrapped(argument) for argument in arguments))
    except Exception as error:
        reason, message, detail = describe_error(error)
        return Outcome(failure=Failure(Reason(reason), message, detail), device=device, attempt=attempt,
                       seconds=time.monotonic() - started)  # fmt: skip
    return Outcome(value=value, device=device, attempt=attempt, seconds=time.monotonic() - started)


def describe_error(error: BaseException) -> tuple[str, str, str]:
    """Reason, one line, and traceback of an exception raised by work: only what nobody foresaw is a defect."""
    reason = Reason.RAISED
    if isinstance(error, MemoryError):
        reason = Reason.MEMORY
    elif isinstance(error, QompassError):
        reason = Reason.REFUSED
    elif isinstance(error, OSError):
        reason = Reason.SYSTEM
    text = " ".join(str(error).split())
    message = text if reason is Reason.REFUSED else f"{type(error).__name__}: {text}" if text else type(error).__name__
    return reason.value, message, "".join(traceback.format_exception(error))
