"""Contract the network of fragment tensors: every observable's value.

Each node of the tree is one array (combination, indices...). The terms meet their coefficients only at the root, so
10,000 observables share every part of the contraction that does not depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction.contraction.kernel import gathered_products, placed_products
from tasks.reconstruction.contraction.layout import Path
from tasks.reconstruction.contraction.network import Network, network_of, values_by_fragment
from tasks.reconstruction.contraction.path import Step, Tree
from tasks.reconstruction.contraction.schedule import Schedule, schedule
from tasks.reconstruction.statistics.exact_sum import ExactSum


def contract(
    structure: Structure,
    tensors: Sequence[FragmentTensor],
    *,
    memory_bytes: int | None = None,
    seed: int = 0,
    paths: Sequence[Path] | None = None,
) -> np.ndarray:
    """Contract the network.

    Args:
        structure: how the fragments are joined and which terms the observables sum.
        tensors: one per fragment, in any order.
        memory_bytes: upper bound for the arrays of the contraction; None sets none.
        seed: of the path search.
        paths: candidates from an earlier search of the same network; None searches.

    Returns:
        (observable,) float64.

    Raises:
        InconsistentNetworkError: if the tensors do not fit the structure.
        MemoryLimitError: if no slicing fits ``memory_bytes``; it says the least that works.
        ContractionCostError: if the work is out of reach.
    """
    if not structure.legs:  # nothing but constants is asked: every term is the empty product
        return np.asarray(structure.coefficients.sum(axis=1), dtype=np.float64).reshape(-1)
    network = network_of(structure)
    values = values_by_fragment(structure, network, tensors)
    plan = schedule(structure, network, memory_bytes=memory_bytes, seed=seed, paths=paths)
    total = ExactSum(structure.coefficients.shape[0])
    for block, tree in enumerate(plan.trees):
        for partial in contract_block(structure, plan, block, leaf_arrays(network, tree, values), plan.slices):
            total.add(partial)
    return total.result()


def leaf_arrays(network: Network, tree: Tree, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The leaves' arrays (combination, indices...), only the factors that are used."""
    return [
        leaf.absorb(value if used.size == value.shape[-1] else value[..., used])
        for leaf, value, used in zip(network.leaves, values, tree.factors, strict=True)
    ]


def contract_block(
    structure: Structure,
    plan: Schedule,
    block: int,
    leaves: Sequence[np.ndarray],
    slices: Sequence[tuple[int, ...]],
) -> Iterator[np.ndarray]:
    """Contract some slices of one block of terms.

    Args:
        structure: for its coefficients.
        plan: the schedule.
        block: which of its trees.
        leaves: the block's ``leaf_arrays``.
        slices: which assignments of the fixed indices.

    Yields:
        For each slice, (observable,) float64: its part of the sum.
    """
    tree = plan.trees[block]
    if tree.terms.size == 0:
        return
    for arrays in slice_arrays(plan, tree, leaves, slices, keep=False):
        terms = np.zeros(structure.coefficients.shape[1])
        terms[tree.terms] = arrays[tree.root].reshape(-1)[tree.rows]
        yield np.asarray(structure.coefficients @ terms)


def slice_arrays(
    plan: Schedule, tree: Tree, leaves: Sequence[np.ndarray], slices: Sequence[tuple[int, ...]], *, keep: bool
) -> Iterator[list[np.ndarray]]:
    """Contract slice after slice, what no fixed index touches only once.

    Args:
        plan: the schedule.
        tree: one of its trees.
        leaves: that tree's leaf arrays.
        slices: assignments of the fixed indices.
        keep: hold on to every node's array, for the way back, instead of freeing it once it is used.

    Yields:
        One array a node, fixed indices having size 1; empty arrays for nodes already freed.
    """
    varies = touched_nodes(tree, plan.sliced)
    common: list[np.ndarray] = [*leaves, *(np.empty(0) for _ in tree.steps)]
    run_steps([step for step in tree.steps if not varies[step.out]], tree, plan.sizes, common, keep=keep)
    steps = [step for step in tree.steps if varies[step.out]]
    for values in slices:
        fixed = dict(zip(plan.sliced, values, strict=True))
        arrays = list(common)
        for node, leaf in enumerate(leaves):
            if varies[node]:
                where = [slice(fixed[i], fixed[i] + 1) if i in fixed else slice(None) for i in tree.indices[node]]
                arrays[node] = leaf[tuple([slice(None), *where])]
        run_steps(steps, tree, plan.sliced_sizes, arrays, keep=keep, held=[not touched for touched in varies])
        yield arrays


def touched_nodes(tree: Tree, sliced: Sequence[int]) -> list[bool]:
    """Whether a fixed index is on any leaf below each node."""
    touched = [bool(set(indices) & set(sliced)) for indices in tree.indices[: len(tree.factors)]]
    touched += [False] * len(tree.steps)
    for step in sorted(tree.steps, key=lambda step: step.out):
        touched[step.out] = touched[step.left] or touched[step.right]
    return touched


def run_steps(
    steps: Sequence[Step],
    tree: Tree,
    sizes: Sequence[int],
    arrays: list[np.ndarray],
    *,
    keep: bool,
    held: Sequence[bool] | None = None,
) -> None:
    """Carry out steps in place on ``arrays`` (node), freeing operands unless ``keep`` or ``held[node]``."""
    for step in steps:
        left = as_matrices(arrays[step.left], tree.indices[step.left], step.kept_left, step.summed)
        if step.split:
            right = _around(arrays[step.right], tree.indices[step.right], step)
        else:
            right = as_matrices(arrays[step.right], tree.indices[step.right], step.kept_right, step.summed)
        if not keep:
            for operand in (step.left, step.right):
                if held is None or not held[operand]:
                    arrays[operand] = np.empty(0)
        multiply = placed_products if step.split else gathered_products
        product = multiply(left, right, step.rows_left, step.rows_right)
        del left, right
        arrays[step.out] = product.reshape(tree.counts[step.out], *(sizes[i] for i in tree.indices[step.out]))


def as_matrices(
    array: np.ndarray, indices: tuple[int, ...], rows: tuple[int, ...], columns: tuple[int, ...]
) -> np.ndarray:
    """View ``array`` (combination, indices...) as (combination, product of rows, product of columns)."""
    size = dict(zip(indices, array.shape[1:], strict=True))
    height = int(np.prod([size[i] for i in rows], dtype=np.int64))
    width = int(np.prod([size[i] for i in columns], dtype=np.int64))
    if indices == columns + rows:  # the transposed matrix is a view, which the product takes as it is
        return array.reshape(array.shape[0], width, height).transpose(0, 2, 1)
    if indices != rows + columns and _run(indices, size, rows) >= _run(indices, size, columns):
        order = [1 + indices.index(i) for i in (*columns, *rows)]  # the copy that moves the longer runs
        return np.transpose(array, [0, *order]).reshape(array.shape[0], width, height).transpose(0, 2, 1)
    order = [1 + indices.index(i) for i in (*rows, *columns)]
    return np.transpose(array, [0, *order]).reshape(array.shape[0], height, width)


def _around(array: np.ndarray, indices: tuple[int, ...], step: Step) -> np.ndarray:
    """See ``array`` (combination, indices...) as (combination, indices before, summed, indices after)."""
    order = step.kept_right[: step.split] + step.summed + step.kept_right[step.split :]
    array = np.transpose(array, [0, *(1 + indices.index(i) for i in order)])
    shape = array.shape[1:]
    before = math.prod(shape[: step.split])
    width = math.prod(shape[step.split : step.split + len(step.summed)])
    return array.reshape(array.shape[0], before, width, -1)


def _run(indices: tuple[int, ...], size: dict[int, int], last: tuple[int, ...]) -> int:
    """Elements that stay together when ``last`` become the last axes."""
    run = 1
    for index, wanted in zip(reversed(indices), reversed(last), strict=False):
        if index != wanted:
            break
        run *= size[index]
    return run
