"""Workloads of the policy benchmark: the fragments of real plans, with weights from their own networks."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import sqrt

import networkx
import numpy as np
from qiskit import QuantumCircuit
from qiskit.transpiler import CouplingMap
from scipy.sparse import csr_array

from scheduler_policies import Work
from tasks.cutting.plan import Plan
from tasks.cutting.planner import make_plan, structure_of
from tasks.execution.works import works_of
from tasks.model.problem import PauliTerms, Problem
from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction.contraction.contraction import contract

_DRAWS = 6


def trotter(qubits: int, edges: list[tuple[int, int]], steps: int, seed: int = 1) -> QuantumCircuit:
    """A disordered transverse-field Ising model in first-order Trotter steps."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(qubits)
    for _ in range(steps):
        for qubit in range(qubits):
            circuit.rx(float(rng.uniform(0.3, 1.0)), qubit)
        for a, b in edges:
            circuit.rzz(float(rng.uniform(0.2, 0.9)), a, b)
    for qubit in range(qubits):
        circuit.rx(0.4, qubit)
    return circuit


def chain(qubits: int) -> list[tuple[int, int]]:
    """Neighbours on a line."""
    return [(q, q + 1) for q in range(qubits - 1)]


def ladder(rungs: int) -> list[tuple[int, int]]:
    """A strip two qubits wide."""
    sides = [(2 * r + s, 2 * r + 2 + s) for r in range(rungs - 1) for s in (0, 1)]
    return sides + [(2 * r, 2 * r + 1) for r in range(rungs)]


def heavy_hex(distance: int) -> list[tuple[int, int]]:
    """IBM's lattice."""
    return sorted({(min(e), max(e)) for e in CouplingMap.from_heavy_hex(distance).get_edges()})


def regular(qubits: int, seed: int) -> list[tuple[int, int]]:
    """A random 3-regular graph, as in QAOA for MaxCut."""
    graph = networkx.random_regular_graph(3, qubits, seed=seed)
    return sorted((min(e), max(e)) for e in graph.edges)


def _magnetisation(qubits: int) -> PauliTerms:
    x, z = np.zeros((qubits, qubits), dtype=bool), np.eye(qubits, dtype=bool)
    return PauliTerms(x, z, csr_array(np.full((1, qubits), 1.0 / qubits)))


# name: (qubits, edges, Trotter steps, widest fragment, shots a variant, copies with other angles)
_PLANS: dict[str, tuple[int, list[tuple[int, int]], int, int, int, int]] = {
    "chain-60/20": (60, chain(60), 2, 20, 4000, 1),
    "chain-100/27": (100, chain(100), 3, 27, 1000, 1),
    "chain-120/32": (120, chain(120), 2, 32, 2000, 1),
    "ladder-40/24": (40, ladder(20), 1, 24, 2000, 1),
    "ladder-80/30": (80, ladder(40), 1, 30, 2000, 1),
    "qaoa-32/22": (32, regular(32, 3), 1, 22, 4000, 1),
    "hex-115/40": (115, heavy_hex(7), 1, 40, 1000, 1),
    "sweep-60/30": (60, chain(60), 2, 30, 2000, 8),
    "sweep-100/34": (100, chain(100), 2, 34, 1000, 5),
}


@lru_cache
def workload(name: str) -> tuple[Work, ...]:
    """The works of a named plan; a sweep has several circuits' fragments, numbered on."""
    qubits, edges, steps, widest, shots, copies = _PLANS[name]
    works: list[Work] = []
    for copy in range(copies):
        problem = Problem(trotter(qubits, edges, steps, seed=1 + copy), _magnetisation(qubits), ("magnetisation",))
        plan = make_plan(problem, max_qubits=widest, shots=1_000_000)
        # The values of a sweep are told together, so each circuit has its part of the squared error.
        weights = [w / sqrt(copies) for w in typical_weights(plan, structure_of(problem, plan), seed=copy)]
        first = len(works)
        works += [replace(work, fragment=first + work.fragment) for work in works_of(plan, shots, weights)]
    return tuple(works)


def typical_weights(plan: Plan, structure: Structure, seed: int) -> list[float]:
    """|d estimate / d fragment| x sigma of every fragment, for fragment tensors of typical size (seeded).

    The estimate is multilinear: with one tensor replaced by independent noise of one shot on every raw entry, the mean
    square of the contraction is the squared gradient norm.
    """
    rng = np.random.default_rng(seed)
    typical = [_tensor(plan, f, rng.uniform(-0.6, 0.6, _raw_shape(plan, f))) for f in range(len(plan.fragments))]
    weights = []
    for index in range(len(plan.fragments)):
        squares = 0.0
        for _ in range(_DRAWS):
            noise = _tensor(plan, index, rng.choice((-1.0, 1.0), _raw_shape(plan, index)))
            tensors = [noise if f == index else tensor for f, tensor in enumerate(typical)]
            squares += float(contract(structure, tensors)[0]) ** 2
        weights.append(sqrt(squares / _DRAWS))
    return weights


def _raw_shape(plan: Plan, index: int) -> tuple[int, ...]:
    fragment, schemes = plan.fragments[index], plan.schemes[index]
    raw = [leg.kind.spanning(s).inverse.shape[1] for leg, s in zip(fragment.legs, schemes, strict=True)]
    return (*raw, fragment.num_factors)


def _tensor(plan: Plan, index: int, raw: np.ndarray) -> FragmentTensor:
    fragment, schemes = plan.fragments[index], plan.schemes[index]
    values = raw
    for axis, (leg, scheme) in enumerate(zip(fragment.legs, schemes, strict=True)):
        values = np.moveaxis(np.tensordot(leg.kind.spanning(scheme).inverse, values, axes=(1, axis)), 0, axis)
    return FragmentTensor(index, np.ascontiguousarray(values))
