"""What a sweep does at each gate of a circuit, and the fragments that follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tasks.cutting.search.circuit import Circuit


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

    @property
    def code(self) -> int:
        """As one number."""
        ends = sum(2 << end for end in self.wires)
        return self.stays + ends + ((self.copy + 1) << 3) + (self.new << 5) + ((self.joins + 1) << 6)

    @classmethod
    def of_code(cls, code: int) -> GateStep:
        """The step that has it."""
        wires = tuple(end for end in (0, 1) if code & 2 << end)
        return cls(bool(code & 1), wires, (code >> 3 & 3) - 1, bool(code >> 5 & 1), (code >> 6) - 1)


Way = list[GateStep]


@dataclass(frozen=True)
class Gates:
    """What a sweep sees of a circuit, in the order in which it does.

    Attributes:
        qubits: (gate, 2) of each.
        weights: (gate,) what cutting each costs.
        wire: of cutting a wire.
        copy: of a copy.
        runs: (node,) equal where one copy may serve the gates, else -1.
        joins: whether copies may join pieces.
    """

    qubits: Sequence[Sequence[int]]
    weights: Sequence[float]
    wire: float
    copy: float
    runs: Sequence[int]
    joins: bool

    @classmethod
    def of(cls, circuit: Circuit, *, less: float = 0.0, backwards: bool = False) -> Gates:
        """Of a circuit as a search sees it, each cut at ``less`` than its weight; or of its gates from the last on."""
        ends = circuit.ends
        runs = [next((run for run in own if run >= 0), -1) for own in circuit.runs.tolist()]
        pairs, weights = ends.qubits.tolist(), (ends.weights - less).tolist()
        if backwards:
            runs = [run for gate in range(len(pairs) - 1, -1, -1) for run in runs[2 * gate : 2 * gate + 2]]
            pairs, weights = pairs[::-1], weights[::-1]
        often = Counter(runs)
        runs = [run if often[run] > 1 else -1 for run in runs]
        return cls(pairs, weights, ends.wire_weight - less, circuit.copy_weight - less, runs, circuit.joins)

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
