"""What a sweep may do at a gate, for all states at once.

A gate within a piece stays. One between two pieces joins them; or it is severed, by itself or with others by a copy of
one of its qubits; or the wire of one or both of its qubits is severed before it and goes on in the other's piece or in
a new one. Every assignment of gate ends to fragments of bounded width is one of these ways, with all copies that
``tasks/cutting/joined.py`` allows: a piece need not be known before gates make it one. Wires are severed only before a
gate that then stays or is copied; elsewhere later would do.

States are the columns of one array. New ones are first but a column of it and the pieces that are others than there:
only those that are kept are written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.cutting.search.pieces import (
    ALL,
    ALL_COPIES,
    ALONE,
    COPIES,
    COPY,
    COUNT,
    MOST_QUBITS,
    SIZES,
    STRETCHES,
    WIRE,
    WIRES,
    doubled,
    mixed_of,
    width_of,
)
from tasks.cutting.search.steps import Gates, GateStep


@dataclass(frozen=True)
class States:
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

    def at(self, which: np.ndarray) -> States:
        """Some of them."""
        each = (own.take(which, axis=-1) for own in (self.pieces, self.costs, self.parents, self.steps))
        return States(*each)


@dataclass(frozen=True)
class _Made:
    """States that a step makes, each of a column of those held, in which a piece or two are others then.

    Attributes:
        columns: (state,) of what is held.
        rows: (state,) each, the pieces that are others.
        pieces: (state,) uint64 each, these.
        cost: of the step, of all or (state,) of each.
        step: its code, likewise.
    """

    columns: np.ndarray
    cost: np.ndarray | float
    step: np.ndarray | int
    rows: tuple[np.ndarray, ...] = ()
    pieces: tuple[np.ndarray | int, ...] = ()


@dataclass(frozen=True)
class Ways:
    """What may be done at a gate, each once for every state; the same state may come several times.

    Attributes:
        held: (piece, column) uint64, the states before the gate and, behind them, some with wires severed.
        columns: (state,) of what is held, which one each is made of.
        rows: (2, state) the pieces of it that are others then.
        pieces: (2, state) uint64, these.
        names: (state,) uint64, in practice another one for other pieces, whatever their order.
        costs: (state,) as ``States`` has them, as what follows.
        parents: (state,)
        steps: (state,)
    """

    held: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    pieces: np.ndarray
    names: np.ndarray
    costs: np.ndarray
    parents: np.ndarray
    steps: np.ndarray

    def live(self) -> np.ndarray:
        """(state,) copies that still may serve gates."""
        counts = np.bitwise_count(self.held & ALL_COPIES).astype(np.int64)
        changed = np.bitwise_count(self.pieces & ALL_COPIES) - counts[self.rows, self.columns]
        return np.asarray(counts.sum(axis=0)[self.columns] + changed.sum(axis=0))

    def at(self, which: np.ndarray) -> States:
        """Some of them, written out."""
        pieces = self.held.take(self.columns[which], axis=1)
        pieces[self.rows.take(which, axis=1), np.arange(len(which))] = self.pieces.take(which, axis=1)
        return States(pieces, self.costs[which], self.parents[which], self.steps[which])


_Join = tuple[np.ndarray, np.ndarray, np.ndarray, float, np.ndarray | int]
"""Columns, two pieces of each that may be one, what the step costs, and its code."""


class Moves:
    """The ways there are.

    Args:
        gates: in order.
        width: of the widest piece.
        ahead: whether qubits are pieces before their first gates.
    """

    def __init__(self, gates: Gates, width: int, *, ahead: bool) -> None:
        self.gates, self.width = gates, width
        begins: dict[int, int] = {}  # the first gate on each qubit
        for gate, pair in enumerate(gates.qubits):
            for q in pair:
                begins.setdefault(q, gate)
        self._first = list(begins) if ahead else []
        self._begins = [[q for q in pair if begins[q] == k and not ahead] for k, pair in enumerate(gates.qubits)]
        self._ends = {run: node >> 1 for node, run in enumerate(gates.runs)}  # the last gate of each
        self.copies = any(run >= 0 for run in gates.runs)

    def start(self) -> States:
        """Before the first gate."""
        pieces = np.array([[WIRE[q] | ALONE] for q in self._first], dtype=np.uint64).reshape(-1, 1)
        return States(pieces, np.zeros(1), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))

    def after(self, gate: int, states: States) -> Ways:
        """What may be done at a gate."""
        rows = len(states.pieces) + len(self._begins[gate])
        before = np.zeros((rows + 2, len(states.costs)), dtype=np.uint64)  # behind all, one for a severed wire, and 0
        before[: len(states.pieces)] = states.pieces
        for k, q in enumerate(self._begins[gate], len(states.pieces)):
            before[k] = WIRE[q] | ALONE
        held, parents, made = self._made(gate, before)
        columns = np.concatenate([own.columns for own in made])
        costs, steps = np.empty(len(columns)), np.empty(len(columns), dtype=np.int64)
        others = np.full((2, len(columns)), rows + 1), np.zeros((2, len(columns)), dtype=np.uint64)
        begin = 0
        for own in made:
            end = begin + len(own.columns)
            costs[begin:end], steps[begin:end] = own.cost, own.step
            for k, (row, pieces) in enumerate(zip(own.rows, own.pieces, strict=True)):
                others[0][k, begin:end] = row
                others[1][k, begin:end] = pieces
            begin = end
        if self.copies:
            over = 0  # copies that serve no later gate
            for q, run in zip(self.gates.qubits[gate], self.gates.runs[2 * gate : 2 * gate + 2], strict=True):
                if run < 0 or self._ends[run] == gate:
                    over |= 1 << (COPIES + q)
            for pieces in (held, others[1]):
                pieces &= ~(doubled(pieces) | np.uint64(over))
                pieces *= pieces > SIZES
        mixed = mixed_of(held)
        names = mixed.sum(axis=0)[columns] + (mixed_of(others[1]) - mixed[others[0], columns]).sum(axis=0)
        parents = parents[columns]
        return Ways(held, columns, *others, names, np.round(states.costs[parents] + costs, 9), parents, steps)

    def _made(self, gate: int, before: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[_Made]]:
        """What is held, (column,) the state before the gate that each is of, and what is made of them."""
        a, b = self.gates.qubits[gate]
        weight, wire, runs = self.gates.weights[gate], self.gates.wire, self.gates.runs[2 * gate : 2 * gate + 2]
        at_a, at_b = ((before & WIRE[q] != 0).argmax(axis=0) for q in (a, b))
        apart, every = at_a != at_b, np.arange(len(at_a))
        between = apart.nonzero()[0]
        stay = GateStep(True)
        if not len(between):
            return before, every, [_Made(every, 0.0, stay.code)]
        made = [_Made((~apart).nonzero()[0], 0.0, stay.code), _Made(between, weight, GateStep().code)]
        at_a, at_b = at_a[between], at_b[between]
        several = [width_of(before[place, between]) > 1 for place in (at_a, at_b)]
        which = [own.nonzero()[0] for own in (*several, several[0] & several[1] & (self.width > 1))]
        held, parents, bare = _severed(before, [between[own] for own in which], (a, b))
        last = len(before) - 2
        joins: list[_Join] = [(between, at_a, at_b, 0.0, stay.code)]
        for end, there in enumerate((at_b, at_a)):
            own = there[which[end]]
            joins.append((bare[end], own, np.full(len(own), last), wire, GateStep(True, (end,)).code))
        made.append(_Made(bare[2], 2 * wire, GateStep(True, (0, 1)).code))
        for end, (q, there) in enumerate(((a, at_b), (b, at_a))):
            if runs[end] >= 0:
                step, own = GateStep(copy=end), bare[1 - end]
                live = held & (COPY[q] | WIRE[q]) == COPY[q]
                copies = live if live.any() else None
                made += self._copied(gate, held, copies, between, there, q, 0.0, step, joins)
                step = step._replace(wires=(1 - end,))
                made += self._copied(gate, held, copies, own, np.full(len(own), last), q, wire, step, joins)
        return held, parents, [*made, self._joined(held, joins)]

    def _copied(
        self,
        gate: int,
        held: np.ndarray,
        live: np.ndarray | None,
        columns: np.ndarray,
        place: np.ndarray,
        q: int,
        cost: float,
        step: GateStep,
        joins: list[_Join],
    ) -> Iterator[_Made]:
        """By a copy of ``q``: one that is in the other's piece, or in one that it joins to this, or a new one."""
        there = held[place, columns]
        if live is not None:
            has = there & COPY[q] != 0
            yield _Made(columns[has], cost, step.code)
            rest = (~has).nonzero()[0]
            columns, place, there = columns[rest], place[rest], there[rest]
            rows, which = live.take(columns, axis=1).nonzero() if self.gates.joins else (rest[:0], rest[:0])
            if len(which):
                wires = ((held[rows, columns[which]] >> WIRES).astype(np.int64) + 1) << 6
                joins.append((columns[which], place[which], rows, cost, step.code + wires))
        if self._ends[self.gates.runs[2 * gate + step.copy]] == gate:
            return  # it would serve this gate alone
        new, cost = step._replace(new=True).code, cost + self.gates.copy
        copies = there & ALL_COPIES
        room = np.bitwise_count(copies) < there & COUNT
        fits = room | (width_of(there) < self.width)
        own = (there[fits] | COPY[q]) + ~room[fits]
        yield _Made(columns[fits], cost, new, (place[fits],), (own,))
        copies[room] = 0
        lent = int(np.bitwise_or.reduce(copies))
        for old in range(MOST_QUBITS if lent else 0):  # one that has served its last gate lends its qubit
            if lent >> (COPIES + old) & 1:
                own = copies & COPY[old] != 0
                yield _Made(columns[own], cost, new, (place[own],), (there[own] ^ COPY[old] | COPY[q],))

    def _joined(self, held: np.ndarray, joins: list[_Join]) -> _Made:
        """Two pieces of each as one, where they may be."""
        columns, one, other = (np.concatenate([own[k] for own in joins]) for k in range(3))
        costs, steps, begin = np.empty(len(columns)), np.empty(len(columns), dtype=np.int64), 0
        for own, *_, cost, step in joins:
            end = begin + len(own)
            costs[begin:end], steps[begin:end], begin = cost, step, end
        first, second = held[one, columns], held[other, columns]
        both = first | second
        copies = both & ALL_COPIES & ~doubled(both)
        most = np.maximum(np.maximum(first & COUNT, second & COUNT), np.bitwise_count(copies))
        stretches = (first >> STRETCHES & COUNT) + (second >> STRETCHES & COUNT)
        fits = stretches + most <= self.width
        joint = both & ALL | stretches << STRETCHES | most
        where = fits.nonzero()[0]
        return _Made(columns[where], costs[where], steps[where], (one[where], other[where]), (joint[where], 0))


def _severed(
    before: np.ndarray, which: list[np.ndarray], qubits: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Beside all states, some with the wire of one qubit severed, of the other, of both.

    Wires end, with them the copies of their qubits, and go on in a piece of their own, the last but one.

    Args:
        before: (piece, state) of all.
        which: which of them, of the three each.
        qubits: the two.

    Returns:
        (piece, column); (column,) the state that each is of; and (state,) the columns of the three each.
    """
    parents = np.concatenate([np.arange(before.shape[1]), *which])
    held = before.take(parents, axis=1)
    end, columns = before.shape[1], []
    for own, severed in zip(which, (qubits[:1], qubits[1:], qubits), strict=True):
        begin, end = end, end + len(own)
        columns.append(np.arange(begin, end))
        pieces = held[:, begin:end]
        pieces &= ~np.uint64(sum(int(WIRE[q] | COPY[q]) for q in severed))
        pieces[-2] = sum(int(WIRE[q] + ALONE) for q in severed)
    held[:, before.shape[1] :] *= held[:, before.shape[1] :] > SIZES
    return held, parents, columns
