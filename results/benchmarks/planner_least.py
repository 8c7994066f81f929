"""Plans beside the least sampling overhead that cuts can have, proven; part of ``planner.py``.

It is the least over all ways that ``planner_least_ways.py`` knows: gate ends in fragments of bounded width,
wires and gates severed, runs of gates on one pair severed as one, copies of qubits.

The search is the one of least cost first. What remains from a gate on costs at least what the circuit from there on
costs by itself: its own optimum, found the same way for ever longer ends of the circuit (Russian dolls: Verfaillie,
Lemaître, Schiex, AAAI 1996), less what copies that are there may save it. Where copies are joined with others it is a
bound: the fragments that are built of what is found show that it is met.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import product
from math import inf, log2
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit.library import efficient_su2, zz_feature_map
from qiskit.synthesis import synth_qft_full

from results.benchmarks.planner_least_ways import Pieces, State, bits
from results.benchmarks.planner_problems import ansatz, basis_of, cuccaro, qaoa, random_pairs, swap_test
from tasks.cutting import CuttingError, make_plan
from tasks.cutting.objectives import find_objective
from tasks.cutting.search.circuit import Circuit
from tasks.cutting.search.seen import views
from tasks.cutting.search.steps import Gates, GateStep, Way
from tasks.inputs.validation import make_problem

DATA = Path(__file__).with_name("planner_least.json")
SHOTS = 10**15  # enough for any plan
MOST_STATES = 2_000_000
A_CUT = 0.1  # that weights have more than the overhead: of equal plans the fewer cuts
_ROUNDING = 1e-6
_AHEAD = 25  # gates, at each of which what remains is bounded


def brickwork(qubits: int, gates: int, seed: int) -> QuantumCircuit:
    """CZs between neighbours, layer by layer, a general rotation on every qubit before each."""
    rng = np.random.default_rng([seed, qubits, gates])
    circuit = QuantumCircuit(qubits)
    pairs = [[(q, q + 1) for q in range(first, qubits - 1, 2)] for first in (0, 1)]
    left = gates
    while left > 0:
        layer = pairs[0][:left]
        for q in range(qubits):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for a, b in layer:
            circuit.cz(a, b)
        left, pairs = left - len(layer), pairs[::-1]
    return circuit


def maxcut(qubits: int, gates: int, seed: int) -> QuantumCircuit:
    """QAOA of MaxCut on a random graph of 20 edges, a layer for each 20 gates."""
    return qaoa(nx.gnm_random_graph(qubits, 20, seed=seed + 100 * qubits), gates // 20)


def mixed_circuit(qubits: int, gates: int, seed: int) -> QuantumCircuit:
    """Gates of rank 2 and 4 between random qubits, one-qubit gates between them."""
    rng = np.random.default_rng([seed, qubits])
    circuit = QuantumCircuit(qubits)
    for _ in range(gates):
        a, b = rng.choice(qubits, 2, replace=False).tolist()
        circuit.u(*rng.uniform(0, 3, 3), a)
        rng.choice([circuit.cz, circuit.cx, circuit.swap, lambda x, y: circuit.rzz(0.4, x, y)])(a, b)
    circuit.ry(0.3, range(qubits))
    return circuit


def commuting_circuit(qubits: int, gates: int, seed: int) -> QuantumCircuit:
    """Many gates that a copy of a qubit may serve, or that are one on their pair; few that turn a qubit away."""
    rng = np.random.default_rng([seed, qubits, 3])
    circuit = QuantumCircuit(qubits)
    for _ in range(gates):
        a, b = rng.choice(qubits, 2, replace=False).tolist()
        rng.choice([circuit.cz, circuit.cx, lambda x, y: circuit.cp(0.9, x, y)])(a, b)
        if rng.random() < 0.4:
            circuit.u(*rng.uniform(0, 3, 3), a)
    circuit.ry(0.3, range(qubits))
    return circuit


def fourier(qubits: int, degree: int, seed: int) -> QuantumCircuit:
    """The quantum Fourier transform of a product state; its last ``degree`` kinds of small angles left out."""
    out = turned(qubits, [seed, 6])
    return basis_of(out.compose(synth_qft_full(qubits, do_swaps=bool(seed % 2), approximation_degree=degree)))


def turned(qubits: int, seed: list[int]) -> QuantumCircuit:
    """A product state."""
    out = QuantumCircuit(qubits)
    for q, angle in enumerate(np.random.default_rng(seed).uniform(0, 3, qubits).tolist()):
        out.ry(angle, q)
    return out


BUILD: dict[str, Callable[[int, int, int], QuantumCircuit]] = {
    "random pairs": lambda qubits, gates, seed: random_pairs(qubits, gates, [seed, qubits, gates]),
    "mixed gates": mixed_circuit,
    "brickwork": brickwork,
    "qaoa": maxcut,
    "commuting gates": commuting_circuit,
    "qft": lambda qubits, gates, seed: fourier(qubits, 0, seed),
    "approximate qft": lambda qubits, gates, seed: fourier(qubits, 4, seed),
    "adder": lambda qubits, gates, seed: turned(qubits, [seed, 8]).compose(cuccaro((qubits - 2) // 2)),
    "swap test": lambda qubits, gates, seed: swap_test((qubits - 1) // 2),
    "full su2, 2 layers": lambda qubits, gates, seed: ansatz(efficient_su2(qubits, reps=2, entanglement="full")),
    "circular su2, 3 layers": lambda qubits, gates, seed: ansatz(
        efficient_su2(qubits, reps=3, entanglement="circular")
    ),
    "circular zz feature map": lambda qubits, gates, seed: ansatz(zz_feature_map(qubits, 2, "circular")),
}
SIZES = {
    "random pairs": ((10, 30, 5), (8, 50, 5), (9, 45, 6), (10, 60, 6), (10, 60, 7), (10, 60, 8)),
    "mixed gates": ((8, 30, 5), (9, 45, 6), (10, 60, 7), (10, 60, 8)),
    "brickwork": ((10, 60, 8), (10, 60, 7), (10, 60, 6), (10, 60, 5), (8, 40, 5)),
    "qaoa": ((10, 20, 5), (9, 40, 5), (10, 40, 6), (10, 60, 7)),
    "commuting gates": ((8, 20, 5), (9, 30, 6), (10, 40, 7)),
}
SEEDS = 3
FRESH = (
    *(("random pairs", *size) for size in ((8, 30, 4, 100), (9, 40, 5, 101), (10, 40, 4, 102), (10, 50, 5, 103))),
    *(("random pairs", *size) for size in ((10, 60, 6, 104), (9, 60, 4, 105))),
    *(
        ("qft", *size)
        for size in ((8, 28, 4, 136), (8, 40, 5, 137), (8, 28, 6, 236), (9, 36, 5, 138), (10, 45, 6, 140))
    ),
    *(("approximate qft", 10, 50, 5, 139), ("adder", 8, 49, 4, 141), ("adder", 10, 65, 5, 142)),
    *(("swap test", 9, 32, 4, 143), ("full su2, 2 layers", 9, 72, 5, 152), ("circular su2, 3 layers", 10, 30, 4, 151)),
    *(("circular zz feature map", 8, 32, 4, 153), ("qaoa", 10, 40, 4, 11)),
)
"""Drawn once the search was written: kind, qubits, gates on two, width, seed. Most others of some 50 drawn (QAOA, mixed
and commuting gates) were not proven in 600,000 states."""


def main() -> None:
    """What is not there yet: plans, and with them the least overhead there is."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text()) if DATA.exists() else []
    done = {(row["case"], row["qubits"], row["gates"], row["width"], row["seed"]) for row in rows}
    for kind, qubits, gates, width, seed in (*_sizes(), *FRESH):
        if (kind, qubits, gates, width, seed) not in done:
            rows.append(beside(kind, qubits, gates, width, seed))
            DATA.write_text(json.dumps(rows, indent=1) + "\n")
            print(rows[-1], flush=True)


def _sizes() -> Iterator[tuple[str, int, int, int, int]]:
    """The larger circuits of each kind come last."""
    for kind, sizes in SIZES.items():
        for size, seed in product(sizes, range(SEEDS)):
            yield kind, *size, seed


def plan_again() -> None:
    """Plan all anew; what was proven stays."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text())
    for row in rows:
        row["plan"] = planned(BUILD[row["case"]](row["qubits"], row["gates"], row["seed"]), row["width"])
    DATA.write_text(json.dumps(rows, indent=1) + "\n")


def beside(kind: str, qubits: int, gates: int, width: int, seed: int) -> dict[str, Any]:
    """A case: log2 of the overhead of its plan and of the least there is, and what proving took."""
    circuit = BUILD[kind](qubits, gates, seed)
    began = time.process_time()
    least: float | None
    try:
        least = least_overhead(circuit, width)
    except _NotProven:
        least = None
    seconds = time.process_time() - began
    case = {"case": kind, "qubits": qubits, "gates": gates, "width": width, "seed": seed}
    return {**case, "plan": planned(circuit, width), "least": least, "seconds": seconds}


def planned(circuit: QuantumCircuit, width: int) -> float | None:
    """log2 of the sampling overhead of its plan; None where it is refused."""
    problem = make_problem(circuit, ["Z" * circuit.num_qubits])
    try:
        return log2(make_plan(problem, max_qubits=width, shots=SHOTS).sampling_overhead)
    except CuttingError:
        return None


def least_overhead(circuit: QuantumCircuit, width: int) -> float:
    """log2 of the least sampling overhead that cuts of a circuit can have, gates on one pair as one or one by one."""
    problem = make_problem(circuit, ["Z" * circuit.num_qubits])
    return min(least_cuts(seen, width)[0] for seen, _ in views(problem, find_objective("overhead"), runs=True))


def least_cuts(seen: Circuit, width: int) -> tuple[float, np.ndarray, list[np.ndarray]]:
    """Of a circuit as a search sees it.

    Args:
        seen: as ``views`` makes it for the objective ``overhead``.
        width: of the widest fragment allowed.

    Returns:
        log2 of the least overhead; (node,) the block of each gate end; sets of gates that a copy serves, (gate,) each.
    """
    several = (seen.runs >= 0).sum(axis=1)
    assert several.max() <= 1, "a gate that is diagonal along two axes of a qubit does nothing to it"
    search = _LeastCuts(Pieces(Gates.of(seen, less=A_CUT), width))
    least, way = search.least()
    return least, *search.pieces.gates.assignment(way)


class _NotProven(Exception):
    """More states than are looked at."""


class _LeastCuts:
    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self._rest = [0.0] * (len(pieces.weights) + 1)  # (gate,) what the circuit from there on costs at least
        self._begins: dict[int, int] = {}
        for node, run in enumerate(pieces.runs):
            self._begins.setdefault(run, node >> 1)
        self._known: dict[tuple[int, int], dict[int, float]] = {}
        self._reached = 0

    def least(self) -> tuple[float, Way]:
        """log2 of the least overhead, and what is done at each gate for it."""
        for gate in range(len(self.pieces.weights) - 1, 0, -1):
            severed = self._rest[gate + 1] + self.pieces.weights[gate]
            self._rest[gate] = self._from(gate, severed)[0]
        return self._from(0, inf)

    def _from(self, first: int, bound: float) -> tuple[float, Way]:
        """Of the circuit from a gate on: its least cost where that is below a bound, else the bound."""
        pieces, start = self.pieces, self.pieces.start
        came: list[dict[State, tuple[float, State, GateStep]]] = [{} for _ in range(len(pieces.weights) + 1)]
        came[first][start] = 0.0, start, GateStep()
        groups: list[dict[tuple[int, ...], list[tuple[float, State]]]] = [{} for _ in came]
        heap: list[tuple[float, int, int, float, State]] = [(0.0, -first, 0, 0.0, start)]
        pushed = 0
        while heap:
            _, gate, _, cost, state = heappop(heap)
            gate = -gate
            if gate == len(pieces.weights):
                way = []
                for steps in came[:first:-1]:
                    _, state, step = steps[state]
                    way.append(step)
                return cost, way[::-1]
            if came[gate][state][0] < cost - _ROUNDING or pieces.beaten(groups[gate], cost, state):
                continue
            for after, more, step in pieces.moves(gate, state):
                total = cost + more
                least = total + self._remains(gate + 1, after)
                if least < bound - _ROUNDING and (
                    after not in came[gate + 1] or total < came[gate + 1][after][0] - _ROUNDING
                ):
                    came[gate + 1][after] = total, state, step
                    pushed += 1
                    self._reached += 1
                    if self._reached > MOST_STATES:
                        raise _NotProven
                    heappush(heap, (round(least, 6), -gate - 1, pushed, total, after))
        return bound, []

    def _remains(self, gate: int, state: State) -> float:
        """At least so much costs what remains from a gate on; what does from a later one is a bound, too."""
        many = Counter(q for _, copies, *_ in state for q in bits(copies))
        if not many:
            return self._rest[gate]
        most = 0.0
        for later in range(gate, min(gate + _AHEAD, len(self._rest))):
            served = self._served(gate, later)
            saved = [min(count * self.pieces.copy, served[q]) for q, count in many.items() if q in served]
            most = max(most, self._rest[later] - sum(saved))
            if not saved or self._rest[later] <= most:
                break
        return most

    def _served(self, gate: int, later: int) -> dict[int, float]:
        """By qubit, what those gates from ``later`` on cost that copies from before ``gate`` may serve."""
        if (gate, later) not in self._known:
            found: dict[int, float] = {}
            for node in range(2 * later, len(self.pieces.runs)):
                if self.pieces.runs[node] >= 0 and self._begins[self.pieces.runs[node]] < gate:
                    q = 1 << self.pieces.qubits[node >> 1][node & 1]
                    found[q] = found.get(q, 0.0) + self.pieces.weights[node >> 1]
            self._known[gate, later] = found
        return self._known[gate, later]
