"""Contract the network of fragment tensors: every observable's value.

Each node of the tree is one array (combination, indices...). The terms meet their coefficients only at the root, so
10,000 observables share every part of the contraction that does not depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tasks.model.arrays import HERE, Arrays
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
    gpu: Arrays | None = None,
) -> np.ndarray:
    """Contract the network.

    Args:
        structure: how the fragments are joined and which terms the observables sum.
        tensors: one per fragment, in any order.
        memory_bytes: upper bound for the arrays of the contraction; None sets none.
        seed: of the path search.
        paths: candidates from an earlier search of the same network; None searches.
        gpu: where it is done if it is large enough; None: here.

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
    library = library_for(plan, gpu)
    for block, tree in enumerate(plan.trees):
        leaves = leaf_arrays(network, tree, values, library)
        for partial in contract_block(structure, plan, block, leaves, plan.slices, library):
            total.add(partial)
    return total.result()


def library_for(plan: Schedule, gpu: Arrays | None) -> Arrays:
    """The GPU's arrays where there is one that the work is large enough for, else the host's."""
    return gpu if gpu is not None and plan.cost.flops >= gpu.smallest_flops else HERE


def leaf_arrays(network: Network, tree: Tree, values: Sequence[np.ndarray], library: Arrays = HERE) -> list[Any]:
    """The leaves' arrays (combination, indices...), only the factors that are used."""
    return [
        library.put(leaf.absorb(value if used.size == value.shape[-1] else value[..., used]))
        for leaf, value, used in zip(network.leaves, values, tree.factors, strict=True)
    ]


def contract_block(
    structure: Structure,
    plan: Schedule,
    block: int,
    leaves: Sequence[Any],
    slices: Sequence[tuple[int, ...]],
    library: Arrays = HERE,
) -> Iterator[np.ndarray]:
    """Contract some slices of one block of terms.

    Args:
        structure: for its coefficients.
        plan: the schedule.
        block: which of its trees.
        leaves: the block's ``leaf_arrays``.
        slices: which assignments of the fixed indices.
        library: what the leaves are of.

    Yields:
        For each slice, (observable,) float64: its part of the sum.
    """
    tree = plan.trees[block]
    if tree.terms.size == 0:
        return
    for arrays in slice_arrays(plan, tree, leaves, slices, keep=False, library=library):
        terms = np.zeros(structure.coefficients.shape[1])
        terms[tree.terms] = library.fetch(arrays[tree.root]).reshape(-1)[tree.rows]
        yield np.asarray(structure.coefficients @ terms)


def slice_arrays(
    plan: Schedule,
    tree: Tree,
    leaves: Sequence[Any],
    slices: Sequence[tuple[int, ...]],
    *,
    keep: bool,
    library: Arrays = HERE,
) -> Iterator[list[Any]]:
    """Contract slice after slice, what no fixed index touches only once.

    Args:
        plan: the schedule.
        tree: one of its trees.
        leaves: that tree's leaf arrays.
        slices: assignments of the fixed indices.
        keep: hold on to every node's array, for the way back, instead of freeing it once it is used.
        library: what the leaves are of.

    Yields:
        One array a node, fixed indices having size 1; empty arrays for nodes already freed.
    """
    varies = touched_nodes(tree, plan.sliced)
    common: list[Any] = [*leaves, *(np.empty(0) for _ in tree.steps)]
    once = [step for step in tree.steps if not varies[step.out]]
    run_steps(once, tree, plan.sizes, common, keep=keep, library=library)
    steps = [step for step in tree.steps if varies[step.out]]
    for values in slices:
        fixed = dict(zip(plan.sliced, values, strict=True))
        arrays = list(common)
        for node, leaf in enumerate(leaves):
            if varies[node]:
                where = [slice(fixed[i], fixed[i] + 1) if i in fixed else slice(None) for i in tree.indices[node]]
                arrays[node] = leaf[tuple([slice(None), *where])]
        held = [not touched for touched in varies]
        run_steps(steps, tree, plan.sliced_sizes, arrays, keep=keep, held=held, library=library)
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
    arrays: list[Any],
    *,
    keep: bool,
    held: Sequence[bool] | None = None,
    library: Arrays = HERE,
) -> None:
    """Carry out steps in place on ``arrays`` (node), freeing operands unless ``keep`` or ``held[node]``."""
    for step in steps:
        left = as_matrices(arrays[step.left], tree.indices[step.left], step.kept_left, step.summed, library)
        if step.split:
            right = _around(arrays[step.right], tree.indices[step.right], step, library)
        else:
            right = as_matrices(arrays[step.right], tree.indices[step.right], step.kept_right, step.summed, library)
        if not keep:
            for operand in (step.left, step.right):
                if held is None or not held[operand]:
                    arrays[operand] = np.empty(0)
        multiply = placed_products if step.split else gathered_products
        product = multiply(left, right, step.rows_left, step.rows_right, library)
        del left, right
        shape = tree.counts[step.out], *(sizes[i] for i in tree.indices[step.out])
        arrays[step.out] = library.xp.reshape(product, shape)


def as_matrices(
    array: Any, indices: tuple[int, ...], rows: tuple[int, ...], columns: tuple[int, ...], library: Arrays = HERE
) -> Any:
    """View ``array`` (combination, indices...) as (combination, product of rows, product of columns)."""
    xp = library.xp
    size = dict(zip(indices, array.shape[1:], strict=True))
    count, height, width = array.shape[0], math.prod(size[i] for i in rows), math.prod(size[i] for i in columns)
    if indices == columns + rows:  # the transposed matrix is a view, which the product takes as it is
        return xp.matrix_transpose(xp.reshape(array, (count, width, height)))
    if indices != rows + columns and _run(indices, size, rows) >= _run(indices, size, columns):
        order = [1 + indices.index(i) for i in (*columns, *rows)]  # the copy that moves the longer runs
        return xp.matrix_transpose(xp.reshape(xp.permute_dims(array, (0, *order)), (count, width, height)))
    order = [1 + indices.index(i) for i in (*rows, *columns)]
    return xp.reshape(xp.permute_dims(array, (0, *order)), (count, height, width))


def _around(array: Any, indices: tuple[int, ...], step: Step, library: Arrays) -> Any:
    """See ``array`` (combination, indices...) as (combination, indices before, summed, indices after)."""
    order = step.kept_right[: step.split] + step.summed + step.kept_right[step.split :]
    array = library.xp.permute_dims(array, (0, *(1 + indices.index(i) for i in order)))
    shape = array.shape[1:]
    before = math.prod(shape[: step.split])
    width = math.prod(shape[step.split : step.split + len(step.summed)])
    return library.xp.reshape(array, (array.shape[0], before, width, -1))


def _run(indices: tuple[int, ...], size: dict[int, int], last: tuple[int, ...]) -> int:
    """Elements that stay together when ``last`` become the last axes."""
    run = 1
    for index, wanted in zip(reversed(indices), reversed(last), strict=False):
        if index != wanted:
            break
        run *= size[index]
    return run
