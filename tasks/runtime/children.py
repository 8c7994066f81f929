"""The child processes in which tasks run their work: started, kept while idle, called, and ended.

Starting one costs a Python start and the imports of the work, using one again about 0.2 ms. A child is ended when its
work dies or overruns, and when its parent does.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from tasks.runtime.interpreter import python_command, python_environment
from tasks.runtime.limits import Limits
from tasks.runtime.outcome import Failure, Reason
from tasks.runtime.wire import Message, receive, send

_POLL_S = 0.05
_START_S = 120.0  # a machine that swaps takes its time


class Child:
    """One child process and the private socket on which calls and answers travel (``tasks.runtime.wire``)."""

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
        self.told = _told()
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
                if limits.cancelled():
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


_children: set[Child] = set()
_registry_lock = threading.Lock()
_idle: list[Child] = []


_TELLS = re.compile("QRMI|QOMPASS|VISIBLE_DEVICES|PROXY", re.IGNORECASE)


def _told() -> dict[str, str]:
    """The variables that tell of devices and how to reach them: a notebook may set those of a QPU after a first run."""
    return {name: value for name, value in os.environ.items() if _TELLS.search(name)}


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
            child = Child(threads)
        except (OSError, RuntimeError):  # the first task that needs it says why
            return
        with _registry_lock:
            _idle.append(child)


def take_child(limits: Limits) -> Child | Failure:
    """A child that waits for a call: one that is there, else a new one; a failure where none can be started."""
    told = _told()
    while True:
        with _registry_lock:
            mine = [child for child in _idle if child.threads == limits.threads and child.owner == os.getpid()]
            outdated = [child for child in mine if child.told != told]
            fits = [child for child in mine if child.told == told]
            # The most recently used one: its imports and caches are warm.
            for child in outdated + fits[-1:]:
                _idle.remove(child)
        for child in outdated:
            child.end()
        if not fits:
            break
        child = fits[-1]
        if child.process.poll() is not None:
            child.end()
        elif child.idle or child.failed_to_start(limits) is None:
            return child
    try:
        child = Child(limits.threads)
    except (OSError, RuntimeError) as error:  # no process, thread or socket left
        return Failure(Reason.SYSTEM, f"no process could be started for it: {error}")
    return child.failed_to_start(limits) or child


def converse(child: Child, call: Message, limits: Limits) -> Any:
    """Send a call and wait for its answer: what the child says, or the failure that there will be none."""
    deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
    try:
        send(child.connection, call)
        while not child.connection.poll(_POLL_S):
            if deadline is not None and time.monotonic() > deadline:
                child.end()
                return Failure(Reason.TIME, f"ran past its limit of {limits.seconds:g} s and was ended")
            if limits.cancelled():
                child.end()
                return Failure(Reason.CANCELLED, "the run was cancelled")
        answer = receive(child.connection)
    except (EOFError, OSError):
        return _post_mortem(child, limits)
    child.idle = True
    with _registry_lock:
        _idle.append(child)
    return answer.value()


def _post_mortem(child: Child, limits: Limits, when: str = "") -> Failure:
    try:
        status = child.process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        status = 0
    child.end()
    if limits.cancelled():
        return Failure(Reason.CANCELLED, "the run was cancelled")
    if status < 0:
        hint = "; if nobody killed it, the machine ran out of memory" if -status == signal.SIGKILL else ""
        name = signal.Signals(-status).name
        return Failure(Reason.KILLED, f"its process was ended by signal {-status} ({name}){when}{hint}")
    return Failure(Reason.EXITED, f"its process ended by itself with exit status {status}{when}")


def _after_fork() -> None:
    # A forked process (COMPSs forks its executors) must not use, or end, its parent's children.
    global _registry_lock
    _registry_lock = threading.Lock()
    _children.clear()
    _idle.clear()
    _spawner.cache_clear()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(end_children)
