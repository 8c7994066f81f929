"""What the errors of QPUs would shift the values of a plan by, before anything runs.

The estimate is multilinear in the fragment tensors, so what many shots show on average is the value of those that
``noise`` leaves of them; where errors are mitigated, of what is left after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler_policies import Device
from tasks.cutting import Plan, structure_of
from tasks.execution.simulators.whole import whole_tensor
from tasks.model.problem import Problem
from tasks.model.tensor import FragmentTensor
from tasks.prediction.noise import noise_of
from tasks.prediction.shot_outcomes import shown_values
from tasks.reconstruction import estimate_values


def noise_biases(
    problem: Problem,
    plan: Plan,
    devices: Sequence[Device],
    memory_bytes: int | None = None,
    *,
    mitigation: str = "none",
) -> np.ndarray:
    """(observable,) float64: values on average on noisy devices, less the true ones.

    Args:
        problem: the problem.
        plan: its plan; every fragment is simulated.
        devices: of the run; a fragment is taken to be on the one that spoils it least, as policy ``fidelity`` has it.
        memory_bytes: what the contraction may take.
        mitigation: what is done against the errors (``--mitigation``).
    """
    if not plan.fragments:
        return np.zeros(problem.terms.coefficients.shape[0])
    tensors, noisy = [], []
    for fragment, schemes, noise in zip(plan.fragments, plan.schemes, noise_of(plan, devices, mitigation), strict=True):
        values = whole_tensor(fragment)
        tensors.append(FragmentTensor(fragment.index, values))
        noisy.append(FragmentTensor(fragment.index, shown_values(fragment, schemes, noise, values)))
    structure = structure_of(problem, plan)
    exact, shown = (estimate_values(structure, own, memory_bytes=memory_bytes)[0] for own in (tensors, noisy))
    return np.asarray(shown - exact)
