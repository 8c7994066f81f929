"""Contract the network of fragment tensors: every observable's value, and its gradient by one pass backwards.

Each node of the tree is one array (combination, indices...). The terms meet their coefficients only at the root, so
10,000 observables share every part of the contraction that does not depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from tasks.reconstruction.kernel import gathered_products, summed_products
from tasks.reconstruction.network import Network, network_of, values_by_fragment
from tasks.reconstruction.path import Step, Tree, bind, find_paths
from tasks.tensor import FragmentTensor, Structure


@dataclass(frozen=True)
class LeafGradient:
    """The gradient of some observables with respect to one fragment tensor.

    Only pairs (observable, factor) that a term of the observable takes have a gradient; all others are zero.

    Attributes:
        fragment: the fragment.
        observables: (pair,) int, ascending.
        factors: (pair,) int.
        gradient: (pair, legs...) float64, d value / d entry.
    """

    fragment: int
    observables: np.ndarray
    factors: np.ndarray
    gradient: np.ndarray


def contract(
    structure: Structure, tensors: Sequence[FragmentTensor], *, memory_bytes: int | None = None, seed: int = 0
) -> np.ndarray:
    """Contract the network.

    Args:
        structure: how the fragments are joined and which terms the observables sum.
        tensors: one per fragment, in any order.
        memory_bytes: upper bound for the arrays of the contraction; None sets none.
        seed: of the path search.

    Returns:
        (observable,) float64.

    Raises:
        InconsistentNetworkError: if the tensors do not fit the structure.
    """
    network = network_of(structure)
    values = values_by_fragment(structure, network, tensors)
    tree = best_tree(structure, network, seed=seed)
    if tree.terms.size == 0:
        return np.zeros(structure.coefficients.shape[0])
    arrays = forward(tree, network.sizes, leaf_arrays(network, tree, values))
    return combine(structure.coefficients, tree, arrays[tree.root])


def best_tree(structure: Structure, network: Network, *, seed: int = 0) -> Tree:
    """Bind every candidate path to the terms and keep the one with the fewest flops for all of them together."""
    trees = [bind(structure, network, path) for path in find_paths(network, seed=seed)]
    return min(trees, key=lambda tree: sum(step_flops(tree, network.sizes, step) for step in tree.steps))


def step_flops(tree: Tree, sizes: Sequence[int], step: Step) -> float:
    """Multiply-adds of one step, all combinations together."""
    kept = [float(sizes[i]) for i in (*step.kept_left, *step.kept_right, *step.summed)]
    return float(np.prod(kept)) * tree.counts[step.out]


def leaf_arrays(network: Network, tree: Tree, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The leaves' arrays (combination, indices...), only the factors that are used."""
    return [
        leaf.absorb(np.ascontiguousarray(value[..., used]))
        for leaf, value, used in zip(network.leaves, values, tree.factors, strict=True)
    ]


def forward(tree: Tree, sizes: Sequence[int], leaves: Sequence[np.ndarray], *, keep: bool = False) -> list[np.ndarray]:
    """Contract along the tree.

    Args:
        tree: the order and the sharing.
        sizes: (cut,) dimension of each index.
        leaves: the leaves' arrays.
        keep: hold on to every intermediate (for ``backward``) instead of freeing it once it is used.

    Returns:
        One array a node; empty ones for nodes already freed.
    """
    arrays = list(leaves)
    for step in tree.steps:
        left = as_matrices(arrays[step.left], tree.indices[step.left], step.kept_left, step.summed)
        right = as_matrices(arrays[step.right], tree.indices[step.right], step.kept_right, step.summed)
        product = gathered_products(left, right, step.rows_left, step.rows_right)
        arrays.append(product.reshape(tree.counts[step.out], *(sizes[i] for i in tree.indices[step.out])))
        if not keep:
            arrays[step.left] = arrays[step.right] = np.empty(0)
    return arrays


def as_matrices(array: np.ndarray, indices: tuple[int, ...], rows: Sequence[int], columns: Sequence[int]) -> np.ndarray:
    """View ``array`` (combination, indices...) as (combination, product of rows, product of columns)."""
    order = [1 + indices.index(i) for i in (*rows, *columns)]
    height = int(np.prod([array.shape[axis] for axis in order[: len(rows)]], dtype=np.int64))
    width = int(np.prod([array.shape[axis] for axis in order[len(rows) :]], dtype=np.int64))
    return np.transpose(array, [0, *order]).reshape(array.shape[0], height, width)


def combine(coefficients: csr_array, tree: Tree, root: np.ndarray) -> np.ndarray:
    """Sum the terms' values into (observable,) values."""
    terms = np.zeros(coefficients.shape[1])
    terms[tree.terms] = root.reshape(-1)[tree.rows]
    return np.asarray(coefficients @ terms)


def backward(
    structure: Structure,
    network: Network,
    tree: Tree,
    arrays: Sequence[np.ndarray],
    fragments: Sequence[int],
    observables: np.ndarray,
) -> Iterator[LeafGradient]:
    """Yield the gradient of some observables with respect to each of ``fragments``.

    One pass down the tree: the adjoint of a node is kept for the distinct pairs (observable, combination), and dropped
    as soon as both of its operands have theirs.

    Args:
        structure: for its coefficients.
        network: its network.
        tree: the tree that was contracted.
        arrays: every node's array, from ``forward(..., keep=True)``.
        fragments: the leaves wanted.
        observables: (observable,) int, which observables, ascending.
    """
    wanted = set(fragments)
    by_out = {step.out: step for step in tree.steps}
    below: list[bool] = [leaf in wanted for leaf in range(len(network.leaves))]
    for step in tree.steps:
        below.append(below[step.left] or below[step.right])

    part = csr_array(structure.coefficients[observables])
    part.sum_duplicates()
    owner = np.repeat(np.arange(observables.size), np.diff(part.indptr))
    row_of_term = np.full(part.shape[1], -1, dtype=np.int64)
    row_of_term[tree.terms] = tree.rows
    live = (part.data != 0) & (row_of_term[part.indices] >= 0)
    count = max(1, tree.counts[tree.root])
    keys, inverse = np.unique(owner[live] * count + row_of_term[part.indices[live]], return_inverse=True)
    adjoint = np.bincount(inverse.ravel(), weights=part.data[live], minlength=keys.size)

    stack = [(tree.root, keys // count, keys % count, adjoint)]
    while stack:
        node, pair_observables, pair_rows, adjoint = stack.pop()
        if not below[node]:
            continue
        if node < len(network.leaves):
            leaf = network.leaves[node]
            shape = (pair_rows.size, *(network.sizes[i] for i in leaf.indices))
            yield LeafGradient(
                fragment=node,
                observables=observables[pair_observables],
                factors=tree.factors[node][pair_rows],
                gradient=leaf.pull_back(adjoint.reshape(shape)),
            )
            continue
        step = by_out[node]
        shape = (pair_rows.size, *(network.sizes[i] for i in tree.indices[node]))
        adjoint = adjoint.reshape(shape)
        for child, other, kept, other_kept, own_rows, other_rows in (
            (step.left, step.right, step.kept_left, step.kept_right, step.rows_left, step.rows_right),
            (step.right, step.left, step.kept_right, step.kept_left, step.rows_right, step.rows_left),
        ):
            if not below[child]:
                continue
            size = tree.counts[child]
            targets, inverse = np.unique(pair_observables * size + own_rows[pair_rows], return_inverse=True)
            product = summed_products(
                as_matrices(adjoint, tree.indices[node], kept, other_kept),
                as_matrices(arrays[other], tree.indices[other], step.summed, other_kept),
                np.arange(pair_rows.size),
                other_rows[pair_rows],
                inverse.ravel(),
                targets.size,
            )
            own = (*kept, *step.summed)
            product = product.reshape(targets.size, *(network.sizes[i] for i in own))
            product = np.transpose(product, [0, *(1 + own.index(i) for i in tree.indices[child])])
            stack.append((child, targets // size, targets % size, product))
