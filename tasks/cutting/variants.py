"""Fragments -> variants: the plain circuits whose counts determine a fragment tensor on the sampled path."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from qiskit import QuantumCircuit

from tasks.cutting.kinds import GATES, Scheme, Setting
from tasks.cutting.once import once_a_fragment
from tasks.cutting.plan import Fragment
from tasks.model.tensor import VariantMeaning

_LETTERS = {"x": 1, "y": 2, "z": 3}


@dataclass(frozen=True)
class MeasurementGroup:
    """Factors of a fragment that one choice of measurement bases determines.

    Attributes:
        bases: (local qubit,) int8, 0 where nothing is measured, else 1, 2, 3 for X, Y, Z.
        factors: (k,) indices of the factors it determines (a factor can be in several groups).
    """

    bases: np.ndarray
    factors: np.ndarray


@dataclass(frozen=True)
class Variant:
    """A fragment with every leg fixed and a measurement group chosen.

    Attributes:
        fragment: index of the fragment.
        settings: (leg,) index of each leg's setting.
        group: index of the measurement group.
    """

    fragment: int
    settings: tuple[int, ...]
    group: int


def factor_letters(fragment: Fragment) -> np.ndarray:
    """(factor, local qubit) int8: 0, 1, 2, 3 for I, X, Y, Z."""
    x, z = fragment.factors_x, fragment.factors_z
    return np.where(x & z, 2, np.where(x, 1, np.where(z, 3, 0))).astype(np.int8)


@once_a_fragment
def measurement_groups(fragment: Fragment) -> tuple[MeasurementGroup, ...]:
    """Qubit-wise commuting groups, found greedily, widest factors first; every factor is in at least one."""
    letters = factor_letters(fragment)
    order = np.argsort(-(letters != 0).sum(axis=1), kind="stable")
    chosen: list[np.ndarray] = []
    for factor in letters[order]:
        for bases in chosen:
            if not ((bases != factor) & (bases != 0) & (factor != 0)).any():
                np.copyto(bases, factor, where=factor != 0)
                break
        else:
            chosen.append(factor.copy())
    return tuple(
        MeasurementGroup(bases, np.flatnonzero(((letters == bases) | (letters == 0)).all(axis=1))) for bases in chosen
    )


def leg_choices(fragment: Fragment, schemes: tuple[Scheme, ...]) -> list[tuple[Setting, ...]]:
    """The settings of every leg."""
    return [leg.kind.settings(scheme) for leg, scheme in zip(fragment.legs, schemes, strict=True)]


def count_variants(fragment: Fragment, schemes: tuple[Scheme, ...], num_groups: int | None = None) -> int:
    """How many variants a fragment has under the given schemes."""
    groups = len(measurement_groups(fragment)) if num_groups is None else num_groups
    return groups * prod(len(choice) for choice in leg_choices(fragment, schemes))


def enumerate_variants(fragment: Fragment, schemes: tuple[Scheme, ...]) -> list[Variant]:
    """All variants of a fragment: every combination of leg settings and measurement group, each once."""
    counts = [range(len(choice)) for choice in leg_choices(fragment, schemes)]
    groups = range(len(measurement_groups(fragment)))
    return [Variant(fragment.index, tuple(s), g) for g in groups for s in product(*counts)]


class VariantBuilder:
    """Builds the circuits of one fragment's variants.

    A bit read in the middle of a circuit (a severed gate's measured setting) is deferred to an ancilla by a CX, since a
    shot simulator would otherwise replay every shot, and many devices cannot do it at all; ``defer=False`` measures in
    place instead, on devices that can and have no qubit to spare: qubits that are done are measured there, reset and
    lent to those that begin later (``Fragment.homes``). A setting with a coupling brings its own ancilla.
    """

    def __init__(self, fragment: Fragment, schemes: tuple[Scheme, ...], *, defer: bool = True):
        self.fragment = fragment
        self.groups = measurement_groups(fragment)
        self.choices = leg_choices(fragment, schemes)
        self.defer = defer
        letters = factor_letters(fragment)
        self._asked = [letters[g.factors][:, np.flatnonzero(g.bases)] != 0 for g in self.groups]
        # Thousands of variants read the same bits: one meaning serves them all.
        self._meanings: dict[tuple[tuple[int, ...], int], VariantMeaning] = {}
        # Legs in the order in which they act.
        self._order = sorted(range(len(fragment.legs)), key=lambda k: (fragment.legs[k].position, k))

    def meaning(self, variant: Variant) -> VariantMeaning:
        """What the bits of ``variant`` mean."""
        signed = tuple(k for k, s in enumerate(variant.settings) if self.choices[k][s].measured)
        known = self._meanings.get((signed, variant.group))
        if known is None:
            known = self._meanings[signed, variant.group] = self._meaning(signed, variant.group)
        return known

    def _meaning(self, signed: tuple[int, ...], group: int) -> VariantMeaning:
        leg_bits = [-1] * len(self.choices)
        for bit, k in enumerate(signed):
            leg_bits[k] = bit
        factors, asked = self.groups[group].factors, self._asked[group]
        masks = np.zeros((len(factors), len(signed) + asked.shape[1]), dtype=bool)
        masks[:, len(signed) :] = asked
        return VariantMeaning(tuple(leg_bits), factors, masks)

    def circuit(self, variant: Variant) -> QuantumCircuit:
        """The circuit of ``variant``: starts in |0...0>, measures each qubit at its end into bits 0 .. m-1."""
        fragment, legs = self.fragment, self.fragment.legs
        chosen = [choice[s] for choice, s in zip(self.choices, variant.settings, strict=True)]
        group = self.groups[variant.group]
        signed = [k for k, setting in enumerate(chosen) if setting.measured]
        asked = np.flatnonzero(group.bases)
        num_bits = len(signed) + len(asked)
        aside = [k for k in signed if chosen[k].coupling or (legs[k].kind.measures_midway and self.defer)]
        homes = list(range(fragment.num_qubits)) if self.defer else list(fragment.homes)
        places = max(homes, default=-1) + 1
        ancilla = {k: places + i for i, k in enumerate(aside)}
        circuit = QuantumCircuit(places + len(aside), num_bits)
        leg_bits = [-1] * len(legs)
        for bit, k in enumerate(signed):
            leg_bits[k] = bit
        bit_of = {int(qubit): bit for bit, qubit in enumerate(asked, start=len(signed))}
        held: dict[int, int] = {}  # place -> the qubit that is there
        at_end: dict[int, int] = {}  # place -> bit

        def turn(qubit: int) -> None:
            if group.bases[qubit] == _LETTERS["y"]:
                circuit.sdg(homes[qubit])
            if group.bases[qubit] != _LETTERS["z"]:
                circuit.h(homes[qubit])

        def at(qubit: int) -> int:
            """Where a qubit is; the one that was there before is done."""
            place = homes[qubit]
            before = held.get(place, qubit)
            if before != qubit:
                if before in bit_of:
                    turn(before)
                    at_end[place] = bit_of.pop(before)
                if place in at_end:
                    circuit.measure(place, at_end.pop(place))
                circuit.reset(place)
            held[place] = qubit
            return place

        data = fragment.circuit.data
        qubit_of = {bit: i for i, bit in enumerate(fragment.circuit.qubits)}
        done = 0
        steps: list[int | None] = [*self._order, None]
        for step in steps:
            stop = len(data) if step is None else legs[step].position
            for item in data[done:stop]:
                circuit.append(item.operation, [at(qubit_of[q]) for q in item.qubits], copy=False)
            done = stop
            if step is None:
                break
            leg, setting = legs[step], chosen[step]
            own = at(leg.qubit)
            for name in setting.before:
                circuit.append(GATES[name], [own], copy=False)
            if setting.measured:
                if leg.kind.opens_qubit:
                    at_end[own] = leg_bits[step]
                elif step in ancilla:
                    for name in setting.coupling:
                        gate = GATES[name]
                        circuit.append(gate, [ancilla[step], own][: gate.num_qubits], copy=False)
                    if not setting.coupling:
                        circuit.cx(own, ancilla[step])
                    at_end[ancilla[step]] = leg_bits[step]
                else:
                    circuit.measure(own, leg_bits[step])
            for name in setting.after:
                circuit.append(GATES[name], [own], copy=False)
        for qubit in list(bit_of):
            at(qubit)
        for qubit, bit in bit_of.items():
            turn(qubit)
            at_end[homes[qubit]] = bit
        for place, bit in at_end.items():
            circuit.measure(place, bit)
        return circuit
