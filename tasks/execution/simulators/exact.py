"""The exact path: a fragment's whole tensor from its one open-leg state, by array arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod

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

_FACTOR = 16  # changes of basis are joined up to matrices of this size


def exact_tensor(fragment: Fragment, state: OpenState, *, threads: int = 1) -> np.ndarray:
    """Fragment tensor from the open-leg state.

    For every factor P the Gram matrix <psi_b'| P |psi_b> over all branches b, b', changed to the leg bases of
    tasks/model/tensor.py.

    Args:
        fragment: the fragment.
        state: what ``open_state`` returned for it; its amplitudes may be overwritten by those in another basis.
        threads: how many cores may share the work, while no other work holds them.

    Returns:
        (leg_0, ..., leg_k, factor) float64.
    """
    legs = fragment.legs
    tensor = np.empty((*(leg.dimension for leg in legs), fragment.num_factors))
    rows, branches = state.amplitudes.shape
    pairs, here = branches**2, state.gpu is None
    batch = max(1, 2 * PART // pairs)
    bases = LegBases(legs, state.branchings)
    chosen = bases_of(fragment, state.rest, branches, turns=2 if here else 0)
    plans = [
        passes_of(one.masks_x, one.masks_z, len(state.rest), branches, most=one.most, ordered=not here)
        for one in chosen
    ]
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
        done = 0
        for basis, plan in zip(chosen, plans, strict=True):
            if basis.turns:
                turn(state.amplitudes, range(done, basis.turns), workers)
                done = basis.turns
            for first, own in plan.items():
                with _exchanged(state.amplitudes, first):
                    workers.each(partial(fill, basis, own), len(own), 1, rows * branches)
    return tensor


@contextmanager
def _exchanged(amplitudes: np.ndarray, start: int) -> Iterator[None]:
    """Rows in another order until the block ends."""
    if not start:
        yield
        return
    exchange_bits(amplitudes, start)
    try:
        yield
    finally:
        exchange_bits(amplitudes, start)


class LegBases:
    """How products of branches become entries in the legs' bases."""

    def __init__(self, legs: Sequence[Leg], branchings: Sequence[Branching]):
        self._changes = _changes(legs, branchings)
        self._ranks = [one.rank for one in branchings]
        order = [k for one in branchings for k in one.legs]
        self._dimensions = [legs[k].dimension for k in order]
        self._places = [1 + order.index(k) for k in range(len(legs))]

    def entries(self, grams: np.ndarray) -> np.ndarray:
        """Entries in the legs' bases.

        Args:
            grams: (k, branch, branch') complex, row-major over the branchings; A stands for (A + its adjoint) / 2.

        Returns:
            (leg_0, ..., leg_k, k) float64.
        """
        count, number = len(grams), len(self._ranks)
        entries = grams.reshape(count, *self._ranks, *self._ranks)
        entries = entries.transpose(0, *(axis for k in range(1, number + 1) for axis in (k, number + k)))
        before, after = count, prod(rank**2 for rank in self._ranks)
        for change in self._changes:
            after //= change.shape[1]
            entries = np.matmul(change, entries.reshape(before, change.shape[1], after))
            before *= change.shape[0]
        return entries.real.reshape(count, *self._dimensions).transpose(*self._places, 0)


def _changes(legs: Sequence[Leg], branchings: Sequence[Branching]) -> list[np.ndarray]:
    """(leg entries, pair of branches) complex for each branching, neighbouring small ones joined."""
    joined: list[np.ndarray] = []
    for one in branchings:
        change = _change([legs[k] for k in one.legs], one.spread)
        if joined and max(joined[-1].shape[1] * change.shape[1], 1) <= _FACTOR:
            joined[-1] = np.kron(joined[-1], change)
        else:
            joined.append(change)
    return joined


def _change(legs: Sequence[Leg], spread: np.ndarray) -> np.ndarray:
    """(entries of these legs, pair of branches) complex."""
    changes = [leg.kind.basis_change() for leg in legs]
    size, rank = spread.shape
    if size == rank and len(legs) == 1 and np.array_equal(spread, np.eye(rank)):
        return changes[0]
    ranks = [leg.rank for leg in legs]
    pairs = np.einsum("ja,kb->jkab", spread, spread.conj()).reshape(*ranks, *ranks, rank**2)
    order = [axis for k in range(len(legs)) for axis in (k, len(legs) + k)]
    own = pairs.transpose(*order, 2 * len(legs)).reshape(*(r**2 for r in ranks), rank**2)
    for axis, change in enumerate(changes):  # leg by leg: a matrix of all would be far larger than what it makes
        own = np.moveaxis(np.tensordot(change, own, axes=(1, axis)), 0, axis)
    return own.reshape(size**2, rank**2)
