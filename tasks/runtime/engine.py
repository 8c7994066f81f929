"""The seam: under ``runcompss`` these names are PyCOMPSs' own, anywhere else the embedded engine's.

Which one is decided on import, because decorators bind then. PyCOMPSs' documentation describes the decorators and
their arguments: https://compss-doc.readthedocs.io (PyCOMPSs, Programming Model).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tasks.runtime.compss as compss
from tasks.runtime.children import end_children
from tasks.runtime.errors import EngineError
from tasks.runtime.limits import Limits
from tasks.runtime.outcome import Outcome
from tasks.runtime.scratch import scratch_folder
from tasks.runtime.ticket import Ticket, Tickets, in_order_of_end, until_end

_backend: Any
if compss.active():
    _backend = compss
else:
    import tasks.runtime.embedded as embedded

    _backend = embedded

task = _backend.task
constraint = _backend.constraint
implement = _backend.implement
mpi = _backend.mpi
on_failure = _backend.on_failure
IN = _backend.IN
OUT = _backend.OUT
INOUT = _backend.INOUT
IN_DELETE = _backend.IN_DELETE
FILE_IN = _backend.FILE_IN
COLLECTION_IN = _backend.COLLECTION_IN
DICTIONARY_IN = _backend.DICTIONARY_IN


@dataclass(frozen=True)
class EngineInfo:
    """The engine that runs, for the record.

    Attributes:
        name: "compss" or "embedded".
        version: of COMPSs, or of dask.distributed.
        cancel_file: appears when the run is cancelled.
        overhead_s: what a task costs beside its work, as measured (results/benchmarks/engines.md).
        units: computing units of each processor, as far as the engine says them.
        logs: where the engine keeps its own logs, graph and traces of this program, "" where it keeps none.
    """

    name: str
    version: str
    cancel_file: str
    overhead_s: float
    units: Mapping[str, int] = field(default_factory=dict)
    logs: str = ""


_OVERHEAD_S = {"compss": 0.023, "embedded": 0.0065}  # a chained task in results/benchmarks/engines.md

_running: EngineInfo | None = None
_share = threading.Lock()
_sharing = 0  # blocks that use an engine which the first of them started
_cancel_files: list[Path] = []


def under_compss() -> bool:
    """Whether this process was started by ``runcompss``."""
    return _backend is compss


def start_engine(
    name: str = "auto", *, units: Mapping[str, int] | None = None, scheduler: str | None = None, run: str = ""
) -> EngineInfo:
    """Start the engine, or use the one that runcompss has started.

    Args:
        name: "auto", "embedded" or "compss".
        units: embedded engine only: computing units of each named processor; "CPU" counts those that tasks without
            a named processor take, one for each core if absent. COMPSs takes its units from the resources file.
        scheduler: embedded engine only: the cluster whose workers execute the tasks, and say the units.
        run: the id of the run that is executed, by which a cluster tells runs apart.

    Raises:
        EngineError: for an engine that cannot be had here, or when one runs already.
    """
    global _running
    if _running is not None:
        raise EngineError(f"the {_running.name} engine runs already: stop it first")
    if name not in ("auto", "embedded", "compss"):
        raise EngineError(f"no engine is called {name}: choose auto, embedded or compss")
    if name == "compss" and not under_compss():
        raise EngineError("the compss engine needs runcompss: launch/local_compss.sh PROGRAM ARGUMENTS")
    if name == "embedded" and under_compss():
        raise EngineError(
            "runcompss started this program: take `engine` compss or auto, or start it without", field="engine"
        )
    if scheduler and under_compss():
        raise EngineError(
            "COMPSs schedules here: leave out `scheduler`, or start it without runcompss", field="scheduler"
        )
    all_units = _backend.start(dict(units or {}), scheduler or "", run)
    # The launcher's folder where there is one, so that it can cancel: while this program waits inside COMPSs for a
    # task, no signal reaches it.
    folder = os.environ.get("QOMPASS_STATE") or _folder_of_run()
    kind = "compss" if under_compss() else "embedded"
    _running = EngineInfo(
        kind, _backend.version(), _cancel_file(Path(folder)), _OVERHEAD_S[kind], all_units, _backend.logs()
    )
    return _running


def _folder_of_run() -> str:
    """A new folder that whoever executes tasks sees."""
    return tempfile.mkdtemp(prefix="run-", dir=_backend.cluster_folder() or scratch_folder())


def _cancel_file(folder: Path) -> str:
    _cancel_files.append(folder / "cancelled")
    return str(folder / "cancelled")


def stop_engine() -> None:
    """End the engine and every process it started; without one, do nothing."""
    global _running
    if _running is None:
        return
    _running = None
    for file in _cancel_files:
        with contextlib.suppress(OSError):
            file.touch()
    _backend.stop()
    end_children()
    for file in _cancel_files:
        with contextlib.suppress(OSError):
            file.unlink()
            file.parent.rmdir()
    _cancel_files.clear()


@contextlib.contextmanager
def engine(
    name: str = "auto", *, units: Mapping[str, int] | None = None, scheduler: str | None = None
) -> Iterator[EngineInfo]:
    """`start_engine`, and `stop_engine` whatever happens in between."""
    try:
        yield start_engine(name, units=units, scheduler=scheduler)
    finally:
        stop_engine()


@contextlib.contextmanager
def shared_engine(
    name: str = "auto", *, units: Mapping[str, int] | None = None, scheduler: str | None = None, run: str = ""
) -> Iterator[EngineInfo]:
    """The engine that runs already, else one that ends with the last of the blocks (of any thread) that share it."""
    global _sharing
    with _share:
        shared = _running is None or _sharing > 0
        info = start_engine(name, units=units, scheduler=scheduler, run=run) if _running is None else _running
        _sharing += shared
    try:
        yield info
    finally:
        with _share:
            _sharing -= shared
            if shared and _sharing == 0:
                stop_engine()


def prepare_engine() -> None:
    """Start what takes long to start, without waiting for it: there will be work that is not done inline."""
    _backend.prepare()


def engine_info() -> EngineInfo:
    """The engine that runs.

    Raises:
        EngineError: if none does.
    """
    if _running is None:
        raise EngineError("no engine runs: call start_engine, or use `with engine():`")
    return _running


def units_now() -> Mapping[str, int]:
    """Computing units of each processor that the engine has now, as far as it says them."""
    engine_info()
    return dict(_backend.current_units())


def limits(seconds: float | None = None, memory_bytes: int | None = None, threads: int = 1) -> Limits:
    """Limits for a piece of isolated work that also ends when the running engine's run is cancelled."""
    return Limits(seconds, memory_bytes, engine_info().cancel_file, threads)


def wait_on(value: Any, ticket: Ticket | None = None, needs: Sequence[Ticket] = ()) -> Any:
    """The result behind a future, or behind the futures in a list, tuple or dictionary, however deep.

    While COMPSs waits, no signal and no other thread of this process is heard. With tickets that is but for a moment:

    Args:
        value: what holds futures.
        ticket: of the task whose outcome ``value`` is; its process may have died, and the outcome then says so.
        needs: tickets of the tasks whose results that one takes.
    """
    engine_info()
    if ticket is not None and (failure := until_end(ticket, needs)) is not None:
        return Outcome(failure=failure, attempt=ticket.attempt)
    found = _backend.wait_on(value)
    if ticket is not None:
        ticket.waited_for()
    return found


def release(futures: Iterable[Any]) -> None:
    """Forget results that nobody will ask for any more, so that an application of many runs does not keep them all."""
    _backend.drop(futures)


def tickets_in(shared: Path) -> Tickets:
    """Tickets for tasks whose results go into ``shared``, in a folder of their own where the engine needs them."""
    folder = ""
    if under_compss():
        with contextlib.suppress(OSError):  # a run of somebody else: what COMPSs says of the tasks is enough
            folder = tempfile.mkdtemp(prefix="tasks-", dir=shared)
    return Tickets(folder)


def as_completed(
    futures: Sequence[Any],
    tickets: Sequence[Ticket] = (),
    read: Callable[[Mapping[str, Any]], Any] = dict,
) -> Iterator[tuple[int, Any]]:
    """Yield (position in ``futures``, result) for each future as they complete.

    COMPSs has no call that waits for any one of several tasks. There the tickets say which have ended and how, in the
    words that ``read`` makes a result of; without tickets it is in the order given.
    """
    engine_info()
    if under_compss() and any(ticket.folder for ticket in tickets):
        yield from in_order_of_end(futures, tickets, _backend.wait_on, read)
    else:
        yield from _backend.as_completed(futures)


def cancel() -> None:
    """End isolated work that runs and start none that waits: their outcomes say "cancelled". The engine lives on.

    COMPSs' own cancelling of groups can crash its scheduler while tasks fail, so this is a file that work looks for.
    On worker nodes it works where they share the master's temporary directory.
    """
    global _running
    info = engine_info()
    Path(info.cancel_file).touch()
    # What is submitted from now on is not part of what was cancelled.
    _running = replace(info, cancel_file=_cancel_file(Path(_folder_of_run())))
