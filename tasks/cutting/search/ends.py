"""The two-qubit gates of a circuit as a graph of gate ends, and assignments of its nodes to blocks as sets of cuts.

Each end of a two-qubit gate is a node. Two kinds of edges join nodes: a gate (its two ends) and a stretch of wire (two
neighbouring ends on one qubit). Nodes are put into blocks; an edge between blocks is a cut, of a gate or of a wire, and
a block's width is the number of its unbroken stretches of wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array, csr_array

from tasks.cutting.cuts import Cut, GateCut, WireCut
from tasks.cutting.search.blocks import crossing
from tasks.cutting.search.linear import linear_orders, split_order


@dataclass(frozen=True)
class GateEnds:
    """The two-qubit gates of a circuit as a graph of ends: gate ``g`` has nodes ``2g`` and ``2g + 1``.

    Attributes:
        instructions: (gate,) index of each gate in the circuit.
        qubits: (gate, 2) its qubits.
        weights: (gate,) what cutting it costs.
        wire_weight: what cutting a wire costs.
    """

    instructions: np.ndarray
    qubits: np.ndarray
    weights: np.ndarray
    wire_weight: float

    def wires(self) -> list[list[int]]:
        """For each qubit that has gates, its nodes in time order."""
        lines: dict[int, list[int]] = {}
        for gate, (a, b) in enumerate(self.qubits.tolist()):
            lines.setdefault(a, []).append(2 * gate)
            lines.setdefault(b, []).append(2 * gate + 1)
        return [lines[q] for q in sorted(lines)]

    def qubit_weights(self, size: int) -> csr_array:
        """(qubit, qubit) symmetric: what it costs to cut all gates between two of ``size`` qubits."""
        return _symmetric(self.qubits[:, 0], self.qubits[:, 1], self.weights, size)

    def cuts(self, block: np.ndarray) -> tuple[Cut, ...]:
        """The cuts that an assignment of nodes to blocks, (node,) int, means."""
        apart = block[0::2] != block[1::2]
        cuts: list[Cut] = [GateCut(int(i)) for i in self.instructions[apart]]
        for nodes in self.wires():
            for earlier, later in pairwise(nodes):
                if block[earlier] != block[later]:
                    cuts.append(WireCut(int(self.instructions[later >> 1]), int(self.qubits[later >> 1, later & 1])))
        return tuple(cuts)


def end_blocks(ends: GateEnds, max_width: int) -> list[np.ndarray]:
    """Candidate assignments: linear orders of the nodes, each split optimally into contiguous blocks.

    Args:
        ends: the graph, of at least one gate.
        max_width: most stretches of wire in a block, at least 2.

    Returns:
        distinct candidates, cheapest first: (node,) int, the block of each node.
    """
    gates = np.arange(len(ends.weights))
    pairs = np.array([pair for nodes in ends.wires() for pair in pairwise(nodes)], dtype=np.int64).reshape(-1, 2)
    first, second = np.concatenate([2 * gates, pairs[:, 0]]), np.concatenate([2 * gates + 1, pairs[:, 1]])
    costs = np.concatenate([ends.weights, np.full(len(pairs), ends.wire_weight)])
    weights = _symmetric(first, second, costs, 2 * len(gates))
    found: dict[bytes, tuple[float, np.ndarray]] = {}
    for order in linear_orders(weights):
        blocks = split_order(weights, order, max_width, (pairs[:, 0], pairs[:, 1]))
        found[blocks.tobytes()] = (crossing(weights, blocks), blocks)
    return [blocks for _, blocks in sorted(found.values(), key=lambda item: item[0])]


def _symmetric(a: np.ndarray, b: np.ndarray, values: np.ndarray, size: int) -> csr_array:
    both = (np.concatenate([a, b]), np.concatenate([b, a]))
    return csr_array(coo_array((np.concatenate([values, values]), both), shape=(size, size)))
