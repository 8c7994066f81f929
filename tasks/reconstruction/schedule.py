"""What a contraction will cost, known before it starts, and how it is sliced to stay under a memory bound.

Two ways to make the arrays smaller, chosen greedily by how little extra work each saved byte costs: fix a cut's index
and repeat for each of its values, or split the terms into blocks that are contracted one after the other. Parts of the
tree that no fixed index touches are contracted once a block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.reconstruction.errors import ContractionCostError, MemoryLimitError
from tasks.reconstruction.kernel import SCRATCH_BYTES
from tasks.reconstruction.network import Network, network_of
from tasks.reconstruction.path import Path, Tree, bind, find_paths, needs_copy
from tasks.tensor import Structure

FEASIBLE_FLOPS = 1e18
"""Floating-point operations beyond which a contraction is refused: months on a hundred cores."""

MOST_UNITS = 1 << 14
"""Slices times blocks beyond which a contraction would spend its time on bookkeeping."""

MOST_BLOCKS = 1024
"""Blocks of terms beyond which their bookkeeping outweighs what they save."""


@dataclass(frozen=True)
class ContractionCost:
    """The price of a contraction.

    Attributes:
        flops: floating-point operations, a multiply-add counted as two, all slices together.
        largest_bytes: the largest array of the tree.
        peak_bytes: the most that is alive at one moment, inputs included.
        input_bytes: the fragment tensors themselves.
        units: independent pieces of work (slices times blocks of terms).
    """

    flops: float
    largest_bytes: int
    peak_bytes: int
    input_bytes: int
    units: int


@dataclass(frozen=True)
class Schedule:
    """A contraction made ready: the order, what is fixed in each slice, and which terms go together.

    Attributes:
        sizes: (cut,) dimension of every index, fixed ones included.
        sliced: cuts whose index is fixed in each slice.
        trees: one for each block of terms.
        cost: of all of it.
    """

    sizes: tuple[int, ...]
    sliced: tuple[int, ...]
    trees: tuple[Tree, ...]
    cost: ContractionCost

    @property
    def sliced_sizes(self) -> tuple[int, ...]:
        """Sizes inside a slice: 1 for fixed indices."""
        return tuple(1 if cut in self.sliced else size for cut, size in enumerate(self.sizes))

    @property
    def slices(self) -> tuple[tuple[int, ...], ...]:
        """Every assignment of the fixed indices."""
        return tuple(itertools.product(*(range(self.sizes[cut]) for cut in self.sliced)))


def contraction_cost(
    structure: Structure, *, memory_bytes: int | None = None, gradients: bool = False, seed: int = 0
) -> ContractionCost:
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
    least_units: int = 1,
    seed: int = 0,
    paths: Sequence[Path] | None = None,
) -> Schedule:
    """Choose path, slices and blocks.

    Args:
        structure: the structure.
        network: its network.
        memory_bytes: bound for everything alive at one moment; None sets none.
        gradients: keep what the pass backwards needs.
        least_units: slice at least into so many pieces (where that is possible), for the ranks of an MPI job.
        seed: of the path search.
        paths: candidates from an earlier ``find_paths`` of the same network; None searches.

    Raises:
        MemoryLimitError: if no slicing fits; it says the least that works.
        ContractionCostError: if the work is out of reach.
    """
    best: Schedule | None = None
    least: int | None = None
    for path in find_paths(network, seed=seed) if paths is None else paths:
        found = _slice(structure, network, path, memory_bytes, gradients, least_units)
        if memory_bytes is not None and found.cost.peak_bytes > memory_bytes:
            least = found.cost.peak_bytes if least is None else min(least, found.cost.peak_bytes)
        elif best is None or found.cost.flops < best.cost.flops:
            best = found
    if best is None:
        assert least is not None and memory_bytes is not None
        raise MemoryLimitError(
            f"Contracting {len(network.leaves)} fragments does not fit {memory_bytes:,} bytes however it is sliced; the"
            f" least that works is {least:,} bytes. Raise --memory, or cut elsewhere.",
            least,
        )
    if best.cost.flops > FEASIBLE_FLOPS:
        raise ContractionCostError(
            f"Contracting {len(network.leaves)} fragments over {len(network.sizes)} cuts needs {best.cost.flops:.1e}"
            f" floating-point operations, beyond the {FEASIBLE_FLOPS:.0e} that can end. Use fewer cuts, wider"
            " fragments, or cuts that leave the fragments in a chain or a tree."
        )
    return best


def unit_flops(plan: Schedule) -> list[float]:
    """Floating-point operations of one slice of each block, for dealing units to ranks."""
    loads = [_load(_shape_of(tree, plan.sizes), plan.sliced, False) for tree in plan.trees]
    return [2 * (load.each + load.once / len(plan.slices)) for load in loads]


@dataclass(frozen=True)
class _Shape:
    """The numbers of a tree that its cost depends on, as arrays over nodes and cuts.

    Attributes:
        sizes: (cut,) float64.
        counts: (node,) float64, combinations.
        member: (node, cut) bool, the indices of each node.
        below: (node, cut) bool, the indices of the leaves below it.
        left, right, out: (step,) int.
        copies: (step, 2) bool, whether the left and right operand must be copied to be seen as matrices.
        leaves: number of leaves.
    """

    sizes: np.ndarray
    counts: np.ndarray
    member: np.ndarray
    below: np.ndarray
    left: np.ndarray
    right: np.ndarray
    out: np.ndarray
    copies: np.ndarray
    leaves: int


@dataclass(frozen=True)
class _Load:
    """Work and memory of one block.

    Attributes:
        once: multiply-adds of what no slice changes.
        each: multiply-adds of each slice.
        peak: elements alive at the worst moment, without the inputs.
        pressure: a smooth stand-in for the peak, which every useful slicing lowers.
        largest: elements of the largest node.
        widest: the indices of the worst step.
    """

    once: float
    each: float
    peak: float
    pressure: float
    largest: float
    widest: np.ndarray


def _shape_of(tree: Tree, sizes: Sequence[int]) -> _Shape:
    leaves = len(tree.factors)
    member = np.zeros((len(tree.indices), len(sizes)), dtype=bool)
    for node, indices in enumerate(tree.indices):
        member[node, list(indices)] = True
    below = member.copy()
    for step in sorted(tree.steps, key=lambda step: step.out):
        below[step.out] = below[step.left] | below[step.right]
    return _Shape(
        sizes=np.array(sizes, dtype=np.float64),
        counts=np.array(tree.counts, dtype=np.float64),
        member=member,
        below=below,
        left=np.array([step.left for step in tree.steps], dtype=np.int64),
        right=np.array([step.right for step in tree.steps], dtype=np.int64),
        out=np.array([step.out for step in tree.steps], dtype=np.int64),
        copies=np.array(
            [
                (
                    needs_copy(tree.indices[step.left], step.kept_left, step.summed),
                    needs_copy(tree.indices[step.right], step.kept_right, step.summed),
                )
                for step in tree.steps
            ],
            dtype=bool,
        ).reshape(-1, 2),
        leaves=leaves,
    )


def _load(shape: _Shape, sliced: Sequence[int], gradients: bool) -> _Load:
    fixed = list(sliced)
    sizes = shape.sizes.copy()
    sizes[fixed] = 1
    elements = shape.counts * np.prod(np.where(shape.member, sizes, 1.0), axis=1)
    if not shape.out.size:
        return _Load(0.0, float(elements[-1]), 0.0, 0.0, float(elements[-1]), np.flatnonzero(shape.member[0]))
    touched: np.ndarray = np.asarray(shape.below[:, fixed].any(axis=1))
    joined: np.ndarray = np.asarray(shape.member[shape.left] | shape.member[shape.right])
    work = shape.counts[shape.out] * np.prod(np.where(joined, sizes, 1.0), axis=1)
    varies = touched[shape.out]
    # what no slice changes comes first and stays; the rest is freed as soon as it is used
    order = np.argsort(varies, kind="stable")
    left, right, out, varies = shape.left[order], shape.right[order], shape.out[order], varies[order]
    made = elements[out]
    freed = np.zeros(out.size)
    for operand in (left, right):
        gone = (operand >= shape.leaves) & (touched[operand] == varies)
        freed += np.where(gone, elements[operand], 0.0)
    scratch = np.where(shape.copies[order, 0], 2 * elements[left], elements[left])
    scratch = scratch + np.where(shape.copies[order, 1], elements[right], 0.0)
    if gradients:  # every node stays, and its adjoint for one observable beside it
        moments = 2 * elements[shape.leaves :].sum() + elements[: shape.leaves].sum() + scratch + 2 * made
    else:
        moments = np.cumsum(made) - (np.cumsum(freed) - freed) + scratch
    worst = order[int(np.argmax(moments))]
    return _Load(
        once=float(work[order][~varies].sum()),
        each=float(work[order][varies].sum()) if len(fixed) else 0.0,
        peak=float(moments.max()),
        pressure=float(np.sum((moments / max(moments.max(), 1.0)) ** 4) ** 0.25 * moments.max()),
        largest=float(elements.max()),
        widest=np.flatnonzero(joined[worst] & (sizes > 1)),
    )


def _slice(
    structure: Structure,
    network: Network,
    path: Path,
    memory_bytes: int | None,
    gradients: bool,
    least_units: int,
) -> Schedule:
    """Slice one path until it fits, or until nothing is left to slice."""
    limit = math.inf if memory_bytes is None else float(memory_bytes)
    whole = bind(structure, network, path)
    inputs = sum(
        math.prod(leaf.legs) * count + math.prod(network.sizes[i] for i in leaf.indices) * used.size
        for leaf, count, used in zip(network.leaves, structure.num_factors, whole.factors, strict=True)
    )
    base = 8.0 * inputs + SCRATCH_BYTES
    choice = _Choice.of((whole,), (_shape_of(whole, network.sizes),), (), gradients)
    least = choice
    tried_blocks = 1
    while True:
        too_big = base + 8 * choice.peak > limit
        if not too_big and choice.units >= least_units:
            break
        options = [
            _Choice.of(choice.trees, choice.shapes, (*choice.sliced, int(cut)), gradients)
            for cut in choice.widest(by_work=not too_big)
        ]
        blocks = _split(structure, network, path, whole, 2 * tried_blocks)
        if blocks:
            shapes = tuple(_shape_of(tree, network.sizes) for tree in blocks)
            options.append(_Choice.of(blocks, shapes, choice.sliced, gradients))
        scored = [(option.score(choice, too_big), number) for number, option in enumerate(options)]
        scored = [item for item in scored if item[0] < math.inf and options[item[1]].units <= MOST_UNITS]
        if not scored:
            break
        choice = options[min(scored)[1]]
        least = min(least, choice, key=lambda option: option.peak)
        tried_blocks = max(tried_blocks, len(choice.trees))
    if base + 8 * choice.peak > limit:
        choice = least
    cost = ContractionCost(
        flops=2 * choice.work,
        largest_bytes=int(8 * choice.largest),
        peak_bytes=int(min(base + 8 * choice.peak, 2.0**62)),
        input_bytes=int(8 * inputs),
        units=int(min(choice.units, 2.0**62)),
    )
    return Schedule(network.sizes, choice.sliced, choice.trees, cost)


@dataclass(frozen=True)
class _Choice:
    """One way to slice, and its price."""

    trees: tuple[Tree, ...]
    shapes: tuple[_Shape, ...]
    sliced: tuple[int, ...]
    loads: tuple[_Load, ...]

    @classmethod
    def of(
        cls, trees: tuple[Tree, ...], shapes: tuple[_Shape, ...], sliced: tuple[int, ...], gradients: bool
    ) -> _Choice:
        return cls(trees, shapes, sliced, tuple(_load(shape, sliced, gradients) for shape in shapes))

    @property
    def slices(self) -> float:
        return float(np.prod([self.shapes[0].sizes[cut] for cut in self.sliced]))

    @property
    def units(self) -> float:
        return len(self.trees) * self.slices

    @property
    def work(self) -> float:
        return sum(load.once + load.each * self.slices for load in self.loads)

    @property
    def peak(self) -> float:
        return max(load.peak for load in self.loads)

    @property
    def largest(self) -> float:
        return max(load.largest for load in self.loads)

    def widest(self, *, by_work: bool) -> np.ndarray:
        """Indices worth fixing: those of the worst step of the worst block."""
        worst = max(self.loads, key=lambda load: load.each + load.once if by_work else load.peak)
        return worst.widest

    def score(self, before: _Choice, too_big: bool) -> float:
        """Extra work for each factor gained: in memory while it is too big, in units after; infinite for no gain."""
        if too_big:
            gain = max(load.pressure for load in before.loads) / max(load.pressure for load in self.loads)
        else:
            gain = self.units / before.units
        if gain <= 1.0 + 1e-9:
            return math.inf
        return math.log(max(self.work, 1.0) / max(before.work, 1.0) + 1e-12) / math.log(gain)


def _split(structure: Structure, network: Network, path: Path, whole: Tree, blocks: int) -> tuple[Tree, ...]:
    """Split the terms into blocks whose largest node shares as little as possible; () if they cannot be split."""
    if blocks > MOST_BLOCKS or whole.terms.size < blocks or not whole.steps:
        return ()
    elements = [
        count * math.prod(network.sizes[i] for i in indices)
        for indices, count in zip(whole.indices, whole.counts, strict=True)
    ]
    below: list[list[int]] = [[leaf] for leaf in range(len(network.leaves))]
    for step in sorted(whole.steps, key=lambda step: step.out):
        below.append(below[step.left] + below[step.right])
    heavy = below[max(range(len(elements)), key=lambda node: elements[node])]
    keys = structure.factor_index[whole.terms]
    order = np.lexsort((*keys.T, *keys[:, heavy].T))
    return tuple(bind(structure, network, path, np.sort(part)) for part in np.array_split(whole.terms[order], blocks))
