"""Sets of cuts worth comparing: many quick splits at several widths, the best of them annealed.

The effort is counted in steps of known cost, never by a clock, so that a seed and an effort always give the same plan;
and a renumbered circuit gives it too, since qubits are looked at in the order in which gates first touch them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from math import ceil, inf
from typing import NamedTuple

import numpy as np

from tasks.cutting.cuts import Cut
from tasks.cutting.errors import CuttingError
from tasks.cutting.objectives import Objective
from tasks.cutting.objectives.error import log_variance
from tasks.cutting.search.annealing import TOO_WIDE, anneal
from tasks.cutting.search.circuit import Circuit
from tasks.cutting.search.ends import GateEnds
from tasks.cutting.search.pieces import MOST_QUBITS
from tasks.cutting.search.seen import STAYS_WHOLE, views
from tasks.cutting.search.sketch import Sketch
from tasks.cutting.search.slicing import sliced
from tasks.cutting.search.splits import Splits
from tasks.cutting.search.sweep import sweep_seconds, swept
from tasks.model.problem import Problem

NARROWEST = 6  # narrower fragments are hardly ever quicker: a task each, and more joining
_NEXT_WIDTH = 0.75  # of the one before
# What steps take on a typical core, in seconds; a step is as good as its cost on any machine.
_MOVE_S, _SKETCH_S, _SKETCH_END_S = 1.3e-6, 5e-4, 1e-5
_SWEEP_SHARE, _FEWEST_STATES = 0.6, 50  # of the effort, for sweeps forwards and backwards; fewer find nothing
_TAKEN = 6  # of the cheapest that a sweep finds: of equal ones some are quicker to run
_OTHERS = 4  # of its dearer ones: what costs a little more overhead may err less
_MOST_S = 6.0
_LEAST_S = 0.42  # spent on any circuit that is cut
_IDLE_S, _IDLE_SHARE = 0.08, 0.2  # spent on annealing that finds nothing better before it ends, and of all spent
_IDLE_SWEPT = 0.3  # of either, in another view of what a sweep has looked at
_AGAIN = 0.35  # of the effort, in another view of a circuit
_GAIN = 0.01  # powers of two: less is not better, but a tie broken by seconds
_WORTH = 2.0  # times what a run is predicted to take, searching for a quicker one may take at most
_UNFED = 30.0  # powers of two that a plan with more variants than shots must be better by to be looked at first
_FED_STATES, _FED_WAYS, _FED_GATES = 1500, 300, 100  # of sweeps for such plans, and gates that they go over at most
_FED_WIDTHS = (1.0, 0.75, 0.5, 0.25)
_WORTH_LONG = 0.05  # of a run that takes minutes, beyond what a circuit of its size usually needs
_KEPT = 12  # candidates handed on
_ALIKE = 1.0  # powers of two that another must be better by than each of those that are alike
_POOL = 4  # candidates annealed in a round
_HEATS = (0.5, 1.0, 0.25)
_PROMISING = 3  # widths whose gate ends are split
_FAR, _FAR_WIDTHS = 2.0, 2  # powers of two behind the best width; after so many of these, narrower ones are left
_SHORT_S = 0.5  # of an exact run: where it takes no longer, gate ends are not split at widths far behind
_MORE_BLOCKS = 3  # none, one and two blocks more than needed
_MOST_ROUNDS = 1_000
_MOVES = (4_000, 60_000)  # of one annealing, at least and at most
_IDLE_ROUNDS = 50  # that find nothing better before the search gives up, whatever effort is asked for


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
    found: list[tuple[float, tuple[Cut, ...]]] = []
    kept: set[int] = set()
    starts: dict[tuple[int, int], np.ndarray] = {}  # of an instruction's end, its blocks in what was found first
    known = _Known()
    for circuit, qubits in views(problem, objective, runs=runs):
        own = circuit.ends
        ends = GateEnds(own.instructions, qubits, own.weights, own.wire_weight, own.members)
        whole = own.weights == STAYS_WHOLE
        places = [(int(i), int(q)) for i, on in zip(own.instructions, qubits, strict=True) for q in on]
        first = np.array([starts[place] for place in places]).T if starts else np.zeros((0, 0))
        given = tuple(block.tobytes() for block in first)
        best, known = _searched(_Key(circuit), max_qubits, objective, shots, seed, seconds, given, known)
        if not starts:
            blocks = np.array([block for _, block in best[:_POOL]])
            starts = {
                (i, int(q)): blocks[:, 2 * gate + end]
                for gate, many in enumerate(own.members)
                for i in many
                for end, q in enumerate(qubits[gate])
            }
        for score, block in best:
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
    return list(dict.fromkeys(cuts for _, cuts in sorted(found, key=lambda item: item[0])))


def next_width(width: int) -> int:
    """What an exact search looks at after a width above ``NARROWEST``."""
    return max(NARROWEST, ceil(_NEXT_WIDTH * width))


class _Known(NamedTuple):
    """Of the search in another view of a circuit: seconds of the quickest run found, and whether a sweep looked."""

    quickest: float = inf
    swept: bool = False


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


@lru_cache(maxsize=8)
def _splits_of(key: _Key) -> Splits:
    """Searches at several limits ask for the same splits."""
    return Splits(key.circuit)


def forget() -> None:
    """Let the next searches find all anew, as a measurement of their time needs."""
    _searched.cache_clear()
    _splits_of.cache_clear()


@lru_cache(maxsize=64)
def _searched(
    key: _Key,
    max_qubits: int,
    objective: Objective,
    shots: int | None,
    seed: int,
    seconds: float | None,
    starts: tuple[bytes, ...],
    known: _Known,
) -> tuple[list[tuple[float, np.ndarray]], _Known]:
    search = _Search(key.circuit, max_qubits, objective, shots, seed, seconds, starts, known)
    search.run(_splits_of(key))
    search.feed()
    search.slice()
    return search.best(), _Known(search.quickest(), search._states > 0)


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
    starts: tuple[bytes, ...] = ()  # assignments found in another view of the circuit
    known: _Known = field(default_factory=_Known)  # of these
    spent: float = 0.0
    better_at: float = 0.0  # what had been spent when the best was found, or annealing began
    round: int = 0
    found: dict[bytes, _Found] = field(default_factory=dict)
    wide: dict[bytes, np.ndarray] = field(default_factory=dict)
    copies: dict[bytes, list[np.ndarray]] = field(default_factory=dict)  # of either, sets of gates that one serves
    costs: dict[bytes, tuple[float, np.ndarray]] = field(default_factory=dict)  # of either, and widths of the blocks

    def run(self, splits: Splits) -> None:
        """Splits of qubits, then of gate ends, each followed by annealing; all while it is worth its cost."""
        ends = self.circuit.ends
        self._take(ends.qubits.reshape(-1))  # every qubit alone: within any width
        if self.max_qubits == 1:
            return  # there is no other
        for start in self.starts:
            self._take(np.frombuffer(start, dtype=np.int64))
        widths = self._widths(int(ends.qubits.max()) + 1)
        tried, far, first = dict.fromkeys(widths, inf), 0, not self.starts
        nets_far = 0  # widths running at which splits of nets are far behind those of qubits
        for width in widths:
            if self._cannot_win(width):
                continue
            several = width == self.max_qubits and first
            for of_nets, seeds in splits.of_qubits(
                width,
                seeds=several,
                more=(0, 1) if first else () if self.known.swept else (0,),
                nets=nets_far < _FAR_WIDTHS and (first or self.shots is not None),
                exact=self.shots is None,
                swept=self._states > 0,
                seed=self.seed,
            ):
                before, own = tried[width], inf
                for cost, split in seeds:
                    if not self._affords(cost) and tried[widths[0]] < inf:
                        continue
                    known = len(self.found) + len(self.wide)
                    own = min(own, self._try(cost, split))
                    tried[width] = min(before, own)
                    if len(self.found) + len(self.wide) == known:
                        break  # where two seeds agree, others hardly ever find better
                if of_nets:
                    nets_far = nets_far + 1 if own > before + _FAR else 0
            far = far + 1 if _far_behind(tried, width) else 0
            if far == (_FAR_WIDTHS if first else 1):
                break
        self._sweep(widths[0])
        promising = self._promising(tried)
        self.better_at = self.spent
        self._anneal_all(self._pool(promising[0], 1), promising[0])
        for more in range(_MORE_BLOCKS):
            for width in promising:
                for cost, split in splits.of_ends(width, more, self.seed):
                    if self._affords(cost):
                        tried[width] = min(tried[width], self._try(cost, split))
            best = min(promising, key=lambda width: tried[width])
            if more == 0:
                self.better_at = self.spent
            if not self._anneal_all(self._pool(best, 2 * _POOL), best):
                return
        self._rounds(best)

    @cached_property
    def _states(self) -> int:
        """Kept after each gate of a sweep; 0 where there is none."""
        ends = self.circuit.ends
        if self.shots is None or self.starts or int(ends.qubits.max()) >= MOST_QUBITS:
            return 0
        a_gate, a_state = sweep_seconds(self.circuit)
        states = int((_SWEEP_SHARE * self._budget() / (2 * len(ends.weights)) - a_gate) / a_state)
        return states if states >= _FEWEST_STATES else 0

    def _sweep(self, width: int) -> None:
        """Over all gates in order and back, where there are few: gates that copies serve are seen at once."""
        if not self._states:
            return
        a_gate, a_state = sweep_seconds(self.circuit)
        gates = len(self.circuit.ends.weights)
        sweep = partial(swept, self.circuit, width, self._states, several=_TAKEN, within=_GAIN, others=_OTHERS)
        there = sweep(backwards=False)
        back = sweep(backwards=True, other_way=there)
        self.spent += 2 * (a_gate * gates + a_state * there.states)  # as if the second left out nothing
        for block in [*there.blocks, *back.blocks]:
            self._take(block)

    def feed(self) -> None:
        """Where what is best has more variants than there are shots: ways with more fragments, fewer ends on each."""
        ends = self.circuit.ends
        if self.shots is None or self.starts or int(ends.qubits.max()) >= MOST_QUBITS or len(ends.weights) > _FED_GATES:
            return
        for width in dict.fromkeys(ceil(share * self.max_qubits) for share in _FED_WIDTHS):
            fed = min((item.score for item in self.found.values() if not self._unfed(item)), default=inf)
            if fed < self._least() + _UNFED:
                return
            for block in swept(self.circuit, width, _FED_STATES, backwards=False, several=_FED_WAYS).blocks:
                if self.circuit.sketch(block, self.max_qubits).variants <= self.shots:
                    self._take(block)

    def slice(self) -> None:
        """Where nothing that was found can be run: the best, and every qubit alone, with all wires severed at times."""
        ends = self.circuit.ends
        if self._usable():
            return
        blocks = [*self._pool(self.max_qubits, 1), ends.qubits.reshape(-1)]
        bits = max(1.0, min((item.sketch.tensor_bits for item in self.found.values()), default=0.0))

        def look(block: np.ndarray) -> tuple[Sketch, float]:
            self.spent += self._sketch_cost
            sketch = self.circuit.sketch(block, self.max_qubits)
            if sketch.width > self.max_qubits or self._unusable(sketch):
                return sketch, inf
            return sketch, log_variance(sketch, self.shots) if self.shots else self.objective.score(sketch, None)

        best = sliced(ends, blocks, bits, look)
        if best is not None:
            self._take(best)

    def _usable(self) -> list[_Found]:
        return [item for item in self.found.values() if not self._unusable(item.sketch)]

    def _unusable(self, sketch: Sketch) -> bool:
        return sketch.too_large or (self.shots is not None and sketch.variants > self.shots)

    def _unfed(self, item: _Found) -> bool:
        return self.shots is not None and item.sketch.variants > self.shots

    def best(self) -> list[tuple[float, np.ndarray]]:
        """Assignments and their scores, the best first; too wide or too large to join only where there are no others.

        Of those there is one, for what a refusal says: building fragments that no plan is made of takes long.
        """
        found: list[tuple[float, Sketch | None, np.ndarray]] = [
            (item.score + _UNFED * self._unfed(item), item.sketch, item.block) for item in self.found.values()
        ]
        ordered = self._varied(found) or [(inf, None, block) for block in list(self.wide.values())[:1]]
        fed = self._usable()
        if fed and all(self._unfed(self.found[block.tobytes()]) for _, _, block in ordered):
            least = min(fed, key=lambda item: item.score)
            ordered.append((least.score + _UNFED, least.sketch, least.block))
        held = [item for item in ordered if item[1] is not None and not item[1].too_large]
        return [(score, block) for score, _, block in held or ordered[:1]]

    def _varied(
        self, found: list[tuple[float, Sketch | None, np.ndarray]]
    ) -> list[tuple[float, Sketch | None, np.ndarray]]:
        """Those handed on, the best first; for shots few that are alike: fragments as wide with as many cut ends.

        Of exact ones the first of each smaller number of fragments, too: these may take no amplitudes.
        """
        ordered = sorted(found, key=lambda item: item[0])
        if self.shots is None:
            fewest = np.minimum.accumulate([len(sketch.fragments) for _, sketch, _ in ordered if sketch] or [0])
            fewer = np.flatnonzero(np.diff(fewest)) + 1
            return [*ordered[:_KEPT], *(ordered[k] for k in fewer.tolist() if k >= _KEPT)]
        seen: Counter[tuple[tuple[int, int], ...]] = Counter()
        ranked = []
        for place, (score, sketch, _) in enumerate(ordered):
            assert sketch is not None
            shape = tuple(sorted((one.width - one.lent, len(one.cuts)) for one in sketch.fragments))
            ranked.append((score + _ALIKE * seen[shape], place))
            seen[shape] += 1
        return [ordered[place] for place in sorted(place for _, place in sorted(ranked)[:_KEPT])]

    def _widths(self, qubits: int) -> list[int]:
        """Widest first: an exact run may well be quicker on narrower fragments."""
        widths = [min(self.max_qubits, qubits)]
        while self.shots is None and widths[-1] > NARROWEST:
            widths.append(next_width(widths[-1]))
        return widths

    def _budget(self) -> float:
        """Seconds of a typical core: what is asked for, or what could be gained."""
        if self.seconds is not None:
            return self.seconds
        most = min(_MOST_S, 0.25 + 1.2e-3 * len(self.circuit.alone)) * (_AGAIN if self.starts else 1.0)
        if self.shots is not None:
            return most
        quickest = self.quickest()
        return min(max(most, min(_MOST_S, _WORTH_LONG * quickest)), max(_LEAST_S, _WORTH * quickest))

    def quickest(self) -> float:
        """Seconds of the quickest run known."""
        return min([self.known.quickest, *(item.sketch.seconds for item in self.found.values())])

    @cached_property
    def _sketch_cost(self) -> float:
        return _SKETCH_S + _SKETCH_END_S * len(self.circuit.alone)

    def _cannot_win(self, width: int) -> bool:
        """Whether as many fragments as that width takes are worse than the best found, whatever they are."""
        fragments = ceil((int(self.circuit.ends.qubits.max()) + 1) / width)
        return self.shots is None and self.objective.least(fragments) >= self._least()

    def _promising(self, tried: dict[int, float]) -> list[int]:
        """The widths whose gate ends are split, from the scores of splits of the qubits; the best first."""
        first, *others = sorted(tried, key=lambda width: tried[width])
        short = self.quickest() <= _SHORT_S
        able = [w for w in others if not self._cannot_win(w) and not (short and _far_behind(tried, w))]
        return [first, *able][:_PROMISING]

    def _affords(self, cost: float) -> bool:
        return self.spent + cost + self._sketch_cost <= self._budget()

    def _try(self, cost: float, split: Callable[[], np.ndarray | None]) -> float:
        self.spent += cost
        block = split()
        return inf if block is None else self._take(block)

    def _take(self, block: np.ndarray) -> float:
        """Keep an assignment, each connected part of it a block of its own; its score."""
        _, firsts, labels = np.unique(block, return_index=True, return_inverse=True)
        named = np.argsort(np.argsort(firsts))[labels.reshape(-1)]
        name = named.tobytes()
        if name in self.found or name in self.wide:
            return self.found[name].score if name in self.found else inf
        self.spent += self._sketch_cost
        sketch, self.copies[name] = self.circuit.sketch_and_copies(named, self.max_qubits)
        if sketch.width > self.max_qubits:
            self.wide[name] = named
            return inf
        score = self.objective.score(sketch, self.shots)
        if score < self._least() - _GAIN:
            self.better_at = self.spent
        self.found[name] = _Found(score, sketch, named)
        return score

    def _rounds(self, width: int) -> None:
        """Rounds over the best candidates, while they find better ones."""
        idle = 0
        for _ in range(_MOST_ROUNDS):
            before = self._least()
            if not self._anneal_all(self._pool(width, _POOL), width):
                return
            idle = 0 if self._least() < before - _GAIN else idle + 1
            if idle >= _IDLE_ROUNDS:
                return

    def _anneal_all(self, blocks: list[np.ndarray], width: int) -> bool:
        """Whether there was enough to spend on all of them, and reason to."""
        heat, seed = _HEATS[self.round % len(_HEATS)], self.seed + self.round
        self.round += 1
        return all(self._annealed(block, width, seed, heat) for block in blocks)

    def _annealed(self, block: np.ndarray, width: int, seed: int, heat: float) -> bool:
        """Whether there was enough to spend on it, and something better found of late."""
        cost = _MOVE_S * (moves := int(min(max(100 * len(block), _MOVES[0]), _MOVES[1])))
        most = max(_IDLE_S, _IDLE_SHARE * self.spent) * (_IDLE_SWEPT if self.known.swept else 1.0)
        idle = self.spent - self.better_at > most
        if not self._affords(cost) or (idle and self.seconds is None):
            return False
        self.spent += cost
        self._take(anneal(self._with_copies(block), block, width, seed=seed, moves=moves, heat=heat))
        return True

    def _with_copies(self, block: np.ndarray) -> GateEnds:
        """The gates, each of those that a copy serves under an assignment at its share of the copy's cost."""
        ends = self.circuit.ends
        copies = self.copies[block.tobytes()]
        if not copies:
            return ends
        weights = ends.weights.copy()
        for gates in copies:
            weights[gates] = self.circuit.copy_weight / len(gates)
        return ends.weighted(weights)

    def _pool(self, width: int, most: int) -> list[np.ndarray]:
        """The assignments that look best, too wide ones among them for what narrowing them may cost."""
        ends = self.circuit.ends
        blocks = {name: item.block for name, item in self.found.items()} | self.wide

        def looks(name: bytes) -> float:
            if name not in self.costs:
                self.costs[name] = self._with_copies(blocks[name]).cost(blocks[name]), ends.widths(blocks[name])
            cost, widths = self.costs[name]
            return cost + TOO_WIDE * ends.wire_weight * float(np.maximum(widths - width, 0).sum())

        return [blocks[name] for name in sorted(blocks, key=looks)[:most]]

    def _least(self) -> float:
        return min((item.score for item in self.found.values()), default=inf)


def _far_behind(tried: dict[int, float], width: int) -> bool:
    return min(tried.values()) + _FAR < tried[width] < inf
