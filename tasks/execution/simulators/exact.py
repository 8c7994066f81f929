"""The exact path: a fragment's whole tensor from its one open-leg state, by array arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from scheduler_policies.machine import PART
from tasks.cutting.pauli_bases import PauliBasis, bases_of
from tasks.cutting.plan import Fragment
from tasks.cutting.sizes import pauli_bases
from tasks.execution.simulators.gram import half_grams, set_apart
from tasks.execution.simulators.leg_bases import LegBases
from tasks.execution.simulators.open_state import OpenState
from tasks.execution.simulators.passes import Pass, order_anew, passes_of
from tasks.execution.simulators.products import Workers
from tasks.execution.simulators.turns import turn


def exact_tensor(fragment: Fragment, state: OpenState, *, threads: int = 1) -> np.ndarray:
    """Fragment tensor from the open-leg state.

    For every factor P the Gram matrix <psi_b'| P |psi_b> over all branches b, b', changed to the leg bases of
    tasks/model/tensor.py.

    Args:
        fragment: the fragment.
        state: what ``open_state`` returned for it; what it holds may be overwritten, in another basis and order
            and with its real and imaginary parts apart.
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
    chosen = pauli_bases(fragment) if here else bases_of(fragment, state.rest, branches, turns=0)
    plans: list[dict[int, list[Pass]]] = []
    for one in chosen:
        done = sum(max(plan) for plan in plans)
        sizes = len(state.rest), branches
        plans.append(passes_of(one.masks_x, one.masks_z, *sizes, most=one.most, ordered=not here, done=done))
    longest = max((len(one.members) for plan in plans for own in plan.values() for one in own), default=0)
    worth = 8 * longest * branches <= rows  # what each thread holds beside the state is little

    def fill(basis: PauliBasis, own: Sequence[Pass], parts: Iterator[slice]) -> None:
        phases = 2.0 * basis.signs * 1j ** np.bitwise_count(basis.masks_x & basis.masks_z)
        for part in parts:
            for one in own[part]:
                grams = half_grams(own_rows, one, state.gpu)
                for start in range(0, len(grams), batch):
                    some = one.members[start : start + batch]
                    own_grams = grams[start : start + batch]
                    own_grams *= phases[some, None, None]
                    tensor[..., basis.members[some]] = bases.entries(own_grams)
                del grams, own_grams  # given back before the next are made

    with Workers(threads if worth and here else 1) as workers:
        turned, own_rows = 0, set_apart(state.amplitudes) if here else state.amplitudes
        for basis, plan in zip(chosen, plans, strict=True):
            if basis.turns:
                turn(own_rows, range(turned, basis.turns), workers)
                turned = basis.turns
            ordered = 0
            for after, own in plan.items():
                for _ in range(after - ordered):
                    order_anew(own_rows)
                ordered = after
                longest_first = sorted(own, key=lambda one: one.mask_x != 0)
                workers.each(partial(fill, basis, longest_first), len(own), 1, rows * branches)
    return tensor
