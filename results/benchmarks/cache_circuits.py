"""The circuits of the cache's workloads: rounds of circuits, as a caller that looks for no repetitions would ask."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from tasks.cutting.cuts import GateCut
from tasks.cutting.planner import make_plan
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tasks.inputs.validation import make_problem

SHOTS = 1024
Rounds = list[list[QuantumCircuit]]


def ansatz(n: int, layers: int, rng: np.random.Generator, angles: np.ndarray | None = None) -> QuantumCircuit:
    """RY, RZ layers and a CZ ladder."""
    circuit = QuantumCircuit(n)
    values = rng.uniform(-3, 3, (layers, n, 2)) if angles is None else angles
    for layer in range(layers):
        for q in range(n):
            circuit.ry(values[layer, q, 0], q)
            circuit.rz(values[layer, q, 1], q)
        for q in range(n - 1):
            circuit.cz(q, q + 1)
    return circuit


def naive_wire_cutting(cuts: int, seed: int = 1) -> Rounds:
    """Peng et al.'s sum with 8 terms a cut, both sides run for each term: 2 x 8^k circuits, most of them repeated."""
    rng = np.random.default_rng(seed)
    up, down = ansatz(5, 3, rng), ansatz(5, 3, rng)
    observables = "zzxxyyzz"  # I comes with Z
    states = ["0", "1", "+", "-", "+i", "-i", "0", "1"]
    circuits = []
    for terms in itertools.product(range(8), repeat=cuts):
        first, second = QuantumCircuit(5, 5), QuantumCircuit(5, 5)
        first.compose(up, inplace=True)
        for wire, term in enumerate(terms):
            q = 4 - wire
            if observables[term] == "y":
                first.sdg(q)
            if observables[term] != "z":
                first.h(q)
            if states[term] in ("1", "-", "-i"):
                second.x(wire)
            if states[term] not in "01":
                second.h(wire)
            if "i" in states[term]:
                second.s(wire)
        second.compose(down, inplace=True)
        for circuit in (first, second):
            circuit.measure(range(5), range(5))
            circuits.append(circuit)
    return [circuits]


def cut_circuit(circuit: QuantumCircuit, labels: list[str], width: int) -> list[QuantumCircuit]:
    """Qompass's own distinct variants, with every gate between the first ``width`` qubits and the others severed."""
    problem = make_problem(circuit, SparsePauliOp(labels))
    cuts = []
    for index, item in enumerate(problem.circuit.data):
        sides = {problem.circuit.find_bit(q).index < width for q in item.qubits}
        if len(sides) == 2:
            cuts.append(GateCut(index))
    plan = make_plan(problem, cuts=tuple(cuts), shots=SHOTS)
    out = []
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        builder = VariantBuilder(fragment, schemes)
        out += [builder.circuit(v) for v in enumerate_variants(fragment, schemes)]
    return [c for c in out if c.num_clbits]


def distinct_variants(seed: int = 1) -> Rounds:
    """Distinct variants of a random ansatz: nothing repeats as written; the fair baseline."""
    return [cut_circuit(ansatz(8, 2, np.random.default_rng(seed)), ["ZZZZZZZZ", "XIIIIIIX"], 4)]


def qaoa_circuit(n: int, gammas: Sequence[float], betas: Sequence[float]) -> QuantumCircuit:
    """One layer of QAOA for max-cut on a ring; an angle an edge and an angle a qubit."""
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for edge in range(n):
        circuit.rzz(gammas[edge], edge, (edge + 1) % n)
    for q in range(n):
        circuit.rx(betas[q], q)
    return circuit


def ring_terms(n: int) -> list[str]:
    """The ZZ terms of a ring."""
    labels = []
    for edge in range(n):
        letters = ["I"] * n
        letters[edge] = letters[(edge + 1) % n] = "Z"
        labels.append("".join(letters))
    return labels


def gate_cut_qaoa(seed: int = 1) -> Rounds:
    """QAOA on a ring of 8, cut in two: fragments alike up to names of qubits."""
    gamma, beta = np.random.default_rng(seed).uniform(0.2, 1.3, 2)
    return [cut_circuit(qaoa_circuit(8, [gamma] * 8, [beta] * 8), ring_terms(8), 4)]


def differential_evolution(seed: int = 1, generations: int = 5) -> Rounds:
    """Differential Evolution over the angles of multi-angle QAOA on the cut ring: crossover repeats fragments."""
    rng = np.random.default_rng(seed)
    n, size = 6, 6
    population = rng.uniform(-1.5, 1.5, (size, 2 * n))
    rounds = [[c for x in population for c in cut_circuit(qaoa_circuit(n, x[:n], x[n:]), ring_terms(n), 3)]]
    for _ in range(generations):
        trials = []
        for i in range(size):
            a, b, c = population[rng.choice(size, 3, replace=False)]
            crossed = rng.random(2 * n) < 0.3
            trials.append(np.where(crossed, a + 0.6 * (b - c), population[i]))
        rounds.append([c for x in trials for c in cut_circuit(qaoa_circuit(n, x[:n], x[n:]), ring_terms(n), 3)])
        accepted = rng.random(size) < 0.4
        population = np.where(accepted[:, None], np.array(trials), population)
    return rounds


def parameter_shift(seed: int = 1) -> Rounds:
    """The circuits of twelve entries of a gradient of a cut ansatz; a shift in one fragment leaves the other alone."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-3, 3, (2, 6, 2))
    circuits = []
    for index in np.ndindex(2, 6, 1):
        for shift in (np.pi / 2, -np.pi / 2):
            moved = angles.copy()
            moved[index] += shift
            circuits += cut_circuit(ansatz(6, 2, rng, moved), ["ZZZZZZ"], 3)
    return [circuits]


WORKLOADS: dict[str, Callable[[], Rounds]] = {
    "wire cutting, 2 cuts, naive 8^k": lambda: naive_wire_cutting(2),
    "wire cutting, 3 cuts, naive 8^k": lambda: naive_wire_cutting(3),
    "distinct variants of a plan": distinct_variants,
    "gate-cut QAOA, ring of 8": gate_cut_qaoa,
    "Differential Evolution, cut multi-angle QAOA": differential_evolution,
    "parameter-shift gradient, cut ansatz": parameter_shift,
}
