"""A Qiskit backend or sampler of the user's runs the variants: transpiled once, with the angles as PUBs of many sets.

So any provider's package is enough (IBM, IQM, AQT, Braket, Aer with a noise model): what it offers as a ``BackendV2``
or a ``SamplerV2`` takes the place of a QPU that QRMI reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import BackendSamplerV2, BaseSamplerV2
from qiskit.providers import BackendV2
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from tasks.cutting import Fragment, Plan, structure_of
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tasks.errors import InputError
from tasks.execution.errors import ExecutionError
from tasks.execution.simulators.sampled import sampled_data
from tasks.model.counts import merge_counts
from tasks.model.tensor import FragmentTensor, VariantCounts
from tasks.parametric.exact import free_bonds
from tasks.parametric.template import Template
from tasks.reconstruction import estimate_values, tensor_values
from tasks.reconstruction.statistics.allocation import out_of_reach

_FIRST_SHOTS = 200  # a variant, on the way to a target error
_MOST_ROUNDS = 5
_MOST_SHOTS = 10**9  # of all variants: hours of any device


class NamedSampler:
    """A sampler, its backend where it has one, and how users call it.

    Attributes:
        name: for messages and results.
        sampler: runs PUBs.
        backend: to transpile for; None where the sampler takes circuits as they are.
    """

    def __init__(self, device: Any, seed: int = 0) -> None:
        """Find what a user means.

        Args:
            device: the name of a fake backend of Qiskit's IBM package (``"fake_torino"``), ``"aer"``, a noise model of
                Aer, a ``BackendV2``, or a ``SamplerV2``.
            seed: of simulators.

        Raises:
            InputError: it is none of these.
        """
        self.backend: BackendV2 | None
        if isinstance(device, str):
            device = _by_name(device)
        if isinstance(device, NoiseModel):
            device = AerSimulator(noise_model=device, seed_simulator=seed & 0x7FFFFFFF)
        if isinstance(device, BackendV2):
            self.backend, self.sampler = (
                device,
                BackendSamplerV2(backend=device, options={"seed_simulator": seed & 0x7FFFFFFF}),
            )
        elif isinstance(device, BaseSamplerV2):
            self.sampler, self.backend = device, getattr(device, "backend", None)
            if callable(self.backend):
                self.backend = self.backend()
        else:
            raise InputError(
                f"`backend`: a {type(device).__name__} is no backend: give the name of a fake backend, a noise model of"
                " Aer, a BackendV2 or a SamplerV2",
                field="backend",
            )
        self.name = str(getattr(self.backend, "name", None) or type(device).__name__)

    def transpiled(self, circuits: Sequence[QuantumCircuit], seed: int) -> list[QuantumCircuit]:
        """The circuits as the backend takes them.

        Raises:
            InputError: one is wider than the backend.
        """
        if self.backend is None or not circuits:
            return list(circuits)
        widest, most = max(circuit.num_qubits for circuit in circuits), self.backend.num_qubits
        if most is not None and widest > most:
            raise InputError(
                f"{self.name} has {most} qubits and a variant takes {widest}: lower `max_qubits`", field="max_qubits"
            )
        manager = generate_preset_pass_manager(optimization_level=1, backend=self.backend, seed_transpiler=seed)
        return list(manager.run(list(circuits)))


def _by_name(name: str) -> BackendV2:
    if name == "aer":
        return AerSimulator()
    try:
        from qiskit_ibm_runtime.fake_provider import FakeProviderForBackendV2
    except ImportError:
        raise InputError(
            f"`backend`: '{name:.40}' is looked for in qiskit-ibm-runtime, which is not installed", field="backend"
        ) from None
    known = {backend.name: backend for backend in FakeProviderForBackendV2().backends()}
    if name not in known:
        raise InputError(
            f"`backend`: there is no '{name:.40}': name one of aer, {', '.join(sorted(known))}", field="backend"
        )
    return known[name]


class BackendPlan:
    """A plan whose variants a backend runs.

    Args:
        template: the circuit.
        plan: of its problem.
        device: runs the variants.
        seed: of the transpiler.

    Attributes:
        shots: taken so far.
    """

    def __init__(self, template: Template, plan: Plan, device: NamedSampler, seed: int = 0) -> None:
        self.template, self.plan, self._device = template, plan, device
        self._structure = structure_of(template.problem, plan)
        self._bonds = free_bonds(template, plan)
        self._variants = [enumerate_variants(f, s) for f, s in zip(plan.fragments, plan.schemes, strict=True)]
        self._circuits: list[list[QuantumCircuit]] = []
        for fragment, schemes, variants in zip(plan.fragments, plan.schemes, self._variants, strict=True):
            builder = VariantBuilder(_with_parameters(fragment, template), schemes)
            self._circuits.append(device.transpiled([builder.circuit(variant) for variant in variants], seed))
        self.shots = 0

    def values(
        self, parameters: np.ndarray, *, shots: int | None = None, target_error: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values and standard errors, (set, observable) float64 each; arguments as for ``SampledPlan.values``.

        Raises:
            AllocationError: the target error is out of reach.
            ExecutionError: the backend gave no counts.
        """
        angles = self.template.angles.of(parameters)
        number = max(1, sum(map(len, self._variants)))
        most = _MOST_SHOTS // number if shots is None else max(1, shots // number)
        each = most if target_error is None else min(most, _FIRST_SHOTS)
        counts = self._run(angles, each)
        for _ in range(_MOST_ROUNDS):
            values, errors = self._estimated(counts, angles)
            worst = float(errors.max(initial=0.0))
            if target_error is None or worst <= target_error or each >= most:
                break
            wanted = int(np.ceil(each * (worst / target_error) ** 2))
            if shots is None and wanted > most:
                raise out_of_reach(target_error, float(wanted) * number)
            more = min(most, wanted) - each
            each += more
            found = self._run(angles, more)
            counts = [
                [[merge_counts(pair)[0] for pair in zip(a, b, strict=True)] for a, b in zip(one, two, strict=True)]
                for one, two in zip(counts, found, strict=True)
            ]
        return values, errors

    def _run(self, angles: np.ndarray, shots: int) -> list[list[list[VariantCounts]]]:
        """(set, fragment, variant) counts: all of them in one job."""
        pubs, places = [], []
        counts: list[list[list[VariantCounts]]] = [[[] for _ in self._circuits] for _ in angles]
        nothing = VariantCounts(np.zeros((1, 1), dtype=np.uint8), np.array([shots]), 0)
        for fragment, circuits in enumerate(self._circuits):
            for number, circuit in enumerate(circuits):
                for own in counts:
                    own[fragment].append(nothing)
                if circuit.num_clbits:
                    columns = [int(parameter.name[5:]) for parameter in circuit.parameters]
                    pubs.append((circuit, angles[:, columns], shots))
                    places.append((fragment, number, circuit))
        results = self._device.sampler.run(pubs).result() if pubs else []
        for (fragment, number, circuit), result in zip(places, results, strict=True):
            bits = result.data[circuit.cregs[0].name]
            if bits.num_shots != shots:
                raise ExecutionError(f"{self._device.name} gave {bits.num_shots} of {shots} shots: run again")
            for place in range(len(angles)):
                counts[place][fragment][number] = _counted(bits.array[place], circuit.num_clbits)
        self.shots += shots * sum(map(len, self._circuits)) * len(angles)
        return counts

    def _estimated(self, counts: list[list[list[VariantCounts]]], angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, errors = [], []
        for place, own in enumerate(counts):
            tensors = []
            for fragment, schemes, variants, of in zip(
                self.plan.fragments, self.plan.schemes, self._variants, own, strict=True
            ):
                data = sampled_data(fragment, schemes, variants, of)
                tensors.append(FragmentTensor(fragment.index, tensor_values(data, fragment.num_factors), data))
            bonds = tuple(
                self._bonds[cut].of(angles[place : place + 1])[0] if cut in self._bonds else bond
                for cut, bond in enumerate(self._structure.bonds)
            )
            found, std_errors = estimate_values(replace(self._structure, bonds=bonds), tensors)
            values.append(found)
            errors.append(std_errors)
        return np.array(values), np.array(errors)


def _with_parameters(fragment: Fragment, template: Template) -> Fragment:
    """The fragment with a parameter for every free angle, called by its number."""
    circuit = fragment.circuit.copy_empty_like()
    for item in fragment.circuit.data:
        free = template.free(item)
        operation = item.operation
        if free:
            values = [Parameter(f"angle{free[k]}") if k in free else value for k, value in enumerate(item.params)]
            operation = operation.base_class(*values)
        circuit.append(operation, item.qubits, copy=False)
    return replace(fragment, circuit=circuit)


def _counted(shots: np.ndarray, num_bits: int) -> VariantCounts:
    """(shot, byte) uint8 as a BitArray has them, the most significant byte first, as counts."""
    outcomes, counts = np.unique(shots[:, ::-1], axis=0, return_counts=True)
    return VariantCounts(outcomes, counts.astype(np.int64), num_bits)
