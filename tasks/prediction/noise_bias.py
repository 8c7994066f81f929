"""What the errors of QPUs would leave of a plan's values on average, before anything runs, and so its bias.

Under depolarising noise a gate of average error e on d states leaves 1 - e d / (d - 1) of any Pauli on its qubits, and
a readout error e leaves 1 - 2 e. A factor of a fragment shows the product of that over the gates of its cone, its
readouts and those of outgoing wires, by the device's calibration; what is the same for every state, the norm, stays.
The estimate is multilinear in the fragment tensors, so what many shots show on average is the value of the scaled ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from scheduler_policies import Device
from scheduler_policies.cost import ROUTED_TWO_QUBIT_GATES, why_not
from tasks.cutting import Fragment, Plan, structure_of
from tasks.cutting.pauli_program import leg_map
from tasks.execution.simulators.whole import whole_tensor
from tasks.execution.works import works_of
from tasks.model.problem import Problem
from tasks.model.tensor import FragmentTensor
from tasks.prediction.noise_paths import cx_needed, met_gates
from tasks.reconstruction import estimate_values


def noise_biases(
    problem: Problem, plan: Plan, devices: Sequence[Device], memory_bytes: int | None = None
) -> np.ndarray:
    """(observable,) float64: values on average on noisy devices, less the true ones.

    Args:
        problem: the problem.
        plan: its plan; every fragment is simulated.
        devices: of the run; a fragment is taken to be on the one that spoils it least, as policy ``fidelity`` has it.
        memory_bytes: what the contraction may take.
    """
    if not plan.fragments:
        return np.zeros(problem.terms.coefficients.shape[0])
    tensors, noisy = [], []
    for fragment, left in zip(plan.fragments, left_by_noise(plan, devices), strict=True):
        values = whole_tensor(fragment)
        tensors.append(FragmentTensor(fragment.index, values))
        noisy.append(FragmentTensor(fragment.index, values * left(fragment)))
    structure = structure_of(problem, plan)
    exact, shown = (estimate_values(structure, own, memory_bytes=memory_bytes)[0] for own in (tensors, noisy))
    return np.asarray(shown - exact)


def left_by_noise(plan: Plan, devices: Sequence[Device]) -> list[Callable[[Fragment], np.ndarray]]:
    """For each fragment what tells, whatever is asked of it, which part of its tensor's entries noise leaves.

    Args:
        plan: the plan.
        devices: as of ``noise_biases``.
    """
    found: list[Callable[[Fragment], np.ndarray]] = []
    for fragment, work in zip(plan.fragments, works_of(plan, 1), strict=True):
        able = [device for device in devices if why_not(device, work) is None] or devices
        kept = [float(_shown(fragment, device).sum()) for device in able] if len(able) > 1 else [1.0]
        found.append(partial(_left, device=able[int(np.argmax(kept))]))
    return found


def _left(fragment: Fragment, device: Device) -> np.ndarray:
    """(leg_0, ..., leg_k, factor) float64: which part of a tensor's entries noise leaves."""
    left = np.tile(_shown(fragment, device), (*(leg.dimension for leg in fragment.legs), 1))
    norms = np.ones((1,) * len(fragment.legs), dtype=bool)
    for axis, leg in enumerate(fragment.legs):
        traced = leg_map(leg.kind)  # the entries that make I of I are the same for every state
        kept = np.zeros(leg.dimension, dtype=bool)
        for code, entry in zip(traced.codes[0, : traced.count[0]], traced.entries[0, : traced.count[0]], strict=True):
            kept[entry] |= code == 0
        norms = norms & kept.reshape(-1, *(1,) * (len(fragment.legs) - axis - 1))
    left[norms[..., None] & ~(fragment.factors_x | fragment.factors_z).any(axis=1)] = 1.0
    return left


def _shown(fragment: Fragment, device: Device) -> np.ndarray:
    """(factor,) part of each factor that a device shows."""
    met, data = met_gates(fragment), fragment.circuit.data
    pairs = np.array([len(item.qubits) == 2 for item in data], dtype=bool)
    native = np.array([item.name in device.basis_gates for item in data], dtype=bool)[pairs]
    needed = np.array(
        [cx_needed(np.asarray(item.matrix, dtype=complex).tobytes()) for item in data if len(item.qubits) == 2]
    )
    measured = (fragment.factors_x | fragment.factors_z).sum(axis=1)
    measured = measured + sum(leg.kind.opens_qubit for leg in fragment.legs)
    counts = np.array([met[~pairs].sum(axis=0), np.where(native, 1, needed) @ met[pairs], measured])
    routed = ROUTED_TWO_QUBIT_GATES if device.routes else 1.0
    errors = 2 * device.one_qubit_error, 4 / 3 * device.two_qubit_error, 2 * device.readout_error
    kept = np.maximum(1 - np.array(errors), 0.0) ** [1.0, routed, 1.0]
    return np.asarray(np.prod(kept[:, None] ** counts, axis=0))
