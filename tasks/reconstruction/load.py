"""What one block of a contraction costs: multiply-adds once and in every slice, and the memory of its worst moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.reconstruction.path import Tree


@dataclass(frozen=True)
class Shape:
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
class Load:
    """Work and memory of one block.

    Attributes:
        whole: multiply-adds of the block without slices.
        once: multiply-adds of what no slice changes.
        each: multiply-adds of each slice.
        peak: elements alive at the worst moment, without the inputs.
        pressure: a smooth stand-in for the peak, which every useful slicing lowers.
        largest: elements of the largest node.
        widest: the indices of the worst step.
    """

    whole: float
    once: float
    each: float
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
    return Shape(
        sizes=np.array(sizes, dtype=np.float64),
        counts=np.array(tree.counts, dtype=np.float64),
        member=member,
        below=below,
        left=np.array([step.left for step in tree.steps], dtype=np.int64),
        right=np.array([step.right for step in tree.steps], dtype=np.int64),
        out=np.array([step.out for step in tree.steps], dtype=np.int64),
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
        return Load(0.0, 0.0, float(elements[-1]), 0.0, 0.0, float(elements[-1]), np.flatnonzero(shape.member[0]))
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
    return Load(
        whole=float(np.sum(shape.counts[shape.out] * np.prod(np.where(joined, shape.sizes, 1.0), axis=1))),
        once=float(work[order][~varies].sum()),
        each=float(work[order][varies].sum()) if len(fixed) else 0.0,
        peak=float(moments.max()),
        pressure=float(np.sum((moments / max(moments.max(), 1.0)) ** 4) ** 0.25 * moments.max()),
        largest=float(elements.max()),
        widest=np.flatnonzero(joined[worst] & (sizes > 1)),
    )
