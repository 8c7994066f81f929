"""dask.distributed in this process: one worker with a thread for each computing unit of each processor.

Calls and results stay objects of this process, so nothing is serialised twice.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.runtime.dask_futures import referred, resolved
from tasks.runtime.scratch import scratch_folder

SETTINGS = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.comm.timeouts.connect": "60s",
}
"""Of every scheduler, worker and client of ours: nothing served over HTTP, nothing spilled to disk."""

_calls: dict[int, tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]] = {}
_numbers = itertools.count()


class LocalEngine:
    """A running scheduler and worker."""

    def __init__(self, units: Mapping[str, int]):
        import dask
        import distributed

        self.units = dict(units)
        self.largest = self.units
        self._folder = tempfile.TemporaryDirectory(prefix="dask-", dir=scratch_folder())
        dask.config.set({**SETTINGS, "temporary-directory": self._folder.name})
        self._cluster = distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=sum(self.units.values()),
            processes=False,
            resources={name: float(count) for name, count in self.units.items()},
            memory_limit=None,
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
        self._client = distributed.Client(self._cluster, set_as_default=False)

    def submit(
        self,
        task: Any,
        arguments: Sequence[Any],
        named: Mapping[str, Any],
        dependencies: Mapping[str, Any],
        resources: Mapping[str, float],
    ) -> Any:
        """The future of a task's call (``EmbeddedTask``); ``dependencies``: the futures among its arguments."""
        number = next(_numbers)
        _calls[number] = task.call, referred(list(arguments)), referred(dict(named))
        # Only the call's number and its dependencies go through the scheduler.
        return self._client.submit(
            _execute, number, dependencies, key=f"{task.name}-{number}", resources=resources,
            priority=int(task.priority), pure=False,
        )  # fmt: skip

    def pick(self, future: Any, index: int) -> Any:
        """The future of one of the values of a task."""
        return self._client.submit(_pick, future, index, key=f"{future.key}-{index}", pure=False, priority=1)

    def close(self) -> None:
        """End scheduler and worker; a machine too busy to see them end is no reason to fail."""
        import asyncio  # dask has it by now; a run of small fragments needs neither

        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
            self._client.close(timeout=5)
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            self._cluster.close(timeout=10)
        self._folder.cleanup()
        _calls.clear()


def _execute(number: int, results: Mapping[str, Any]) -> Any:
    # The scheduler has put the results of the futures into ``results``; here they take the references' places.
    call, arguments, named = _calls.pop(number)
    return call(*(resolved(argument, results) for argument in arguments), **resolved(named, results))


def _pick(values: Sequence[Any], index: int) -> Any:
    return values[index]
