"""The outputs of an exact fragment: tensors of the projectors onto its output bits, from its open-leg state."""

from __future__ import annotations

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.reconstruction.distribution.outputs import ExactOutputs

_CHUNK_BYTES = 1 << 26


def exact_outputs(fragment: Fragment, state: np.ndarray) -> ExactOutputs:
    """Projector tensors of every outcome of a fragment's outputs.

    Args:
        fragment: the fragment; every local qubit that no leg takes away is an output.
        state: what ``open_state`` returned for it.

    Returns:
        its outputs, in the order of their local qubits.
    """
    legs = fragment.legs
    branching = sum(not leg.kind.opens_qubit for leg in legs)
    order, axis = [], 0
    for leg in legs:
        if leg.kind.opens_qubit:
            order.append(branching + leg.qubit)
        else:
            order.append(axis)
            axis += 1
    global_of = dict(fragment.outputs)
    local = sorted(global_of)
    moved = state.transpose(order + [branching + q for q in reversed(local)])  # the last output bit most significant
    size = int(np.prod(moved.shape[: len(legs)], dtype=np.int64))
    branches = np.ascontiguousarray(moved).reshape(size, -1)
    outcomes = branches.shape[1]
    values = np.empty((*(leg.dimension for leg in legs), outcomes))
    step = max(1, _CHUNK_BYTES // (16 * size * size))
    pairs_axes = [a for k in range(len(legs)) for a in (k, len(legs) + k)]
    for start in range(0, outcomes, step):
        part = branches[:, start : start + step]
        pairs = part[:, None, :] * part.conj()[None, :, :]
        ranks = [leg.rank for leg in legs]
        entries = pairs.reshape(*ranks, *ranks, -1).transpose([*pairs_axes, 2 * len(legs)])
        entries = entries.reshape(*(rank * rank for rank in ranks), -1)
        for place, leg in enumerate(legs):
            entries = np.moveaxis(np.tensordot(leg.kind.basis_change(), entries, axes=(1, place)), 0, place)
        values[..., start : start + step] = entries.real
    return ExactOutputs(tuple(global_of[q] for q in local), values)
