"""The ways that ``tasks/cutting/search/sweep.py`` follows, one state after the other: what its arrays are held against.

With them ``planner_least.py`` proves the least overhead there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.cutting.search.steps import Gates, GateStep

Piece = tuple[int, int, int, int]
"""Part of a fragment as it is after some gates: qubits whose wire is in it now and qubits that a copy in it serves now,
a bit each; how many stretches of wire began in it; how many copies it had at once."""

State = tuple[Piece, ...]
_STAYS, _SEVERED, _WIRES = GateStep(True), GateStep(), GateStep(True, (0, 1))
_WIRE = GateStep(True, (0,)), GateStep(True, (1,))
_ROUNDING = 1e-6


class Pieces:
    """The ways there are.

    Args:
        gates: in order.
        width: of the widest piece.
    """

    def __init__(self, gates: Gates, width: int) -> None:
        self.gates, self.width = gates, width
        self.qubits, self.weights, self.wire, self.copy = gates.qubits, gates.weights, gates.wire, gates.copy
        self.runs, self.joins = gates.runs, gates.joins
        self.ends = {run: node >> 1 for node, run in enumerate(self.runs)}  # the last gate of each
        self.start: State = tuple(sorted((1 << q, 0, 1, 0) for q in {q for pair in self.qubits for q in pair}))

    def moves(self, gate: int, state: State) -> Iterator[tuple[State, float, GateStep]]:
        """What may be done at a gate: the state after it, what it costs, and how it is called."""
        a, b = (1 << q for q in self.qubits[gate])
        over = 0  # qubits that no copy made before serves any more
        for q, run in zip((a, b), self.runs[2 * gate : 2 * gate + 2], strict=True):
            if run < 0 or self.ends[run] == gate:
                over |= q
        for pieces, cost, step in self._ways(gate, state, a, b):
            left = [(wires, copies & ~over & ~wires, n, most) for wires, copies, n, most in pieces]
            yield tuple(sorted(piece for piece in left if piece[0] or piece[1])), cost, step

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


def bits(mask: int) -> Iterator[int]:
    """The bits of a mask, each by itself."""
    while mask:
        yield mask & -mask
        mask &= mask - 1


def _severed(state: Sequence[Piece], q: int) -> list[Piece]:
    """A wire ends, with it the copies of its qubit, and goes on in a piece of its own, the last."""
    ended = [(wires & ~q, copies & ~q, n, most) for wires, copies, n, most in state]
    return [*(piece for piece in ended if piece[0] or piece[1]), (q, 0, 1, 0)]
