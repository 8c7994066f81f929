"""What observables see of fragments that are counted, not built: the light cones of ``cone_program.py``, at most.

Sets of letters go backwards through the layers of the circuit, all terms at once. Angles are taken for any, so that a
gate is looked at once for all circuits; and what several terms see is simulated once for all of them or once for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scheduler_policies.cost import exact_seconds
from scheduler_policies.machine import CONE_GATE_S, CONE_PART_S, TYPICAL_CPU
from tasks.cutting.joined import AXES, Acting, generic, run_matrix
from tasks.cutting.kinds import cut_kind
from tasks.cutting.pauli_program import LETTER_SETS, LetterTable, leg_map, letter_table, unitary_map
from tasks.cutting.schmidt import TO_Z, Copied, SchmidtForm

_ANY = 7  # all letters
_MOST_TERMS = 256  # with more, other ways are the quicker ones
_MOST_PARTS = 1000
_MOST_BITS = 900  # of a part: its seconds are numbers


@dataclass(frozen=True)
class LetterMaps:
    """What becomes of the sets of letters that act on qubits, going backwards; the first of ``maps`` changes nothing.

    Attributes:
        changed: (kind of gate, sets) bool, whether the gate changes a Pauli of the sets on its qubits.
        after: (kind of gate, end, sets) uint8, the sets before it.
        maps: (map, set) uint8, on one qubit.
        gates: (gate,) kinds of gate.
        severed: (node,) maps of a gate's ends where it is severed.
        before: (node,) maps of the one-qubit gates before a gate's end on its wire.
        behind: (wire,) maps of those behind the last.
        copied: (axis,) maps of the qubit that a copy is made of.
        wires: (node,) int.
        layers: gates that act on different qubits each, the first ones first.
    """

    changed: np.ndarray
    after: np.ndarray
    maps: np.ndarray
    gates: np.ndarray
    severed: np.ndarray
    before: np.ndarray
    behind: np.ndarray
    copied: np.ndarray
    wires: np.ndarray
    layers: tuple[np.ndarray, ...]


Severable = tuple[Sequence[int], Sequence[int], SchmidtForm | None]
"""A gate as a search sees it: all instructions that it stands for, its qubits and its form."""


def letter_maps(
    instructions: Sequence[Acting],
    gates: Sequence[Severable],
    wires: np.ndarray,
    before: Sequence[Sequence[int]],
    behind: Sequence[Sequence[int]],
) -> LetterMaps:
    """Of a circuit.

    Args:
        instructions: of the circuit.
        gates: its two-qubit gates.
        wires: (gate, 2) int.
        before: (node,) the one-qubit instructions before each gate end.
        behind: (wire,) those behind the last one.
    """
    known: dict[bytes, int] = {}
    kinds: list[LetterTable] = []
    single: dict[bytes, np.ndarray] = {}
    ones: dict[bytes, int] = {(same := np.arange(8, dtype=np.uint8)).tobytes(): 0}

    def number(one: np.ndarray) -> int:
        return ones.setdefault(one.astype(np.uint8).tobytes(), len(ones))

    def turned(matrix: np.ndarray) -> np.ndarray:
        key = matrix.tobytes()
        if key not in single:
            single[key] = letter_table(unitary_map(matrix)).after[0]
        return single[key]

    def alone(many: Sequence[int]) -> int:
        found = same
        for i in many:
            found = found[turned(np.asarray(generic(instructions[i][0]).to_matrix(), dtype=complex))]
        return number(found)

    own, severed = [], []
    for members, qubits, form in gates:
        if len(members) == 1:
            matrix = np.asarray(generic(instructions[members[0]][0]).to_matrix(), dtype=complex)
        else:
            matrix = run_matrix(instructions, members, qubits)
        key = matrix.tobytes()
        if key not in known:
            known[key] = len(kinds)
            kinds.append(letter_table(unitary_map(matrix)))
        own.append(known[key])
        for end in (0, 1):
            if form is None:
                severed.append(0)
                continue
            leg = letter_table(leg_map(cut_kind(form).ends[end])).after[0]
            severed.append(number(turned(form.before[end])[leg[turned(form.after[end])]]))
    along = letter_table(leg_map(cut_kind(Copied()).ends[0])).after[0]
    copied = [number(turned(turn)[along[turned(turn.conj().T)]]) for turn in (TO_Z[axis] for axis in AXES)]
    depth: dict[int, int] = {}
    layers: list[list[int]] = []
    for gate, pair in enumerate(wires.tolist()):
        layer = max(depth.get(wire, 0) for wire in pair)
        depth |= dict.fromkeys(pair, layer + 1)
        if layer == len(layers):
            layers.append([])
        layers[layer].append(gate)
    chains = [np.array([alone(many) for many in those]) for those in (before, behind)]  # all maps are known then
    return LetterMaps(
        changed=np.array([table.changed for table in kinds]),
        after=np.array([table.after for table in kinds]),
        maps=np.frombuffer(b"".join(ones), dtype=np.uint8).reshape(-1, 8),
        gates=np.array(own),
        severed=np.array(severed),
        before=chains[0],
        behind=chains[1],
        copied=np.array(copied),
        wires=wires.reshape(-1),
        layers=tuple(map(np.array, layers)),
    )


@dataclass(frozen=True)
class CountedCuts:
    """Stretches of wire and what severs them; the copies' own qubits are stretches behind those of the wires.

    Attributes:
        stretch: (node,) int.
        fragment: (stretch,) int.
        single: (gate,) bool, severed by itself.
        earlier: (node,) int, where its wire is severed right before it the stretch that ends there, else -1.
        copies: for each copy the gate ends that it serves, on the copied qubit.
        axes: (copy,) along which axis it is one.
        legs: (leg,) the stretch that each leg is on.
        bits: (leg,) log2 of its branches.
        opened: (leg,) 1 where it opens its qubit, else 0.
        dimensions: (leg,) log2 of its dimension.
    """

    stretch: np.ndarray
    fragment: np.ndarray
    single: np.ndarray
    earlier: np.ndarray
    copies: Sequence[np.ndarray]
    axes: Sequence[int]
    legs: np.ndarray
    bits: np.ndarray
    opened: np.ndarray
    dimensions: np.ndarray


def cone_seconds(
    maps: LetterMaps, letters: np.ndarray, alone: np.ndarray, cuts: CountedCuts, factors: Sequence[int]
) -> np.ndarray:
    """(fragment,) seconds of each on one typical core part by part, tensors not counted; inf where not known.

    Args:
        maps: of the circuit.
        letters: (term, wire), X part and twice the Z part.
        alone: (node,) one-qubit gates before each gate end.
        cuts: of the circuit.
        factors: (fragment,) how many observable factors it has.
    """
    number = len(factors)
    sets = np.unique(LETTER_SETS[letters], axis=0).T  # (wire, term)
    if sets.shape[1] > _MOST_TERMS:
        return np.full(number, inf)
    each = sets.shape[1]
    if each > 1:
        sets = np.concatenate([sets, np.bitwise_or.reduce(sets, axis=1, keepdims=True)], axis=1)
    seen, reached, acted, ends = _seen(maps, sets, cuts)
    size, terms = reached.shape
    gates, of_term = np.nonzero(seen)
    first, second = (of_term * size + ends[gates, end] for end in (0, 1))
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(terms * size, terms * size))
    labels = connected_components(graph, directed=False)[1].reshape(terms, size)
    there = reached.T
    own = labels[there]
    where = np.nonzero(there)[1]
    count = int(labels.max(initial=-1)) + 1
    of_legs = (cuts.bits, cuts.opened, cuts.dimensions)
    per_stretch = [np.bincount(cuts.legs, values, minlength=size) for values in of_legs]
    name = np.random.default_rng(0).random(size + len(seen))  # sums of these are equal for equal parts only
    widths, *legs, names = (np.bincount(own, w[where], minlength=count) for w in (np.ones(size), *per_stretch, name))
    names += np.bincount(labels.reshape(-1)[first], name[size + gates], minlength=count)
    nodes, of_acted = np.nonzero(acted)
    work = np.bincount(labels.reshape(-1)[first], minlength=count).astype(float)
    work += np.bincount(labels[of_acted, cuts.stretch[nodes]], alone[nodes], minlength=count)
    fragment, term = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    fragment[own], term[own] = cuts.fragment[where], np.nonzero(there)[0]

    def total(parts: np.ndarray, asked: Callable[[int], int]) -> np.ndarray:
        seconds = np.zeros(number)
        for part in parts.tolist():
            many, wide, gates_there = asked(part), int(widths[part]), int(work[part])
            bits, opened, dimension = (int(one[part]) for one in legs)
            if wide + 2 * (bits + opened) + dimension > _MOST_BITS:
                seconds[fragment[part]] = inf
                continue
            sizes = many, gates_there, None, 2.0**dimension * many
            one = exact_seconds(TYPICAL_CPU, wide, 0, bits, opened, *sizes)
            one += CONE_PART_S + gates_there * CONE_GATE_S
            seconds[fragment[part]] += one
        return seconds

    parts = np.flatnonzero(widths)
    apart = parts[term[parts] < each]
    _, kept, repeated = np.unique(names[apart], return_index=True, return_counts=True)
    if len(kept) > _MOST_PARTS:
        return np.full(number, inf)
    times = dict(zip(apart[kept].tolist(), repeated.tolist(), strict=True))
    separate = total(apart[kept], lambda part: times[part])
    if each == 1:
        return separate
    return np.minimum(separate, total(parts[term[parts] == each], lambda part: factors[fragment[part]]))


def _seen(
    maps: LetterMaps, sets: np.ndarray, cuts: CountedCuts
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(gate, term), (stretch, term) and (node, term) bool, what is seen and where something acts; (gate, 2) stretches.

    Args:
        maps: of the circuit.
        sets: (wire, term) uint8 that act at the end.
        cuts: of the circuit.
    """
    nodes, terms, size = len(cuts.stretch), sets.shape[1], len(cuts.fragment)
    seen, acted = np.zeros((nodes // 2, terms), dtype=bool), np.zeros((nodes, terms), dtype=bool)
    reached = np.zeros((size, terms), dtype=bool)
    reached[size - len(cuts.copies) :] = True
    held, ends = np.zeros(nodes, dtype=bool), cuts.stretch.copy()
    leg = np.where(np.repeat(cuts.single, 2), maps.severed, -1)  # (node,) what a severed end does, -1 where it stays
    legs = leg >= 0
    for k, (served, axis) in enumerate(zip(cuts.copies, cuts.axes, strict=True), start=size - len(cuts.copies)):
        held[served], ends[served], leg[served] = True, k, 0
        legs[served[0]], leg[served[0]] = True, maps.copied[axis]
    acting = maps.maps[maps.behind[:, None], sets]
    last = np.zeros(len(sets), dtype=np.int64)
    last[maps.wires] = cuts.stretch  # a wire's later gate ends come later
    reached[last] |= sets > 0
    for gates in maps.layers[::-1]:
        pair = 2 * gates, 2 * gates + 1
        given = [acting[maps.wires[own]] for own in pair]
        one, other = (np.where(held[own][:, None], _ANY, sets) for own, sets in zip(pair, given, strict=True))
        code, kind = one + 8 * other, maps.gates[gates][:, None]
        seen[gates] = changed = maps.changed[kind, code] & ~cuts.single[gates][:, None]
        for end, (own, before) in enumerate(zip(pair, given, strict=True)):
            stays, severed = (leg[own] < 0)[:, None], np.maximum(leg[own], 0)[:, None]
            after = np.where(stays, maps.after[kind, end, code], maps.maps[severed, before])
            reached[cuts.stretch[own]] |= (before > 0) | (after > 0) | (changed & stays) | legs[own][:, None]
            broken = cuts.earlier[own] >= 0
            reached[cuts.stretch[own[broken]]] = reached[cuts.earlier[own[broken]]] = True
            after[broken] = _ANY
            acted[own] = after > 0
            acting[maps.wires[own]] = maps.maps[maps.before[own][:, None], after]
    return seen, reached, acted, ends.reshape(-1, 2)
