"""Small work at once and in this process: no engine and no child process, the same outcomes.

Starting an engine and a first child takes about two seconds of two cores; work shorter than that is done before it
would have begun. Its limits hold as far as a process can limit itself: memory on Linux; time in the main thread, where
a signal can end it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from types import FrameType
from typing import Any

from threadpoolctl import ThreadpoolController

INLINE_S = 1.0
"""Predicted work up to this long is done inline."""

_inline: ContextVar[bool] = ContextVar("inline", default=False)


class Overrun(BaseException):
    """Inline work ran past its time limit; no ``except Exception`` in the work may keep it."""


@contextlib.contextmanager
def inline(yes: bool) -> Iterator[None]:
    """Whether tasks called in the block are done at once, in this thread; only the embedded engine listens."""
    token = _inline.set(yes)
    try:
        yield
    finally:
        _inline.reset(token)


def is_inline() -> bool:
    """Whether a task called now is done at once."""
    return _inline.get()


@contextlib.contextmanager
def limited(seconds: float | None, threads: int) -> Iterator[None]:
    """End the block after so many seconds, and let the numerical libraries use so many threads in it.

    Raises:
        Overrun: the block took longer.
    """
    began = time.monotonic()
    with _limit(threads), _alarm(seconds):
        yield
    if seconds is not None and time.monotonic() - began > seconds:
        raise Overrun


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let the numerical libraries use one thread until the last of the blocks (of any thread) that ask for it ends."""
    global _asking, _limiter
    with _asked:
        if _asking == 0:
            _take_control()
            _limiter = _controller().limit(limits=1)
        _asking += 1
    try:
        yield
    finally:
        with _asked:
            _asking -= 1
            if _asking == 0:
                _take_control()
                _limiter.restore_original_limits()


@contextlib.contextmanager
def _limit(threads: int) -> Iterator[None]:
    _take_control()
    limiter = _controller().limit(limits=threads)
    try:
        yield
    finally:
        _take_control()
        limiter.restore_original_limits()


def _take_control() -> None:
    """Let this thread set limits: since threadpoolctl 3.7 only the first that did may, and others are not heard."""
    for library in _controller().lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            clear(force=True)


_asked = threading.Lock()
_asking = 0
_limiter: Any = None


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextlib.contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _overrun)
    left, interval = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
    began = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # somebody else's alarm goes on
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-6), interval)


def _overrun(number: int, frame: FrameType | None) -> None:
    raise Overrun


def within(memory_bytes: int | None, work: Any, arguments: list[Any]) -> Any:
    """``work(*arguments)`` with so many bytes of memory more than this process has now."""
    if memory_bytes is None or sys.platform != "linux":  # elsewhere the kernel keeps no such limit
        return work(*arguments)
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    ceiling = _address_space() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (ceiling if hard == resource.RLIM_INFINITY else min(ceiling, hard), hard))
    try:
        return work(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
