"""Run a piece of work in a child process of the task, so that whatever happens to it comes back as an outcome.

The same code runs under every engine. Each thread that executes tasks (embedded engine) and each process that does
(COMPSs, which does not survive the death of a task's process) keeps one child and reuses it: starting one costs a
Python start and the imports of the work, using it about 0.2 ms. A child is ended when its work dies or overruns, and
when its parent does.
"""

from __future__ import annotations

import atexit
import functools
import os
import pickle
import signal
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from tasks.errors import QompassError
from tasks.runtime.errors import EngineError
from tasks.runtime.inline import Overrun, is_inline, limited, within
from tasks.runtime.interpreter import python_command, python_environment
from tasks.runtime.outcome import Failure, Outcome, Reason, first_failure, located, unwrapped

_POLL_S = 0.05
_START_S = 120.0  # a machine that swaps takes its time


@dataclass(frozen=True)
class Limits:
    """What a piece of work may use.

    Attributes:
        seconds: wall time, None for no limit. The start of a child process is not counted.
        memory_bytes: memory beyond what an idle child has, None for no limit.
        cancel_file: the work ends when this file appears; "" where nobody can cancel. Engines fill it in.
        threads: threads of the numerical libraries in the child.
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    cancel_file: str = ""
    threads: int = 1


class _Child:
    """One child process and the private socket on which calls and answers travel as pickles."""

    def __init__(self, threads: int):
        ours, theirs = socket.socketpair()
        environment = python_environment()
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
            environment[name] = str(threads)
        with theirs:
            # From one thread that lives as long as this process: the kernel's death signal, which the child asks for,
            # comes when the *thread* that started it ends.
            self.process = (
                _spawner()
                .submit(
                    subprocess.Popen,
                    python_command("from tasks.runtime.child import main; main()", str(theirs.fileno())),
                    stdin=subprocess.DEVNULL,
                    stdout=_standard_error(),
                    stderr=_standard_error(),
                    pass_fds=[theirs.fileno()],
                    env=environment,
                )
                .result()
            )
        self.threads = threads
        self.owner = os.getpid()
        self.connection = Connection(ours.detach())
        self.idle = False
        with _registry_lock:
            _children.add(self)

    def failed_to_start(self, limits: Limits) -> Failure | None:
        """Wait until the child can take a call; why it never will, if it will not."""
        deadline = time.monotonic() + _START_S
        try:
            while not self.connection.poll(_POLL_S):
                if _cancelled(limits):
                    self.end()
                    return Failure(Reason.CANCELLED, "the run was cancelled")
                if time.monotonic() > deadline:
                    self.end()
                    return Failure(Reason.SYSTEM, f"its process did not start within {_START_S:.0f} s")
            self.connection.recv_bytes()
        except (EOFError, OSError):
            return _post_mortem(self, limits, " while it started")
        return None

    def end(self) -> None:
        """Kill the child and forget it."""
        with _registry_lock:
            _children.discard(self)
        self.connection.close()
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()


_children: set[_Child] = set()
_registry_lock = threading.Lock()
_idle: list[_Child] = []


def _standard_error() -> int:
    # By number: COMPSs closes and replaces sys.stderr in the processes that run its tasks. Nothing that work prints
    # may reach standard output, where a program's JSON goes.
    try:
        os.fstat(2)
    except OSError:
        return subprocess.DEVNULL
    return 2


@functools.cache
def _spawner() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="start-children")


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
    call = pickle.dumps(
        (work.__module__, work.__qualname__, [unwrapped(argument) for argument in arguments], limits.memory_bytes),
        protocol=pickle.HIGHEST_PROTOCOL,
    )
    if _cancelled(limits):
        return Outcome(failure=Failure(Reason.CANCELLED, "the run was cancelled"), device=device, attempt=attempt)
    child = _take(limits)
    if isinstance(child, Failure):
        return Outcome(failure=child, device=device, attempt=attempt)
    started = time.monotonic()
    answer = _converse(child, call, limits)
    seconds = time.monotonic() - started
    if isinstance(answer, Failure):
        return Outcome(failure=answer, device=device, attempt=attempt, seconds=seconds)
    kind, payload, seconds = answer
    if kind == "value":
        return Outcome(value=payload, device=device, attempt=attempt, seconds=seconds)
    return Outcome(failure=Failure(Reason(kind), *payload), device=device, attempt=attempt, seconds=seconds)


def _here(work: Callable[..., Any], arguments: Sequence[Any], limits: Limits, device: str, attempt: int) -> Outcome:
    """The work in this process, within the limits that a process can set itself."""
    if _cancelled(limits):
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


def end_children() -> None:
    """End every child process of this process."""
    with _registry_lock:
        children = [child for child in _children if child.owner == os.getpid()]
        _idle.clear()
    for child in children:
        child.end()


def idle_children() -> int:
    """How many children wait for work."""
    with _registry_lock:
        return sum(child.owner == os.getpid() for child in _idle)


def start_children(count: int, threads: int = 1) -> None:
    """Start ``count`` idle children now, without waiting for them, so that the first tasks find them ready."""
    for _ in range(count):
        try:
            child = _Child(threads)
        except (OSError, RuntimeError):  # the first task that needs it says why
            return
        with _registry_lock:
            _idle.append(child)


def _take(limits: Limits) -> _Child | Failure:
    """A child that waits for a call: one that is there, else a new one; a failure where none can be started."""
    while True:
        with _registry_lock:
            fits = [child for child in _idle if child.threads == limits.threads and child.owner == os.getpid()]
            if fits:
                # The most recently used one: its imports and caches are warm.
                _idle.remove(fits[-1])
        if not fits:
            break
        child = fits[-1]
        if child.process.poll() is not None:
            child.end()
        elif child.idle or child.failed_to_start(limits) is None:
            return child
    try:
        child = _Child(limits.threads)
    except (OSError, RuntimeError) as error:  # no process, thread or socket left
        return Failure(Reason.SYSTEM, f"no process could be started for it: {error}")
    return child.failed_to_start(limits) or child


def _converse(child: _Child, call: bytes, limits: Limits) -> Any:
    deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
    try:
        child.connection.send_bytes(call)
        while not child.connection.poll(_POLL_S):
            if deadline is not None and time.monotonic() > deadline:
                child.end()
                return Failure(Reason.TIME, f"ran past its limit of {limits.seconds:g} s and was ended")
            if _cancelled(limits):
                child.end()
                return Failure(Reason.CANCELLED, "the run was cancelled")
        answer = child.connection.recv_bytes()
    except (EOFError, OSError):
        return _post_mortem(child, limits)
    child.idle = True
    with _registry_lock:
        _idle.append(child)
    return pickle.loads(answer)


def _post_mortem(child: _Child, limits: Limits, when: str = "") -> Failure:
    try:
        status = child.process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        status = 0
    child.end()
    if _cancelled(limits):
        return Failure(Reason.CANCELLED, "the run was cancelled")
    if status < 0:
        hint = "; if nobody killed it, the machine ran out of memory" if -status == signal.SIGKILL else ""
        name = signal.Signals(-status).name
        return Failure(Reason.KILLED, f"its process was ended by signal {-status} ({name}){when}{hint}")
    return Failure(Reason.EXITED, f"its process ended by itself with exit status {status}{when}")


def _cancelled(limits: Limits) -> bool:
    return bool(limits.cancel_file) and os.path.exists(limits.cancel_file)


def _after_fork() -> None:
    # A forked process (COMPSs forks its executors) must not use, or end, its parent's children.
    global _registry_lock
    _registry_lock = threading.Lock()
    _children.clear()
    _idle.clear()
    _spawner.cache_clear()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(end_children)
