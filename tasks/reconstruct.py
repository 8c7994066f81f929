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
from tasks.reconstruction.errors import AllocationError
from tasks.reconstruction.statistics.allocation import by_fragment, influences, shots_for_error, spend
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
    limits: Limits,
    attempt: int,
) -> Outcome:
    """Shots still to take: the value is {fragment: (variant,) int64}; ``prices``: of a shot, by fragment."""
    return isolated(
        allocate_shots, structure, tensors, shots, target_error, prices, memory_bytes,
        limits=limits, device="CPU", attempt=attempt,
    )  # fmt: skip


def allocate_shots(
    structure: Structure,
    tensors: list[FragmentTensor],
    shots: int | None,
    target_error: float | None,
    prices: dict[int, float],
    memory_bytes: int | None = None,
) -> dict[int, np.ndarray]:
    """The work itself: spend what is left of ``shots``, or as many as the target error takes if that is fewer."""
    sampled = [t for t in tensors if t.samples is not None]
    if any(len({(v.settings, v.factors.tobytes()) for v in t.samples.variants}) < len(t.samples.variants)
           for t in sampled if t.samples is not None):  # fmt: skip
        return {}  # calibrations changed between rounds: their counts do not merge, and nothing more is spent
    known = influences(structure, tensors, memory_bytes=memory_bytes)
    paid = any(prices.values())
    each = np.array([prices[int(f)] for f in known.fragments]) if paid else None
    more = None
    if shots is not None:
        done = int(known.shots.sum())
        total = float(shots) if each is None else float(each @ known.shots) + (shots - done) * float(each.mean())
        more = spend(known, total, each)
    if target_error is not None:
        try:
            needed = shots_for_error(known, target_error, each)
        except AllocationError:
            if more is None:
                raise
            needed = more  # out of reach: the shots there are do what they can
        if more is None or needed.sum() < more.sum():
            more = needed
    assert more is not None
    return dict(by_fragment(known, more))
