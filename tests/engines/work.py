"""The work and the tasks that the engine contract runs; importable by every process of every engine."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass

import numpy as np

from tasks.errors import QompassError
from tasks.runtime import (
    COLLECTION_IN,
    DICTIONARY_IN,
    IN_DELETE,
    constraint,
    contained,
    device_tasks,
    implement,
    isolated,
    mpi,
    task,
)


@dataclass(frozen=True)
class Bound:
    """A device as `device_tasks` sees it."""

    name: str
    kind: str
    processor: str
    computing_units: int
    memory_bytes: int | None = None


# The units of these processors are in `units` of contract.py and in the pair of resources files beside it.
DEVICES = (Bound("qpu-a", "QPU", "QPU_A", 1), Bound("qpu-b", "QPU", "QPU_B", 1))


def _plus(x: float, y: float) -> float:
    return x + y


def _interval(seconds: float) -> tuple[float, float, int]:
    started = time.monotonic()
    time.sleep(seconds)
    return started, time.monotonic(), os.getpid()


def _raise(message: str) -> None:
    raise ValueError(message)


def refused(message: str) -> None:
    """Work that is wrong on every device."""
    raise QompassError(message)


def _exit(status: int) -> None:
    os._exit(status)


def _kill(signal: int) -> None:
    os.kill(os.getpid(), signal)


def _eat(gigabytes: float) -> float:
    return float(np.ones(int(gigabytes * 2**27)).sum())


def _transposed(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.T)


def _weighted(values: dict[str, float]) -> float:
    return sum(len(name) * value for name, value in values.items())


def _ordered(values: list[float]) -> list[float]:
    return list(values)


def _threads() -> str:
    return os.environ["OMP_NUM_THREADS"]


def defect(*arguments: object) -> None:
    """Work with a bug."""
    raise KeyError("a defect")


WORK = {"raise": _raise, "exit": _exit, "kill": _kill, "memory": _eat, "time": _interval, "threads": _threads}


@task(returns=1)
def plus(x, y):
    """x + y in its own process."""
    return isolated(_plus, x, y)


@task(returns=1)
def plus_here(x, y):
    """x + y in the task's own process."""
    return contained(_plus, x, y)


@task(returns=1)
def do(what, argument, limits, attempt):
    """One of WORK, within limits."""
    arguments = () if argument is None else (argument,)
    return isolated(WORK[what], *arguments, limits=limits, device="somewhere", attempt=attempt)


@task(returns=1)
def raises(what):
    """A task that raises, as Qompass' own never do."""
    raise LookupError(f"no such thing as {what}")


@task(returns=1)
def transposed(values):
    """An array in, an array out."""
    return isolated(_transposed, values)


@task(returns=1, values=COLLECTION_IN)
def ordered(values):
    """A list of futures in, the list of their values out."""
    return contained(_ordered, values)


@task(returns=1, values=DICTIONARY_IN)
def weighted(values):
    """A dictionary of futures in."""
    return contained(_weighted, values)


@task(returns=2)
def both(x, y):
    """Two futures."""
    return contained(_plus, x, y), contained(_plus, y, -x)


@constraint(processors=[{"ProcessorType": "CPU", "ProcessorName": "CPU", "ComputingUnits": "1"}])
@task(returns=1)
def busy(seconds):
    """Hold one CPU unit for a while and say when."""
    return isolated(_interval, seconds)


def _until(path):
    while not os.path.exists(path):
        time.sleep(0.01)


@constraint(processors=[{"ProcessorType": "CPU", "ProcessorName": "CPU", "ComputingUnits": "1"}])
@task(returns=1)
def until_there(path):
    """Hold one CPU unit until a file is there."""
    return isolated(_until, path)


def hold(seconds):
    """Hold a device for a while and say when."""
    return isolated(_interval, seconds)


HOLD = device_tasks(hold, DEVICES, globals(), returns=1)


def _doubled(x: np.ndarray) -> np.ndarray:
    return 2 * x


@constraint(computing_units="1")
@task(returns=1, x=IN_DELETE)
def doubled(x):
    """Twice an argument that goes with the task."""
    return contained(_doubled, x)


def _garbage() -> tuple[int, int]:
    return len(gc.get_objects()), gc.get_freeze_count()


@constraint(processors=[{"ProcessorType": "CPU", "ProcessorName": "CPU", "ComputingUnits": "1"}])
@task(returns=1)
def garbage():
    """Objects among which the process that executes tasks looks for garbage, and those that it leaves out."""
    return contained(_garbage)


@constraint(processors=[{"ProcessorType": "CPU", "ComputingUnits": "1"}])
@task(returns=1)
def either(x):
    """Work with two implementations; the main one needs a CPU."""
    return contained(_plus, x, 1)


@implement(source_class="tests.engines.work", method="either")
@constraint(processors=[{"ProcessorType": "OTHER", "ProcessorName": "QPU_B", "ComputingUnits": "1"}])
@task(returns=1)
def either_elsewhere(x):
    """The same on another processor."""
    return contained(_plus, x, 1)


@mpi(runner="mpirun", processes=2, processes_per_node=2)
@task(returns=2)
def ranks(x):
    """What each of two MPI ranks has to say."""
    from mpi4py import MPI

    return MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.allreduce(x + MPI.COMM_WORLD.Get_rank())
