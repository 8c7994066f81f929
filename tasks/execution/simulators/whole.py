"""A fragment's whole tensor in the way that is predicted to be the quickest."""

from __future__ import annotations

import numpy as np

from tasks.cutting.cone_program import ConeProgram
from tasks.cutting.pauli_program import PauliProgram
from tasks.cutting.plan import Fragment
from tasks.cutting.seconds import cheaper_way
from tasks.execution.simulators.accelerator import Accelerator
from tasks.execution.simulators.cones import cone_tensor
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.pauli_tensor import pauli_tensor
from tasks.execution.simulators.product_state import product_tensor


def whole_tensor(fragment: Fragment, *, threads: int = 1, gpu: Accelerator | None = None) -> np.ndarray:
    """From all amplitudes, or from a matrix product state, by Paulis or by light cones where that takes clearly less.

    Args:
        fragment: the fragment.
        threads: how many cores may share the work, while no other work holds them.
        gpu: where amplitudes are simulated; None: here.

    Returns:
        (leg_0, ..., leg_k, factor) float64.

    Raises:
        ExecutionError: there is not enough memory.
    """
    way = cheaper_way(fragment)
    if isinstance(way, PauliProgram):
        return pauli_tensor(fragment, way)
    if isinstance(way, ConeProgram):
        parts = [whole_tensor(part.of(fragment), threads=threads, gpu=gpu) for part in way.parts]
        return cone_tensor(fragment, way, parts)
    if way is not None:
        return product_tensor(fragment, way)
    return exact_tensor(fragment, open_state(fragment, threads=threads, gpu=gpu), threads=threads)
