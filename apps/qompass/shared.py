"""What many calls share: an engine that stays up, threads, and circuits that are planned already."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from resources_xml import units_of
from tasks.errors import InputError
from tasks.execution.run_devices import holding_qpus, run_devices
from tasks.options import Options, options_of
from tasks.runtime import shared_engine, under_compss

_KEPT = 64  # circuits that stay planned
_THREADS = 4

T = TypeVar("T")
S = TypeVar("S", bound="Shared")


class Plans:
    """What has been made of circuits, by whatever tells them apart; the oldest go first. Safe to use from threads."""

    def __init__(self, most: int = _KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], T], kept_key: Callable[[], Any] | None = None) -> T:
        """What is kept under the key, made now if there is nothing.

        Args:
            key: compared once, as that may take long.
            make: makes it.
            kept_key: an equal key that does not change later, where ``key`` may.
        """
        with self._lock:
            found = self._kept.pop(key, None)
            if found is not None:
                self._kept[found[0]] = found  # the last one now
                return found[1]
        made = make()
        lasting = key if kept_key is None else kept_key()
        with self._lock:
            self._kept[lasting] = (lasting, made)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


class Shared:
    """An engine with its workers, units and sessions of QPUs, threads for jobs, and plans, from ``with`` to its end.

    Args:
        options: fields of ``Options``, for every call.

    Attributes:
        options: those, checked.
        plans: of the circuits seen.

    Raises:
        InputError: an option cannot be used; ``field`` names it.
    """

    def __init__(self, **options: Any) -> None:
        self.options: Options = options_of(options)
        self.plans = Plans()
        self._stack = contextlib.ExitStack()
        self._executor: ThreadPoolExecutor | None = None
        self._state = "new"
        self._lock = threading.Lock()

    def __enter__(self: S) -> S:
        """Start the engine, or share the one that runs."""
        with self._lock:
            if self._state != "new":
                raise InputError(f"this session is {self._state}: make a new one with `qompass.Session(...)`")
            devices = run_devices(self.options.resources, {})
            self._stack.enter_context(shared_engine(self.options.engine, units=units_of(devices)))
            self._stack.enter_context(holding_qpus(devices))
            threads = 1 if under_compss() else _THREADS  # PyCOMPSs takes calls from one thread at a time
            self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="qompass-session")
            self._state = "open"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        self.close()

    def close(self) -> None:
        """Wait for the jobs that run, then end the engine if it is this session's own; again it does nothing."""
        with self._lock:
            was, self._state = self._state, "closed"
        if was == "open":
            assert self._executor is not None
            self._executor.shutdown(wait=True)
            self._stack.close()

    @property
    def executor(self) -> Executor:
        """Where jobs run.

        Raises:
            InputError: the session has not been entered, or is closed.
        """
        if self._state != "open" or self._executor is None:
            what = "not open yet: use it in `with qompass.Session(...) as session:`"
            raise InputError(f"this session is {'closed: make a new one' if self._state == 'closed' else what}")
        return self._executor
