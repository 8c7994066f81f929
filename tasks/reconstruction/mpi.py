"""The SPMD program: every rank contracts its share, and the sums are the same bits for any number of ranks.

    mpirun -n 4 python -m tasks.reconstruction.mpi FOLDER [--memory BYTES] [--seed N] [--planned-ranks R]

FOLDER holds a network (``network_files.write_network``); ``values.npy``, ``std_errors.npy`` and ``shares.npy`` are
written beside it.
The same ``run_rank`` is what a COMPSs ``@mpi`` task calls in each of its ranks. Without mpi4py one process does it all.

How the work is cut does not depend on the number of ranks, each rank computes with one thread, and partial results meet
in exact sums: that is why 1, 2 and 4 ranks agree to the last bit.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction.contraction.contraction import contract_block
from tasks.reconstruction.contraction.network import Network, network_of, values_by_fragment
from tasks.reconstruction.contraction.network_files import read_network, stored_bound, write_arrays
from tasks.reconstruction.contraction.schedule import Schedule, schedule, unit_work
from tasks.reconstruction.contraction.sharing import share_out, share_units
from tasks.reconstruction.errors import ReconstructionError
from tasks.reconstruction.ranks import Ranks, end_all_ranks, ranks_of
from tasks.reconstruction.statistics.exact_sum import ExactSum
from tasks.reconstruction.statistics.gradient import gradients
from tasks.reconstruction.statistics.statistics import shares_of
from tasks.reconstruction.statistics.uncertainty import Uncertainty
from tasks.reconstruction.statistics.variant_uncertainty import fragment_uncertainty

PLANNED_RANKS = 4
"""How many ranks the work is cut for; the last bits depend on it, and never on how many ranks there really are."""

_WORTH_SLICING = 1e8  # floating-point operations below which slicing only adds work
_GRADIENT_GROUPS = 8


def run_rank(
    folder: str | Path,
    *,
    memory_bytes: int | None = None,
    seed: int = 0,
    planned_ranks: int = PLANNED_RANKS,
    comm: Any = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Do one rank's share of a reconstruction.

    Args:
        folder: a network written by ``network_files.write_network``, seen by every rank.
        memory_bytes: bound for one rank's arrays; None takes what the network was written with.
        seed: of the path search, which rank 0 does for all.
        planned_ranks: how many ranks the work is cut for.
        comm: an mpi4py communicator; None takes COMM_WORLD, or one process where there is no mpi4py.

    Returns:
        On rank 0 values and standard errors, both (observable,), and (fragment, observable) shares of the variance, as
        ``estimate_with_shares`` has them; None on other ranks.

    Raises:
        ReconstructionError: the same on every engine; under MPI the caller must end all ranks (``main`` does).
    """
    ranks = ranks_of(comm)
    with threadpool_limits(limits=1):
        structure, tensors = read_network(Path(folder))
        memory_bytes = stored_bound(Path(folder)) if memory_bytes is None else memory_bytes
        network = network_of(structure)
        values = values_by_fragment(structure, network, tensors) if ranks.leads_node else None
        plan = None
        if ranks.rank == 0:
            plan = _planned(structure, network, memory_bytes, seed, planned_ranks, gradients=False)
        plan = ranks.bcast(plan)
        totals = _sum_values(structure, network, plan, values, ranks)
        variances, parts = _sum_variances(structure, network, tensors, memory_bytes, seed, ranks)
        ranks.release()
    if ranks.rank != 0:
        return None
    return totals, np.sqrt(variances), shares_of(parts)


def _planned(
    structure: Structure, network: Network, memory_bytes: int | None, seed: int, planned_ranks: int, *, gradients: bool
) -> Schedule:
    """Cut into enough pieces to share_out, unless the work is too small to be worth it."""
    plan = schedule(structure, network, memory_bytes=memory_bytes, gradients=gradients, seed=seed)
    if plan.cost.flops < _WORTH_SLICING or gradients:
        return plan
    return schedule(structure, network, memory_bytes=memory_bytes, ranks=planned_ranks, paths=(plan.path,))


def _sum_values(
    structure: Structure,
    network: Network,
    plan: Schedule,
    values: tuple[np.ndarray, ...] | None,
    ranks: Ranks,
) -> np.ndarray:
    slices = plan.slices
    once, each = unit_work(plan)
    total = ExactSum(structure.coefficients.shape[0])
    shared = ranks.share(_whole_leaves(network, values))  # once: ranks that wait for each other here would take turns
    for block, start, stop in share_units(once, each, len(slices), ranks.size)[ranks.rank]:
        tree = plan.trees[block]
        leaves = [
            array if used.size == len(array) else array[used] for array, used in zip(shared, tree.factors, strict=True)
        ]
        for partial in contract_block(structure, plan, block, leaves, slices[start:stop]):
            total.add(partial)
    total.limbs[:] = ranks.sum_into_root(total.limbs)
    return total.result() if ranks.rank == 0 else np.empty(0)


def _whole_leaves(network: Network, values: tuple[np.ndarray, ...] | None) -> list[np.ndarray] | None:
    """(factor, indices...) of every leaf with all of its factors, from the node's leader; None from others."""
    if values is None:
        return None
    return [leaf.absorb(value) for leaf, value in zip(network.leaves, values, strict=True)]


def _sum_variances(
    structure: Structure,
    network: Network,
    tensors: Sequence[FragmentTensor],
    memory_bytes: int | None,
    seed: int,
    ranks: Ranks,
) -> tuple[np.ndarray, np.ndarray]:
    """Each rank goes back down the tree for its groups of fragments; groups do not depend on the number of ranks.

    Returns:
        On rank 0 variances, (observable,), and the (fragment, observable) parts of them that the shots show.
    """
    samples = {tensor.fragment: tensor.samples for tensor in tensors if tensor.samples is not None}
    entries = structure.coefficients.shape[0]
    seen, fourth, doubt = ExactSum(entries), ExactSum(entries), np.zeros(entries)
    parts = np.zeros((len(tensors), entries))
    if samples:
        plan = ranks.bcast(
            _planned(structure, network, memory_bytes, seed, 1, gradients=True) if ranks.rank == 0 else None
        )
        outcomes = {fragment: float(data.columns.rows.sum()) for fragment, data in samples.items()}
        groups = [group for group in share_out([outcomes[f] for f in sorted(samples)], _GRADIENT_GROUPS) if group]
        named = [[sorted(samples)[place] for place in group] for group in groups]
        costs = [sum(outcomes[fragment] for fragment in group) for group in named]
        values = values_by_fragment(structure, network, tensors)
        for piece in share_out(costs, ranks.size)[ranks.rank]:
            for _, found in gradients(structure, network, plan, values, named[piece]):
                for leaf in found:
                    known = fragment_uncertainty(samples[leaf.fragment], leaf, entries)
                    seen.add(known.seen)
                    parts[leaf.fragment] += known.seen
                    fourth.add(known.fourth)
                    np.maximum(doubt, known.doubt, out=doubt)
    doubt, parts = ranks.largest_into_root(doubt), ranks.largest_into_root(parts)  # others than its own rank have 0
    for total in (seen, fourth):
        total.limbs[:] = ranks.sum_into_root(total.limbs)
    if ranks.rank != 0:
        return np.empty(0), parts
    return Uncertainty(seen.result(), fourth.result(), doubt).variance, parts


def main(arguments: Sequence[str] | None = None) -> int:
    """Be one rank of ``mpirun``; any failure ends all of them, with its reason on standard error."""
    parser = argparse.ArgumentParser(description="Contract a network of fragment tensors on the ranks of an MPI job.")
    parser.add_argument("folder", type=Path, help="where network_files.write_network put the network")
    parser.add_argument("--memory", type=int, default=None, help="bytes each rank may use")
    parser.add_argument("--seed", type=int, default=0, help="of the path search")
    parser.add_argument(
        "--planned-ranks",
        type=int,
        default=PLANNED_RANKS,
        help="cut the work for so many ranks, however many there are",
    )
    parser.add_argument("--timing", action="store_true", help="say on standard error how long rank 0 took, as JSON")
    options = parser.parse_args(arguments)
    try:
        start = time.perf_counter()
        found = run_rank(
            options.folder, memory_bytes=options.memory, seed=options.seed, planned_ranks=options.planned_ranks
        )
        if found is not None:
            if options.timing:
                sys.stderr.write(json.dumps({"contraction_s": time.perf_counter() - start}) + "\n")
            write_arrays(options.folder, dict(zip(("values", "std_errors", "shares"), found, strict=True)))
    except Exception as error:
        reason = str(error) if isinstance(error, ReconstructionError) else f"{type(error).__name__}: {error}"
        sys.stderr.write(f"reconstruction failed: {reason}\n")
        sys.stderr.flush()
        end_all_ranks()
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
