"""Circuit families and meaning-preserving rewrites for the cache's truth tests and benchmark."""

from __future__ import annotations

from collections.abc import Callable

import networkx
import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import library as gates
from qiskit.quantum_info import random_clifford, random_unitary

Generator = np.random.Generator
_FIXED = (
    gates.HGate, gates.SGate, gates.SdgGate, gates.TGate, gates.TdgGate, gates.XGate, gates.YGate, gates.ZGate,
    gates.SXGate, gates.SXdgGate,
)  # fmt: skip
_TURNS = (gates.RXGate, gates.RYGate, gates.RZGate, gates.PhaseGate)
_PAIRS = (
    gates.CXGate, gates.CYGate, gates.CZGate, gates.SwapGate, gates.iSwapGate, gates.ECRGate, gates.DCXGate,
    gates.CSGate, gates.CSXGate, gates.CHGate,
)  # fmt: skip
_PAIR_TURNS = (
    gates.RXXGate, gates.RYYGate, gates.RZZGate, gates.RZXGate, gates.CRXGate, gates.CRYGate, gates.CRZGate,
    gates.CPhaseGate,
)  # fmt: skip


def random_angle(rng: Generator) -> float:
    """Return an angle that is often special: zero, a multiple of pi/4, or one of few others."""
    special = (0.0, np.pi / 4, -np.pi / 4, np.pi / 2, np.pi, 3 * np.pi / 4, 0.3, -0.3)
    return float(rng.choice(special)) if rng.random() < 0.8 else float(rng.uniform(-7, 7))


def any_gates(rng: Generator, n: int, length: int, *, middle: bool) -> QuantumCircuit:
    """Return a circuit over every gate that the reader knows; with ``middle`` also measurements and resets inside."""
    circuit = QuantumCircuit(n, n + 2 if middle else n)
    for _ in range(length):
        draw = rng.random()
        one = int(rng.integers(n))
        if n == 1 and 0.55 <= draw < 0.92:
            draw = 0.4
        pair = [int(q) for q in rng.choice(n, 2, replace=False)] if n > 1 else []
        if draw < 0.3:
            circuit.append(_FIXED[rng.integers(len(_FIXED))](), [one])
        elif draw < 0.5:
            circuit.append(_TURNS[rng.integers(len(_TURNS))](random_angle(rng)), [one])
        elif draw < 0.55:
            circuit.u(random_angle(rng), random_angle(rng), random_angle(rng), one)
        elif draw < 0.75:
            circuit.append(_PAIRS[rng.integers(len(_PAIRS))](), pair)
        elif draw < 0.89:
            circuit.append(_PAIR_TURNS[rng.integers(len(_PAIR_TURNS))](random_angle(rng)), pair)
        elif draw < 0.92:
            circuit.unitary(random_unitary(4, seed=int(rng.integers(1 << 30))), pair)
        elif middle and draw < 0.96:
            circuit.measure(one, int(rng.integers(n + 2)))
        elif middle:
            circuit.reset(one)
    for q in range(n):
        if rng.random() < 0.8:
            circuit.measure(q, int(rng.integers(n + 2)) if middle else q)
    return circuit


def clifford(rng: Generator, n: int, depth: int) -> QuantumCircuit:
    """Return a random Clifford circuit, all qubits measured."""
    circuit = QuantumCircuit(n, n)
    circuit.compose(random_clifford(n, seed=int(rng.integers(1 << 30))).to_circuit(), inplace=True)
    circuit.measure(range(n), range(n))
    return circuit


def clifford_t(rng: Generator, n: int, depth: int) -> QuantumCircuit:
    """Return layers of H, S, T and CX."""
    circuit = QuantumCircuit(n, n)
    for _ in range(depth):
        for q in range(n):
            circuit.append((gates.HGate, gates.SGate, gates.TGate)[rng.integers(3)](), [q])
        a, b = (int(q) for q in rng.choice(n, 2, replace=False))
        circuit.cx(a, b)
    circuit.measure(range(n), range(n))
    return circuit


def hardware_efficient(rng: Generator, n: int, depth: int) -> QuantumCircuit:
    """Return RY, RZ layers with a CX ladder."""
    circuit = QuantumCircuit(n, n)
    for _ in range(depth):
        for q in range(n):
            circuit.ry(rng.uniform(-3, 3), q)
            circuit.rz(rng.uniform(-3, 3), q)
        for q in range(n - 1):
            circuit.cx(q, q + 1)
    circuit.measure(range(n), range(n))
    return circuit


def random_rotations(rng: Generator, n: int, depth: int) -> QuantumCircuit:
    """Return generic U gates with CX on random pairs."""
    circuit = QuantumCircuit(n, n)
    for _ in range(depth):
        for q in range(n):
            circuit.u(*rng.uniform(-3, 3, 3), q)
        order = rng.permutation(n)
        for a, b in zip(order[::2], order[1::2], strict=False):
            circuit.cx(int(a), int(b))
    circuit.measure(range(n), range(n))
    return circuit


def qaoa(rng: Generator, n: int, depth: int) -> QuantumCircuit:
    """Return QAOA for max-cut on a random graph, one angle pair a layer."""
    graph = networkx.gnp_random_graph(n, 0.5, seed=int(rng.integers(1 << 30)))
    circuit = QuantumCircuit(n, n)
    circuit.h(range(n))
    for _ in range(max(1, depth // 4)):
        gamma, beta = rng.uniform(-3, 3, 2)
        for a, b in graph.edges:
            circuit.rzz(gamma, a, b)
        for q in range(n):
            circuit.rx(beta, q)
    circuit.measure(range(n), range(n))
    return circuit


FAMILIES: dict[str, Callable[[Generator, int, int], QuantumCircuit]] = {
    "Clifford": clifford,
    "Clifford+T": clifford_t,
    "hardware-efficient": hardware_efficient,
    "random rotations": random_rotations,
    "QAOA": qaoa,
}


def reordered(circuit: QuantumCircuit, rng: Generator) -> QuantumCircuit:
    """Return the circuit with gates on different qubits exchanged at random, many times."""
    items = list(circuit.data)
    for _ in range(10 * len(items)):
        i = int(rng.integers(len(items) - 1))
        a, b = items[i], items[i + 1]
        if set(a.qubits).isdisjoint(b.qubits) and set(a.clbits).isdisjoint(b.clbits):
            items[i], items[i + 1] = b, a
    out = circuit.copy_empty_like()
    for item in items:
        out.append(item)
    return out


def resynthesised(circuit: QuantumCircuit, rng: Generator) -> QuantumCircuit:
    """Return the circuit in another basis at a random optimisation level."""
    bases = "rz sx cx, u cz, rx ry rz cx, u3 cx, h rz cz, rz sx ecr".split(", ")
    return transpile(
        circuit,
        basis_gates=bases[rng.integers(len(bases))].split(),
        optimization_level=int(rng.integers(3)),
        seed_transpiler=int(rng.integers(1 << 30)),
    )


def padded(circuit: QuantumCircuit, rng: Generator) -> QuantumCircuit:
    """Return the circuit with gate-inverse pairs and trailing diagonal gates put in."""
    out = circuit.copy_empty_like()
    n = circuit.num_qubits
    for item in circuit.data:
        if item.name != "measure" and rng.random() < 0.2:
            q = int(rng.integers(n))
            angle = rng.uniform(-3, 3)
            out.ry(angle, q)
            out.ry(-angle, q)
        if item.name == "measure" and rng.random() < 0.5:
            out.rz(rng.uniform(-3, 3), item.qubits[0])
        out.append(item)
    return out


def relabelled(circuit: QuantumCircuit, rng: Generator) -> QuantumCircuit:
    """Return the circuit on permuted qubits; the classical bits stay where they were."""
    out = circuit.copy_empty_like()
    to = rng.permutation(circuit.num_qubits)
    for item in circuit.data:
        out.append(item.operation, [int(to[circuit.find_bit(q).index]) for q in item.qubits], item.clbits)
    return out


def rebitted(circuit: QuantumCircuit, rng: Generator) -> QuantumCircuit:
    """Return the circuit with its classical bits permuted and some outcomes inverted."""
    out = circuit.copy_empty_like()
    to = rng.permutation(circuit.num_clbits)
    for item in circuit.data:
        if item.name == "measure" and rng.random() < 0.5:
            out.x(item.qubits[0])
        out.append(item.operation, item.qubits, [int(to[circuit.find_bit(c).index]) for c in item.clbits])
    return out


REWRITES: dict[str, Callable[[QuantumCircuit, Generator], QuantumCircuit]] = {
    "reordered": reordered,
    "padded": padded,
    "resynthesised": resynthesised,
    "qubits permuted": relabelled,
    "bits permuted": rebitted,
}
