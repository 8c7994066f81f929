"""The outputs of an exact fragment: tensors of the projectors onto its output bits, from its open-leg state."""

from __future__ import annotations

import numpy as np

from scheduler_policies.machine import PART
from tasks.cutting.plan import Fragment
from tasks.execution.simulators.exact import LegBases
from tasks.execution.simulators.open_state import OpenState
from tasks.reconstruction.distribution.outputs import ExactOutputs


def exact_outputs(fragment: Fragment, state: OpenState) -> ExactOutputs:
    """Projector tensors of every outcome of a fragment's outputs.

    Args:
        fragment: the fragment; every local qubit that no leg takes away is an output.
        state: what ``open_state`` returned for it.

    Returns:
        its outputs, in the order of their local qubits.
    """
    legs = fragment.legs
    global_of = dict(fragment.outputs)
    local = sorted(global_of)
    branches = state.amplitudes.shape[1]
    axes = [state.rest.index(q) for q in local[::-1]]  # the last output bit most significant
    moved = state.amplitudes.reshape((2,) * len(local) + (branches,)).transpose([*axes, len(local)])
    rows = np.ascontiguousarray(moved).reshape(-1, branches)
    values = np.empty((*(leg.dimension for leg in legs), len(rows)))
    step = max(1, 2 * PART // branches**2)
    bases = LegBases(legs, state.branchings)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        products = part[:, :, None] * part.conj()[:, None, :]
        values[..., start : start + step] = bases.entries(products)
    return ExactOutputs(tuple(global_of[q] for q in local), values)
