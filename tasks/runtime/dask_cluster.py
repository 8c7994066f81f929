"""dask.distributed across nodes: a client of a scheduler that runs elsewhere, and the processes it needs there.

A call travels as the name of its function and its arguments; each worker imports Qompass from its own checkout.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import math
import secrets
import signal
import socket
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tasks.runtime.ranks as ranks
from tasks.runtime.accounting import client_of, key_of, virtual_time
from tasks.runtime.cluster_folder import (
    Cluster,
    announce,
    check_host,
    find_cluster,
    prepare_folder,
    retract,
    security_of,
)
from tasks.runtime.dask_futures import referred, resolved
from tasks.runtime.dask_local import SETTINGS
from tasks.runtime.errors import EngineError
from tasks.runtime.scratch import scratch_folder

_CONNECT_S = 30
_PAUSE_S = 0.5  # between two tasks of a run; after that others may have had turns that it did not use
_NO_WORKER_S = 60.0
_LEAVE_S = 20.0  # what only a worker that is told to leave has, it gives to others in that time


@dataclass(frozen=True)
class Call:
    """What a worker does.

    Attributes:
        module: of the function.
        name: of the function, at the top level of its module.
        processes: MPI ranks to run it in, 0 for none.
        ignores_failure: give ``default`` where it raises.
        default: see there.
        arguments: by place; references for results of other tasks.
        named: by name.
    """

    module: str
    name: str
    processes: int
    ignores_failure: bool
    default: Any
    arguments: Sequence[Any]
    named: Mapping[str, Any]


class ClusterEngine:
    """A client of a scheduler, with the units that its workers have.

    Args:
        cluster: where.
        run: the id of the run that submits tasks, "" for other programs.

    Raises:
        EngineError: the scheduler does not answer, or has no worker.
    """

    def __init__(self, cluster: Cluster, run: str = "") -> None:
        distributed = _quiet_distributed()
        self._cluster = cluster
        self._run = client_of(run, secrets.token_hex(4))  # several clients share a scheduler, and keys are its own
        self._numbers = itertools.count()
        self._behind, self._last = 0, -math.inf
        try:
            self._client = distributed.Client(
                cluster.address, security=cluster.security(), set_as_default=False, timeout=_CONNECT_S,
                name=f"run--{self._run}--",
            )  # fmt: skip
        except (OSError, TimeoutError, asyncio.TimeoutError) as error:
            raise _silent(cluster) from error
        try:
            self._client.wait_for_workers(1, timeout=_NO_WORKER_S)
        except (TimeoutError, asyncio.TimeoutError):
            self._client.close(timeout=5)
            raise EngineError(
                f"the scheduler at {cluster.address} has no worker: start some with `qompass cluster worker`",
                field="scheduler",
            ) from None

    @property
    def units(self) -> dict[str, int]:
        """Computing units of each processor, all workers together."""
        total: dict[str, int] = {}
        for own in self._workers():
            for name, count in own.items():
                total[name] = total.get(name, 0) + count
        return total

    @property
    def largest(self) -> dict[str, int]:
        """Computing units of each processor on the worker that has most of it: what one task can have."""
        most: dict[str, int] = {}
        for own in self._workers():
            for name, count in own.items():
                most[name] = max(most.get(name, 0), count)
        return most

    def _workers(self) -> list[dict[str, int]]:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return [{name: int(count) for name, count in worker["resources"].items()} for worker in workers]

    def submit(
        self,
        task: Any,
        arguments: Sequence[Any],
        named: Mapping[str, Any],
        dependencies: Mapping[str, Any],
        resources: Mapping[str, float],
    ) -> Any:
        """The future of a task's call (``EmbeddedTask``); ``dependencies``: the futures among its arguments."""
        function = task.function
        call = Call(
            function.__module__, function.__code__.co_name, task.processes, task.ignores_failure, task.default,
            referred(list(arguments)), referred(dict(named)),
        )  # fmt: skip
        number = next(self._numbers)
        with warnings.catch_warnings():  # of large arguments: a plan's fragments are what they are
            warnings.simplefilter("ignore", UserWarning)
            return self._client.submit(
                _execute_call, call, dependencies, key=key_of(task.name, self._run, number), resources=resources,
                priority=-self._turn(number), pure=False,
            )  # fmt: skip

    def _turn(self, number: int) -> int:
        """When it is the turn of this run's task, among those of all runs (``tasks.runtime.accounting``)."""
        now = time.monotonic()
        if now - self._last > _PAUSE_S:  # meanwhile the others have gone on
            self._behind = max(self._behind, int(self._client.run_on_scheduler(virtual_time)) - number)
        self._last = now
        return number + self._behind

    def pick(self, future: Any, index: int) -> Any:
        """The future of one of the values of a task."""
        return self._client.submit(_pick_value, future, index, key=f"{future.key}-{index}", pure=False, priority=1)

    def close(self) -> None:
        """Leave the cluster; what is waiting there for this client is dropped."""
        self._client.close(timeout=5)


def _execute_call(call: Call, results: Mapping[str, Any]) -> Any:
    function: Callable[..., Any] = getattr(importlib.import_module(call.module), call.name)
    function = getattr(function, "function", function)  # the module holds the task; what it wraps is what runs here
    arguments = [resolved(argument, results) for argument in call.arguments]
    named = resolved(call.named, results)
    try:
        if call.processes:
            return ranks.run_ranks(function, arguments, named, call.processes)
        return function(*arguments, **named)
    except Exception:
        if call.ignores_failure:
            return call.default
        raise


def _pick_value(values: Sequence[Any], index: int) -> Any:
    return values[index]


def serve_scheduler(folder: Path, *, host: str = "", port: int = 0, told: Callable[[str], None]) -> None:
    """Be the scheduler of a cluster until a signal ends it; its folder says where it is.

    Args:
        folder: of the cluster; made with its key where it is missing.
        host: address or name to listen at; by default loopback.
        port: to listen at, 0 for any.
        told: hears the address.

    Raises:
        PrivateFolderError: the folder is not the user's own.
        EngineError: the host is not on loopback or the cluster's network, or the port is taken.
    """
    address = check_host(host or "127.0.0.1")
    prepare_folder(folder)
    distributed = _quiet_distributed()
    from tasks.runtime.scheduler_accounts import Accounts

    async def serve() -> None:
        try:
            scheduler = await distributed.Scheduler(
                host=address, port=port, protocol="tls", security=security_of(folder),
                dashboard_address="127.0.0.1:0", allowed_failures=3,
            )  # fmt: skip
        except OSError as error:
            raise EngineError(f"cannot listen at {address}:{port}: {error.strerror}: name another port") from error
        accounts = Accounts()
        await accounts.start(scheduler)
        scheduler.add_plugin(accounts)
        announce(folder, scheduler.address)
        told(f"scheduler at {scheduler.address}, cluster {folder}")
        try:
            await _signal()
        finally:
            retract(folder, scheduler.address)
            await scheduler.close()

    asyncio.run(serve())


def serve_worker(named: str, units: Mapping[str, int], *, host: str = "", told: Callable[[str], None]) -> None:
    """Be a worker of a cluster until a signal or the scheduler's end; then what only it has goes to others first.

    Args:
        named: the cluster, as for ``find_cluster``.
        units: computing units of each processor that it offers.
        host: address or name to listen at; by default the one by which this node reaches the scheduler.
        told: hears that it has joined.

    Raises:
        EngineError: there is no such cluster, it does not answer, or has another environment.
    """
    cluster = find_cluster(named)
    own = check_host(host) if host else _own_address(cluster.address)
    distributed = _quiet_distributed()

    async def serve() -> None:
        try:
            worker = await distributed.Worker(
                cluster.address,
                host=own,
                security=cluster.security(),
                nthreads=sum(units.values()),
                resources={name: float(count) for name, count in units.items()},
                memory_limit=0,
                death_timeout=_CONNECT_S,
                dashboard_address="127.0.0.1:0",
                local_directory=str(scratch_folder()),
            )
        except (OSError, TimeoutError, asyncio.TimeoutError) as error:
            raise _silent(cluster) from error
        told(f"worker at {worker.address} offers {', '.join(f'{name}={count}' for name, count in units.items())}")
        ended = asyncio.ensure_future(worker.finished())
        told_to = asyncio.ensure_future(_signal())
        await asyncio.wait({ended, told_to}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            try:
                await asyncio.wait_for(worker.close_gracefully(), _LEAVE_S)
            except (TimeoutError, asyncio.TimeoutError):
                await worker.close()
        told_to.cancel()

    asyncio.run(serve())


def _quiet_distributed() -> Any:
    """dask.distributed, with our settings; it logs every connection unless told before it is imported."""
    import dask

    dask.config.set({**SETTINGS, "temporary-directory": str(scratch_folder()), "logging": {"distributed": "error"}})
    import distributed

    return distributed


def _silent(cluster: Cluster) -> EngineError:
    return EngineError(
        f"the scheduler at {cluster.address} does not answer: is it running, and is {cluster.folder} its folder?",
        field="scheduler",
    )


async def _signal() -> None:
    """Wait for SIGTERM, SIGINT or SIGHUP."""
    came = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, came.set)
    await came.wait()


def _own_address(address: str) -> str:
    """The address by which this node reaches another."""
    host, _, port = address.removeprefix("tls://").rpartition(":")
    family = socket.getaddrinfo(host.strip("[]"), None)[0][0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host.strip("[]"), int(port)))
        return str(probe.getsockname()[0])
