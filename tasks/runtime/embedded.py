"""The embedded engine: PyCOMPSs' decorators, scheduled by dask.distributed in this process or across nodes.

Named resources cap how many tasks of a processor run at once. The task functions themselves are thin: their work runs
in child processes (`tasks.runtime.isolation`).
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tasks.runtime.ranks as ranks
from tasks.runtime.children import idle_children, start_children
from tasks.runtime.dask_futures import as_completed as as_completed  # an engine has it
from tasks.runtime.dask_futures import futures_in, is_future, wait_on
from tasks.runtime.dask_local import LocalEngine
from tasks.runtime.errors import EngineError
from tasks.runtime.inline import is_inline

if TYPE_CHECKING:  # asyncio and TLS, which only a cluster needs
    from tasks.runtime.cluster_folder import Cluster
    from tasks.runtime.dask_cluster import ClusterEngine

IN = "IN"
OUT = "OUT"
INOUT = "INOUT"
IN_DELETE = "IN_DELETE"
FILE_IN = "FILE_IN"
COLLECTION_IN = "COLLECTION_IN"
DICTIONARY_IN = "DICTIONARY_IN"
_DIRECTIONS = {IN, IN_DELETE, FILE_IN, COLLECTION_IN, DICTIONARY_IN}
_DEFAULT_PROCESSOR = "CPU"


def drop(futures: Iterable[Any]) -> None:
    """Nothing to do: a result is gone with the last reference to its future."""


_units: dict[str, int] | None = None  # of the engine that runs; its processes start with the first task
_cluster: Cluster | None = None  # where it is not this process that executes the tasks
_engine: LocalEngine | ClusterEngine | None = None
_starting = threading.Lock()


def start(units: dict[str, int], scheduler: str = "", run: str = "") -> dict[str, int]:
    """Take tasks from now on, with these computing units for each processor.

    Args:
        units: of this machine; of a cluster its workers say them.
        scheduler: a cluster (``find_cluster``), "" for this machine.
        run: by which id the cluster knows what submits tasks.

    Returns:
        the computing units of each processor.

    Raises:
        EngineError: a processor has none, or the cluster cannot be used.
    """
    global _units, _cluster, _engine
    if scheduler:
        from tasks.runtime.cluster_folder import find_cluster
        from tasks.runtime.dask_cluster import ClusterEngine

        cluster = find_cluster(scheduler)
        _engine = ClusterEngine(cluster, run)
        _cluster, _units = cluster, _engine.units
        return _units
    all_units = {_DEFAULT_PROCESSOR: _cores(), **units}
    for name, count in all_units.items():
        if count < 1:
            raise EngineError(f"processor {name} has {count} computing units: give it at least one")
    _units = all_units
    return _units


def current_units() -> Mapping[str, int]:
    """Computing units of each processor; those of a cluster change as its nodes come and go."""
    global _units
    if _engine is not None and not isinstance(_engine, LocalEngine):
        # A processor that is away for a moment is still one that tasks may wait for.
        _units = {**(_units or {}), **_engine.units}
    return _units or {}


def cluster_folder() -> Path | None:
    """The folder that all nodes of the cluster see, None where tasks run in this process."""
    return None if _cluster is None else _cluster.folder


def prepare() -> None:
    """Start the processes of the first tasks now, without waiting for them: there will be work for an engine."""
    if _units is not None and _engine is None and not idle_children():
        start_children(min(4, _units[_DEFAULT_PROCESSOR]))


def _started() -> LocalEngine | ClusterEngine:
    """The scheduler and worker, started for the first task that is not done inline."""
    global _engine
    with _starting:
        if _engine is None:
            assert _units is not None
            prepare()  # while dask is being imported; others when they are needed
            _engine = LocalEngine(_units)
        return _engine


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stop() -> None:
    """End scheduler and worker; what has not run never will."""
    global _engine, _units, _cluster
    running, _engine, _units, _cluster = _engine, None, None, None
    if running is not None:
        running.close()


def version() -> str:
    """The version of dask.distributed."""
    from importlib.metadata import version as installed

    return f"distributed {installed('distributed')}"


def logs() -> str:
    """None are kept."""
    return ""


class EmbeddedTask:
    """A task function: calling it submits it and returns its future(s)."""

    def __init__(self, function: Callable[..., Any], returns: int, directions: dict[str, str], priority: bool):
        self.name = function.__name__
        self.function = function
        self.returns = returns
        self.directions = directions
        self.priority = priority
        self.resources: dict[str, float] = {_DEFAULT_PROCESSOR: 1.0}
        self.alternatives: list[EmbeddedTask] = []
        self.processes = 0
        self.default: Any = None
        self.ignores_failure = False
        self.signature = inspect.signature(function)
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Submit the task and return its future, or one for each of its values."""
        if _units is None:
            raise EngineError(f"task {self.name} was called but no engine runs: call start_engine first")
        units = _units
        chosen = next((one for one in (self, *self.alternatives) if one.missing(units) is None), None)
        if chosen is None:
            raise EngineError(f"task {self.name} can never run: {self.missing(units)}")
        if is_inline():
            return chosen.call(*wait_on(arguments), **wait_on(named))
        return chosen._submit(_started(), self.signature.bind(*arguments, **named))

    def missing(self, units: Mapping[str, int]) -> str | None:
        """What this task needs and the engine has not, None if it has it all."""
        for name, amount in self._taken(units).items():
            if amount > units.get(name, 0):
                return f"it needs {amount:g} computing units of processor {name}, and there are {units.get(name, 0)}"
        return None

    def _taken(self, units: Mapping[str, int]) -> dict[str, float]:
        """The units it takes: each MPI rank its own; more of them than there are units share these."""
        if not self.processes:
            return self.resources
        wanted = {name: amount * self.processes for name, amount in self.resources.items()}
        return {name: min(amount, float(units.get(name, 0)) or amount) for name, amount in wanted.items()}

    def _submit(self, engine: LocalEngine | ClusterEngine, bound: inspect.BoundArguments) -> Any:
        dependencies: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                for member in value:
                    self._collect(name, member, dependencies)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                for member_name, member in value.items():
                    self._collect(member_name, member, dependencies)
            else:
                self._collect(name, value, dependencies)
        future = engine.submit(self, bound.args, bound.kwargs, dependencies, self._taken(engine.largest))
        return future if self.returns <= 1 else [engine.pick(future, index) for index in range(self.returns)]

    def _collect(self, name: str, value: Any, dependencies: dict[str, Any]) -> None:
        if is_future(value):
            dependencies[value.key] = value
            return
        inside = futures_in(value)
        if not inside:
            return
        wanted = DICTIONARY_IN if isinstance(value, dict) else COLLECTION_IN
        if self.directions.get(name) != wanted:
            raise EngineError(
                f"argument {name} of task {self.name} holds futures: declare it {name}={wanted} in its @task"
            )
        dependencies.update((future.key, future) for future in inside)

    def call(self, *arguments: Any, **named: Any) -> Any:
        """What the task does, here and now."""
        try:
            if self.processes:
                return ranks.run_ranks(self.function, arguments, named, self.processes)
            return self.function(*arguments, **named)
        except Exception:
            if self.ignores_failure:
                return self.default
            raise


def task(returns: Any = 0, priority: bool = False, **directions: str) -> Callable[[Callable[..., Any]], EmbeddedTask]:
    """PyCOMPSs' ``@task``: a call submits the function and returns a future, or a list of them for ``returns=n``.

    Raises:
        EngineError: for a direction this engine has not (OUT, INOUT): return a new value instead.
    """
    count = returns if isinstance(returns, int) else 1
    for name, direction in directions.items():
        if direction not in _DIRECTIONS:
            raise EngineError(f"the embedded engine has no {name}={direction}: return a new value instead")

    def decorate(function: Callable[..., Any]) -> EmbeddedTask:
        return EmbeddedTask(function, count, directions, priority)

    return decorate


def constraint(
    computing_units: str | int = 1, processors: Sequence[Mapping[str, str]] = (), **other: Any
) -> Callable[[EmbeddedTask], EmbeddedTask]:
    """PyCOMPSs' ``@constraint``. Computing units are enforced; memory and software are not, as on COMPSs' master."""
    resources: dict[str, float] = {}
    for processor in processors:
        name = processor.get("ProcessorName") or processor.get("ProcessorType") or _DEFAULT_PROCESSOR
        resources[name] = resources.get(name, 0.0) + float(processor.get("ComputingUnits", 1))
    if not resources:
        resources[_DEFAULT_PROCESSOR] = float(computing_units)

    def decorate(wrapped: EmbeddedTask) -> EmbeddedTask:
        wrapped.resources = resources
        return wrapped

    return decorate


def implement(source_class: str, method: str) -> Callable[[EmbeddedTask], EmbeddedTask]:
    """PyCOMPSs' ``@implement``: another way to do ``source_class.method``, used where that cannot run."""

    def decorate(alternative: EmbeddedTask) -> EmbeddedTask:
        main = getattr(sys.modules[source_class], method)
        main.alternatives.append(alternative)
        return alternative

    return decorate


def mpi(runner: str = "mpirun", processes: str | int = 1, **other: Any) -> Callable[[EmbeddedTask], EmbeddedTask]:
    """PyCOMPSs' ``@mpi`` on a Python function: every rank runs it; the task returns one value a rank."""

    def decorate(wrapped: EmbeddedTask) -> EmbeddedTask:
        wrapped.processes = int(processes)
        return wrapped

    return decorate


def on_failure(management: str, **defaults: Any) -> Callable[[EmbeddedTask], EmbeddedTask]:
    """PyCOMPSs' ``@on_failure``: with IGNORE the task returns the given ``returns`` when its function raises."""

    def decorate(wrapped: EmbeddedTask) -> EmbeddedTask:
        wrapped.ignores_failure = management.upper() == "IGNORE"
        wrapped.default = defaults.get("returns")
        return wrapped

    return decorate
