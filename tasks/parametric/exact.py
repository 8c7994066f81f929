"""Values and gradients of a circuit with free parameters on the exact path, for many sets of parameter values.

A fragment runs once for each distinct set of *its own* angles, in this call or an earlier one; the angle of a severed
gate is in the bonds alone and runs nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from tasks.cutting import Plan, structure_of
from tasks.cutting.partition import severed_form
from tasks.cutting.schmidt import Copied
from tasks.parametric.bonds import GateBond, bond_slopes, bonds_of
from tasks.parametric.combined import combined
from tasks.parametric.contraction import Contraction
from tasks.parametric.grams import Grams, GramsHeld
from tasks.parametric.program import Prepared
from tasks.parametric.template import Template, Unsuited
from tasks.runtime.inline import one_thread

_KEPT_BYTES = 1 << 26  # of a fragment's tensors
_BATCH_BYTES = 1 << 21  # of the largest array for the sets computed together: more leaves the processor's cache
_BACK_BYTES = 1 << 27  # of states that are held for the way back
_FREED_BYTES = 1 << 24
MOST_AMPLITUDES = 1 << 20
"""Of a fragment's open state: larger ones are better run by a simulator of its own."""
MOST_ENTRIES = 1 << 24
"""Of the largest array of a contraction for one set."""


class ParametricPlan:
    """All that no angle changes.

    Args:
        template: the circuit.
        plan: of its problem.
        seed: of the path search.

    Attributes:
        constants: (observable,) float64, what is asked of no qubit.
        runs: (fragment,) sets of angles that were simulated so far.

    Raises:
        Unsuited: a fragment or the contraction is too large for this way, or a severed gate does not suit it.
    """

    def __init__(self, template: Template, plan: Plan, seed: int = 0) -> None:
        self.template, self.plan = template, plan
        if any(1 << fragment.open_qubits > MOST_AMPLITUDES for fragment in plan.fragments):
            raise Unsuited("a fragment is too wide")
        structure = structure_of(template.problem, plan)
        # What is asked of no qubit is known without any fragment.
        constant = np.asarray(~template.problem.terms.support.any(axis=1))
        self.constants = np.asarray(structure.coefficients @ constant.astype(np.float64)).reshape(-1)
        structure = replace(structure, coefficients=csr_array(structure.coefficients.multiply(~constant[None, :])))
        structure.coefficients.eliminate_zeros()
        self.structure = structure
        self._seed, self._combined = seed, combined(structure)
        if self._summed.largest > MOST_ENTRIES:
            raise Unsuited("the contraction is too large")
        self._bonds = list(structure.bonds)
        self.gate_bonds = free_bonds(template, plan)
        self._kept = [Memory(_KEPT_BYTES) for _ in plan.fragments]
        self.runs = [0] * len(plan.fragments)
        self._lock = threading.Lock()
        # The C library gives memory back to the system after each evaluation, and asks for it again page by page in
        # the next, unless it has freed an array once that is larger than all of an evaluation's.
        np.empty(_FREED_BYTES, dtype=np.uint8)

    @cached_property
    def programs(self) -> list[Prepared]:
        """(fragment,) for tensors: legs that can wait for the end are not laid open."""
        return [Prepared(fragment, self.template, late=True) for fragment in self.plan.fragments]

    @cached_property
    def grams(self) -> list[Grams]:
        """(fragment,) of these."""
        return [Grams(program, sums) for program, sums in zip(self.programs, self._combined.sums, strict=True)]

    @cached_property
    def _summed(self) -> Contraction:
        """Of tensors whose factors are sums."""
        return Contraction(self._combined.structure, self._seed)

    @cached_property
    def contraction(self) -> Contraction:
        """Of tensors with a factor each.

        Raises:
            Unsuited: it is too large.
        """
        found = Contraction(self.structure, self._seed)
        if found.largest > MOST_ENTRIES:
            raise Unsuited("the contraction is too large")
        return found

    @cached_property
    def laid_open(self) -> list[tuple[Prepared, Grams]]:
        """(fragment,) for outcomes of the variants: with every leg open."""
        programs = [Prepared(fragment, self.template) for fragment in self.plan.fragments]
        return [(program, Grams(program)) for program in programs]

    def values(self, parameters: np.ndarray) -> np.ndarray:
        """(set, observable) float64 from (set, parameter)."""
        with one_thread():  # arrays this small are slower on several threads
            found = [self._values(parameters[part]) for part in self._chunks(len(parameters))]
        return np.concatenate(found or [np.zeros((0, self.structure.coefficients.shape[0]))])

    def _values(self, parameters: np.ndarray) -> np.ndarray:
        angles = self.template.angles.of(parameters)
        tensors = [self.tensors(number, angles) for number in range(len(self.programs))]
        found = self._summed.contract(tensors, self.bonds(angles)).values
        return np.broadcast_to(found, (len(parameters), found.shape[1])) + self.constants

    def gradients(self, parameters: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Values and their derivatives, by one pass back through the network and each fragment.

        Args:
            parameters: (set, parameter) float64.
            weights: (sum, observable) float64: derivatives of these sums; None for those of each observable.

        Returns:
            (set, observable) values, and (sum, set, parameter) derivatives.
        """
        wanted = np.eye(self.structure.coefficients.shape[0]) if weights is None else weights
        with one_thread():
            found = [self._gradients(parameters[part], wanted) for part in self._chunks(len(parameters), back=True)]
        if not found:
            shape = (len(wanted), 0, parameters.shape[1])
            return np.zeros((0, wanted.shape[1])), np.zeros(shape)
        return np.concatenate([values for values, _ in found]), np.concatenate([slope for _, slope in found], axis=1)

    def _gradients(self, parameters: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        angles = self.template.angles.of(parameters)
        sets, sums = len(parameters), len(weights)
        states, tensors = [], []
        held: list[GramsHeld | None] = []
        for program, grams in zip(self.programs, self.grams, strict=True):
            if program.angles.size:
                states.append(program.states(angles[:, program.angles], keep=True))
                made, past = grams.held(states[-1][-1], angles[:, program.angles])
                tensors.append(made)
                held.append(past)
            else:
                states.append([])
                held.append(None)
                tensors.append(self.tensors(len(tensors), angles))
        bonds = self.bonds(angles)
        found = self._summed.contract(tensors, bonds)
        of_tensors, of_bonds = self._summed.backward(found, weights[:, None, :])
        by_angle = np.zeros((sums, sets, angles.shape[1]))
        for program, grams, kept, back, own in zip(self.programs, self.grams, states, held, of_tensors, strict=True):
            if back is None:
                continue
            for number in range(sums):
                gradient = np.broadcast_to(own[number], (sets, *own.shape[2:]))
                adjoint, slopes = grams.pull_back(gradient, back, angles[:, program.angles])
                slopes += program.backward(adjoint, kept, angles[:, program.angles])
                np.add.at(by_angle[number].T, program.angles, slopes.T)
        for cut, by_own in zip(self.gate_bonds, bond_slopes(list(self.gate_bonds.values()), angles), strict=True):
            for angle, slope in by_own:
                by_angle[:, :, angle] += np.einsum("usab,sab->us", of_bonds[cut], slope)
        values = np.broadcast_to(found.values, (sets, found.values.shape[1])) + self.constants
        return values, self.template.angles.pull_back(by_angle, parameters)

    def forget(self) -> None:
        """Tensors are made again: what comes next is the same, to the last bit, whatever was asked before."""
        with self._lock:
            self._kept = [Memory(_KEPT_BYTES) for _ in self._kept]

    def bonds(self, angles: np.ndarray) -> list[np.ndarray]:
        """(cut,) (set or 1, leg, leg) float64."""
        found = [bond[None] for bond in self._bonds]
        for cut, made in zip(self.gate_bonds, bonds_of(list(self.gate_bonds.values()), angles), strict=True):
            found[cut] = made
        return found

    def tensors(self, number: int, angles: np.ndarray) -> np.ndarray:
        """(set or 1, legs ..., sum of factors) float64 of one fragment, run for the sets that it has not seen."""
        program, memory = self.programs[number], self._kept[number]
        own = np.ascontiguousarray(angles[:, program.angles])
        if own.shape[1] == 0:
            own = own[:1]
        keys = [row.tobytes() for row in own]
        with self._lock:
            known = {key: value for key in dict.fromkeys(keys) if (value := memory.get(key)) is not None}
        new = {key: row for key, row in zip(keys, own, strict=True) if key not in known}
        if new:
            rows = np.array(list(new.values()))
            made = self.grams[number].tensors(program.states(rows)[-1], rows)
            with self._lock:
                self.runs[number] += len(new)
                for key, value in zip(new, made, strict=True):
                    memory.put(key, value)
            if len(new) == len(keys):
                return made
            known.update(zip(new, made, strict=True))
        return np.stack([known[key] for key in keys])

    def _chunks(self, sets: int, *, back: bool = False) -> list[slice]:
        """Sets that are computed together."""
        entries = max((program.amplitudes for program in self.programs), default=1)
        if back:
            entries = max((program.amplitudes * (2 + program.depth) for program in self.programs), default=1)
        room = _BACK_BYTES if back else _BATCH_BYTES
        step = max(1, room // (16 * max(entries, self._summed.largest)))
        return [slice(start, start + step) for start in range(0, sets, step)]


def free_bonds(template: Template, plan: Plan) -> dict[int, GateBond]:
    """The bonds of the severed gates that have free angles, by the number of their cut.

    Raises:
        Unsuited: what stays on the sides of such a gate depends on its angles.
    """
    found = {}
    data = template.problem.circuit.data
    for number, cut in enumerate(plan.cuts):
        form = severed_form(template.problem, cut)
        if isinstance(form, Copied):
            continue  # its gates stay whole, on the copy
        run = cut.instructions
        if any(template.free(data[i].operation) for i in range(run[0], run[-1] + 1) if len(run) > 1):
            raise Unsuited("gates with free angles are severed as one")
        if form is not None:
            gate = data[cut.instruction].operation
            free = template.free(gate)
            if free:
                try:
                    found[number] = GateBond(gate, form, list(free), list(free.values()))
                except ValueError as error:
                    raise Unsuited(str(error)) from error
    return found


class Memory:
    """The last arrays made, by key, as many as fit."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def get(self, key: bytes) -> np.ndarray | None:
        """The array, None if there is none."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, value: np.ndarray) -> None:
        """Keep an array; the oldest go first."""
        if key in self._kept or value.nbytes > self._most:
            return
        self._kept[key] = value
        self._bytes += value.nbytes
        while self._bytes > self._most:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
