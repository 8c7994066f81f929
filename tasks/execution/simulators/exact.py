"""The exact path: a fragment's whole tensor from its one open-leg state, by array arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from scheduler_policies.machine import PART
from tasks.cutting.open_program import Branching
from tasks.cutting.pauli_bases import PauliBasis, bases_of
from tasks.cutting.plan import Fragment, Leg
from tasks.execution.simulators.gram import half_grams
from tasks.execution.simulators.open_state import OpenState
from tasks.execution.simulators.passes import Pass, exchange_bits, passes_of
from tasks.execution.simulators.products import Workers
from tasks.execution.simulators.turns import turn
from tasks.model.arrays import HERE, Arrays

_FACTOR = 16  # changes of basis are joined up to matrices of this size
_LEGS = 4  # on one wire whose change of basis is one matrix
_NEGLIGIBLE = 1e-13


def exact_tensor(fragment: Fragment, state: OpenState, *, threads: int = 1) -> np.ndarray:
    """Fragment tensor from the open-leg state.

    For every factor P the Gram matrix <psi_b'| P |psi_b> over all branches b, b', changed to the leg bases of
    tasks/model/tensor.py.

    Args:
        fragment: the fragment.
        state: what ``open_state`` returned for it; what it holds may be overwritten, in another basis and order.
        threads: how many cores may share the work, while no other work holds them.

    Returns:
        (leg_0, ..., leg_k, factor) float64.
    """
    legs = fragment.legs
    tensor = np.empty((*(leg.dimension for leg in legs), fragment.num_factors))
    rows, branches = state.amplitudes.shape
    pairs, here = branches**2, state.gpu is None
    batch = max(1, 2 * PART // max(pairs, tensor[..., 0].size))
    bases = LegBases(legs, state.branchings)
    chosen = bases_of(fragment, state.rest, branches, turns=2 if here else 0)
    plans: list[dict[int, list[Pass]]] = []
    for one in chosen:
        done = [start for plan in plans for start in plan if start]
        sizes = len(state.rest), branches
        plans.append(passes_of(one.masks_x, one.masks_z, *sizes, most=one.most, ordered=not here, done=done))
    longest = max((len(one.members) for plan in plans for own in plan.values() for one in own), default=0)
    worth = 8 * longest * branches <= rows  # what each thread holds beside the state is little

    def fill(basis: PauliBasis, own: Sequence[Pass], parts: Iterator[slice]) -> None:
        phases = 2.0 * basis.signs * 1j ** np.bitwise_count(basis.masks_x & basis.masks_z)
        for part in parts:
            for one in own[part]:
                grams = half_grams(state.amplitudes, one, state.gpu)
                for start in range(0, len(grams), batch):
                    some = one.members[start : start + batch]
                    found = bases.entries(grams[start : start + batch] * phases[some, None, None])
                    tensor[..., basis.members[some]] = found

    with Workers(threads if worth and here else 1) as workers:
        turned = 0
        for basis, plan in zip(chosen, plans, strict=True):
            if basis.turns:
                turn(state.amplitudes, range(turned, basis.turns), workers)
                turned = basis.turns
            for start, own in plan.items():
                if start:
                    exchange_bits(state.amplitudes, start)
                workers.each(partial(fill, basis, own), len(own), 1, rows * branches)
    return tensor


class LegBases:
    """How products of branches become entries in the legs' bases.

    Args:
        legs: of the fragment.
        branchings: of its state.
        arrays: those that the products are of.
    """

    def __init__(self, legs: Sequence[Leg], branchings: Sequence[Branching], arrays: Arrays = HERE):
        self._xp = arrays.xp
        self._changes = [[arrays.put(change) for change in own] for own in _changes(legs, branchings)]
        self._ranks = [one.rank for one in branchings]
        order = [k for one in branchings for k in one.legs]
        self._dimensions = [legs[k].dimension for k in order]
        self._places = [1 + order.index(k) for k in range(len(legs))]

    def entries(self, grams: Any) -> Any:
        """Entries in the legs' bases.

        Args:
            grams: (k, branch, branch') complex, row-major over the branchings; A stands for (A + its adjoint) / 2.

        Returns:
            (leg_0, ..., leg_k, k) float64.
        """
        xp = self._xp
        count, number = grams.shape[0], len(self._ranks)
        entries = xp.reshape(grams, (count, *self._ranks, *self._ranks))
        entries = xp.permute_dims(entries, (0, *(axis for k in range(1, number + 1) for axis in (k, number + k))))
        before, after = count, prod(rank**2 for rank in self._ranks)
        for changes in self._changes:
            after //= changes[0].shape[1]
            for change in changes:
                entries = xp.matmul(change, xp.reshape(entries, (before, change.shape[1], -1)))
            before = prod(entries.shape) // after
        return xp.permute_dims(xp.reshape(xp.real(entries), (count, *self._dimensions)), (*self._places, 0))


def _changes(legs: Sequence[Leg], branchings: Sequence[Branching]) -> list[list[np.ndarray]]:
    """Matrices that make leg entries of pairs of branches, branching by branching; small neighbours as one.

    Returns:
        for each the matrices of ``_chain``.
    """
    joined: list[list[np.ndarray]] = []
    for one in branchings:
        changes = _chain([legs[k] for k in one.legs], one.spread)
        alone = len(changes) == 1 and bool(joined) and len(joined[-1]) == 1
        if alone and joined[-1][0].shape[1] * changes[0].shape[1] <= _FACTOR:
            joined[-1] = [np.kron(joined[-1][0], changes[0])]
        else:
            joined.append(changes)
    return joined


def _chain(legs: Sequence[Leg], spread: np.ndarray) -> list[np.ndarray]:
    """The matrices of one branching: of many legs on one wire a few at a time, the last of them first.

    What many legs do to one qubit is a product of matrices that are no larger than 4 x 4, found by singular value
    decompositions: a matrix for all their entries at once would be sixteen times as large as what it makes. Each makes
    pairs for the next one and, behind them, the entries of its own legs.
    """
    rank = spread.shape[1]
    if spread.shape[0] == rank and len(legs) == 1 and np.array_equal(spread, np.eye(rank)):
        return [legs[0].kind.basis_change()]
    found: list[np.ndarray] = []
    parts, bond, rest = [legs[k : k + _LEGS] for k in range(0, len(legs), _LEGS)], 1, spread
    for own in parts[:-1]:
        left, sizes, right = np.linalg.svd(rest.reshape(bond * prod(leg.rank for leg in own), -1), full_matrices=False)
        kept = int((sizes > _NEGLIGIBLE * sizes[0]).sum())
        found.append(_change(own, (left[:, :kept] * sizes[:kept]).reshape(bond, -1, kept)))
        bond, rest = kept, right[:kept]
    found.append(_change(parts[-1], rest.reshape(bond, -1, rank)))
    return found[::-1]


def _change(legs: Sequence[Leg], spread: np.ndarray) -> np.ndarray:
    """From (bond, branches of these legs, next bond): (pairs of bonds and entries, pairs of next bonds) complex."""
    bond, _, following = spread.shape
    ranks = [leg.rank for leg in legs]
    pairs = np.einsum("mja,nkb->mnjkab", spread, spread.conj()).reshape(bond**2, *ranks, *ranks, following**2)
    order = [axis for k in range(1, len(legs) + 1) for axis in (k, len(legs) + k)]
    own = pairs.transpose(0, *order, 2 * len(legs) + 1).reshape(bond**2, *(r**2 for r in ranks), following**2)
    for axis, leg in enumerate(legs, start=1):  # leg by leg: a matrix of all would be far larger than what it makes
        own = np.moveaxis(np.tensordot(leg.kind.basis_change(), own, axes=(1, axis)), 0, axis)
    return own.reshape(-1, following**2)
