"""What the gates to come are likely to cost a state of a sweep: a guess, by which it chooses the states to keep.

A gate between two pieces costs something, the more surely where they are too wide together to be joined; the later it
comes, the less is it known that its qubits will still be where they are.
"""

from __future__ import annotations

import numpy as np

from tasks.cutting.search.steps import Gates

_FADES = 0.9  # of what a gate counts, with every gate before it
_APART, _FULL = 0.2, 0.4  # of what it costs severed, between two pieces, and more where they cannot be joined


class Ahead:
    """Of the gates in order, for pieces of a width at most."""

    def __init__(self, gates: Gates, width: int) -> None:
        qubits = 1 + max(q for pair in gates.qubits for q in pair)
        sets = np.arange(1 << qubits)
        holds = [sets >> q & 1 for q in range(qubits)]
        within = np.zeros(len(sets))
        self._within = [within]
        for (a, b), weight in zip(gates.qubits[::-1], gates.weights[::-1], strict=True):
            within = _FADES * within + min(weight, 2 * gates.wire) * (holds[a] & holds[b])
            self._within.append(within)
        self._within.reverse()
        self._width = width

    def costs(self, gate: int, wires: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """(state,) the guess, of what comes from a gate on.

        Args:
            gate: the next one.
            wires: (piece, state) int, the qubits whose wire is in each, a bit each.
            widths: (piece, state) int.
        """
        within = self._within[gate]
        own = within[wires]
        costs = _APART * (within[-1] - own.sum(axis=0))
        widths = widths.astype(np.uint8)
        first, second = np.triu_indices(len(wires), 1)
        pair, state = (widths[first] + widths[second] > self._width).nonzero()
        first, second = first[pair], second[pair]
        between = within[wires[first, state] | wires[second, state]] - own[first, state] - own[second, state]
        return costs + _FULL * np.bincount(state, between, len(costs))
