"""Sets of cuts worth comparing: many quick splits at several widths, the best of them annealed.

The effort is counted in steps of known cost, never by a clock, so that a seed and an effort always give the same plan;
and a renumbered circuit gives it too, since qubits are looked at in the order in which gates first touch them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from math import ceil, inf

import numpy as np
from scipy.sparse import csr_array

from tasks.cutting.cuts import Cut
from tasks.cutting.errors import CuttingError
from tasks.cutting.lightcone import light_cone
from tasks.cutting.objectives import Objective
from tasks.cutting.search.annealing import TOO_WIDE, anneal
from tasks.cutting.search.blocks import qubit_blocks
from tasks.cutting.search.ends import GateEnds, end_blocks
from tasks.cutting.search.linear import spectral_order
from tasks.cutting.search.multilevel import multilevel_blocks, multilevel_nets
from tasks.cutting.search.seen import STAYS_WHOLE, views
from tasks.cutting.search.sketch import Circuit, Sketch
from tasks.model.problem import Problem

NARROWEST = 6  # narrower fragments are hardly ever quicker: a task each, and more joining
_NARROWER = 0.75
# What steps take on a typical core, in seconds; a step is as good as its cost on any machine.
_MOVE_S, _SKETCH_S, _SPLIT_S = 1.3e-6, 1e-3, 5e-3
_MOST_S = 6.0
_LEAST_S = 0.6  # spent on any circuit that is cut
_LARGE = 2_000  # gate ends; orders of more are not split
_WORTH = 0.5  # of what a run is predicted to take, searching for a quicker one may take
_UNFED = 30.0  # powers of two that a plan with more variants than shots must be better by to be looked at first
_WORTH_LONG = 0.05  # of a run that takes minutes, beyond what a circuit of its size usually needs
_KEPT = 8  # candidates handed on
_POOL = 4  # candidates annealed in a round
_HEATS = (0.5, 1.0, 0.25)
_PROMISING = 3  # widths whose gate ends are split
_SEEDS = (8, 2)  # splits of the qubits at the full width, into as few blocks as fit and into one more
_NET_SEEDS = 3  # of these
_MORE_BLOCKS = 3  # none, one and two blocks more than needed
_FIRST = 100
_MOST_ROUNDS = 1_000
_MOVES = (4_000, 60_000)  # of one annealing, at least and at most
_IDLE_ROUNDS = (3, 50)  # that find nothing better before the search gives up; where an effort is asked for


def candidate_cuts(
    problem: Problem,
    max_qubits: int,
    objective: Objective,
    *,
    shots: int | None = None,
    seed: int = 0,
    seconds: float | None = None,
    runs: bool = True,
) -> list[tuple[Cut, ...]]:
    """Sets of cuts worth comparing, the best first.

    Args:
        problem: validated.
        max_qubits: widest fragment wanted; where nothing found is so narrow, the candidates are wider.
        objective: what the cuts are to make cheap.
        shots: in all, None for an exact run.
        seed: of the search.
        seconds: its effort on a typical core; None for what the circuit is worth.
        runs: whether several gates on one pair of qubits may be severed as their product.

    Raises:
        CuttingError: only gates that cannot be cut would part the circuit so far.
    """
    matters = light_cone(problem.circuit, np.asarray(problem.terms.support.any(axis=0)))
    found: list[tuple[float, tuple[Cut, ...]]] = []
    kept: set[int] = set()
    for circuit, qubits in views(problem, matters, objective, runs=runs):
        own = circuit.ends
        ends = GateEnds(own.instructions, qubits, own.weights, own.wire_weight, own.members)
        whole = own.weights == STAYS_WHOLE
        for score, block in _searched(_Key(circuit), max_qubits, objective, shots, seed, seconds):
            if not (whole & (block[0::2] != block[1::2])).any() and ends.keeps_runs(block):
                copies = circuit.copies(block, max_qubits)
                if not runs:  # gates on one pair that a copy serves are severed as their product
                    copies = [gates for gates in copies if len(np.unique(np.sort(qubits[gates], axis=1), axis=0)) > 1]
                found.append((score, ends.cuts(block, copies)))
        kept.update(own.instructions[whole].tolist())
    if not found:
        names = ", ".join(f"{i} ({problem.circuit.data[i].operation.name})" for i in sorted(kept)[:8])
        raise CuttingError(
            f"no plan within `max_qubits` {max_qubits}: gates that cannot be cut, as instruction {names}, keep more "
            "qubits together; allow more qubits",
            field="max_qubits",
        )
    return [cuts for _, cuts in sorted(found, key=lambda item: item[0])]


class _Key:
    """A circuit that equals another where a search would find the same in both: loops over runs plan once."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        ends = circuit.ends
        arrays = (ends.qubits, np.round(ends.weights, 9), circuit.alone, circuit.letters, circuit.runs)
        self._bytes = b"".join(array.tobytes() + bytes(str(array.shape), "ascii") for array in arrays)

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._bytes == other._bytes and self.circuit.costs == other.circuit.costs


@lru_cache(maxsize=64)
def _searched(
    key: _Key, max_qubits: int, objective: Objective, shots: int | None, seed: int, seconds: float | None
) -> list[tuple[float, np.ndarray]]:
    search = _Search(key.circuit, max_qubits, objective, shots, seed, seconds)
    search.run()
    return search.best()


@dataclass
class _Found:
    score: float
    sketch: Sketch
    block: np.ndarray


@dataclass
class _Search:
    """One search: what it may spend and what it has found."""

    circuit: Circuit
    max_qubits: int
    objective: Objective
    shots: int | None
    seed: int
    seconds: float | None
    spent: float = 0.0
    found: dict[bytes, _Found] = field(default_factory=dict)
    wide: list[np.ndarray] = field(default_factory=list)

    def run(self) -> None:
        """Splits of qubits, then of gate ends, each followed by annealing; all while it is worth its cost."""
        ends = self.circuit.ends
        qubits = int(ends.qubits.max()) + 1
        self._take(ends.qubits.reshape(-1))  # every qubit alone: within any width
        widths = self._widths(qubits)
        tried = dict.fromkeys(widths, inf)
        for width in widths:
            for cost, split in self._splits_of_qubits(width, qubits):
                if self.spent + cost <= self._budget() or tried[widths[0]] == inf:
                    tried[width] = min(tried[width], self._try(cost, split))
        promising = sorted(widths, key=lambda width: tried[width])[:_PROMISING]
        self._anneal_all(self._pool(promising[0], 1), promising[0], 0)
        for more in range(_MORE_BLOCKS):
            for width in promising:
                for cost, split in self._splits_of_ends(width, qubits, more):
                    if self.spent + cost <= self._budget():
                        tried[width] = min(tried[width], self._try(cost, split))
            best = min(promising, key=lambda width: tried[width])
            if not self._anneal_all(self._pool(best, 2 * _POOL), best, more):
                break
        self._rounds(min(promising, key=lambda width: tried[width]))

    def best(self) -> list[tuple[float, np.ndarray]]:
        """Assignments and their scores, the best first; too wide or too large to join only where there are no others.

        Of those there is one, for what a refusal says: building fragments that no plan is made of takes long.
        """
        most = inf if self.shots is None else self.shots
        found: list[tuple[float, Sketch | None, np.ndarray]] = [
            (item.score + _UNFED * (item.sketch.variants > most), item.sketch, item.block)
            for item in self.found.values()
        ]
        ordered = sorted(found, key=lambda item: item[0])[:_KEPT] or [(inf, None, block) for block in self.wide[:1]]
        held = [item for item in ordered if item[1] is not None and not item[1].too_large]
        return [(score, block) for score, _, block in held or ordered[:1]]

    def _widths(self, qubits: int) -> list[int]:
        """Widest first: an exact run may well be quicker on narrower fragments."""
        widths = [min(self.max_qubits, qubits)]
        while self.shots is None and widths[-1] > NARROWEST:
            widths.append(max(NARROWEST, ceil(_NARROWER * widths[-1])))
        return widths

    def _budget(self) -> float:
        """Seconds of a typical core: what is asked for, or what could be gained."""
        if self.seconds is not None:
            return self.seconds
        most = min(_MOST_S, 0.25 + 1.2e-3 * len(self.circuit.alone))
        if self.shots is not None:
            return most
        quickest = min((item.sketch.seconds for item in self.found.values()), default=inf)
        return min(max(most, min(_MOST_S, _WORTH_LONG * quickest)), max(_LEAST_S, _WORTH * quickest))

    def _splits_of_qubits(self, width: int, qubits: int) -> Iterator[tuple[float, Callable[[], np.ndarray | None]]]:
        weights = self.circuit.ends.qubit_weights(qubits)
        cost = _SPLIT_S + 1e-4 * qubits + _SKETCH_S
        number = ceil(qubits / width)
        nets = self._nets
        for more in (0, 1):
            for seed in range(_SEEDS[more] if width == self.max_qubits else 1):
                yield cost, partial(self._qubits, weights, number + more, width, self.seed + seed)
                if nets is not None and seed < (1 - more if self.shots is None else _NET_SEEDS):
                    gates = len(self.circuit.ends.weights)
                    own = max(1, width - (seed + 1) % 2)  # room for a copy
                    blocks = ceil(qubits / own) + more
                    yield cost + 1e-4 * gates, partial(self._served, nets, blocks, own, self.seed + seed)

    def _qubits(self, weights: csr_array, number: int, width: int, seed: int) -> np.ndarray:
        block = multilevel_blocks(weights, np.ones(weights.shape[0], dtype=np.int64), number, width, seed=seed)
        if block is None:
            block = qubit_blocks(weights, width)[0]
        return np.asarray(block[self.circuit.ends.qubits].reshape(-1))

    @cached_property
    def _nets(self) -> tuple[list[list[int]], np.ndarray] | None:
        """Nets of qubits and, numbered behind them, gates, with what they cost; None where copies serve nothing.

        A gate stands beside one of its qubits or, served by a copy, elsewhere: a qubit and the gates of one run on it
        are a net, which costs a copy for each further block that these gates stand in.
        """
        ends, runs = self.circuit.ends, self.circuit.runs
        qubits = int(ends.qubits.max()) + 1
        nets: dict[tuple[int, int], list[int]] = {}
        for node, own in enumerate(runs.tolist()):
            run = next(((axis, number) for axis, number in enumerate(own) if number >= 0), (-1, node))
            nets.setdefault(run, [int(ends.qubits[node >> 1, node & 1])]).append(qubits + (node >> 1))
        if not any(len(net) > 2 for net in nets.values()):
            return None
        each = [float(sum(ends.weights[node - qubits] for node in net[1:])) for net in nets.values()]
        many = [len(net) > 2 for net in nets.values()]
        costs = [min(cost, self.circuit.copy_weight) if joint else cost for cost, joint in zip(each, many, strict=True)]
        return list(nets.values()), np.array(costs)

    def _served(
        self, nets: tuple[list[list[int]], np.ndarray], number: int, width: int, seed: int
    ) -> np.ndarray | None:
        ends = self.circuit.ends
        gates, qubits = len(ends.weights), int(ends.qubits.max()) + 1
        sizes = np.ones(qubits + gates, dtype=np.int64)
        sizes[:qubits] = gates + 1  # all gates together are less than a qubit
        block = multilevel_nets(*nets, sizes, number, width * (gates + 1) + gates, seed=seed)
        return None if block is None else np.asarray(block[ends.qubits].reshape(-1))

    def _splits_of_ends(
        self, width: int, qubits: int, more: int
    ) -> Iterator[tuple[float, Callable[[], np.ndarray | None]]]:
        ends = self.circuit.ends
        if width < 2:
            return
        nodes = len(self.circuit.alone)
        cost = _SPLIT_S + 1e-4 * nodes + _SKETCH_S
        order, firsts = ends.along
        begun = np.ones(nodes, dtype=np.int64)
        begun[order[firsts]] = _FIRST  # a wire's first stretch is one that its block surely has
        even = np.ones(nodes, dtype=np.int64)
        blocks = max(2, ceil(qubits / width)) + more
        split = partial(multilevel_blocks, ends.end_weights, seed=self.seed)
        yield cost, partial(split, even, blocks, int(1.6 * nodes / blocks) + 1)
        yield cost, partial(split, begun, blocks, _FIRST * width + nodes // 2)
        if more == 0 and nodes <= _LARGE:
            yield 1.5e-4 * nodes, lambda: end_blocks(ends, width, self._spectral)
        if more == 1 and nodes <= _LARGE:
            yield 1e-4 * nodes, partial(end_blocks, ends, width)

    @cached_property
    def _spectral(self) -> np.ndarray:
        return spectral_order(self.circuit.ends.end_weights)

    def _try(self, cost: float, split: Callable[[], np.ndarray | None]) -> float:
        self.spent += cost
        block = split()
        return inf if block is None else self._take(block)

    def _take(self, block: np.ndarray) -> float:
        """Keep an assignment, each connected part of it a block of its own; its score."""
        self.spent += _SKETCH_S
        sketch = self.circuit.sketch(block, self.max_qubits)
        if sketch.width > self.max_qubits:
            self.wide.append(block)
            return inf
        _, firsts, labels = np.unique(block, return_index=True, return_inverse=True)
        name = np.argsort(np.argsort(firsts))[labels.reshape(-1)]
        score = self.objective.score(sketch, self.shots)
        self.found.setdefault(name.tobytes(), _Found(score, sketch, name))
        return score

    def _rounds(self, width: int) -> None:
        """Rounds over the best candidates, while they find better ones."""
        idle = 0
        for number in range(1, _MOST_ROUNDS):
            before = self._least()
            if not self._anneal_all(self._pool(width, _POOL), width, number):
                return
            idle = 0 if self._least() < before - 1e-9 else idle + 1
            if idle >= _IDLE_ROUNDS[self.seconds is not None]:
                return

    def _anneal_all(self, blocks: list[np.ndarray], width: int, number: int) -> bool:
        """Whether there was enough to spend on all of them."""
        heat = _HEATS[number % len(_HEATS)]
        return all(self._annealed(block, width, self.seed + number, heat) for block in blocks)

    def _annealed(self, block: np.ndarray, width: int, seed: int, heat: float) -> bool:
        """Whether there was enough to spend on it."""
        moves = int(min(max(100 * len(block), _MOVES[0]), _MOVES[1]))
        if self.spent + _MOVE_S * moves + _SKETCH_S > self._budget():
            return False
        self.spent += _MOVE_S * moves
        self._take(anneal(self._with_copies(block), block, width, seed=seed, moves=moves, heat=heat))
        return True

    def _with_copies(self, block: np.ndarray) -> GateEnds:
        """The gates, each of those that a copy serves under an assignment at its share of the copy's cost."""
        ends = self.circuit.ends
        copies = self.circuit.copies(block, self.max_qubits)
        if not copies:
            return ends
        weights = ends.weights.copy()
        for gates in copies:
            weights[gates] = self.circuit.copy_weight / len(gates)
        return replace(ends, weights=weights)

    def _pool(self, width: int, most: int) -> list[np.ndarray]:
        """The assignments that look best, too wide ones among them for what narrowing them may cost."""
        ends = self.circuit.ends
        blocks = [item.block for item in self.found.values()] + self.wide

        def looks(block: np.ndarray) -> float:
            over = np.maximum(ends.widths(block) - width, 0).sum()
            return self._with_copies(block).cost(block) + TOO_WIDE * ends.wire_weight * float(over)

        return sorted(blocks, key=looks)[:most]

    def _least(self) -> float:
        return min((item.score for item in self.found.values()), default=inf)
