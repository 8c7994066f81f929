"""The gradient of every observable with respect to every sampled fragment tensor: one pass back down the tree.

The adjoint of a node is kept for the distinct pairs (observable, combination) only, and dropped as soon as both of the
node's operands have theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from tasks.model.arrays import HERE, Arrays
from tasks.model.tensor import Structure
from tasks.reconstruction.contraction.contraction import as_matrices, leaf_arrays, library_for, slice_arrays
from tasks.reconstruction.contraction.kernel import summed_products
from tasks.reconstruction.contraction.network import Network
from tasks.reconstruction.contraction.path import Tree
from tasks.reconstruction.contraction.schedule import Schedule

_ADJOINT_BYTES = 1 << 29


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


def gradients(
    structure: Structure,
    network: Network,
    plan: Schedule,
    values: Sequence[np.ndarray],
    fragments: Sequence[int],
    *,
    adjoint_bytes: int = _ADJOINT_BYTES,
    gpu: Arrays | None = None,
) -> Iterator[tuple[np.ndarray, list[LeafGradient]]]:
    """All gradients, a block of observables at a time.

    Args:
        structure: the structure.
        network: its network.
        plan: a schedule made with ``gradients=True``.
        values: (fragment,) the tensors' values.
        fragments: the fragments wanted.
        adjoint_bytes: roughly what the adjoints of a block may take; one observable at least is taken at a time.
        gpu: where it is done if it is large enough; None: here.

    Yields:
        The observables of a block, ascending, with one LeafGradient for each fragment that matters to any of them.
    """
    library = library_for(plan, gpu)
    every = [leaf_arrays(network, tree, values, library) for tree in plan.trees]
    kept = None
    if plan.cost.units == 1 and plan.trees[0].terms.size:
        kept = next(iter(slice_arrays(plan, plan.trees[0], every[0], ((),), keep=True, library=library)))
    for observables in _blocks(structure, plan, adjoint_bytes):
        pieces: dict[int, list[LeafGradient]] = {}
        for tree, leaves in zip(plan.trees, every, strict=True):
            if tree.terms.size == 0:
                continue
            whole: dict[int, LeafGradient] = {}
            sliced = slice_arrays(plan, tree, leaves, plan.slices, keep=True, library=library)
            for fixed, arrays in zip(plan.slices, sliced if kept is None else [kept], strict=True):
                for found in backward(structure, plan.sliced_sizes, tree, arrays, fragments, observables, library):
                    _place(whole, found, plan, tree, fixed)
            for fragment, found in whole.items():
                pieces.setdefault(fragment, []).append(found)
        yield (
            observables,
            [
                _pulled_back(_merged(found), network)
                for found in pieces.values()
                if any(piece.observables.size for piece in found)
            ],
        )


def backward(
    structure: Structure,
    sizes: Sequence[int],
    tree: Tree,
    arrays: Sequence[Any],
    fragments: Sequence[int],
    observables: np.ndarray,
    library: Arrays = HERE,
) -> Iterator[LeafGradient]:
    """Yield the gradient of some observables with respect to the leaves of ``fragments``.

    Args:
        structure: for its coefficients.
        sizes: (cut,) dimension of each index, 1 where it is fixed.
        tree: the tree that was contracted.
        arrays: every node's array.
        fragments: the leaves wanted.
        observables: (observable,) int, which observables, ascending.
        library: what the arrays are of.
    """
    xp = library.xp
    wanted = set(fragments)
    num_leaves = len(tree.factors)
    by_out = {step.out: step for step in tree.steps}
    below = [node in wanted for node in range(len(tree.indices))]
    for step in sorted(tree.steps, key=lambda step: step.out):
        below[step.out] = below[step.left] or below[step.right]

    *pairs, coefficients = _root_adjoint(structure, tree, observables)
    stack = [(tree.root, *pairs, library.put(coefficients))]
    while stack:
        node, pair_observables, pair_rows, adjoint = stack.pop()
        if not below[node]:
            continue
        adjoint = xp.reshape(adjoint, (pair_rows.size, *(sizes[i] for i in tree.indices[node])))
        if node < num_leaves:
            gradient = library.fetch(adjoint)
            yield LeafGradient(node, observables[pair_observables], tree.factors[node][pair_rows], gradient)
            continue
        step = by_out[node]
        for child, other, kept, other_kept, own_rows, other_rows in (
            (step.left, step.right, step.kept_left, step.kept_right, step.rows_left, step.rows_right),
            (step.right, step.left, step.kept_right, step.kept_left, step.rows_right, step.rows_left),
        ):
            if not below[child]:
                continue
            size = tree.counts[child]
            targets, inverse = np.unique(pair_observables * size + own_rows[pair_rows], return_inverse=True)
            product = summed_products(
                as_matrices(adjoint, tree.indices[node], kept, other_kept, library),
                as_matrices(arrays[other], tree.indices[other], step.summed, other_kept, library),
                np.arange(pair_rows.size),
                other_rows[pair_rows],
                inverse.ravel(),
                targets.size,
                library,
            )
            own = (*kept, *step.summed)
            product = xp.reshape(product, (targets.size, *(sizes[i] for i in own)))
            product = xp.permute_dims(product, (0, *(1 + own.index(i) for i in tree.indices[child])))
            stack.append((child, targets // size, targets % size, product))


def _root_adjoint(
    structure: Structure, tree: Tree, observables: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients summed over the distinct (observable, root combination): observables, combinations, sums."""
    part = csr_array(structure.coefficients[observables])
    owner = np.repeat(np.arange(observables.size), np.diff(part.indptr))
    row_of_term = np.full(part.shape[1], -1, dtype=np.int64)
    row_of_term[tree.terms] = tree.rows
    live = (part.data != 0) & (row_of_term[part.indices] >= 0)
    count = max(1, tree.counts[tree.root])
    keys, inverse = np.unique(owner[live] * count + row_of_term[part.indices[live]], return_inverse=True)
    adjoint = np.bincount(inverse.ravel(), weights=part.data[live], minlength=keys.size)
    return keys // count, keys % count, adjoint


def _blocks(structure: Structure, plan: Schedule, adjoint_bytes: int) -> Iterator[np.ndarray]:
    """Runs of observables whose adjoints fit together."""
    terms_each = np.maximum(np.diff(structure.coefficients.indptr), 1)
    sizes = np.array(plan.sizes, dtype=np.float64)
    widest = max(float(np.prod(sizes[list(indices)])) for tree in plan.trees for indices in tree.indices)
    number = np.floor(np.cumsum(terms_each * widest * 8.0 * 3.0) / adjoint_bytes)
    for block in np.unique(number):
        yield np.flatnonzero(number == block)


def _place(
    whole: dict[int, LeafGradient], found: LeafGradient, plan: Schedule, tree: Tree, fixed: tuple[int, ...]
) -> None:
    """Put a slice's gradient where the fixed indices say; add where a leaf has none of them."""
    indices = tree.indices[found.fragment]
    if found.fragment not in whole:
        shape = (found.observables.size, *(plan.sizes[i] for i in indices))
        whole[found.fragment] = LeafGradient(found.fragment, found.observables, found.factors, np.zeros(shape))
    at = dict(zip(plan.sliced, fixed, strict=True))
    where = [slice(at[i], at[i] + 1) if i in at else slice(None) for i in indices]
    whole[found.fragment].gradient[tuple([slice(None), *where])] += found.gradient


def _merged(found: Sequence[LeafGradient]) -> LeafGradient:
    """Sum what blocks of terms say about the same (observable, factor)."""
    if len(found) == 1:
        return found[0]
    observables = np.concatenate([piece.observables for piece in found])
    factors = np.concatenate([piece.factors for piece in found])
    size = int(factors.max(initial=0)) + 1
    keys, inverse = np.unique(observables * size + factors, return_inverse=True)
    total = np.zeros((keys.size, *found[0].gradient.shape[1:]))
    np.add.at(total, inverse.ravel(), np.concatenate([piece.gradient for piece in found]))
    return LeafGradient(found[0].fragment, keys // size, keys % size, total)


def _pulled_back(found: LeafGradient, network: Network) -> LeafGradient:
    leaf = network.leaves[found.fragment]
    return LeafGradient(found.fragment, found.observables, found.factors, leaf.pull_back(found.gradient))
