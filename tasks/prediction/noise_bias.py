"""The bias of a plan on QPUs, before anything runs: what their errors would leave of its values on average.

Under depolarising noise a gate of average error e on d states leaves 1 - e d / (d - 1) of any Pauli on its qubits, and
a readout error e leaves 1 - 2 e. A factor of a fragment shows the product of that over the gates of its cone, its
readouts and those of outgoing wires, by the device's calibration; what is the same for every state, the norm, stays.
The estimate is multilinear in the fragment tensors, so what many shots show on average is the value of the scaled ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler_policies import Device
from scheduler_policies.cost import ROUTED_TWO_QUBIT_GATES, why_not
from scheduler_policies.device import Work
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
    for fragment, work in zip(plan.fragments, works_of(plan, 1), strict=True):
        values = whole_tensor(fragment)
        tensors.append(FragmentTensor(fragment.index, values))
        noisy.append(FragmentTensor(fragment.index, values * _left(fragment, work, devices)))
    structure = structure_of(problem, plan)
    exact, shown = (estimate_values(structure, own, memory_bytes=memory_bytes)[0] for own in (tensors, noisy))
    return np.asarray(shown - exact)


def _left(fragment: Fragment, work: Work, devices: Sequence[Device]) -> np.ndarray:
    """(leg_0, ..., leg_k, factor) float64: which part of a tensor's entries noise leaves."""
    met, data = met_gates(fragment), fragment.circuit.data
    pairs = np.array([len(item.qubits) == 2 for item in data], dtype=bool)
    asked = fragment.factors_x | fragment.factors_z
    measured = asked.sum(axis=1) + sum(leg.kind.opens_qubit for leg in fragment.legs)
    needed = np.array(
        [cx_needed(np.asarray(item.matrix, dtype=complex).tobytes()) for item in data if len(item.qubits) == 2]
    )
    able = [device for device in devices if why_not(device, work) is None] or devices
    every = []
    for device in able:
        native = np.array([item.name in device.basis_gates for item in data], dtype=bool)[pairs]
        taken = np.where(native, 1, needed)
        every.append(_shown(device, np.array([met[~pairs].sum(axis=0), taken @ met[pairs], measured])))
    shown = max(every, key=lambda own: float(own.sum()))
    left = np.tile(shown, (*(leg.dimension for leg in fragment.legs), 1))
    norms = np.ones((1,) * len(fragment.legs), dtype=bool)
    for axis, leg in enumerate(fragment.legs):
        traced = leg_map(leg.kind)  # the entries that make I of I are the same for every state
        kept = np.zeros(leg.dimension, dtype=bool)
        for code, entry in zip(traced.codes[0, : traced.count[0]], traced.entries[0, : traced.count[0]], strict=True):
            kept[entry] |= code == 0
        norms = norms & kept.reshape(-1, *(1,) * (len(fragment.legs) - axis - 1))
    left[norms[..., None] & ~asked.any(axis=1)] = 1.0
    return left


def _shown(device: Device, counts: np.ndarray) -> np.ndarray:
    """(factor,) part of each factor that a device shows; counts: (3, factor) gates on one and two qubits, readouts."""
    routed = ROUTED_TWO_QUBIT_GATES if device.routes else 1.0
    errors = 2 * device.one_qubit_error, 4 / 3 * device.two_qubit_error, 2 * device.readout_error
    kept = np.maximum(1 - np.array(errors), 0.0) ** [1.0, routed, 1.0]
    return np.asarray(np.prod(kept[:, None] ** counts, axis=0))
