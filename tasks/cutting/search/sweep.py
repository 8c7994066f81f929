"""Wire and gate cuts together, gate by gate in order: what is in one piece so far, the cheapest ways kept.

A state is which qubits' wires are in one piece at present, each piece with the qubits that it has taken so far and the
copies in it. A gate within a piece stays. One between two pieces joins them; or it is severed, by itself or with others
by a copy of one of its qubits; or the wire of one or both of its qubits is severed before it and goes on in the
other's piece or in a new one. Every assignment of gate ends to fragments of bounded width is one of these ways, with
all copies that ``tasks/cutting/joined.py`` allows: a piece need not be known before gates make it one. Wires are
severed only before a gate that then stays or is copied; elsewhere later would do.

All states after a gate are one array: a piece is a number (qubits whose wire is in it now and qubits that a copy in it
serves now, a bit each; how many stretches of wire began in it; how many copies it had at once), a state a column of
them. Of pieces that are joined the last is the larger number, though both may have had theirs at once: a bound from
below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import numpy as np

from tasks.cutting.search.ahead import Ahead
from tasks.cutting.search.circuit import Circuit
from tasks.cutting.search.steps import Gates, GateStep

MOST_QUBITS = 24  # that a piece's number has bits for
FORESEEN_QUBITS = 12  # of circuits whose gates to come a guess is made of
_WIRES, _COPIES, _STRETCHES, _COUNT = 40, 16, 8, 0xFF
_QUBITS = (1 << MOST_QUBITS) - 1
_GUESSED = 3  # times as many states as are kept, what is likely to come is looked at of
_TURNS = 8  # states before it that one is held against, of those with the same wires together
_FIRST, _LAST = 1.85, 0.3  # of the states, kept at the first gates and at the last: it is early that much is open
_ROUNDING = 1e-6
_GATE_S, _STATE_S = (5.5e-4, 1e-3), (1.4e-6, 2e-6)  # of the steps of a sweep, and what copies at all gate ends add
_GUESS_S = 3.5e-7  # of a state's guess


@dataclass(frozen=True)
class _States:
    """The states kept after a gate.

    Attributes:
        pieces: (piece, state) uint64, from the least to the largest; 0 is none.
        costs: (state,) of reaching each.
        parents: (state,) the one before the gate that each came from.
        steps: (state,) what was done at the gate (see ``GateStep.code``).
    """

    pieces: np.ndarray
    costs: np.ndarray
    parents: np.ndarray
    steps: np.ndarray

    def at(self, which: np.ndarray) -> _States:
        """Some of them."""
        each = (np.take(own, which, axis=-1) for own in (self.pieces, self.costs, self.parents, self.steps))
        return _States(*each)


@dataclass(frozen=True)
class _Made:
    """States that one kind of step makes of some: (piece, state) of each, and (state,) the one that it is made of."""

    pieces: np.ndarray
    parents: np.ndarray
    cost: float = 0.0
    step: int = 0
    joins: np.ndarray | int = 0  # (state,) added to the step

    def at(self, which: np.ndarray) -> _Made:
        """Some of them."""
        joins = self.joins if isinstance(self.joins, int) else self.joins[which]
        return _Made(np.take(self.pieces, which, axis=1), self.parents[which], self.cost, self.step, joins)

    def by(self, cost: float, step: GateStep) -> _Made:
        """The same by another step."""
        return _Made(self.pieces, self.parents, cost, step.code, self.joins)

    def get(self, rows: np.ndarray) -> np.ndarray:
        """(state,) a piece of each."""
        return self.pieces[rows, _every(rows)]

    def put(self, rows: np.ndarray, pieces: np.ndarray | int) -> None:
        """Set a piece of each."""
        self.pieces[rows, _every(rows)] = pieces

    def holding(self, wire: np.uint64) -> np.ndarray:
        """(state,) the place of the piece that a wire is in."""
        return (self.pieces & wire).argmax(axis=0)


def _every(rows: np.ndarray) -> np.ndarray:
    return np.arange(len(rows))


_WIRE = [np.uint64(1 << (_WIRES + q)) for q in range(MOST_QUBITS)]
_COPY = [np.uint64(1 << (_COPIES + q)) for q in range(MOST_QUBITS)]
_ALONE = np.uint64(1 << _STRETCHES)
_ALL_WIRES, _ALL_COPIES = np.uint64(_QUBITS << _WIRES), np.uint64(_QUBITS << _COPIES)
_ALL, _SIZES, _BORROWS = _ALL_WIRES | _ALL_COPIES, np.uint64(0xFFFF), np.uint64(0x8080)
_APART = np.uint64(_WIRES - _COPIES)


def _width(pieces: np.ndarray) -> np.ndarray:
    """Stretches and copies."""
    return (pieces >> _STRETCHES & _COUNT) + (pieces & _COUNT)


class Sweep:
    """The ways there are, followed gate by gate.

    Args:
        gates: in order.
        width: of the widest piece.
    """

    def __init__(self, gates: Gates, width: int) -> None:
        self.gates, self.width = gates, width
        self._ends = {run: node >> 1 for node, run in enumerate(gates.runs)}  # the last gate of each
        self._copies = any(run >= 0 for run in gates.runs)
        self.foresees = max(map(max, gates.qubits)) < FORESEEN_QUBITS
        self._ahead = Ahead(gates, width) if self.foresees else None

    def start(self) -> _States:
        """Before the first gate: every qubit by itself."""
        pieces = np.array([[_WIRE[q] | _ALONE] for q in sorted({q for pair in self.gates.qubits for q in pair})])
        return _States(pieces, np.zeros(1), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))

    def after(self, gate: int, states: _States) -> _States:
        """What may be done at a gate, each once for every state; the same state may come several times."""
        found = list(self._ways(gate, states))
        pieces = np.concatenate([own.pieces for own in found], axis=1)
        if self._copies:
            over = 0  # copies that serve no later gate
            for q, run in zip(self.gates.qubits[gate], self.gates.runs[2 * gate : 2 * gate + 2], strict=True):
                if run < 0 or self._ends[run] == gate:
                    over |= 1 << (_COPIES + q)
            pieces &= ~((pieces & _ALL_WIRES) >> _APART | np.uint64(over))
            pieces *= pieces & _ALL != 0
        many = [len(own.parents) for own in found]
        parents = np.concatenate([own.parents for own in found])
        costs = np.round(states.costs[parents] + np.repeat([own.cost for own in found], many), 9)
        steps = np.repeat([own.step for own in found], many)
        first = 0
        for own, count in zip(found, many, strict=True):
            if not isinstance(own.joins, int):
                steps[first : first + count] += own.joins
            first += count
        return _States(pieces, costs, parents, steps)

    def _ways(self, gate: int, states: _States) -> Iterator[_Made]:
        a, b = self.gates.qubits[gate]
        weight, wire, runs = self.gates.weights[gate], self.gates.wire, self.gates.runs[2 * gate : 2 * gate + 2]
        spare = np.zeros((1, states.pieces.shape[1]), dtype=np.uint64)
        every = _Made(np.concatenate([states.pieces, spare]), np.arange(len(states.costs)))
        at_a, at_b = every.holding(_WIRE[a]), every.holding(_WIRE[b])
        within = at_a == at_b
        inside, between = np.flatnonzero(within), np.flatnonzero(~within)
        yield every.at(inside).by(0.0, GateStep(True))
        if not len(between):
            return
        apart, at_a, at_b = every.at(between), at_a[between], at_b[between]
        yield apart.by(weight, GateStep())
        joins = [(apart, at_a, at_b, 0.0, GateStep(True))]
        several = [_width(apart.get(place)) > 1 for place in (at_a, at_b)]
        bare = []  # with the wire of one end severed before the gate
        for end, there in enumerate((at_b, at_a)):
            which = np.flatnonzero(several[end])
            bare.append(_severed(apart.at(which), (a, b)[end]))
            last = np.full(len(which), len(spare) - 1 + len(states.pieces))
            joins.append((bare[end], there[which], last, wire, GateStep(True, (end,))))
        if self.width > 1:
            own = _severed(apart.at(np.flatnonzero(several[0] & several[1])), a, b)
            yield own.by(2 * wire, GateStep(True, (0, 1)))
        for end, (q, there) in enumerate(((a, at_b), (b, at_a))):
            if runs[end] >= 0:
                step = GateStep(copy=end)
                yield from self._copied(gate, apart, there, q, 0.0, step, joins)
                own, place = bare[1 - end], np.full(len(bare[1 - end].parents), len(states.pieces))
                yield from self._copied(gate, own, place, q, wire, step._replace(wires=(1 - end,)), joins)
        yield from self._joined(joins)

    def _copied(
        self, gate: int, states: _Made, place: np.ndarray, q: int, cost: float, step: GateStep, joins: list[_Join]
    ) -> Iterator[_Made]:
        """By a copy of ``q``: one that is in the other's piece, or in one that it joins to this, or a new one."""
        there = states.get(place)
        live = (states.pieces & (_COPY[q] | _WIRE[q])) == _COPY[q]
        if live.any():
            has = there & _COPY[q] != 0
            yield states.at(np.flatnonzero(has)).by(cost, step)
            rest = np.flatnonzero(~has)
            states, place, there = states.at(rest), place[rest], there[rest]
            rows, which = live[:, rest].nonzero() if self.gates.joins else (rest[:0], rest[:0])
            if len(which):
                wires = ((states.pieces[rows, which] >> np.uint64(_WIRES)).astype(np.int64) + 1) << 6
                own = _Made(states.pieces[:, which], states.parents[which], joins=wires)
                joins.append((own, place[which], rows, cost, step))
        if self._ends[self.gates.runs[2 * gate + step.copy]] == gate:
            return  # it would serve this gate alone
        new, cost = step._replace(new=True), cost + self.gates.copy
        copies = there & _ALL_COPIES
        room = np.bitwise_count(copies) < there & _COUNT
        fits = room | (_width(there) < self.width)
        which = np.flatnonzero(fits)
        own = states.at(which)
        own.put(place[which], (there[which] | _COPY[q]) + ~room[which])
        yield own.by(cost, new)
        copies[room] = 0
        held = int(np.bitwise_or.reduce(copies))
        for old in range(MOST_QUBITS if held else 0):  # one that has served its last gate lends its qubit
            if held >> (_COPIES + old) & 1:
                which = np.flatnonzero(copies & _COPY[old])
                own = states.at(which)
                own.put(place[which], there[which] ^ _COPY[old] | _COPY[q])
                yield own.by(cost, new)

    def _joined(self, joins: list[_Join]) -> Iterator[_Made]:
        """Two pieces of each as one, where they may be."""
        first = np.concatenate([own.get(one) for own, one, *_ in joins])
        second = np.concatenate([own.get(other) for own, _, other, *_ in joins])
        both = first | second
        copies = both & _ALL_COPIES & ~((both & _ALL_WIRES) >> _APART)
        most = np.maximum(np.maximum(first & _COUNT, second & _COUNT), np.bitwise_count(copies))
        stretches = (first >> _STRETCHES & _COUNT) + (second >> _STRETCHES & _COUNT)
        fits = stretches + most <= self.width
        joint = both & _ALL | stretches << _STRETCHES | most
        begin = 0
        for own, one, other, cost, step in joins:
            end = begin + len(one)
            which = fits[begin:end].nonzero()[0]
            made = own.at(which)
            made.put(other[which], 0)
            made.put(one[which], joint[begin:end][which])
            yield made.by(cost, step)
            begin = end

    def kept(self, gate: int, states: _States, most: int) -> _States:
        """Those that look cheapest with all gates before one done, each once, without those that another beats."""
        order = states.costs.argsort(kind="stable")
        _, firsts = np.unique(_mixed(states.pieces)[order], return_index=True)
        firsts.sort()
        states = states.at(order[firsts[: (_GUESSED if self._ahead else 2) * most]])
        pieces = states.pieces
        pieces.sort(axis=0)  # by wires, so that pieces with the same ones stand side by side
        empty = int(pieces.any(axis=1).argmax())
        states = _States(pieces[empty:], states.costs, states.parents, states.steps)
        if self._ahead:
            wires, widths = (states.pieces >> _WIRES).astype(np.int64), _width(states.pieces)
            costs = np.round(states.costs + self._ahead.costs(gate, wires, widths), 9)
            states = states.at(costs.argsort(kind="stable")[: 2 * most])
        return states.at(np.flatnonzero(~self._beaten(states))[:most])

    def _beaten(self, states: _States) -> np.ndarray:
        """(state,) whether one before it, wires together alike, is as cheap with the copies it lacks, no wider."""
        wires = states.pieces & _ALL_WIRES
        alike = _mixed(wires)
        order = alike.argsort(kind="stable")
        alike = alike[order]
        sizes = states.pieces & _SIZES
        if self._copies:
            copies, wired = states.pieces & _ALL_COPIES, wires != 0
            sizes *= wired
            gone = (np.bitwise_count(copies) * ~wired).sum(axis=0)
            copies *= wired
        beaten = np.zeros(len(order), dtype=bool)
        for turn in range(1, _TURNS + 1):
            same = (alike[turn:] == alike[:-turn]).nonzero()[0]
            if not len(same):
                break
            late, early = order[turn + same], order[same]
            narrower = ((sizes[:, late] | _BORROWS) - sizes[:, early]) & _BORROWS == _BORROWS
            costs = states.costs[late] - states.costs[early] + _ROUNDING
            if self._copies:
                lacks = np.bitwise_count(copies[:, late] & ~copies[:, early]).sum(axis=0) + gone[late]
                costs -= lacks * self.gates.copy
            beaten[late[(costs >= 0) & narrower.all(axis=0)]] = True
        return beaten


_Join = tuple[_Made, np.ndarray, np.ndarray, float, GateStep]


def _mixed(pieces: np.ndarray) -> np.ndarray:
    """(state,) a number that is, in practice, another for other pieces, whatever their order."""
    mixed = pieces * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    return (mixed * np.uint64(0x94D049BB133111EB)).sum(axis=0, dtype=np.uint64)


def _severed(states: _Made, *qubits: int) -> _Made:
    """Wires end, with them the copies of their qubits, and go on in a piece of their own, the last."""
    ended = int(sum(int(_WIRE[q] | _COPY[q]) for q in qubits))
    pieces = states.pieces & np.uint64((1 << 64) - 1 - ended)
    pieces *= pieces & _ALL != 0
    pieces[-1] = sum(int(_WIRE[q] + _ALONE) for q in qubits)
    return _Made(pieces, states.parents)


def sweep_seconds(circuit: Circuit) -> tuple[float, float]:
    """What a gate takes on a typical core, and each state kept after it; more where copies may serve its ends."""
    share = float(np.mean([run >= 0 for run in Gates.of(circuit).runs]))
    guess = _GUESS_S if int(circuit.ends.qubits.max()) < FORESEEN_QUBITS else 0.0
    return _GATE_S[0] + share * _GATE_S[1], _STATE_S[0] + share * _STATE_S[1] + guess


def swept(
    circuit: Circuit, width: int, most: int, *, backwards: bool, several: int = 1, within: float = inf, others: int = 0
) -> tuple[list[np.ndarray], int]:
    """The cheapest assignments found in one go over the gates.

    Args:
        circuit: to be cut.
        width: of the widest block.
        most: states kept after each gate, on the average.
        backwards: whether from the last gate to the first.
        several: how many assignments at most.
        within: so much dearer than the cheapest one they may be.
        others: how many dearer ones besides, each the first of its cost.

    Returns:
        (node,) int each, the block of each gate end, the cheapest first; and how many states were kept in all.
    """
    sweep = Sweep(Gates.of(circuit, backwards=backwards), width)
    layers, gates = [sweep.start()], len(sweep.gates.weights)
    for gate in range(gates):
        share = max(_LAST, _FIRST * (1 - gate / gates)) if sweep.foresees else 1.0
        layers.append(sweep.kept(gate + 1, sweep.after(gate, layers[-1]), int(share * most)))
    blocks = []
    costs = layers[-1].costs
    close = int((costs <= costs[0] + within).sum())
    _, firsts = np.unique(np.round(costs[close:], 2), return_index=True)
    for at in [*range(min(several, close)), *(close + firsts[:others]).tolist()]:
        way = []
        for layer in layers[:0:-1]:
            way.append(GateStep.of_code(int(layer.steps[at])))
            at = int(layer.parents[at])
        block, _ = sweep.gates.assignment(way[::-1])
        blocks.append(block.reshape(-1, 2)[::-1].reshape(-1).copy() if backwards else block)
    return blocks, sum(len(layer.costs) for layer in layers)
