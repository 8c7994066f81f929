"""What a contraction will cost, known before it starts, and how it is cut into pieces that fit the memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.model.tensor import Structure
from tasks.reconstruction.contraction.grouping import leaf_parts, with_groups
from tasks.reconstruction.contraction.kernel import SCRATCH_BYTES
from tasks.reconstruction.contraction.layout import Path
from tasks.reconstruction.contraction.load import load_of, shape_of
from tasks.reconstruction.contraction.network import Network, network_of
from tasks.reconstruction.contraction.path import Tree, find_paths, sliced_paths, used_terms
from tasks.reconstruction.contraction.slicing import fitted, spread, whole
from tasks.reconstruction.errors import ContractionCostError, MemoryLimitError

FEASIBLE_FLOPS = 1e18
"""Floating-point operations beyond which a contraction is refused: months on a hundred cores."""


_ARRAYS = 4  # of the largest size that may be alive together


@dataclass(frozen=True)
class NetworkCost:
    """The price of a contraction.

    Attributes:
        flops: floating-point operations, a multiply-add counted as two, all slices together.
        largest_bytes: the largest array of the tree.
        peak_bytes: the most that is alive at one moment, inputs included.
        units: independent pieces of work (slices times blocks of terms).
    """

    flops: float
    largest_bytes: int
    peak_bytes: int
    units: int


@dataclass(frozen=True)
class Schedule:
    """A contraction made ready: the order, what is fixed in each slice, and which terms go together.

    Attributes:
        sizes: (cut,) dimension of every index, fixed ones included.
        sliced: cuts whose index is fixed in each slice.
        trees: one for each block of terms.
        path: the pairs that are contracted.
        cost: of all of it.
        effort: what it takes, in multiply-adds of a large matrix product.
    """

    sizes: tuple[int, ...]
    sliced: tuple[int, ...]
    trees: tuple[Tree, ...]
    path: Path
    cost: NetworkCost
    effort: float

    @property
    def sliced_sizes(self) -> tuple[int, ...]:
        """Sizes inside a slice: 1 for fixed indices."""
        return tuple(1 if cut in self.sliced else size for cut, size in enumerate(self.sizes))

    @property
    def slices(self) -> tuple[tuple[int, ...], ...]:
        """Every assignment of the fixed indices."""
        return tuple(itertools.product(*(range(self.sizes[cut]) for cut in self.sliced)))


def network_cost(
    structure: Structure, *, memory_bytes: int | None = None, gradients: bool = False, seed: int = 0
) -> NetworkCost:
    """Predict what ``contract`` (or with ``gradients``, ``estimate``) will cost, without any tensor.

    Raises:
        MemoryLimitError: if no slicing fits ``memory_bytes``; it says the least that works.
        ContractionCostError: if the work is out of reach.
    """
    return schedule(structure, network_of(structure), memory_bytes=memory_bytes, gradients=gradients, seed=seed).cost


def schedule(
    structure: Structure,
    network: Network,
    *,
    memory_bytes: int | None = None,
    gradients: bool = False,
    ranks: int = 1,
    seed: int = 0,
    paths: Sequence[Path] | None = None,
) -> Schedule:
    """Choose path, slices and blocks.

    Args:
        structure: the structure.
        network: its network.
        memory_bytes: bound for everything alive at one moment; None sets none.
        gradients: keep what the pass backwards needs.
        ranks: cut it into pieces with which so many equal ranks would end soonest.
        seed: of the path search.
        paths: candidates from an earlier ``find_paths`` of the same network; None searches.

    Raises:
        MemoryLimitError: if no slicing fits; it says the least that works.
        ContractionCostError: if the work is out of reach.
    """
    terms = used_terms(structure)
    fragments = leaf_parts(structure, network, terms)

    def found(uses: float) -> list[Path]:
        return [with_groups(network, p, fragments) for p in paths or find_paths(network, uses=uses, seed=seed)]

    candidates = found(len(terms))

    def fitting() -> list[Schedule]:
        return [one for one in tried if memory_bytes is None or one.cost.peak_bytes <= memory_bytes]

    tried = [_sliced(structure, network, path, (), memory_bytes, gradients, ranks) for path in candidates]
    if memory_bytes is not None and len(network.leaves) > 2 and all(len(one.slices) > 1 for one in fitting()):
        # Slices repeat a contraction: its path is worth refining.
        if (refined := found(math.inf)) != candidates:
            tried += [_sliced(structure, network, path, (), memory_bytes, gradients, ranks) for path in refined]
        together = sliced_paths(network, refined[:2], memory_bytes / (8 * _ARRAYS), seed=seed)
        alone = tried
        tried = alone + [_sliced(structure, network, *one, memory_bytes, gradients, ranks) for one in together]
        if not fitting():  # what is found together depends on the bound: the least said must work when it is given
            tried = alone
    if not fitting():
        least = min(one.cost.peak_bytes for one in tried)
        number = len(network.leaves)
        raise MemoryLimitError(
            f"Contracting {number} fragment{'s' * (number != 1)} does not fit {memory_bytes:,} bytes however it is"
            f" sliced; the least that works is {least:,} bytes. Raise `memory_bytes` (a run contracts in half of it),"
            " or cut elsewhere.",
            least,
        )
    best = min(fitting(), key=lambda one: one.effort)
    if best.cost.flops > FEASIBLE_FLOPS:
        raise ContractionCostError(
            f"Contracting {len(network.leaves)} fragments over {len(network.sizes)} cuts needs {best.cost.flops:.1e}"
            f" floating-point operations, beyond the {FEASIBLE_FLOPS:.0e} that can end. Use fewer cuts, wider"
            " fragments, or cuts that leave the fragments in a chain or a tree."
        )
    return best


def unit_work(plan: Schedule) -> tuple[list[float], list[float]]:
    """For each block, multiply-adds of what no slice changes and of each slice, by which they are assigned to ranks."""
    loads = [load_of(shape_of(tree, plan.sizes), plan.sliced, False) for tree in plan.trees]
    return [load.once for load in loads], [load.each for load in loads]


def _sliced(
    structure: Structure,
    network: Network,
    path: Path,
    sliced: tuple[int, ...],
    memory_bytes: int | None,
    gradients: bool,
    ranks: int,
) -> Schedule:
    """One path, sliced (first as given) until it fits and feeds the ranks, or until nothing is left to slice."""
    first = whole(structure, network, path, gradients)
    inputs = sum(
        math.prod(leaf.legs) * count + math.prod(network.sizes[i] for i in leaf.indices) * used.size
        for leaf, count, used in zip(network.leaves, structure.num_factors, first.trees[0].factors, strict=True)
    )
    base = 8.0 * inputs + SCRATCH_BYTES
    elements = math.inf if memory_bytes is None else (memory_bytes - base) / 8
    start = first
    for cut in sliced:
        start = start.fixing(cut)
    choice = fitted(structure, network, path, first, start, elements)
    if ranks > 1 and choice.peak <= elements:
        choice = spread(structure, network, path, first, choice, elements, ranks)
    cost = NetworkCost(
        flops=2 * choice.work,
        largest_bytes=int(8 * choice.largest),
        peak_bytes=int(min(base + 8 * choice.peak, 2.0**62)),
        units=int(min(choice.units, 2.0**62)),
    )
    return Schedule(network.sizes, choice.sliced, choice.trees, path, cost, choice.effort)
