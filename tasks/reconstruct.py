"""The reconstruction task: fragment tensors -> values and standard errors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import numpy as np

from resources_xml import read_nodes
from scheduler_policies import Device, Kind
from scheduler_policies.machine import GPU_FLOPS
from tasks.execution.calibration_file import read_calibration
from tasks.execution.run_devices import RESOURCES_VARIABLE, declared_devices
from tasks.execution.simulators.accelerator import accelerator
from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction import estimate_values, estimate_with_shares
from tasks.reconstruction.contraction.layout import Path as ContractionPath
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.network_files import write_network
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.errors import MemoryLimitError
from tasks.reconstruction.statistics.allocation import allocate_shots
from tasks.runtime import (
    COLLECTION_IN,
    IN_DELETE,
    EngineError,
    Limits,
    Outcome,
    Ticket,
    constraint,
    contained,
    device_tasks,
    isolated,
    mpi,
    task,
    wait_on,
)
from tasks.runtime.ranks import end_ranks, mpirun_path, raise_rank_failure

_WORTH_RANKS = 1e11  # floating-point operations: some seconds of one core, against two until ranks have started
RANKS_VARIABLE = "QOMPASS_RANKS"
_SHARES_TOLD = 6  # observables for which it is said where the variance comes from


def _declared_ranks() -> tuple[int, int]:
    """MPI ranks of the run, and ranks on each node.

    One for each unit of the CPUs that the resources file declares, or each core of this machine; ``QOMPASS_RANKS`` says
    another number (COMPSs' workers must see the same, and have as many units), 0 that no contraction is to use any.
    """
    path = os.environ.get(RESOURCES_VARIABLE)
    units = [
        sum(processor.units for processor in node.processors if processor.type == "CPU" and not processor.clients)
        for node in (read_nodes(Path(path)) if path else ())
    ]
    units = [own for own in units if own] or [os.cpu_count() or 1]
    nodes = len(units)
    asked = os.environ.get(RANKS_VARIABLE, "")
    on_node = -(-int(asked) // nodes) if asked.isdigit() else min(units)
    on_node = max(on_node, -(-2 // nodes))
    return on_node * nodes, on_node


RANKS, _RANKS_ON_NODE = _declared_ranks()


@dataclass(frozen=True)
class Answer:
    """What a network gives.

    Attributes:
        values: (observable,) float64.
        std_errors: (observable,) float64.
        shares: for the observables with the largest errors, (fragment,) float64: whose shots bring the variance.
    """

    values: np.ndarray
    std_errors: np.ndarray
    shares: dict[int, np.ndarray] = field(default_factory=dict)


@constraint(computing_units="1")
@task(returns=1, tensors=COLLECTION_IN, limits=IN_DELETE, ticket=IN_DELETE)
def reconstruct(
    structure: Structure,
    tensors: list[FragmentTensor],
    memory_bytes: int | None,
    limits: Limits,
    ticket: Ticket,
    path: ContractionPath | None = None,
) -> Outcome:
    """Contract the network; the value is an Answer.

    ``path``: the order found by ``contraction_search``; None searches one.
    """
    with ticket.held():
        return isolated(contract_network, structure, tensors, memory_bytes, path, limits=limits, device="CPU",
                        attempt=ticket.attempt)  # fmt: skip


def reconstruct_bound(
    structure: Structure,
    tensors: list[FragmentTensor],
    memory_bytes: int | None,
    limits: Limits,
    ticket: Ticket,
    device: Device,
) -> Outcome:
    """The body of the tasks that are bound to one GPU: as ``reconstruct``, there."""
    with ticket.held():
        return isolated(contract_network, structure, tensors, memory_bytes, None, device, limits=limits,
                        device=device.name, attempt=ticket.attempt)  # fmt: skip


# COMPSs workers find a task by its name in this module, so the tasks of all declared GPUs are made on import.
_BODY = cast(FunctionType, reconstruct_bound)
_DIRECTIONS = {"returns": 1, "tensors": COLLECTION_IN, "limits": IN_DELETE, "ticket": IN_DELETE}
_bound: dict[str, Callable[..., Any]] = device_tasks(
    _BODY, [device for device in declared_devices() if device.kind is Kind.GPU], globals(), **_DIRECTIONS
)


def reconstruct_on(gpu: Device) -> Callable[..., Any]:
    """The task ``reconstruct`` of a GPU."""
    if gpu.name not in _bound:
        _bound.update(device_tasks(_BODY, [gpu], globals(), **_DIRECTIONS))
    return _bound[gpu.name]


def worth_gpu(flops: float) -> bool:
    """Whether a contraction is so large that a GPU is quicker, as far as that was measured on this machine."""
    known = read_calibration()
    least: float | None = GPU_FLOPS if known is None or known.gpu is None else known.gpu.flops
    return least is not None and flops >= least


def contract_network(
    structure: Structure,
    tensors: list[FragmentTensor],
    memory_bytes: int | None,
    path: ContractionPath | None,
    device: Device | None = None,
) -> Answer:
    """The work itself, in a child process of the task, on a GPU if one is given.

    Raises:
        OSError: the GPU does not do it; another try, on a CPU, says what is wrong with the network if anything is.
    """
    paths = None if path is None else (path,)
    if device is None:
        return answer_of(*estimate_with_shares(structure, tensors, memory_bytes=memory_bytes, paths=paths))
    room = min((own for own in (memory_bytes, device.memory_bytes) if own is not None), default=None)
    try:
        gpu = accelerator()
        return answer_of(*estimate_with_shares(structure, tensors, memory_bytes=room, paths=paths, gpu=gpu))
    except Exception as error:  # libraries raise what they like where memory or a driver is missing
        raise OSError(f"device {device.name}: the network is not contracted there: {error}") from error


def answer_of(values: np.ndarray, errors: np.ndarray, shares: np.ndarray) -> Answer:
    """What is told of values and standard errors, (observable,) each, and (fragment, observable) shares of variance."""
    worst = np.argsort(-errors, kind="stable")[:_SHARES_TOLD]
    return Answer(values, errors, {int(own): shares[:, own] for own in worst.tolist() if errors[own] > 0})


@constraint(computing_units="1")
@task(returns=1, ticket=IN_DELETE)
def contraction_search(structure: Structure, memory_bytes: int | None, ticket: Ticket) -> Outcome:
    """The order to contract the network in: the value is (floating-point operations, path).

    The operations are 0 where one process, which may use the memory of all ranks, is the better way: where that of one
    rank would not do, or takes slices whose work is more than all ranks share.
    """
    with ticket.held():
        return contained(_searched, structure, memory_bytes, device="CPU")


def _searched(structure: Structure, memory_bytes: int | None) -> tuple[float, ContractionPath]:
    network = network_of(structure)
    plan = schedule(structure, network, memory_bytes=memory_bytes)
    if memory_bytes is not None and worth_ranks(plan.cost.flops) and plan.cost.peak_bytes > memory_bytes // RANKS:
        try:
            sliced = schedule(structure, network, memory_bytes=memory_bytes // RANKS)  # what a rank will do
        except MemoryLimitError:
            return 0.0, plan.path
        if sliced.cost.flops > RANKS * plan.cost.flops:
            return 0.0, plan.path
    return plan.cost.flops, plan.path


def worth_ranks(flops: float) -> bool:
    """Whether a contraction is so large that starting MPI ranks pays, there is an mpirun, and ranks are wanted."""
    return flops >= _WORTH_RANKS and os.environ.get(RANKS_VARIABLE) != "0" and mpirun_path() is not None


@constraint(computing_units="1")
@task(returns=1, tensors=COLLECTION_IN, ticket=IN_DELETE)
def write_for_ranks(
    folder: str, structure: Structure, tensors: list[Any], memory_bytes: int | None, ticket: Ticket
) -> Outcome:
    """Put a network where every rank can read it, in place of what an interrupted run may have left there.

    Args:
        folder: where; the value of the outcome, too.
        structure: how the fragments are joined.
        tensors: one FragmentTensor a fragment.
        memory_bytes: what all ranks together may use.
        ticket: says when the task begins and has ended, and which try it is.
    """
    with ticket.held():
        return contained(_written, folder, structure, tensors, memory_bytes, device="CPU", attempt=ticket.attempt)


def _written(folder: str, structure: Structure, tensors: Sequence[FragmentTensor], memory_bytes: int | None) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)
    write_network(Path(folder), structure, tensors, rank_bytes=None if memory_bytes is None else memory_bytes // RANKS)
    return folder


# Each rank takes a unit. COMPSs reads as JSON what another task gives to an @mpi task, so this gets a path to what
# `write_for_ranks` has written, and not its outcome.
@constraint(computing_units="1")
@mpi(runner="mpirun", processes=RANKS, processes_per_node=_RANKS_ON_NODE)
@task(returns=RANKS)
def reconstruct_in_ranks(folder: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Every rank's share of the network in ``folder``; rank 0's is what `run_rank` says, others' None."""
    from mpi4py import MPI

    from tasks.reconstruction.mpi import run_rank

    try:
        return run_rank(folder, comm=MPI.COMM_WORLD)
    except Exception as error:
        end_ranks(Path(folder), error)


def answer_of_ranks(folder: str) -> Answer:
    """Contract the network that `write_for_ranks` has put into ``folder``; the folder is gone then.

    Raises:
        EngineError: the ranks could not be started, or one of them says what the user can mend.
        DefectError: a rank has a bug.
    """
    try:
        found = wait_on(reconstruct_in_ranks(folder))[0]
    except EngineError:
        raise_rank_failure(Path(folder))  # says more than how the program of the ranks ended
        raise
    shutil.rmtree(folder)
    return answer_of(*found)


@constraint(computing_units="1")
@task(returns=1, tensors=COLLECTION_IN, prices=IN_DELETE, limits=IN_DELETE, ticket=IN_DELETE)
def allocate(
    structure: Structure,
    tensors: list[FragmentTensor],
    shots: int | None,
    target_error: float | None,
    prices: dict[int, float],
    memory_bytes: int | None,
    rounds: int,
    tell: bool,
    limits: Limits,
    ticket: Ticket,
) -> Outcome:
    """Shots still to take after so many rounds, and what those taken say; the value is an Allocation.

    Args:
        structure: how the fragments are joined.
        tensors: of all fragments.
        shots: all there are to spend, None for as many as the target error takes.
        target_error: to reach, None for what the shots give.
        prices: of a shot, by fragment.
        memory_bytes: what the contraction may use.
        rounds: how many there were.
        tell: whether the estimates so far are wanted, for whoever watches.
        limits: what the task may use.
        ticket: says when the task begins and has ended, and which try it is.
    """
    with ticket.held():
        return isolated(shots_and_estimates, structure, tensors, shots, target_error, prices, memory_bytes, rounds,
                        tell, limits=limits, device="CPU", attempt=ticket.attempt)  # fmt: skip


@dataclass(frozen=True)
class Allocation:
    """What follows from a round of shots.

    Attributes:
        shots: {fragment: (half, variant) int64} still to take.
        estimates: two (observable,) arrays, values and standard errors so far; None where nobody asked.
    """

    shots: dict[int, np.ndarray]
    estimates: tuple[np.ndarray, np.ndarray] | None = None


def shots_and_estimates(
    structure: Structure,
    tensors: list[FragmentTensor],
    shots: int | None,
    target_error: float | None,
    prices: dict[int, float],
    memory_bytes: int | None,
    rounds: int,
    tell: bool,
) -> Allocation:
    """The work itself, in a child process of the task."""
    more = allocate_shots(structure, tensors, shots, target_error, prices, memory_bytes, rounds)
    return Allocation(more, estimate_values(structure, tensors, memory_bytes=memory_bytes) if tell else None)
