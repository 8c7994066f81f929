"""The outputs of an exact fragment: tensors of the projectors onto its output bits, from its open-leg state."""

from __future__ import annotations

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.execution.simulators.exact import branches_first, to_leg_bases
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
    global_of = dict(fragment.outputs)
    local = sorted(global_of)
    branches = branches_first(fragment, state, local[::-1])  # the last output bit most significant
    size, outcomes = branches.shape
    values = np.empty((*(leg.dimension for leg in legs), outcomes))
    step = max(1, _CHUNK_BYTES // (16 * size * size))
    for start in range(0, outcomes, step):
        part = branches[:, start : start + step]
        values[..., start : start + step] = to_leg_bases(part[:, None, :] * part.conj()[None, :, :], legs)
    return ExactOutputs(tuple(global_of[q] for q in local), values)
