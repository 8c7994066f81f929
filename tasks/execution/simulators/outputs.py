"""The outputs of an exact fragment: tensors of the projectors onto its output bits, from its open-leg state."""

from __future__ import annotations

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.execution.simulators.measured import leg_entries, measured_rows
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
    global_of = dict(fragment.outputs)
    local = sorted(global_of)
    bases = np.zeros(fragment.num_qubits, dtype=np.int64)
    bases[local] = 3
    values = leg_entries(measured_rows(state, bases), fragment.legs, state.branchings, state.arrays)
    return ExactOutputs(tuple(global_of[q] for q in local), state.arrays.fetch(values))
