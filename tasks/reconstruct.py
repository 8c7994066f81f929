"""The reconstruction task: fragment tensors -> values and standard errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction import estimate
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.network_files import write_network
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.statistics.allocation import allocate_shots
from tasks.runtime import COLLECTION_IN, Limits, Outcome, constraint, isolated, mpi, task
from tasks.runtime.ranks import mpirun_path

RANKS = 2
_FEWEST_BONDS = 8  # a smaller network is done before its cost is known
_WORTH_RANKS = 1e10  # floating-point operations: several seconds of one core


@constraint(computing_units="1")
@task(returns=1, tensors=COLLECTION_IN)
def reconstruct(
    structure: Structure, tensors: list[FragmentTensor], memory_bytes: int | None, limits: Limits, attempt: int
) -> Outcome:
    """Contract the network; the value is two (observable,) arrays: values and standard errors."""
    return isolated(contract_network, structure, tensors, memory_bytes, limits=limits, device="CPU", attempt=attempt)


def contract_network(
    structure: Structure, tensors: list[FragmentTensor], memory_bytes: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The work itself, in a child process of the task."""
    return estimate(structure, tensors, memory_bytes=memory_bytes)


@mpi(runner="mpirun", processes=RANKS)
@task(returns=RANKS)
def reconstruct_in_ranks(folder: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Every rank's share of the network in ``folder``; rank 0's result is (values, standard errors), others' None."""
    from mpi4py import MPI

    from tasks.reconstruction.mpi import run_rank

    try:
        return run_rank(folder, comm=MPI.COMM_WORLD)
    except Exception:
        traceback.print_exc(file=sys.stderr)
        MPI.COMM_WORLD.Abort(2)  # the other ranks would wait for this one for ever
        raise


def worth_ranks(structure: Structure, memory_bytes: int | None = None) -> bool:
    """Whether a network is so large that starting MPI ranks pays, and this machine has an mpirun."""
    if len(structure.bonds) < _FEWEST_BONDS or mpirun_path() is None:
        return False
    plan = schedule(structure, network_of(structure), memory_bytes=memory_bytes)
    return plan.cost.flops >= _WORTH_RANKS


def write_for_ranks(
    folder: Path, structure: Structure, tensors: Sequence[FragmentTensor], memory_bytes: int | None = None
) -> str:
    """Put a network where every rank can read it, in place of what an interrupted run may have left there.

    ``memory_bytes`` is what all ranks together may use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    write_network(folder, structure, tensors, rank_bytes=None if memory_bytes is None else memory_bytes // RANKS)
    return str(folder)


@constraint(computing_units="1")
@task(returns=1, tensors=COLLECTION_IN)
def allocate(
    structure: Structure,
    tensors: list[FragmentTensor],
    shots: int | None,
    target_error: float | None,
    prices: dict[int, float],
    memory_bytes: int | None,
    rounds: int,
    limits: Limits,
    attempt: int,
) -> Outcome:
    """Shots still to take after so many rounds, {fragment: (half, variant) int64}; ``prices``: a shot, by fragment."""
    return isolated(
        allocate_shots, structure, tensors, shots, target_error, prices, memory_bytes, rounds,
        limits=limits, device="CPU", attempt=attempt,
    )  # fmt: skip
