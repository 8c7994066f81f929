"""Runs held out once more, of families that no other list has; part of ``planner.py``.

Written down when the terms of the model and its constants were final, before any of them was run.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import networkx as nx
import numpy as np
from qiskit import QuantumCircuit

from results.benchmarks.planner_runs import Run, exact_runs, sampled_runs, turned

_SEED = 20261129


def _hypercube(dimension: int, layers: int) -> QuantumCircuit:
    return turned(nx.hypercube_graph(dimension), layers, "rzz")


def _moebius(qubits: int, layers: int) -> QuantumCircuit:
    """A ring with every qubit joined to the one across."""
    return turned(nx.circulant_graph(qubits, [1, qubits // 2]), layers)


def _attached(qubits: int, ends: int, layers: int) -> QuantumCircuit:
    """A graph that grew by preference."""
    return turned(nx.barabasi_albert_graph(qubits, ends, seed=_SEED), layers, "rzz")


def _wheels(number: int, size: int, layers: int) -> QuantumCircuit:
    """Wheels in a row, a rim's end joined to the next rim."""
    graph = nx.disjoint_union_all([nx.wheel_graph(size) for _ in range(number)])
    graph.add_edges_from((size * (k + 1) - 1, size * (k + 1) + 1) for k in range(number - 1))
    return turned(graph, layers, "cx")


def _xyz(qubits: int, steps: int) -> QuantumCircuit:
    """A disordered ring with three couplings of different strength, and a random field."""
    rng, out = np.random.default_rng([_SEED, qubits, steps]), QuantumCircuit(qubits)
    field = rng.uniform(0.1, 1.4, qubits)
    out.h(range(0, qubits, 2))
    for _ in range(steps):
        for first in (0, 1):
            for q in range(first, qubits, 2):
                other = (q + 1) % qubits
                out.rxx(0.3, q, other)
                out.ryy(0.5, q, other)
                out.rzz(0.7, q, other)
        for q in range(qubits):
            out.rx(float(field[q]), q)
    return out


def _shifts(qubits: int, reach: int) -> QuantumCircuit:
    """A hidden shift: two bent functions on neighbours at a distance, T gates between."""
    rng, out = np.random.default_rng([_SEED, qubits, reach]), QuantumCircuit(qubits)
    out.h(range(qubits))
    for _ in range(2):
        for q in range(qubits - reach):
            if rng.random() < 0.6:
                out.cz(q, q + reach)
        for q in range(qubits):
            if rng.random() < 0.4:
                out.t(q)
        out.h(range(qubits))
    return out


def _sums(bits: int, words: int) -> QuantumCircuit:
    """Weights of words of a few qubits, added up in a register of their own by controlled phases."""
    out = QuantumCircuit(bits * words + bits)
    register = range(bits * words, bits * words + bits)
    out.ry(0.8, range(bits * words))
    out.h(register)
    for word in range(words):
        for k in range(bits):
            for place, own in enumerate(register):
                if place >= k:
                    out.cp(np.pi / 2 ** (place - k), bits * word + k, own)
    out.h(register)
    return out


def _blocks(number: int, size: int, depth: int) -> QuantumCircuit:
    """Random unitaries of Clifford gates and T on blocks, a gate from each block to the next."""
    rng, out = np.random.default_rng([_SEED, number, size, depth]), QuantumCircuit(number * size)
    for _ in range(depth):
        for first in range(0, number * size, size):
            a, b = (first + rng.permutation(size)[:2]).tolist()
            out.cx(a, b)
            out.t(b)
            out.sx(a)
            out.ry(0.4, b)
    for k in range(number - 1):
        out.cp(0.9, size * (k + 1) - 1, size * (k + 1))
    out.sx(range(number * size))
    return out


def fresh() -> Iterator[Run]:
    """All of them."""
    yield from exact_runs(
        [
            ("hypercube 4, 1 layer", partial(_hypercube, 4, 1), 10),
            ("moebius 30, 1 layer", partial(_moebius, 30, 1), 15),
            ("moebius 24, 2 layers", partial(_moebius, 24, 2), 16),
            ("attached 60 by 1, 3 layers", partial(_attached, 60, 1, 3), 16),
            ("attached 40 by 1, 2 layers", partial(_attached, 40, 1, 2), 12),
            ("attached 32 by 2, 1 layer", partial(_attached, 32, 2, 1), 18),
            ("wheels 6 of 8, 2 layers", partial(_wheels, 6, 8, 2), 16),
            ("wheels 4 of 13, 2 layers", partial(_wheels, 4, 13, 2), 16),
            ("xyz 80, 2 steps", partial(_xyz, 80, 2), 14),
            ("xyz 24, 3 steps", partial(_xyz, 24, 3), 14),
            ("xyz 30, 3 steps", partial(_xyz, 30, 3), 18),
            ("shifts 40 at 3", partial(_shifts, 40, 3), 16),
            ("shifts 90 at 4", partial(_shifts, 90, 4), 18),
            ("sums 5 of 8", partial(_sums, 5, 8), 20),
            ("blocks 8 of 10", partial(_blocks, 8, 10, 60), 12),
            ("blocks 4 of 16", partial(_blocks, 4, 16, 120), 18),
            ("uncut blocks 1 of 20", partial(_blocks, 1, 20, 200), 20),
            ("uncut xyz 18, 8 steps", partial(_xyz, 18, 8), 18),
            ("uncut moebius 20, 6 layers", partial(_moebius, 20, 6), 20),
        ]
    )
    yield from sampled_runs(
        [
            ("hypercube 3, 1 layer", partial(_hypercube, 3, 1), 5, 3 * 10**5),
            ("hypercube 4, 1 layer", partial(_hypercube, 4, 1), 12, 10**6),
            ("moebius 14, 1 layer", partial(_moebius, 14, 1), 10, 10**6),
            ("attached 30 by 1, 1 layer", partial(_attached, 30, 1, 1), 10, 10**6),
            ("attached 20 by 1, 2 layers", partial(_attached, 20, 1, 2), 10, 10**6),
            ("wheels 3 of 6, 1 layer", partial(_wheels, 3, 6, 1), 10, 10**6),
            ("wheels 3 of 9, 2 layers", partial(_wheels, 3, 9, 2), 14, 2 * 10**6),
            ("xyz 16, 1 step", partial(_xyz, 16, 1), 9, 10**6),
            ("xyz 22, 1 step", partial(_xyz, 22, 1), 13, 10**6),
            ("shifts 20 at 2", partial(_shifts, 20, 2), 10, 5 * 10**5),
            ("shifts 26 at 1", partial(_shifts, 26, 1), 12, 10**6),
            ("sums 3 of 4", partial(_sums, 3, 4), 10, 10**6),
            ("blocks 4 of 6", partial(_blocks, 4, 6, 30), 8, 10**6),
            ("blocks 3 of 11", partial(_blocks, 3, 11, 50), 12, 3 * 10**6),
            ("blocks 2 of 14", partial(_blocks, 2, 14, 60), 14, 10**7),
            ("uncut xyz 15, 3 steps", partial(_xyz, 15, 3), 15, 3 * 10**6),
        ]
    )
