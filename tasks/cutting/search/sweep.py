"""Wire and gate cuts together, gate by gate in order: what is in one piece so far, the cheapest ways kept.

A state is which qubits' wires are in one piece at present, each piece with the qubits that it has taken so far and the
copies in it. A gate within a piece stays. One between two pieces joins them; or it is severed, by itself or with others
by a copy of one of its qubits; or the wire of one or both of its qubits is severed before it and goes on in the
other's piece or in a new one. Every assignment of gate ends to fragments of bounded width is one of these ways, with
all copies that ``tasks/cutting/joined.py`` allows: a piece need not be known before gates make it one. Wires are
severed only before a gate that then stays or is copied; elsewhere later would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tasks.cutting.search.circuit import Circuit

Piece = tuple[int, int, int, int]
"""Part of a fragment as it is after some gates: qubits whose wire is in it now and qubits that a copy in it serves now,
a bit each; how many stretches of wire began in it; how many copies it had at once. Of pieces that are joined the last
is the larger number, though both may have had theirs at once: a bound from below."""

State = tuple[Piece, ...]


class GateStep(NamedTuple):
    """What is done at a gate.

    Attributes:
        stays: whether its ends are in one piece.
        wires: its ends before which the wire is severed.
        copy: its end whose qubit a copy serves it in the place of; -1 without.
        new: whether that copy begins here.
        joins: the qubits, a bit each, of the piece of the copy where that is another than the one of the other end.
    """

    stays: bool = False
    wires: tuple[int, ...] = ()
    copy: int = -1
    new: bool = False
    joins: int = -1


_STAYS, _SEVERED, _WIRES = GateStep(True), GateStep(), GateStep(True, (0, 1))
_WIRE = GateStep(True, (0,)), GateStep(True, (1,))
Way = list[GateStep]
_ROUNDING = 1e-6


class Pieces:
    """The ways there are.

    Args:
        qubits: (gate, 2) of the gates in order.
        weights: (gate,) what cutting each costs.
        wire: of cutting a wire.
        copy: of a copy.
        runs: (node,) equal where one copy may serve the gates, else -1.
        width: of the widest piece.
        joins: whether copies may join pieces.
    """

    def __init__(
        self,
        qubits: Sequence[Sequence[int]],
        weights: Sequence[float],
        wire: float,
        copy: float,
        runs: Sequence[int],
        width: int,
        joins: bool = True,
    ) -> None:
        often = Counter(runs)
        self.qubits, self.weights, self.wire, self.copy = qubits, weights, wire, copy
        self.width, self.joins = width, joins
        self.runs = [run if often[run] > 1 else -1 for run in runs]
        self._copies = any(run >= 0 for run in self.runs)
        self.ends = {run: node >> 1 for node, run in enumerate(self.runs)}  # the last gate of each
        self.start: State = tuple(sorted((1 << q, 0, 1, 0) for q in {q for pair in qubits for q in pair}))

    @classmethod
    def of(cls, circuit: Circuit, width: int, *, less: float = 0.0, backwards: bool = False) -> Pieces:
        """Of a circuit as a search sees it, each cut at ``less`` than its weight; or of its gates from the last on."""
        ends = circuit.ends
        runs = [next((run for run in own if run >= 0), -1) for own in circuit.runs.tolist()]
        pairs, weights = ends.qubits.tolist(), (ends.weights - less).tolist()
        if backwards:
            runs = [run for gate in range(len(pairs) - 1, -1, -1) for run in runs[2 * gate : 2 * gate + 2]]
            pairs, weights = pairs[::-1], weights[::-1]
        return cls(pairs, weights, ends.wire_weight - less, circuit.copy_weight - less, runs, width, circuit.joins)

    def moves(self, gate: int, state: State) -> Iterator[tuple[State, float, GateStep]]:
        """What may be done at a gate: the state after it, what it costs, and how it is called."""
        a, b = (1 << q for q in self.qubits[gate])
        over = 0  # qubits that no copy made before serves any more
        for q, run in zip((a, b), self.runs[2 * gate : 2 * gate + 2], strict=True):
            if run < 0 or self.ends[run] == gate:
                over |= q
        for pieces, cost, step in self._ways(gate, state, a, b):
            if self._copies:
                pieces = [
                    (wires, held, n, most) if copies else (wires, 0, n, most)
                    for wires, copies, n, most in pieces
                    if (held := copies & ~over & ~wires) or wires
                ]
            yield tuple(sorted(pieces)), cost, step

    def _ways(self, gate: int, state: State, a: int, b: int) -> Iterator[tuple[Sequence[Piece], float, GateStep]]:
        for piece in state:
            if piece[0] & a:
                of_a = piece
            if piece[0] & b:
                of_b = piece
        if of_a is of_b:
            yield state, 0.0, _STAYS
            return
        if joint := self._joined(state, of_a, of_b):
            yield joint, 0.0, _STAYS
        yield state, self.weights[gate], _SEVERED
        several = of_a[2] + of_a[3] > 1, of_b[2] + of_b[3] > 1
        for end, (q, other) in enumerate(((a, b), (b, a))):
            if several[end]:
                parted = _severed(state, q)
                there = next(piece for piece in parted if piece[0] & other)
                if joint := self._joined(parted, parted[-1], there):
                    yield joint, self.wire, _WIRE[end]
        if all(several) and self.width > 1:
            yield self._joined(parted := _severed(_severed(state, a), b), *parted[-2:]), 2 * self.wire, _WIRES
        for end, (q, other) in enumerate(((a, b), (b, a))):
            if self.runs[2 * gate + end] >= 0:
                yield from self._copied(gate, state, q, other, 0.0, GateStep(copy=end))
                if several[1 - end]:
                    step = GateStep(wires=(1 - end,), copy=end)
                    yield from self._copied(gate, _severed(state, other), q, other, self.wire, step)

    def _copied(
        self, gate: int, state: Sequence[Piece], q: int, other: int, cost: float, step: GateStep
    ) -> Iterator[tuple[Sequence[Piece], float, GateStep]]:
        """By a copy of ``q``: one that is in the other's piece, or in one that it joins to this, or a new one."""
        there = next(piece for piece in state if piece[0] & other)
        wires, copies, stretches, most = there
        if copies & q:
            yield state, cost, step
            return
        for piece in state if self.joins else ():
            if piece[1] & q and not piece[0] & q and (joint := self._joined(state, piece, there)):
                yield joint, cost, step._replace(joins=piece[0])
        if self.ends[self.runs[2 * gate + step.copy]] == gate:
            return  # it would serve this gate alone
        rest, step = [piece for piece in state if piece is not there], step._replace(new=True)
        cost += self.copy
        if copies.bit_count() < most:
            yield [*rest, (wires, copies | q, stretches, most)], cost, step
            return
        if stretches + most < self.width:
            yield [*rest, (wires, copies | q, stretches, most + 1)], cost, step
        for old in bits(copies):  # one that has served its last gate lends its qubit
            yield [*rest, (wires, (copies ^ old) | q, stretches, most)], cost, step

    def beaten(self, groups: dict[tuple[int, ...], list[tuple[float, State]]], cost: float, state: State) -> bool:
        """Whether one of the states before it, wires together alike, is as cheap with the copies it lacks, no wider.

        Args:
            groups: those before it, which it becomes one of where it is not.
            cost: of reaching the state.
            state: after the same gate as they.
        """
        own = tuple(piece for piece in state if piece[0])
        gone = sum(copies.bit_count() for wires, copies, *_ in state if not wires)
        others = groups.setdefault(tuple(piece[0] for piece in own), [])
        for least, pieces in others:
            lacks = gone
            for (_, held, few, fewer), (_, copies, stretches, most) in zip(pieces, own, strict=True):
                lacks += (copies & ~held).bit_count()
                if few > stretches or fewer > most:
                    break
            else:
                if least + lacks * self.copy <= cost + _ROUNDING:
                    return True
        others.append((cost, own))
        return False

    def _joined(self, state: Sequence[Piece], one: Piece, other: Piece) -> list[Piece]:
        """The state with two pieces as one; none where that is too wide."""
        copies = one[1] | other[1]
        most = max(one[3], other[3], (copies & ~one[0] & ~other[0]).bit_count())
        if (stretches := one[2] + other[2]) + most > self.width:
            return []
        joint = (one[0] | other[0], copies, stretches, most)
        return [*(piece for piece in state if piece is not one and piece is not other), joint]

    def assignment(self, way: Way) -> tuple[np.ndarray, list[np.ndarray]]:
        """(node,) the block of each gate end, and sets of gates that a copy serves, (gate,) each."""
        home = list(range(2 * len(way)))

        def owner(node: int) -> int:
            while home[node] != node:
                node = home[node]
            return node

        last: dict[int, int] = {}  # of a qubit, the latest node on its wire
        served: dict[int, list[list[int]]] = {}  # of a run, the nodes on the other qubits, copy by copy
        for gate, step in enumerate(way):
            for end, q in enumerate(self.qubits[gate]):
                node = 2 * gate + end
                if q in last and end not in step.wires:
                    home[owner(node)] = owner(last[q])
                last[q] = node
            if step.stays:
                home[owner(2 * gate)] = owner(2 * gate + 1)
            if step.copy < 0:
                continue
            far = 2 * gate + 1 - step.copy
            own = served.setdefault(self.runs[2 * gate + step.copy], [])
            if step.new:
                own.append([far])
                continue
            if step.joins >= 0:
                held = {owner(node) for q, node in last.items() if step.joins >> q & 1}
                living = {owner(node) for node in last.values()}
                fits = [nodes for nodes in own if (owner(nodes[0]) in held if held else owner(nodes[0]) not in living)]
                home[owner(far)] = owner(fits[-1][0])
            next(nodes for nodes in own[::-1] if owner(nodes[0]) == owner(far)).append(far)
        blocks = np.unique([owner(node) for node in range(len(home))], return_inverse=True)[1]
        return blocks.reshape(-1).astype(np.int64), [np.array(nodes) >> 1 for own in served.values() for nodes in own]


def swept(circuit: Circuit, width: int, most: int, *, backwards: bool) -> np.ndarray:
    """The cheapest assignment found in one go over the gates.

    Args:
        circuit: to be cut.
        width: of the widest block.
        most: states kept after each gate.
        backwards: whether from the last gate to the first.

    Returns:
        (node,) int, the block of each gate end.
    """
    pieces = Pieces.of(circuit, width, backwards=backwards)
    layers: list[dict[State, tuple[float, State, GateStep]]] = [{pieces.start: (0.0, pieces.start, _SEVERED)}]
    for gate in range(len(pieces.weights)):
        after: dict[State, tuple[float, State, GateStep]] = {}
        for state, (cost, *_) in layers[-1].items():
            for own, more, step in pieces.moves(gate, state):
                total = round(cost + more, 9)
                if own not in after or total < after[own][0]:
                    after[own] = total, state, step
        groups: dict[tuple[int, ...], list[tuple[float, State]]] = {}
        kept: dict[State, tuple[float, State, GateStep]] = {}
        for own in sorted(after, key=lambda own: after[own][0]):
            if len(kept) < most and not pieces.beaten(groups, after[own][0], own):
                kept[own] = after[own]
        layers.append(kept)
    state = min(layers[-1], key=lambda own: layers[-1][own][0])
    way = []
    for layer in layers[:0:-1]:
        _, state, step = layer[state]
        way.append(step)
    block, _ = pieces.assignment(way[::-1])
    return block.reshape(-1, 2)[::-1].reshape(-1).copy() if backwards else block


def bits(mask: int) -> Iterator[int]:
    """The bits of a mask, each by itself."""
    while mask:
        yield mask & -mask
        mask &= mask - 1


def _severed(state: Sequence[Piece], q: int) -> list[Piece]:
    """A wire ends, with it the copies of its qubit, and goes on in a piece of its own, the last."""
    ended = [(wires & ~q, copies & ~q, n, most) for wires, copies, n, most in state]
    return [*(piece for piece in ended if piece[0] or piece[1]), (q, 0, 1, 0)]
