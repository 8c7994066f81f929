"""How products of an open-leg state's branches become entries in the legs' bases.

A product's Hermitian part is what counts, and entries of it are real. So every branching's pairs of branches are made
real numbers first: the entries where there are no more of them, else coefficients of Hermitian matrices. What makes
entries of these, where several legs share a branching, multiplies real numbers only. Where no legs do, all is real
from the start: elements of a leg's basis are real and symmetric, or imaginary and antisymmetric, and one real matrix,
the real and the imaginary part of a Hermitian one added, has both kinds of entries up to their signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod
from typing import Any

import numpy as np

from tasks.cutting.openings import Branching
from tasks.cutting.plan import Leg
from tasks.model.arrays import HERE, Arrays

_FACTOR = 16  # matrices of neighbouring legs are joined up to this size
_FIRST, _OTHERS = 256, 64  # entries of neighbouring legs on one wire that one matrix makes
_NEGLIGIBLE = 1e-13


class LegBases:
    """Changes products of branches to entries in the legs' bases.

    Args:
        legs: of the fragment.
        branchings: of its state.
        arrays: those that the products are of.
    """

    def __init__(self, legs: Sequence[Leg], branchings: Sequence[Branching], arrays: Arrays = HERE):
        self._xp = arrays.xp
        self._ranks = [one.rank for one in branchings]
        changes = [_change([legs[k] for k in one.legs], one.spread) for one in branchings]
        first, signs = [real for real, _ in changes], None
        if not any(entries for _, entries in changes):
            first, signs = _added(first)
        self._signs = None if signs is None else arrays.put(signs)
        self._real = [arrays.put(matrix) for matrix in joined(first)]
        self._entries = [[arrays.put(matrix) for matrix in matrices] for _, matrices in changes]
        order = [k for one in branchings for k in one.legs]
        self._dimensions = [legs[k].dimension for k in order]
        self._places = [order.index(k) for k in range(len(legs))]

    def entries(self, grams: Any) -> Any:
        """Entries in the legs' bases.

        Args:
            grams: (k, branch, branch') complex, row-major over the branchings; A stands for (A + its adjoint) / 2.

        Returns:
            (leg_0, ..., leg_k, k) float64.
        """
        xp = self._xp
        count, number = grams.shape[0], len(self._ranks)
        if self._signs is not None:
            real, imaginary = xp.real(grams), xp.imag(grams)
            grams = real + imaginary + xp.matrix_transpose(real - imaginary)
        value = xp.reshape(grams, (count, *self._ranks, *self._ranks))
        value = xp.permute_dims(value, (0, *(axis for k in range(1, number + 1) for axis in (k, number + k))))
        for matrix in reversed(self._real):  # the last axis becomes the first one, so that k is the last in the end
            value = xp.matmul(matrix, xp.matrix_transpose(xp.reshape(value, (-1, matrix.shape[1]))))
        if self._signs is None:
            value = xp.real(value)
        else:
            value = xp.reshape(value, (-1, count)) * self._signs
        if any(self._entries):
            value = xp.asarray(value, copy=True)
            before, after = 1, prod(value.shape)
            for rank, matrices in zip(self._ranks, self._entries, strict=True):
                after //= rank**2
                for matrix in matrices:
                    value = self._multiplied(matrix, value, before)
                before = prod(value.shape) // after
        return xp.permute_dims(xp.reshape(value, (*self._dimensions, count)), (*self._places, len(self._places)))

    def _multiplied(self, matrix: Any, value: Any, before: int) -> Any:
        """An array read as (before, axis, after) with the matrix applied to its middle axis."""
        xp, inner = self._xp, matrix.shape[1]
        if before * inner == prod(value.shape):
            return xp.matmul(xp.reshape(value, (before, inner)), xp.matrix_transpose(matrix))
        return xp.matmul(matrix, xp.reshape(value, (before, inner, -1)))


def _added(matrices: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray | None]:
    """(entries, pair) real each and (entry of all, 1) what entries are of a Hermitian matrix's parts added, times.

    The matrices as they are and None where an element of a basis is neither real nor imaginary.
    """
    turns = np.zeros(1, dtype=np.int64)
    for matrix in matrices:
        imaginary = matrix.imag.any(axis=1)
        if matrix.real[imaginary].any():
            return list(matrices), None
        turns = (turns[:, None] + imaginary).reshape(-1)
    # Of i^m C with C real, by the real parts of i^m and of i^m i; half of a matrix and its adjoint.
    signs = np.array([0.5, -0.5, -0.5, 0.5])[turns % 4]
    return [matrix.real + matrix.imag for matrix in matrices], signs[:, None]


def joined(matrices: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Products of neighbours as long as they are small."""
    found: list[np.ndarray] = []
    for one in matrices:
        if found and found[-1].shape[1] * one.shape[1] <= _FACTOR:
            found[-1] = np.kron(found[-1], one)
        else:
            found.append(one)
    return found


def _change(legs: Sequence[Leg], spread: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """What makes real numbers of the pairs of one branching, and the matrices that make entries of these in turn."""
    chain = _chain(legs, spread)
    _, entries, pairs = chain[0].shape
    if len(chain) == 1 and entries <= pairs:
        return chain[0][0], []
    found = []
    for matrix in chain:
        before, behind = _hermitian(matrix.shape[0]), _hermitian(matrix.shape[2])
        real = (np.tensordot(before, matrix, axes=1) @ behind.conj().T).real
        found.append(real.reshape(-1, len(behind)))
    return _hermitian(pairs), found


def _hermitian(pairs: int) -> np.ndarray:
    """(number, pair) complex, unitary: coefficients of a matrix in a basis of Hermitian ones, real if it is one too."""
    rank, number = isqrt(pairs), 0
    found = np.zeros((pairs, rank, rank), dtype=complex)
    for b in range(rank):
        found[number, b, b] = 1.0
        number += 1
        for c in range(b + 1, rank):
            found[number, [b, c], [c, b]] = 0.5**0.5
            found[number + 1, [b, c], [c, b]] = 1j * 0.5**0.5, -1j * 0.5**0.5
            number += 2
    return found.reshape(pairs, pairs)


def _chain(legs: Sequence[Leg], spread: np.ndarray) -> list[np.ndarray]:
    """(pairs of bonds, entries, pairs of next bonds) complex of a few legs of one branching at a time, the last first.

    What many legs do to one qubit is a product of matrices that are no larger than 4 x 4, found by singular value
    decompositions: a matrix for all their entries at once would be far larger than what it makes. Each makes pairs for
    the next one and, behind them, the entries of its own legs.
    """
    rank = spread.shape[1]
    if len(spread) == rank and len(legs) == 1 and np.array_equal(spread, np.eye(rank)):
        return [legs[0].kind.basis_change()[None]]
    parts: list[list[Leg]] = []
    for leg in legs:
        most = _FIRST if len(parts) < 2 else _OTHERS  # the first legs' matrix, which comes last, makes the largest step
        if parts and prod(one.dimension for one in parts[-1]) * leg.dimension <= most:
            parts[-1].append(leg)
        else:
            parts.append([leg])
    found: list[np.ndarray] = []
    bond, rest = 1, spread
    for own in parts[:-1]:
        left, sizes, right = np.linalg.svd(rest.reshape(bond * prod(leg.rank for leg in own), -1), full_matrices=False)
        kept = int((sizes > _NEGLIGIBLE * sizes[0]).sum())
        found.append(_of_legs(own, (left[:, :kept] * sizes[:kept]).reshape(bond, -1, kept)))
        bond, rest = kept, right[:kept]
    found.append(_of_legs(parts[-1], rest.reshape(bond, -1, rank)))
    return found[::-1]


def _of_legs(legs: Sequence[Leg], spread: np.ndarray) -> np.ndarray:
    """From (bond, branches of these legs, next bond): (pairs of bonds, entries, pairs of next bonds) complex."""
    bond, _, following = spread.shape
    ranks = [leg.rank for leg in legs]
    pairs = np.einsum("mja,nkb->mnjkab", spread, spread.conj()).reshape(bond**2, *ranks, *ranks, following**2)
    order = [axis for k in range(1, len(legs) + 1) for axis in (k, len(legs) + k)]
    own = pairs.transpose(0, *order, 2 * len(legs) + 1).reshape(bond**2, *(r**2 for r in ranks), following**2)
    for axis, leg in enumerate(legs, start=1):  # leg by leg: a matrix of all would be far larger than what it makes
        own = np.moveaxis(np.tensordot(leg.kind.basis_change(), own, axes=(1, axis)), 0, axis)
    return own.reshape(bond**2, -1, following**2)
