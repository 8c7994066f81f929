"""What one block of a contraction costs: multiply-adds once and in every slice, and the memory of its worst moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.reconstruction.contraction.kernel import LARGE_FLOPS, TALL
from tasks.reconstruction.contraction.layout import CALL, COPY, GATHER, MOVE, SMALL_CALL
from tasks.reconstruction.contraction.path import Tree


@dataclass(frozen=True)
class Shape:
    """The numbers of a tree that its cost depends on, as arrays over nodes and cuts.

    Attributes:
        sizes: (cut,) float64.
        counts: (node,) float64, combinations.
        member: (node, cut) bool, the indices of each node.
        below: (node, cut) bool, the indices of the leaves below it.
        left, right, out: (step,) int.
        before: (step, cut) bool, the indices that stand before the place of a small matrix multiplied onto the middle.
        placed: (step,) bool, whether the left operand is such a matrix.
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
    before: np.ndarray
    placed: np.ndarray
    copies: np.ndarray
    leaves: int


@dataclass(frozen=True)
class Load:
    """Work and memory of one block.

    Attributes:
        once: multiply-adds of what no slice changes.
        each: multiply-adds of each slice.
        effort_once, effort_each: what these take, in multiply-adds of a large matrix product.
        peak: elements alive at the worst moment, without the inputs.
        pressure: a smooth stand-in for the peak, which every useful slicing lowers.
        largest: elements of the largest node.
        widest: the indices of the worst step.
    """

    once: float
    each: float
    effort_once: float
    effort_each: float
    peak: float
    pressure: float
    largest: float
    widest: np.ndarray


def shape_of(tree: Tree, sizes: Sequence[int]) -> Shape:
    """The numbers of a tree; ``sizes``: (cut,) dimension of every index."""
    leaves = len(tree.factors)
    member = np.zeros((len(tree.indices), len(sizes)), dtype=bool)
    for node, indices in enumerate(tree.indices):
        member[node, list(indices)] = True
    below = member.copy()
    for step in sorted(tree.steps, key=lambda step: step.out):
        below[step.out] = below[step.left] | below[step.right]
    before = np.zeros((len(tree.steps), len(sizes)), dtype=bool)
    for number, step in enumerate(tree.steps):
        before[number, list(step.kept_right[: step.split])] = True
    return Shape(
        sizes=np.array(sizes, dtype=np.float64),
        counts=np.array(tree.counts, dtype=np.float64),
        member=member,
        below=below,
        left=np.array([step.left for step in tree.steps], dtype=np.int64),
        right=np.array([step.right for step in tree.steps], dtype=np.int64),
        out=np.array([step.out for step in tree.steps], dtype=np.int64),
        before=before,
        placed=np.array([step.split > 0 for step in tree.steps], dtype=bool),
        copies=np.array([step.copies for step in tree.steps], dtype=bool).reshape(-1, 2),
        leaves=leaves,
    )


def load_of(shape: Shape, sliced: Sequence[int], gradients: bool) -> Load:
    """Price a block when the indices of ``sliced`` are fixed; ``gradients``: every array stays for the way back."""
    fixed = list(sliced)
    sizes = shape.sizes.copy()
    sizes[fixed] = 1
    elements = shape.counts * np.prod(np.where(shape.member, sizes, 1.0), axis=1)
    if not shape.out.size:
        largest = float(elements[-1])
        return Load(0.0, largest, 0.0, largest, 0.0, 0.0, largest, np.flatnonzero(shape.member[0]))
    touched: np.ndarray = np.asarray(shape.below[:, fixed].any(axis=1))
    joined: np.ndarray = np.asarray(shape.member[shape.left] | shape.member[shape.right])
    work = shape.counts[shape.out] * np.prod(np.where(joined, sizes, 1.0), axis=1)
    effort = _efforts(shape, sizes, elements)
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
    return Load(
        once=float(work[order][~varies].sum()),
        each=float(work[order][varies].sum()) if len(fixed) else 0.0,
        effort_once=float(effort[order][~varies].sum()),
        effort_each=float(effort[order][varies].sum()) if len(fixed) else 0.0,
        peak=float(moments.max()),
        pressure=float(np.sum((moments / max(moments.max(), 1.0)) ** 4) ** 0.25 * moments.max()),
        largest=float(elements.max()),
        widest=np.flatnonzero(joined[worst] & (sizes > 1)),
    )


def _efforts(shape: Shape, sizes: np.ndarray, elements: np.ndarray) -> np.ndarray:
    """(step,) the effort of every step at the prices of ``layout.lay_out``, for sizes that slicing has changed."""
    left, right = shape.member[shape.left], shape.member[shape.right]
    k, m, n, before = (
        np.prod(np.where(part, sizes, 1.0), axis=1)
        for part in (left & right, left & ~right, right & ~left, shape.before)
    )
    products = shape.counts[shape.out]
    groups = np.minimum(products, shape.counts[shape.right])
    calls = np.minimum(CALL * groups, products * (SMALL_CALL + GATHER * n * k))
    stacked = MOVE * (products * m * k + groups * n * k + products * m * n) + calls
    single = products * (MOVE * (m * k + n * k + m * n) + CALL)
    placed = products * (MOVE * (k * n + m * n + before * m * k / 4) + before * SMALL_CALL)
    large = (m >= TALL) & (m * n * k >= LARGE_FLOPS)
    copied = COPY * np.where(shape.copies, elements[np.column_stack([shape.left, shape.right])], 0.0).sum(axis=1)
    return products * m * n * k + np.where(shape.placed, placed, np.where(large, single, stacked)) + copied
