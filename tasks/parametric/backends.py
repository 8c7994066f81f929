"""A Qiskit backend or sampler of the user's runs the variants, transpiled once, with the angles as sets of its PUBs.

What is asked of several circuits goes into the same jobs: whoever asks yields PUBs and is sent their results.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from tasks.cutting import Fragment, Plan, structure_of
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tasks.execution.backends import NamedSampler
from tasks.execution.errors import ExecutionError
from tasks.execution.samples import sampled_data
from tasks.model.counts import merge_counts
from tasks.model.tensor import FragmentTensor, SampledData, Structure, VariantCounts
from tasks.parametric.bonds import bonds_of
from tasks.parametric.exact import free_bonds
from tasks.parametric.halves import MOST_ROUNDS, first_shots, further_shots
from tasks.parametric.template import Template
from tasks.reconstruction import estimate_values, tensor_values
from tasks.reconstruction.distribution.outputs import SampledOutputs
from tasks.reconstruction.statistics.allocation import more_of_all, out_of_reach
from tasks.reconstruction.statistics.influences import influences
from tasks.reconstruction.statistics.uncertainty import Uncertainty

_MOST_SHOTS = 10**9  # of all variants: hours of any device

_Counts = list[list[list[VariantCounts]]]  # (set, fragment, variant)

T = TypeVar("T")
Steps: TypeAlias = Generator[list[tuple[Any, ...]], Sequence[Any], T]
"""Yields the PUBs of its part of a job, is sent their results, and returns what it made of them."""


def in_step(device: NamedSampler, asked: Sequence[Steps[T]], go_on: Callable[[], None] = lambda: None) -> list[T]:
    """What each of several returns: every job has the PUBs of all.

    Args:
        device: runs the jobs.
        asked: the several.
        go_on: raises before a job where the work is to stop.
    """
    answers: dict[int, T] = {}
    waiting: dict[int, list[tuple[Any, ...]]] = {}

    def step(number: int, results: Sequence[Any] | None) -> None:
        try:
            waiting[number] = next(asked[number]) if results is None else asked[number].send(results)
        except StopIteration as end:
            answers[number] = end.value

    for number in range(len(asked)):
        step(number, None)
    while waiting:
        go_on()
        wanted, waiting = waiting, {}
        pubs = [pub for own in wanted.values() for pub in own]
        results = list(device.run(pubs)) if pubs else []
        for number, own in wanted.items():
            step(number, results[: len(own)])
            results = results[len(own) :]
    return [answers[number] for number in range(len(asked))]


class BackendPlan:
    """A plan whose variants a backend runs.

    Args:
        template: the circuit.
        plan: of its problem.
        device: runs the variants.
        seed: of the transpiler.
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

    @property
    def variants(self) -> int:
        """How many circuits it is, for one set."""
        return sum(map(len, self._variants))

    def outputs(self, parameters: np.ndarray, shots: int) -> Steps[list[tuple[Structure, list[SampledOutputs]]]]:
        """What the fragments say of bit strings, for each set; ``shots``: of each variant.

        Raises:
            ExecutionError: the backend gave no counts.
        """
        angles = self.template.angles.of(parameters)
        (counts,) = yield from self._run(angles, np.array([shots]))
        found = []
        for place, own in enumerate(counts):
            each = [
                SampledOutputs(tuple(qubit for _, qubit in sorted(fragment.outputs)), self._data(number, own[number]))
                for number, fragment in enumerate(self.plan.fragments)
            ]
            found.append((self._joined(angles, place), each))
        return found

    def values(
        self, parameters: np.ndarray, *, shots: int | None = None, target_error: float | None = None
    ) -> Steps[tuple[np.ndarray, np.ndarray, int]]:
        """Values and standard errors, (set, observable) float64 each, and the shots that were taken.

        Arguments are as for ``SampledPlan.values``.

        Raises:
            AllocationError: the target error is out of reach.
            ExecutionError: the backend gave no counts.
        """
        angles = self.template.angles.of(parameters)
        number = max(1, self.variants)
        most = None if shots is None else max(1, shots // number)
        each = np.array((most,) if target_error is None else first_shots(most))
        halves = yield from self._run(angles, each)
        for count in range(MOST_ROUNDS):
            values, errors, tensors = self._estimated(halves, angles)
            if target_error is None or len(each) == 1:
                break
            if count == 0:  # for every set the same: what the one takes that needs most
                asked = [further_shots(self._one_shot(own, at), each, most, target_error) for own, at in tensors]
                more = np.max(asked, axis=0)
            else:
                more = more_of_all(each[:, None], float(errors.max(initial=0.0)) ** 2, most, target_error)[:, 0]
            if not more.any():
                break
            each = each + more
            if shots is None and int(each.sum()) * number > _MOST_SHOTS:
                raise out_of_reach(target_error, float(each.sum()) * number)
            further = yield from self._run(angles, more)
            halves = [_joined(*pair) for pair in zip(halves, further, strict=True)]
        return values, errors, int(each.sum()) * self.variants * len(angles)

    def _one_shot(self, tensors: list[FragmentTensor], structure: Structure) -> list[Uncertainty]:
        """(half,) of a shot of every variant."""
        found = [own.each for own in influences(structure, tensors)]
        return [Uncertainty(own.seen.sum(axis=0), own.fourth.sum(axis=0), own.doubt.max(axis=0)) for own in found]

    def _run(self, angles: np.ndarray, each: np.ndarray) -> Steps[list[_Counts]]:
        """(half,) counts, so many shots each, all of them of one job."""
        pubs, places = [], []
        shots = int(each.sum())
        ends = np.cumsum(each)[:-1]
        counts: list[_Counts] = [[[[] for _ in self._circuits] for _ in angles] for _ in each]
        for fragment, circuits in enumerate(self._circuits):
            for number, circuit in enumerate(circuits):
                for half, own in zip(each, counts, strict=True):
                    for of_set in own:
                        of_set[fragment].append(VariantCounts(np.zeros((1, 1), dtype=np.uint8), np.array([half]), 0))
                if circuit.num_clbits:
                    columns = [int(parameter.name[5:]) for parameter in circuit.parameters]
                    pubs.append((circuit, angles[:, columns], shots))
                    places.append((fragment, number, circuit))
        results = yield pubs
        for (fragment, number, circuit), result in zip(places, results, strict=True):
            bits = result.data[circuit.cregs[0].name]
            if bits.num_shots != shots:
                raise ExecutionError(f"{self._device.name} gave {bits.num_shots} of {shots} shots: run again")
            for place in range(len(angles)):
                for own, part in zip(counts, np.split(bits.array[place], ends), strict=True):
                    own[place][fragment][number] = _counted(part, circuit.num_clbits)
        return counts

    def _estimated(
        self, halves: list[_Counts], angles: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[tuple[list[FragmentTensor], Structure]]]:
        values, errors, networks = [], [], []
        for place in range(len(angles)):
            tensors = []
            for number, fragment in enumerate(self.plan.fragments):
                parts = [self._data(number, own[place][number]) for own in halves]
                each = [replace(own, half=half) for half, data in enumerate(parts) for own in data.variants]
                data = replace(parts[0], variants=tuple(each))
                tensors.append(FragmentTensor(fragment.index, tensor_values(data, fragment.num_factors), data))
            networks.append((tensors, self._joined(angles, place)))
            found, std_errors = estimate_values(networks[-1][1], tensors)
            values.append(found)
            errors.append(std_errors)
        return np.array(values), np.array(errors), networks

    def _data(self, fragment: int, counts: list[VariantCounts]) -> SampledData:
        return sampled_data(
            self.plan.fragments[fragment], self.plan.schemes[fragment], self._variants[fragment], counts
        )

    def _joined(self, angles: np.ndarray, place: int) -> Structure:
        """How the fragments are joined in one set."""
        bonds = list(self._structure.bonds)
        free = bonds_of(list(self._bonds.values()), angles[place : place + 1])
        for cut, bond in zip(self._bonds, free, strict=True):
            bonds[cut] = bond[0]
        return replace(self._structure, bonds=tuple(bonds))


def _joined(one: _Counts, two: _Counts) -> _Counts:
    return [
        [[merge_counts(pair)[0] for pair in zip(a, b, strict=True)] for a, b in zip(of_one, of_two, strict=True)]
        for of_one, of_two in zip(one, two, strict=True)
    ]


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
