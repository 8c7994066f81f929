"""The circuits of the cache's workloads: rounds of circuits, as a caller that looks for no repetitions would ask."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from scipy.optimize import differential_evolution

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


def cut_evolution(generations: int = 6) -> Rounds:
    """Multi-angle QAOA on a ring of 6 cut in two, 12 angles, 6 members: crossover leaves some fragments as they are."""
    n = 6
    observable = SparsePauliOp(ring_terms(n))

    def energy(x: np.ndarray) -> float:
        return float(Statevector(qaoa_circuit(n, x[:n], x[n:])).expectation_value(observable).real)

    found = _evolve(energy, [(-1.5, 1.5)] * (2 * n), 6, generations, crossover=0.3)
    return [[c for x in own for c in cut_circuit(qaoa_circuit(n, x[:n], x[n:]), ring_terms(n), 3)] for own in found]


def whole_evolution(layers: int, steps: int, generations: int = 15) -> Rounds:
    """QAOA on a cubic graph of 8 nodes, 16 members, angles multiples of pi / steps: points of the grid come back."""
    n, edges = 8, [(q, (q + 1) % 8) for q in range(8)] + [(q, q + 4) for q in range(4)]
    observable = SparsePauliOp.from_sparse_list([("ZZ", [*edge], 1.0) for edge in edges], n)

    def circuit(x: np.ndarray) -> QuantumCircuit:
        out = QuantumCircuit(n, n)
        out.h(range(n))
        for gamma, beta in np.pi / steps * x.reshape(layers, 2):
            for edge in edges:
                out.rzz(gamma, *edge)
            out.rx(2 * beta, range(n))
        return out

    def energy(x: np.ndarray) -> float:
        return float(Statevector(circuit(x)).expectation_value(observable).real)

    bounds = [(0, 2 * steps - 1), (0, steps - 1)] * layers
    found = _evolve(energy, bounds, 16, generations, crossover=0.7, whole=True)
    rounds = [[circuit(x) for x in own] for own in found]
    for own in rounds:
        for one in own:
            one.measure(range(n), range(n))
    return rounds


def _evolve(
    energy: Callable[[np.ndarray], float], bounds: Sequence[tuple[float, float]], members: int, generations: int, *,
    crossover: float, whole: bool = False,
) -> list[np.ndarray]:  # fmt: skip
    """What scipy's Differential Evolution asks for, (member, parameter) a generation.

    It is told exact energies, so that the circuits are the same whatever executes them.
    """
    asked: list[np.ndarray] = []

    def energies(x: np.ndarray) -> np.ndarray:
        asked.append(x.T.copy())
        return np.array([energy(own) for own in asked[-1]])

    rng = np.random.default_rng(1)
    low, high = np.array(bounds, dtype=float).T
    first = rng.uniform(low, high, (members, len(bounds)))
    differential_evolution(
        energies, bounds, init=np.rint(first) if whole else first, maxiter=generations - 1, recombination=crossover,
        integrality=[whole] * len(bounds), vectorized=True, updating="deferred", polish=False, tol=0, rng=rng,
    )  # fmt: skip
    return asked


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


EVOLUTIONS: dict[str, Callable[..., Rounds]] = {
    "Differential Evolution, cut multi-angle QAOA": cut_evolution,
    "Differential Evolution, QAOA, p = 1, steps of pi/32": partial(whole_evolution, 1, 32),
    "Differential Evolution, QAOA, p = 2, steps of pi/16": partial(whole_evolution, 2, 16),
}
WORKLOADS: dict[str, Callable[[], Rounds]] = {
    "wire cutting, 2 cuts, naive 8^k": lambda: naive_wire_cutting(2),
    "wire cutting, 3 cuts, naive 8^k": lambda: naive_wire_cutting(3),
    "distinct variants of a plan": distinct_variants,
    "gate-cut QAOA, ring of 8": gate_cut_qaoa,
    **EVOLUTIONS,
    "parameter-shift gradient, cut ansatz": parameter_shift,
}
