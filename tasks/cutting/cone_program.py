"""A fragment part by part: what each observable factor sees of it, and what simulating only that takes.

Going backwards from a factor, a gate that commutes with what acts there by then cancels against its inverse: one on
qubits where nothing acts, or a diagonal one where all is diagonal. A leg acts on its qubit whatever the factor is:
branches sigma_j, sigma_k that stand on both sides of nothing leave sigma_k^dagger sigma_j there, so from a leg on its
qubit is seen, too. What is left falls into parts that no gate joins; the factor's entries are the product of the
parts', and a part that several factors see alike is simulated once. So shallow circuits with local observables take a
few qubits at a time, however wide they are and whatever joins their qubits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2, prod

import numpy as np
from qiskit import QuantumCircuit

from scheduler_policies.cost import exact_seconds
from scheduler_policies.machine import AMPLITUDE_BYTES, CONE_GATE_S, CONE_PART_S, TYPICAL_CPU
from tasks.cutting.pauli_program import LETTER_SETS, LetterTable, leg_map, letter_table, unitary_map
from tasks.cutting.plan import Fragment, Leg

_MOST_CONES = 1000  # distinct ones of a fragment; with more, other ways are the quicker ones
_STATES = 2.5  # held at a time while a part's legs are opened, with what its Gram matrices take


@dataclass(frozen=True)
class ConePart:
    """A part of a fragment that no gate joins to what else is seen.

    Attributes:
        gates: (instruction of the part,) its instructions.
        qubits: (qubit of the part,) its qubits.
        legs: (leg of the part,) the legs on them.
        factors_x: (factor of the part, qubit of the part) bool, X part of what is asked of it.
        factors_z: (factor of the part, qubit of the part) bool, Z part.
    """

    gates: np.ndarray
    qubits: np.ndarray
    legs: tuple[int, ...]
    factors_x: np.ndarray
    factors_z: np.ndarray

    def of(self, fragment: Fragment) -> Fragment:
        """The part as a fragment of its own."""
        number = {bit: q for q, bit in enumerate(fragment.circuit.qubits)}
        place = {q: k for k, q in enumerate(self.qubits.tolist())}
        circuit = QuantumCircuit(len(place))
        for k in self.gates.tolist():
            item = fragment.circuit.data[k]
            circuit.append(item.operation, [place[number[bit]] for bit in item.qubits])
        legs = tuple(
            replace(leg, qubit=place[leg.qubit], position=int(np.searchsorted(self.gates, leg.position)))
            for leg in (fragment.legs[k] for k in self.legs)
        )
        return Fragment(fragment.index, circuit, legs, (), self.factors_x, self.factors_z)


@dataclass(frozen=True)
class Cone:
    """What some factors see.

    Attributes:
        members: (factor,) which factors of the fragment.
        parts: (part,) places in ``ConeProgram.parts``.
        own: (part, factor) which factor of each part they are there.
    """

    members: np.ndarray
    parts: tuple[int, ...]
    own: np.ndarray


@dataclass(frozen=True)
class ConeProgram:
    """What to simulate, and what it takes.

    Attributes:
        parts: simulated once each.
        cones: each factor in one of them.
        seconds: that the fragment's tensor takes on one typical core.
        bytes: peak memory, the tensor not counted.
    """

    parts: tuple[ConePart, ...]
    cones: tuple[Cone, ...]
    seconds: float
    bytes: int

    def leaves_out(self, fragment: Fragment) -> bool:
        """Whether every part is less than the fragment, whose program would be its part's again."""
        gates, qubits = len(fragment.circuit.data), fragment.num_qubits
        return all((len(part.gates), len(part.qubits)) != (gates, qubits) for part in self.parts)


def cone_program(fragment: Fragment, most: float = np.inf) -> ConeProgram | None:
    """The program of a fragment.

    Args:
        fragment: the fragment.
        most: seconds.

    Returns:
        None where it takes more than that.
    """
    qubits = _qubits(fragment)
    seen, reached, _ = seen_by_factors(fragment)
    kinds, which = np.unique(np.packbits(np.concatenate([seen, reached]), axis=0), axis=1, return_inverse=True)
    if kinds.shape[1] > _MOST_CONES:
        return None
    first = np.unique(which, return_index=True)[1]
    keyed: dict[tuple[bytes, bytes], list[np.ndarray]] = {}
    cones: list[tuple[np.ndarray, list[tuple[bytes, bytes]]]] = []
    seconds = 0.0
    for kind, joined in _joined([int.from_bytes(column.tobytes(), "big") for column in kinds.T]).items():
        members, keys = np.flatnonzero(np.isin(which, joined)), []
        for gates, own in _parts(seen[:, first[kind]], reached[:, first[kind]], qubits):
            keys.append((gates.tobytes(), own.tobytes()))
            if keys[-1] not in keyed:
                seconds += _seconds(fragment, gates, own, len(members))
            keyed.setdefault(keys[-1], []).append(members)
        cones.append((members, keys))
        if seconds > most:
            return None
    places = {key: place for place, key in enumerate(keyed)}
    parts, numbers = [], []
    for key, of_cones in keyed.items():
        asked = np.unique(np.concatenate(of_cones))
        part_gates, part_qubits = (np.frombuffer(one, dtype=np.int64) for one in key)
        part, number = _part(fragment, part_gates, part_qubits, asked)
        parts.append(part)
        numbers.append(number)
    made = []
    for members, keys in cones:
        own_parts = tuple(places[key] for key in keys)
        own_numbers = [numbers[place][members] for place in own_parts]
        made.append(Cone(members, own_parts, np.array(own_numbers, dtype=int).reshape(len(keys), len(members))))
    held = 8 * sum(prod(fragment.legs[k].dimension for k in part.legs) * len(part.factors_x) for part in parts)
    largest = max((_bytes(fragment, part) for part in parts), default=0)
    return ConeProgram(tuple(parts), tuple(made), seconds, held + largest)


def _qubits(fragment: Fragment) -> list[list[int]]:
    """(instruction,) the qubits of each."""
    number = {bit: q for q, bit in enumerate(fragment.circuit.qubits)}
    return [[number[bit] for bit in item.qubits] for item in fragment.circuit.data]


def seen_by_factors(fragment: Fragment) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each factor, and the legs, see of a fragment.

    Returns:
        (instruction, factor) and (qubit, factor) bool, what is seen; (instruction, factor) bool, whether anything acts
        on its qubits behind it, though it may commute with all of that.
    """
    qubits = _qubits(fragment)
    x, z = fragment.factors_x.T, fragment.factors_z.T
    acting = LETTER_SETS[x + 2 * z]
    reached = acting > 0
    seen, touched = (np.zeros((len(qubits), acting.shape[1]), dtype=bool) for _ in range(2))
    legs: dict[int, list[Leg]] = {}
    for leg in fragment.legs:
        legs.setdefault(leg.position, []).append(leg)
    tables: dict[bytes, LetterTable] = {}
    for position in range(len(qubits), -1, -1):
        if position < len(qubits):
            own = qubits[position]
            touched[position] = (acting[own] > 0).any(axis=0)
            matrix = fragment.circuit.data[position].matrix
            key = matrix.tobytes()
            if key not in tables:
                tables[key] = letter_table(unitary_map(matrix))
            table = tables[key]
            sets = acting[own[0]] + 8 * acting[own[1]] if len(own) == 2 else acting[own[0]]
            seen[position] = table.changed[sets]
            for k, q in enumerate(own):
                acting[q] = table.after[k, sets]
                reached[q] |= (acting[q] > 0) | seen[position]  # a gate may change a sign alone
        for leg in legs.get(position, ()):
            acting[leg.qubit] = letter_table(leg_map(leg.kind)).after[0, acting[leg.qubit]]
            reached[leg.qubit] = True
    return seen, reached, touched


def _joined(masks: Sequence[int]) -> dict[int, list[int]]:
    """Those sets that no other of them holds, and which of the given ones each of them holds."""
    found: dict[int, list[int]] = {}
    for kind in sorted(range(len(masks)), key=lambda k: -masks[k].bit_count()):
        larger = next((one for one in found if not masks[kind] & ~masks[one]), kind)
        found.setdefault(larger, []).append(kind)
    return found


def _parts(gates: np.ndarray, reached: np.ndarray, qubits: Sequence[list[int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(instructions, qubits) of each set of qubits that the gates join."""
    label = np.arange(len(reached))
    for k in np.flatnonzero(gates).tolist():
        one, other = label[qubits[k][0]], label[qubits[k][-1]]
        if one != other:
            label[label == other] = one
    own = np.array([label[pair[0]] for pair in qubits], dtype=int)
    parts = []
    for name in np.unique(label[reached]).tolist():
        parts.append((np.flatnonzero(gates & (own == name)), np.flatnonzero(reached & (label == name))))
    return parts


def _part(fragment: Fragment, gates: np.ndarray, own: np.ndarray, members: np.ndarray) -> tuple[ConePart, np.ndarray]:
    """A part, and (factor of the fragment,) which of its factors each is there."""
    asked = np.concatenate([fragment.factors_x[members][:, own], fragment.factors_z[members][:, own]], axis=1)
    distinct, which = np.unique(asked, axis=0, return_inverse=True)
    number = np.zeros(fragment.num_factors, dtype=int)
    number[members] = which.reshape(-1)
    x, z = distinct[:, : len(own)], distinct[:, len(own) :]
    return ConePart(gates, own, _legs_on(fragment, own), x, z), number


def _legs_on(fragment: Fragment, qubits: np.ndarray) -> tuple[int, ...]:
    return tuple(k for k, leg in enumerate(fragment.legs) if leg.qubit in qubits)


def _opened(fragment: Fragment, legs: Sequence[int]) -> tuple[int, int]:
    """log2 of the branches of legs, counted one by one, and how many leave their own qubit open."""
    kinds = [fragment.legs[k].kind for k in legs]
    return sum(int(log2(kind.rank)) for kind in kinds if not kind.opens_qubit), sum(k.opens_qubit for k in kinds)


def _seconds(fragment: Fragment, gates: np.ndarray, own: np.ndarray, factors: int) -> float:
    """Of a part, about: no more X parts than factors, whose number grows with what other cones ask of it."""
    legs = _legs_on(fragment, own)
    numbers = prod(fragment.legs[k].dimension for k in legs) * factors
    sizes = len(own), 0, *_opened(fragment, legs), factors, len(gates), None, numbers
    return CONE_PART_S + len(gates) * CONE_GATE_S + exact_seconds(TYPICAL_CPU, *sizes)


def _bytes(fragment: Fragment, part: ConePart) -> int:
    """Of a part's simulation, at most, its tensor not counted."""
    branches, outputs = _opened(fragment, part.legs)
    amplitudes = 2.0 ** min(len(part.qubits) + branches, 1000)
    return int(AMPLITUDE_BYTES * (_STATES * amplitudes + 4.0 ** (branches + outputs) * len(part.factors_x)))
