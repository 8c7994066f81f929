"""Wire and gate cuts together, gate by gate in order: what is in one piece so far, the cheapest ways kept.

A state is which qubits' wires are in one piece at present, each piece with the qubits that it has taken so far and the
copies in it (see ``pieces.py``); what may be done at a gate is in ``moves.py``.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np

from tasks.cutting.search.ahead import Ahead
from tasks.cutting.search.circuit import Circuit
from tasks.cutting.search.moves import Moves, States, Ways
from tasks.cutting.search.pieces import (
    ALL_COPIES,
    ALL_WIRES,
    SIZES,
    WIRES,
    firsts_of,
    in_order,
    mixed_of,
    width_of,
)
from tasks.cutting.search.steps import Gates, GateStep

NEARLY = 4.0  # powers of two, so much dearer may be what a sweep finds after one the other way
FORESEEN_QUBITS = 12  # of circuits whose gates to come a guess is made of
_BORROWS = np.uint64(0x8080808080808080)
_GUESSED = 3  # times as many states as are kept, what is likely to come is looked at of
_TURNS = 8  # states before it that one is held against, of those with the same wires together
_FIRST, _LAST = 1.85, 0.3  # of the states, kept at the first gates and at the last: it is early that much is open
_ROUNDING = 1e-6
_GATE_S, _STATE_S = (5.5e-4, 1e-3), (1.4e-6, 2e-6)  # of the steps of a sweep, and what copies at all gate ends add
_GUESS_S = 3.5e-7  # of a state's guess


class Sweep:
    """The ways there are, followed gate by gate.

    Args:
        gates: in order.
        width: of the widest piece.
    """

    def __init__(self, gates: Gates, width: int) -> None:
        self.gates = gates
        self.foresees = max(map(max, gates.qubits)) < FORESEEN_QUBITS
        self.moves = Moves(gates, width, ahead=self.foresees)
        self._ahead = Ahead(gates, width) if self.foresees else None

    def kept(self, gate: int, ways: Ways, most: int, *, dearest: float = inf) -> States:
        """Those that look cheapest with all gates before one done, each once, without those that another beats.

        Args:
            gate: the next one.
            ways: to come here.
            most: states kept.
            dearest: what they may cost, copies that still may serve gates not counted.
        """
        costs = ways.costs
        if dearest < inf:
            paid = costs - ways.live() * self.gates.copy if self.moves.copies else costs
            which = (paid <= dearest + _ROUNDING).nonzero()[0]
            order = which[in_order(costs[which])[0]]
        else:
            order, _ = in_order(costs)
        firsts = firsts_of(ways.names[order])
        states = ways.at(order[firsts[: (_GUESSED if self._ahead else 2) * most]])
        pieces = states.pieces
        pieces.sort(axis=0)  # by wires, so that pieces with the same ones stand side by side
        empty = int(pieces.any(axis=1).argmax())
        states = States(pieces[empty:], states.costs, states.parents, states.steps)
        if self._ahead:
            wires, widths = (states.pieces >> WIRES).astype(np.int64), width_of(states.pieces)
            costs = np.round(states.costs + self._ahead.costs(gate, wires, widths), 9)
            states = states.at(in_order(costs + 0.0)[0][: 2 * most])
        return states.at((~self._beaten(states)).nonzero()[0][:most])

    def _beaten(self, states: States) -> np.ndarray:
        """(state,) whether one before it, wires together alike, is as cheap with the copies it lacks, no wider."""
        beaten = np.zeros(len(states.costs), dtype=bool)
        wires = states.pieces & ALL_WIRES
        order, alike = in_order(mixed_of(wires).sum(axis=0))
        early = (alike[1:] == alike[:-1]).nonzero()[0]
        if not len(early):
            return beaten
        late = early[:, None] + np.arange(1, _TURNS + 1)
        each, turns = (alike.take(late, mode="clip") == alike[early, None]).nonzero()
        fits = late[each, turns] < len(order)
        late, early = order[late[each, turns][fits]], order[early[each][fits]]
        spare = states.costs[late] - states.costs[early] + _ROUNDING
        fits = spare >= 0
        late, early, spare = late[fits], early[fits], spare[fits]
        sizes = states.pieces & SIZES
        if self.moves.copies:
            wired = wires != 0
            sizes *= wired
        for own in _packed(sizes):
            fits = ((own[late] | _BORROWS) - own[early]) & _BORROWS == _BORROWS
            late, early, spare = late[fits], early[fits], spare[fits]
        if self.moves.copies and len(late):
            copies = states.pieces & ALL_COPIES
            gone = (np.bitwise_count(copies) * ~wired).sum(axis=0)
            copies = (copies * wired)[(copies).any(axis=1)]
            lacks = np.bitwise_count(copies[:, late] & ~copies[:, early]).sum(axis=0) + gone[late]
            late = late[spare >= lacks * self.gates.copy]
        beaten[late] = True
        return beaten


def _packed(sizes: np.ndarray) -> np.ndarray:
    """(number, state) uint64, of (piece, state) sizes four in a number."""
    few = np.zeros((sizes.shape[1], -(-len(sizes) // 4) * 4), dtype=np.uint16)
    few[:, : len(sizes)] = sizes.T
    return np.ascontiguousarray(few.view(np.uint64).T)


def sweep_seconds(circuit: Circuit) -> tuple[float, float]:
    """What a gate takes on a typical core, and each state kept after it; more where copies may serve its ends."""
    share = float(np.mean([run >= 0 for run in Gates.of(circuit).runs]))
    guess = _GUESS_S if int(circuit.ends.qubits.max()) < FORESEEN_QUBITS else 0.0
    return _GATE_S[0] + share * _GATE_S[1], _STATE_S[0] + share * _STATE_S[1] + guess


class Swept(NamedTuple):
    """What a sweep found.

    Attributes:
        blocks: (node,) int each, the block of each gate end, the cheapest first.
        states: kept in all.
        least: (gate + 1,) cost of the cheapest way there is before each gate and behind all.
    """

    blocks: list[np.ndarray]
    states: int
    least: list[float]


def swept(
    circuit: Circuit,
    width: int,
    most: int,
    *,
    backwards: bool,
    several: int = 1,
    within: float = inf,
    others: int = 0,
    other_way: Swept | None = None,
) -> Swept:
    """The cheapest assignments found in one go over the gates.

    Args:
        circuit: to be cut.
        width: of the widest block.
        most: states kept after each gate, on the average.
        backwards: whether from the last gate to the first.
        several: how many assignments at most.
        within: so much dearer than the cheapest one they may be.
        others: how many dearer ones besides, each the first of its cost.
        other_way: what a sweep the other way found: states that cannot be nearly as cheap in the end are left out. The
            rest of the gates costs what it costs there at least, but for copies that are paid for.
    """
    sweep = Sweep(Gates.of(circuit, backwards=backwards), width)
    layers, least, gates = [sweep.moves.start()], [0.0], len(sweep.gates.weights)
    for gate in range(gates):
        share = max(_LAST, _FIRST * (1 - gate / gates)) if sweep.foresees else 1.0
        ways = sweep.moves.after(gate, layers[-1])
        least.append(float(ways.costs.min()))
        dearest = inf if other_way is None else other_way.least[-1] + NEARLY - other_way.least[gates - 1 - gate]
        layers.append(sweep.kept(gate + 1, ways, int(share * most), dearest=dearest))
        if not len(layers[-1].costs):
            return Swept([], sum(len(layer.costs) for layer in layers), least)
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
    return Swept(blocks, sum(len(layer.costs) for layer in layers), least)
