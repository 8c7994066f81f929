"""The two-qubit gates of a circuit as a graph of gate ends, and assignments of its nodes to blocks as sets of cuts.

Each end of a two-qubit gate is a node. Two kinds of edges join nodes: a gate (its two ends) and a stretch of wire (two
neighbouring ends on one qubit). Nodes are put into blocks; an edge between blocks is a cut, of a gate or of a wire, and
a block's width is the number of its unbroken stretches of wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array, csr_array

from tasks.cutting.cuts import Cut, GateCut, WireCut
from tasks.cutting.search.linear import split_order


@dataclass(frozen=True)
class GateEnds:
    """The two-qubit gates of a circuit as a graph of ends: gate ``g`` has nodes ``2g`` and ``2g + 1``.

    Attributes:
        instructions: (gate,) index of each gate in the circuit.
        qubits: (gate, 2) its qubits.
        weights: (gate,) what cutting it costs.
        wire_weight: what cutting a wire costs.
        members: (gate,) the instructions that each stands for, where some stand for several.
    """

    instructions: np.ndarray
    qubits: np.ndarray
    weights: np.ndarray
    wire_weight: float
    members: tuple[tuple[int, ...], ...] = ()

    def weighted(self, weights: np.ndarray) -> GateEnds:
        """The same gates with other weights."""
        made = replace(self, weights=weights)
        vars(made)["along"] = self.along
        return made

    def wires(self) -> list[list[int]]:
        """For each qubit that has gates, its nodes in time order."""
        lines: dict[int, list[int]] = {}
        for gate, (a, b) in enumerate(self.qubits.tolist()):
            lines.setdefault(a, []).append(2 * gate)
            lines.setdefault(b, []).append(2 * gate + 1)
        return [lines[q] for q in sorted(lines)]

    @cached_property
    def along(self) -> tuple[np.ndarray, np.ndarray]:
        """(node,) the nodes wire by wire in time order, and (node,) bool, which of these places begin a wire."""
        wires = self.wires()
        firsts = np.zeros(2 * len(self.weights), dtype=bool)
        firsts[np.cumsum([0, *(len(nodes) for nodes in wires[:-1])])[: len(wires)]] = True
        return np.array([node for nodes in wires for node in nodes], dtype=np.int64), firsts

    @cached_property
    def layers(self) -> np.ndarray:
        """(gate,) int, the layer that each is in where all come as early as they can."""
        depth: dict[int, int] = {}
        layers = []
        for a, b in self.qubits.tolist():
            layers.append(max(depth.get(a, 0), depth.get(b, 0)))
            depth[a] = depth[b] = layers[-1] + 1
        return np.array(layers, dtype=np.int64)

    def qubit_weights(self, size: int) -> csr_array:
        """(qubit, qubit) symmetric: what it costs to cut all gates between two of ``size`` qubits."""
        return _symmetric(self.qubits[:, 0], self.qubits[:, 1], self.weights, size)

    @cached_property
    def end_weights(self) -> csr_array:
        """(node, node) symmetric: what it costs to part two nodes that a gate or a stretch of wire joins."""
        gates = 2 * np.arange(len(self.weights))
        earlier, later = self.stretches
        costs = np.concatenate([self.weights, np.full(len(earlier), self.wire_weight)])
        return _symmetric(np.concatenate([gates, earlier]), np.concatenate([gates + 1, later]), costs, 2 * len(gates))

    @cached_property
    def stretches(self) -> tuple[np.ndarray, np.ndarray]:
        """(stretch,) the nodes at the earlier and at the later end of each stretch of wire between two gates."""
        order, firsts = self.along
        later = np.flatnonzero(~firsts)
        return order[later - 1], order[later]

    def widths(self, block: np.ndarray) -> np.ndarray:
        """(block,) the unbroken stretches of wire in each block of an assignment."""
        order, firsts = self.along
        own = block[order]
        begins = firsts.copy()
        begins[1:] |= own[1:] != own[:-1]
        return np.bincount(own[begins])

    def cost(self, block: np.ndarray) -> float:
        """What the cuts of an assignment cost in all."""
        earlier, later = self.stretches
        broken = int((block[earlier] != block[later]).sum())
        return float(self.weights[block[0::2] != block[1::2]].sum() + self.wire_weight * broken)

    def cuts(self, block: np.ndarray, copies: Sequence[np.ndarray] = ()) -> tuple[Cut, ...]:
        """The cuts that an assignment of nodes to blocks means.

        Args:
            block: (node,) int, the block of each node.
            copies: gates that are severed as one by a copy, each (gate,) int.
        """
        apart = block[0::2] != block[1::2]
        for gates in copies:
            apart[gates] = False
        severed = [[gate] for gate in np.flatnonzero(apart).tolist()] + [gates.tolist() for gates in copies]
        cuts: list[Cut] = []
        for gates in severed:
            first, *others = sorted(i for gate in gates for i in self._instructions_of(gate))
            cuts.append(GateCut(first, joined=tuple(others)))
        for nodes in self.wires():
            for earlier, later in pairwise(nodes):
                if block[earlier] != block[later]:
                    cuts.append(WireCut(int(self.instructions[later >> 1]), int(self.qubits[later >> 1, later & 1])))
        return tuple(cuts)

    def keeps_runs(self, block: np.ndarray) -> bool:
        """Whether no wire is severed inside of several gates seen as one that stay whole: it would part them."""
        many = [(gate, own) for gate, own in enumerate(self.members) if len(own) > 1]
        whole = [(gate, own) for gate, own in many if block[2 * gate] == block[2 * gate + 1]]
        if not whole:
            return True
        severed: dict[int, list[int]] = {}
        for cut in self.cuts(block):
            if isinstance(cut, WireCut):
                severed.setdefault(cut.qubit, []).append(cut.instruction)
        return not any(
            own[0] < i <= own[-1] for gate, own in whole for q in self.qubits[gate].tolist() for i in severed.get(q, ())
        )

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """(gate,) its first and its last instruction."""
        return [(min(own), max(own)) for own in map(self._instructions_of, range(len(self.weights)))]

    def _instructions_of(self, gate: int) -> tuple[int, ...]:
        return self.members[gate] if self.members else (int(self.instructions[gate]),)


def end_blocks(ends: GateEnds, max_width: int, order: np.ndarray | None = None) -> np.ndarray:
    """The nodes in an order, split optimally into contiguous blocks.

    Args:
        ends: the graph, of at least one gate.
        max_width: most stretches of wire in a block, at least 2.
        order: (node,) permutation; None for the order of the instructions.

    Returns:
        (node,) int, the block of each node.
    """
    places = np.arange(2 * len(ends.weights)) if order is None else order
    return split_order(ends.end_weights, places, max_width, ends.stretches)


def _symmetric(a: np.ndarray, b: np.ndarray, values: np.ndarray, size: int) -> csr_array:
    both = (np.concatenate([a, b]), np.concatenate([b, a]))
    return csr_array(coo_array((np.concatenate([values, values]), both), shape=(size, size)))
