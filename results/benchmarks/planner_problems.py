"""The circuits of the planner's benchmark: families that papers cut, each in several sizes, with renumbered copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import CDKMRippleCarryAdder, efficient_su2, n_local, zz_feature_map
from qiskit.synthesis import synth_qft_full

BASIS = ["u", "cx", "cz", "rzz", "rz", "h"]


@dataclass(frozen=True)
class Case:
    """A circuit and the widest fragment allowed; ``copy`` is 0 for the circuit as built, else its qubits' order."""

    name: str
    circuit: QuantumCircuit
    width: int
    copy: int = 0


def cases(copies: int = 1) -> Iterator[Case]:
    """All of them, each with ``copies`` renumbered copies."""
    for name, build, widths in FAMILIES:
        circuit = build()
        for width in widths:
            for copy in range(copies + 1):
                yield Case(name, renumbered(circuit, copy), width, copy)


def renumbered(circuit: QuantumCircuit, seed: int) -> QuantumCircuit:
    """The same circuit with its qubits in another order; seed 0 leaves it as it is."""
    if seed == 0:
        return circuit
    order = np.random.default_rng(seed).permutation(circuit.num_qubits).tolist()
    out = QuantumCircuit(circuit.num_qubits)
    for item in circuit.data:
        out.append(item.operation, [order[circuit.find_bit(q).index] for q in item.qubits])
    return out


def basis_of(circuit: QuantumCircuit) -> QuantumCircuit:
    """In the gates of ``BASIS``, without barriers and measurements."""
    out: QuantumCircuit = transpile(circuit, basis_gates=BASIS, optimization_level=0)
    bare = QuantumCircuit(out.num_qubits)
    for item in out.data:
        if item.operation.name not in ("barrier", "measure"):
            bare.append(item.operation, [out.find_bit(q).index for q in item.qubits])
    return bare


def w_state(qubits: int) -> QuantumCircuit:
    """A W state along a line."""
    out = QuantumCircuit(qubits)
    out.x(0)
    for q in range(qubits - 1):
        angle = float(np.arccos(np.sqrt(1 / (qubits - q))))
        out.ry(-angle, q + 1)
        out.cz(q, q + 1)
        out.ry(angle, q + 1)
        out.cx(q + 1, q)
    return out


def ghz(qubits: int) -> QuantumCircuit:
    """A GHZ state along a line."""
    out = QuantumCircuit(qubits)
    out.h(0)
    for q in range(qubits - 1):
        out.cx(q, q + 1)
    return out


def tfim(qubits: int, steps: int, ring: bool = False) -> QuantumCircuit:
    """Trotter steps of the transverse-field Ising model on a line or a ring."""
    out = QuantumCircuit(qubits)
    for _ in range(steps):
        for first in (0, 1):
            for q in range(first, qubits - (not ring), 2):
                out.rzz(0.4, q, (q + 1) % qubits)
        out.rx(0.3, range(qubits))
    return out


def brickwork(qubits: int, layers: int) -> QuantumCircuit:
    """Layers of CZ between neighbours, with a general rotation on every qubit."""
    rng = np.random.default_rng(qubits)
    out = QuantumCircuit(qubits)
    for layer in range(layers):
        for q in range(qubits):
            out.u(*rng.uniform(0, 3, 3), q)
        for q in range(layer % 2, qubits - 1, 2):
            out.cz(q, q + 1)
    return out


def qaoa(graph: nx.Graph, layers: int = 1) -> QuantumCircuit:
    """QAOA of MaxCut."""
    out = QuantumCircuit(graph.number_of_nodes())
    out.h(range(out.num_qubits))
    for layer in range(layers):
        for a, b in graph.edges:
            out.rzz(0.7 + 0.1 * layer, a, b)
        out.rx(0.5, range(out.num_qubits))
    return out


def grid(side: int, layers: int) -> QuantumCircuit:
    """A square grid of CZs with rotations between."""
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, side), ordering="sorted")
    rng = np.random.default_rng(side)
    out = QuantumCircuit(side * side)
    for _ in range(layers):
        for q in range(side * side):
            out.ry(float(rng.uniform(0, 3)), q)
        for a, b in graph.edges:
            out.cz(a, b)
    return out


def cuccaro(bits: int) -> QuantumCircuit:
    """The ripple-carry adder of Cuccaro et al. on two registers of ``bits``: 2 bits + 2 qubits."""
    return basis_of(CDKMRippleCarryAdder(bits, kind="full").decompose().decompose().decompose())


def swap_test(pairs: int) -> QuantumCircuit:
    """The swap test of two registers of ``pairs`` qubits."""
    out = QuantumCircuit(2 * pairs + 1)
    for q in range(1, 2 * pairs + 1):
        out.ry(0.1 * q, q)
    out.h(0)
    for k in range(pairs):
        out.cswap(0, 1 + k, 1 + pairs + k)
    out.h(0)
    return basis_of(out)


def bernstein_vazirani(qubits: int) -> QuantumCircuit:
    """Every second bit is in the hidden string."""
    out = QuantumCircuit(qubits)
    out.h(range(qubits))
    out.z(qubits - 1)
    for q in range(0, qubits - 1, 2):
        out.cx(q, qubits - 1)
    out.h(range(qubits))
    return out


def clusters(number: int, size: int, layers: int = 3) -> QuantumCircuit:
    """Dense clusters joined by a gate each to the next one, as a distributed ansatz has them."""
    rng = np.random.default_rng(number * size)
    out = QuantumCircuit(number * size)
    for _ in range(layers):
        for q in range(out.num_qubits):
            out.ry(float(rng.uniform(0, 3)), q)
        for c in range(number):
            for a in range(size):
                for b in range(a + 1, size):
                    out.cz(c * size + a, c * size + b)
    for c in range(number - 1):
        out.cz(c * size + size - 1, (c + 1) * size)
    for q in range(out.num_qubits):
        out.ry(float(rng.uniform(0, 3)), q)
    return out


def tree(depth: int, layers: int = 1) -> QuantumCircuit:
    """CZs along a binary tree."""
    graph = nx.balanced_tree(2, depth)
    out = QuantumCircuit(graph.number_of_nodes())
    for layer in range(layers):
        for q in range(out.num_qubits):
            out.ry(0.3 + 0.1 * q + layer, q)
        for a, b in nx.bfs_edges(graph, 0):
            out.cx(a, b)
    return out


def random_pairs(qubits: int, gates: int, seed: Sequence[int] | None = None) -> QuantumCircuit:
    """CZs between random pairs, both qubits turned before each."""
    rng = np.random.default_rng(qubits * gates if seed is None else seed)
    out = QuantumCircuit(qubits)
    for _ in range(gates):
        a, b = rng.choice(qubits, 2, replace=False).tolist()
        out.ry(float(rng.uniform(0, 3)), a)
        out.rx(float(rng.uniform(0, 3)), b)
        out.cz(a, b)
    return out


def ansatz(circuit: QuantumCircuit) -> QuantumCircuit:
    """With random angles."""
    angles = np.random.default_rng(circuit.num_parameters).uniform(0, 3, circuit.num_parameters)
    return basis_of(circuit.assign_parameters(angles))


def mqt_bench(algorithm: str, qubits: int) -> QuantumCircuit:
    """Of MQT Bench."""
    from mqt.bench import BenchmarkLevel, get_benchmark
    from mqt.bench.benchmarks import create_circuit

    drawn = {"seed": qubits} if algorithm == "graphstate" else {}  # else a graph of its own in every process
    return basis_of(get_benchmark(create_circuit(algorithm, qubits, **drawn), BenchmarkLevel.INDEP))


def regular(degree: int, size: int, layers: int = 1) -> QuantumCircuit:
    """QAOA of MaxCut on a random regular graph."""
    return qaoa(nx.random_regular_graph(degree, size, seed=size), layers)


Family = tuple[str, Callable[[], QuantumCircuit], tuple[int, ...]]

FAMILIES: list[Family] = [
    ("w 20", lambda: w_state(20), (6, 10)),
    ("w 100", lambda: w_state(100), (15, 30)),
    ("ghz 40", lambda: ghz(40), (12,)),
    ("cuccaro 12", lambda: cuccaro(5), (5, 7)),
    ("cuccaro 24", lambda: cuccaro(11), (8, 12)),
    ("cuccaro 40", lambda: cuccaro(19), (12, 20)),
    ("swap test 13", lambda: swap_test(6), (5, 7)),
    ("swap test 25", lambda: swap_test(12), (8, 13)),
    ("swap test 41", lambda: swap_test(20), (12, 21)),
    ("grid 4x4, 2 layers", lambda: grid(4, 2), (6, 8)),
    ("grid 5x5, 1 layer", lambda: grid(5, 1), (8, 13)),
    ("grid 6x6, 1 layer", lambda: grid(6, 1), (9, 12, 18)),
    ("grid 6x6, 2 layers", lambda: grid(6, 2), (12, 18)),
    ("qaoa 3-regular 16", lambda: regular(3, 16), (6, 10)),
    ("qaoa 3-regular 24", lambda: regular(3, 24), (8, 12)),
    ("qaoa 3-regular 100", lambda: regular(3, 100), (20, 30, 50)),
    ("qaoa 4-regular 30", lambda: regular(4, 30), (10, 15)),
    ("qaoa 3-regular 20, 2 layers", lambda: regular(3, 20, 2), (10, 14)),
    ("tfim line 20, 3 steps", lambda: tfim(20, 3), (5, 10)),
    ("tfim line 40, 4 steps", lambda: tfim(40, 4), (10, 21)),
    ("tfim ring 24, 3 steps", lambda: tfim(24, 3, ring=True), (8, 12)),
    ("tfim ring 60, 2 steps", lambda: tfim(60, 2, ring=True), (12, 20)),
    ("qft 8", lambda: basis_of(synth_qft_full(8)), (5, 6)),
    ("qft 16", lambda: basis_of(synth_qft_full(16, approximation_degree=9)), (9, 12)),
    ("brickwork 12, 4 layers", lambda: brickwork(12, 4), (4, 6)),
    ("brickwork 24, 5 layers", lambda: brickwork(24, 5), (8, 12)),
    ("brickwork 60, 6 layers", lambda: brickwork(60, 6), (12, 20)),
    ("bernstein-vazirani 30", lambda: bernstein_vazirani(30), (8, 16)),
    ("clusters 5 x 6", lambda: clusters(5, 6), (6, 12)),
    ("clusters 8 x 10", lambda: clusters(8, 10, 2), (10, 20)),
    ("tree 31", lambda: tree(4), (6, 10)),
    ("tree 63, 2 layers", lambda: tree(5, 2), (12,)),
    ("random pairs 10, 30 gates", lambda: random_pairs(10, 30), (5, 7)),
    ("random pairs 24, 40 gates", lambda: random_pairs(24, 40), (10, 14)),
    ("su2 linear 20", lambda: ansatz(efficient_su2(20, reps=3, entanglement="linear")), (7, 10)),
    ("su2 circular 16", lambda: ansatz(efficient_su2(16, reps=2, entanglement="circular")), (6, 8)),
    ("real amplitudes full 10", lambda: ansatz(n_local(10, "ry", "cx", "full", reps=1)), (5, 7)),
    ("zz feature map linear 16", lambda: ansatz(zz_feature_map(16, reps=2, entanglement="linear")), (6, 8)),
    ("dj 24", lambda: mqt_bench("dj", 24), (8, 12)),
    ("ae 10", lambda: mqt_bench("ae", 10), (7,)),
    ("graphstate 30", lambda: mqt_bench("graphstate", 30), (10, 15)),
    ("qpeexact 10", lambda: mqt_bench("qpeexact", 10), (7,)),
]


def large(qubits: int = 1000) -> list[Family]:
    """What the planning time is measured on besides: circuits of so many qubits."""
    return [
        (f"brickwork {qubits}, 6 layers", lambda: brickwork(qubits, 6), (20,)),
        (f"qaoa 3-regular {qubits}", lambda: regular(3, qubits), (100,)),
        (f"w {qubits}", lambda: w_state(qubits), (20,)),
    ]
