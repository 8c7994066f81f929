"""The part of a circuit that a search looks at, and what cutting it costs, from counts: no circuit is built for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import accumulate, pairwise
from math import inf, log2

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.cutting.kinds import SCHEMES, cut_kind
from tasks.cutting.schmidt import Copied, SchmidtForm
from tasks.cutting.search.cones import CountedCuts, LetterMaps, cone_seconds
from tasks.cutting.search.ends import GateEnds
from tasks.cutting.search.sketch import MOST_TENSOR_BITS, FragmentSketch, Sketch
from tasks.cutting.seconds import CLEARLY, WIDE, WORTH_S, pauli_seconds

_MOST_TERMS = 4096  # observable terms beyond these are not looked at


def _by_paulis(fragment: FragmentSketch) -> FragmentSketch:
    """A fragment of Clifford gates, followed back as Paulis where that takes clearly less (see ``cheaper_way``)."""
    seconds = pauli_seconds(fragment.gates + len(fragment.cuts), fragment.numbers)
    worth = fragment.width >= WIDE and fragment.seconds > max(WORTH_S, CLEARLY * seconds)
    return replace(fragment, compact_seconds=seconds) if worth else fragment


def _by_cones(fragment: FragmentSketch, seconds: float) -> FragmentSketch:
    """A fragment part by part, as its factors see it, where that takes clearly less (see ``cheaper_way``)."""
    worth = fragment.width >= WIDE and fragment.seconds > max(WORTH_S, CLEARLY * seconds)
    return replace(fragment, compact_seconds=seconds) if worth else fragment


@dataclass(frozen=True)
class EndCosts:
    """What severing a gate or a wire means for the two fragments that it leaves ends on.

    Attributes:
        rank: branches of an open leg.
        overhead: log2 of kappa**2.
        ends: (2,) log2 of what each end costs in shots.
        settings: (2,) log2 of the fewest settings of each end.
    """

    rank: int
    overhead: float
    ends: tuple[float, float]
    settings: tuple[float, float]


UNCUTTABLE = EndCosts(4, inf, (inf, inf), (0.0, 0.0))
"""Of a gate without a form."""


def end_costs(form: SchmidtForm | Copied | None) -> EndCosts:
    """Of a gate of a form, of several that a copy serves, or of a wire."""
    kind = cut_kind(form)
    bond, kappa = kind.bond(form), kind.kappa(form)
    each = [min(end.cost(w, s) for s in SCHEMES) for end, w in zip(kind.ends, (bond, bond.T), strict=True)]
    few = [log2(len(end.settings("minimal"))) for end in kind.ends]
    return EndCosts(kind.ends[0].rank, 2 * log2(kappa), (log2(each[0]), log2(each[1])), (few[0], few[1]))


_WIRE_COSTS, _COPY_COSTS = end_costs(None), end_costs(Copied())
_GAIN = 1e-6  # less than this and gates are severed one by one


def _at_once(spans: Sequence[tuple[int, int]]) -> int:
    """How many of these overlap at most."""
    steps = sorted([(first, 1) for first, _ in spans] + [(last + 1, -1) for _, last in spans])
    return max(accumulate(step for _, step in steps), default=0)


@dataclass(frozen=True)
class Circuit:
    """The part of a problem that a search looks at.

    Attributes:
        ends: its two-qubit gates.
        costs: (gate,) of severing each.
        alone: (node,) one-qubit gates on the wire before each gate end, and behind the last one on a wire.
        letters: (term, wire) int8, the observables' Paulis on each wire's end, wires as ``ends.wires()`` has them.
        runs: (node, axis) int, equal for gate ends on one wire where all that acts from the first of them to the last
            is diagonal along the axis: one copy of the qubit serves them all; -1 where the gate is not.
        fresh: (node,) bool, whether the gate, as those before it on the wire, leaves the state that its qubit is in.
        copy_weight: what a cut by a copy costs.
        joins: whether copies may join parts of a block.
        other: (node,) bool, whether the gate, or a one-qubit gate counted with it, is not known as a Clifford gate.
        letter_maps: what its gates do to sets of letters, made where it is asked for.
    """

    ends: GateEnds
    costs: tuple[EndCosts, ...]
    alone: np.ndarray
    letters: np.ndarray
    runs: np.ndarray
    fresh: np.ndarray
    copy_weight: float
    joins: bool
    other: np.ndarray
    letter_maps: Callable[[], LetterMaps]

    @cached_property
    def _maps(self) -> LetterMaps:
        return self.letter_maps()

    @cached_property
    def _hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """(term, wire) uint64 that add up to equal numbers where, in practice, all letters (all X parts) are equal."""
        letters = self.letters[:_MOST_TERMS]
        table = np.random.default_rng(0).integers(0, 2**63, size=(letters.shape[1], 4), dtype=np.uint64)
        table[:, 0] = 0
        wires = np.arange(letters.shape[1])
        return table[wires, letters], table[wires, letters & 1]

    @cached_property
    def _numbers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(gate,) ranks and overheads; (end, gate, 2) costs and settings of the ends."""
        ranks = np.array([cost.rank for cost in self.costs])
        each = np.array([[(c.ends[e], c.settings[e]) for c in self.costs] for e in (0, 1)]).reshape(2, -1, 2)
        return ranks, np.array([cost.overhead for cost in self.costs]), each

    def copies(self, block: np.ndarray, most: int) -> list[np.ndarray]:
        """(gate,) of each set of gates that are severed as one by a copy under an assignment.

        Args:
            block: (node,) int.
            most: qubits at once that a copy may make a fragment have.
        """
        return [nodes >> 1 for nodes in self._copied(block, *self._parts(block)[:2], most)[0]]

    def _copied(
        self, block: np.ndarray, stretch: np.ndarray, part: np.ndarray, most: int
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Sets of gate ends on the copied qubit, in order: greedily those that save most, where there is room.

        The gates of a set act on one unbroken stretch of wire and lead to one part, or several of a block that the copy
        then joins: returned, too, is (part,) the fragment of each.
        """
        size = np.bincount(part).tolist()
        home = list(range(len(size)))

        def owner(one: int) -> int:
            while home[one] != one:
                one = home[one]
            return one

        spans = self.ends.spans
        alive: dict[int, list[tuple[int, int]]] = {}  # of each fragment, from when to when its copies are there
        apart = np.flatnonzero(block[0::2] != block[1::2])
        nodes = np.concatenate([2 * apart, 2 * apart + 1])
        sets: dict[tuple[int, int, int, int], list[int]] = {}
        far = part[stretch[nodes ^ 1]].tolist()
        blocks = (len(size) + block[nodes ^ 1]).tolist()
        for axis in range(self.runs.shape[1]):
            own = self.runs[nodes, axis]
            keys = zip(own.tolist(), stretch[nodes].tolist(), far, blocks, nodes.tolist(), strict=True)
            for run, line, one, whole, node in keys:
                if run >= 0:
                    sets.setdefault((axis, run, line, one), []).append(node)
                    if self.joins:
                        sets.setdefault((axis, run, line, whole), []).append(node)
        weights = self.ends.weights.tolist()
        taken: set[int] = set()

        def saved(many: list[int]) -> float:
            return sum([weights[node >> 1] for node in many]) - self.copy_weight

        several = [many for many in sets.values() if len(many) > 1]
        heap = [(-gain, min(many), many) for many in several if (gain := saved(many)) > _GAIN]
        heapify(heap)
        chosen = []
        while heap:
            gain, _, many = heappop(heap)
            free = sorted(node for node in many if node >> 1 not in taken)
            now = saved(free)
            if now <= _GAIN or len(free) < 2:
                continue
            if now < -gain - _GAIN:
                heappush(heap, (-now, free[0], free))
                continue
            first, *others = sorted({owner(int(part[stretch[node ^ 1]])) for node in free})
            there = [span for one in (first, *others) for span in alive.get(one, ())]
            there.append((spans[free[0] >> 1][0], max(spans[node >> 1][1] for node in free)))
            joint = size[first] + sum(size[one] for one in others)
            if joint + _at_once(there) > most:
                continue
            alive[first], size[first] = there, joint
            for one in others:
                home[one] = first
            chosen.append(np.array(free))
            taken.update(node >> 1 for node in free)
        return chosen, np.array([owner(one) for one in home], dtype=np.int64)

    def _parts(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
        """(node,) its stretch, (stretch,) its fragment, (place,) its stretch and whether it begins one; fragments."""
        order, firsts = self.ends.along
        own = block[order]
        begins = firsts.copy()
        begins[1:] |= own[1:] != own[:-1]
        along = np.cumsum(begins) - 1  # the stretch of each place
        stretch = np.empty_like(along)
        stretch[order] = along
        joined = block[0::2] == block[1::2]
        a, b = stretch[0::2], stretch[1::2]
        count = int(along[-1]) + 1
        graph = coo_array((np.ones(int(joined.sum())), (a[joined], b[joined])), shape=(count, count))
        number, part = connected_components(graph, directed=False)
        return stretch, part, along, begins, number

    def sketch(self, block: np.ndarray, most: int) -> Sketch:
        """The sketch of an assignment, (node,) int, the block of each gate end; ``most``: see ``copies``."""
        return self.sketch_and_copies(block, most)[0]

    def sketch_and_copies(self, block: np.ndarray, most: int) -> tuple[Sketch, list[np.ndarray]]:
        """Both of an assignment: each takes what the other does."""
        stretch, part, along, begins, number = self._parts(block)
        order, firsts = self.ends.along
        a, b = stretch[0::2], stretch[1::2]
        joined = block[0::2] == block[1::2]
        copied, home = self._copied(block, stretch, part, most)
        fragments_of, joint = np.unique(home, return_inverse=True)
        part, number = joint.reshape(-1)[part], len(fragments_of)
        held = np.concatenate([np.zeros(0, dtype=np.int64), *copied])  # ends on the copied qubits
        near = part[stretch[np.array([nodes[0] for nodes in copied], dtype=np.int64)]]
        far = part[stretch[np.array([nodes[0] ^ 1 for nodes in copied], dtype=np.int64)]]
        ranks, overheads, each = self._numbers
        single = ~joined
        single[held >> 1] = False
        apart = np.flatnonzero(single)
        broken = np.flatnonzero(begins & ~firsts)  # places where a wire is severed
        owners = [part[a[apart]], part[b[apart]], near, far, part[along[broken - 1]], part[along[broken]]]
        owner = np.concatenate(owners)
        starts = np.cumsum([0, len(apart), len(copied), len(broken)]).tolist()
        cuts = [cut for first, last in pairwise(starts) for cut in [*range(first, last)] * 2]
        dimensions = [*(ranks[apart] ** 2)] * 2 + [4] * (2 * (len(copied) + len(broken)))
        alike = [
            np.repeat([pair], count, axis=0)
            for costs, count in ((_COPY_COSTS, len(copied)), (_WIRE_COSTS, len(broken)))
            for pair in zip(costs.ends, costs.settings, strict=True)
        ]
        logs = np.zeros((number, 2))
        np.add.at(logs, owner, np.concatenate([*each[:, apart], *alike]))
        legs: list[tuple[list[int], list[int]]] = [([], []) for _ in range(number)]
        for who, cut, dimension in zip(owner.tolist(), cuts, dimensions, strict=True):
            legs[who][0].append(int(cut))
            legs[who][1].append(int(dimension))

        def counted(places: np.ndarray, weights: np.ndarray | None = None) -> list[int]:
            return np.bincount(places, weights, minlength=number).astype(np.int64).tolist()

        copies = counted(far)
        spans = self.ends.spans
        alive: list[list[tuple[int, int]]] = [[] for _ in range(number)]
        for nodes, owned in zip(copied, far.tolist(), strict=True):
            alive[owned].append((spans[nodes[0] >> 1][0], max(spans[node >> 1][1] for node in nodes.tolist())))
        lent = [count - _at_once(own) for count, own in zip(copies, alive, strict=True)]
        widths, outputs = counted(np.concatenate([part, far])), counted(np.concatenate([part[along[broken - 1]], far]))
        served = part[stretch[held ^ 1]]
        gates = np.array(counted(np.concatenate([part[a[joined]], served, far]))) + counted(part[stretch], self.alone)
        bits = np.repeat(np.where(single, ranks // 2, 0), 2)
        bits[[nodes[0] for nodes in copied]] = 1
        stays = np.repeat(joined, 2)
        stays[held ^ 1] = True
        opened = self._branch_bits(begins, broken, stays[order], bits[order])
        branches = np.bincount(part[along], opened, minlength=number)
        last = part[along[np.append(np.flatnonzero(firsts)[1:], len(order)) - 1]]
        factors, x_parts = (self._distinct(hashes, last, number) for hashes in self._hashes)
        fragments = tuple(
            FragmentSketch(
                widths[f], int(gates[f]), int(branches[f]), outputs[f], factors[f], x_parts[f],
                tuple(legs[f][0]), tuple(legs[f][1]), float(logs[f, 0]), float(logs[f, 1]), 0.0, lent[f],
            )
            for f in range(number)
        )  # fmt: skip
        others = np.bincount(part[stretch], self.other, minlength=number)
        fragments = tuple(one if others[f] else _by_paulis(one) for f, one in enumerate(fragments))
        joins = all(sum(map(log2, one.dimensions)) <= MOST_TENSOR_BITS for one in fragments)
        if joins and any(one.width >= WIDE and one.seconds > WORTH_S for one in fragments):
            seconds = self._cone_seconds(stretch, np.concatenate([part, far]), single, copied, along, broken, factors)
            fragments = tuple(_by_cones(one, own) for one, own in zip(fragments, seconds.tolist(), strict=True))
        alike_overhead = _WIRE_COSTS.overhead * len(broken) + _COPY_COSTS.overhead * len(copied)
        overhead = float(overheads[apart].sum() + alike_overhead)
        return Sketch(fragments, overhead, len(self.letters)), [nodes >> 1 for nodes in copied]

    def _cone_seconds(
        self,
        stretch: np.ndarray,
        fragment: np.ndarray,
        single: np.ndarray,
        copied: Sequence[np.ndarray],
        along: np.ndarray,
        broken: np.ndarray,
        factors: Sequence[int],
    ) -> np.ndarray:
        """(fragment,) seconds part by part (see ``cone_seconds``); ``along``: (place,) its stretch."""
        apart = np.flatnonzero(single)
        firsts = np.array([nodes[0] for nodes in copied], dtype=np.int64)
        copies = np.arange(len(fragment) - len(copied), len(fragment))
        earlier = np.full(len(stretch), -1)
        earlier[self.ends.along[0][broken]] = along[broken - 1]
        on = [stretch[2 * apart], stretch[2 * apart + 1], stretch[firsts], copies, along[broken - 1], along[broken]]
        ranks = self._numbers[0][apart]
        wire, copy, none = np.ones(len(broken)), np.ones(len(copied)), np.zeros(len(apart))
        bits = [ranks // 2, ranks // 2, copy, 0 * copy, 0 * wire, wire]
        opened = [none, none, 0 * copy, copy, wire, 0 * wire]
        sizes = [2 * np.log2(ranks), 2 * np.log2(ranks), 2 * copy, 2 * copy, 2 * wire, 2 * wire]
        own = (np.concatenate(each) for each in (on, bits, opened, sizes))
        alike = ((self.runs[nodes] == self.runs[nodes[0]]) & (self.runs[nodes[0]] >= 0) for nodes in copied)
        axes = [int(np.argmax(own.all(axis=0))) for own in alike]
        cuts = CountedCuts(stretch, fragment, single, earlier, copied, axes, *own)
        return cone_seconds(self._maps, self.letters, self.alone, cuts, factors)

    def _branch_bits(self, begins: np.ndarray, broken: np.ndarray, stays: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """(place,) log2 of the branches that legs open there, counted where the last of those that share them is.

        Args:
            begins: (place,) bool, where a stretch of wire begins.
            broken: places before which a wire is severed.
            stays: (place,) bool, where a gate stays.
            bits: (place,) of the leg that a severed gate leaves there.

        Legs that are diagonal along one axis, as all between them is, share their branches; those that leave a state
        of one qubit as it is have none.
        """
        before = np.append(False, stays[:-1])
        slot = np.cumsum(begins.astype(np.int64) + before)  # between two gates that stay, on one stretch
        number = int(slot[-1]) + 2
        order, firsts = self.ends.along
        legs = np.flatnonzero(bits)
        own, runs = bits[legs], self.runs[order[legs]]
        shared = ((runs[1:] == runs[:-1]) & (runs[1:] >= 0)).any(axis=1) & (slot[legs[1:]] == slot[legs[:-1]])
        own[1:][shared] = 0
        own[self.fresh[order[legs]] & np.isin(slot[legs], slot[firsts])] = 0
        sums = np.bincount(slot[legs], own, minlength=number)
        sums[slot[broken]] += 1
        most = np.full(number, 2)
        most[slot[begins]] = 1
        most[slot[broken] - 1] = 0  # an outgoing wire ends it
        places = np.zeros(len(stays))
        last = np.append(slot[1:] != slot[:-1], True)
        places[last] = np.minimum(sums, most)[slot[last]]
        return places

    def _distinct(self, hashes: np.ndarray, owner: np.ndarray, number: int) -> list[int]:
        """(fragment,) distinct rows of what hashes stand for, from the fragment that each wire ends in."""
        if len(self.letters) == 1:
            return [1] * number
        sums = np.zeros((len(hashes), number), dtype=np.uint64)
        np.add.at(sums.T, owner, hashes.T)
        ordered = np.sort(sums, axis=0)
        return (1 + (ordered[1:] != ordered[:-1]).sum(axis=0)).astype(np.int64).tolist()
