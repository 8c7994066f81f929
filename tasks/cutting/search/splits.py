"""Quick splits of a circuit into blocks, of its qubits and of its gate ends, each made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from math import ceil

import numpy as np
from scipy.sparse import csr_array

from tasks.cutting.search.blocks import qubit_blocks
from tasks.cutting.search.circuit import Circuit
from tasks.cutting.search.ends import end_blocks
from tasks.cutting.search.linear import spectral_order
from tasks.cutting.search.multilevel import multilevel_blocks, multilevel_nets

# What steps take on a typical core, in seconds; a step is as good as its cost on any machine.
_SPLIT_S, _QUBIT_S, _NODE_S = 5e-3, 1e-4, 1e-4
_LARGE = 2_000  # gate ends; orders of more are not split
_SEEDS = (8, 2)  # splits of the qubits at the full width, into as few blocks as fit and into one more
_SEEDS_SWEPT = (2, 1)  # where a sweep looks at all gates, too
_NET_SEEDS = 3  # of these
_FIRST = 100

Step = tuple[float, Callable[[], np.ndarray | None]]
"""What a split costs, and how to make it: (node,) int, the block of each gate end; None where there is none."""


class Splits:
    """Of one circuit."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        self._qubits = int(circuit.ends.qubits.max()) + 1
        self._made: dict[tuple[object, ...], np.ndarray | None] = {}

    def of_qubits(
        self, width: int, *, seeds: bool, more: Sequence[int], nets: bool, exact: bool, swept: bool, seed: int
    ) -> Iterator[tuple[bool, list[Step]]]:
        """Into as few blocks as fit and so many more: each list is one way by one seed after the other.

        Args:
            width: most qubits in a block.
            seeds: whether other seeds than the first may be worth their cost.
            more: blocks than needed, none or one, in turn.
            nets: whether splits of nets, too: lists of these are told by True.
            exact: whether for an exact run.
            swept: whether a sweep looks at all gates, too: it sees what copies serve.
            seed: the first.
        """
        cost = _SPLIT_S + _QUBIT_S * self._qubits
        nets_cost = cost + _NODE_S * len(self._circuit.ends.weights)
        number = ceil(self._qubits / width)
        for spare in more:
            many = (_SEEDS_SWEPT if swept else _SEEDS)[spare] if seeds else 1
            yield False, [self._step(cost, self._of_qubits, number + spare, width, seed + k) for k in range(many)]
            if nets and self._nets is not None:
                many = min(many, 1 - spare if exact else 1 if swept else _NET_SEEDS)
                for room in (1, 0):  # for a copy
                    own = max(1, width - room)
                    blocks = ceil(self._qubits / own) + spare
                    if own_seeds := range(1 - room, many, 2):
                        yield True, [self._step(nets_cost, self._served, blocks, own, seed + k) for k in own_seeds]

    def of_ends(self, width: int, more: int, seed: int) -> Iterator[Step]:
        """Gate ends into as few blocks as fit and ``more``, and their orders into contiguous blocks."""
        if width < 2:
            return
        nodes = len(self._circuit.alone)
        cost = _SPLIT_S + _NODE_S * nodes
        blocks = max(2, ceil(self._qubits / width)) + more
        yield self._step(cost, self._of_ends, blocks, int(1.6 * nodes / blocks) + 1, 1, seed)
        yield self._step(cost, self._of_ends, blocks, _FIRST * width + nodes // 2, _FIRST, seed)
        if more == 0 and nodes <= _LARGE:
            yield self._step(1.5e-4 * nodes, self._in_order, width, True)
        if more == 1 and nodes <= _LARGE:
            yield self._step(1e-4 * nodes, self._in_order, width, False)

    def _step(self, cost: float, split: Callable[..., np.ndarray | None], *how: object) -> Step:
        return cost, partial(self._once, split, *how)

    def _once(self, split: Callable[..., np.ndarray | None], *how: object) -> np.ndarray | None:
        key = (split.__name__, *how)
        if key not in self._made:
            self._made[key] = split(*how)
        return self._made[key]

    @cached_property
    def _weights(self) -> csr_array:
        return self._circuit.ends.qubit_weights(self._qubits)

    def _of_qubits(self, number: int, width: int, seed: int) -> np.ndarray:
        block = multilevel_blocks(self._weights, np.ones(self._qubits, dtype=np.int64), number, width, seed=seed)
        if block is None:
            block = qubit_blocks(self._weights, width)[0]
        return np.asarray(block[self._circuit.ends.qubits].reshape(-1))

    @cached_property
    def _nets(self) -> tuple[list[list[int]], np.ndarray] | None:
        """Nets of qubits and, numbered behind them, gates, with what they cost; None where copies serve nothing.

        A gate stands beside one of its qubits or, served by a copy, elsewhere: a qubit and the gates of one run on it
        are a net, which costs a copy for each further block that these gates stand in.
        """
        ends, runs, qubits = self._circuit.ends, self._circuit.runs, self._qubits
        nets: dict[tuple[int, int], list[int]] = {}
        for node, own in enumerate(runs.tolist()):
            run = next(((axis, number) for axis, number in enumerate(own) if number >= 0), (-1, node))
            nets.setdefault(run, [int(ends.qubits[node >> 1, node & 1])]).append(qubits + (node >> 1))
        if not any(len(net) > 2 for net in nets.values()):
            return None
        each = [float(sum(ends.weights[node - qubits] for node in net[1:])) for net in nets.values()]
        many = [len(net) > 2 for net in nets.values()]
        copy = self._circuit.copy_weight
        costs = [min(cost, copy) if joint else cost for cost, joint in zip(each, many, strict=True)]
        return list(nets.values()), np.array(costs)

    def _served(self, number: int, width: int, seed: int) -> np.ndarray | None:
        assert self._nets is not None
        ends, qubits = self._circuit.ends, self._qubits
        gates = len(ends.weights)
        sizes = np.ones(qubits + gates, dtype=np.int64)
        sizes[:qubits] = gates + 1  # all gates together are less than a qubit
        block = multilevel_nets(*self._nets, sizes, number, width * (gates + 1) + gates, seed=seed)
        return None if block is None else np.asarray(block[ends.qubits].reshape(-1))

    def _of_ends(self, blocks: int, room: int, first: int, seed: int) -> np.ndarray | None:
        """A wire's first stretch, one that its block surely has, counts as ``first`` gate ends."""
        order, firsts = self._circuit.ends.along
        sizes = np.ones(len(order), dtype=np.int64)
        sizes[order[firsts]] = first
        return multilevel_blocks(self._circuit.ends.end_weights, sizes, blocks, room, seed=seed)

    @cached_property
    def _spectral(self) -> np.ndarray:
        return spectral_order(self._circuit.ends.end_weights)

    def _in_order(self, width: int, spectral: bool) -> np.ndarray:
        return end_blocks(self._circuit.ends, width, self._spectral if spectral else None)
