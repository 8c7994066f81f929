"""The runs whose seconds are predicted: those that constants are fitted to, and those of other families held out.

Part of ``planner.py``. A run is (name, circuit, observables, options).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import networkx as nx
import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit.library import efficient_su2, n_local, quantum_volume

from results.benchmarks.planner_problems import (
    FAMILIES,
    ansatz,
    basis_of,
    brickwork,
    clusters,
    cuccaro,
    ghz,
    grid,
    mqt_bench,
    qaoa,
    random_pairs,
    regular,
    swap_test,
    tfim,
    tree,
    w_state,
)
from tasks.cutting import GateCut

Run = tuple[str, Callable[[], QuantumCircuit], list[str], dict[str, Any]]
Built = tuple[str, Callable[[], QuantumCircuit], int]
_SEED = 20261128  # of the circuits held out


def local(qubits: int) -> list[str]:
    """Observables on one and two qubits."""
    return [f"Z{q}" for q in range(0, qubits, 3)] + [f"X{q} Y{q + 1}" for q in range(0, qubits - 1, 5)]


def exact_runs(runs: list[Built]) -> Iterator[Run]:
    """Without shots."""
    for name, build, width in runs:
        yield f"{name}, exact", build, local(build().num_qubits), {"max_qubits": width}


def sampled_runs(runs: list[tuple[str, Callable[[], QuantumCircuit], int, int]]) -> Iterator[Run]:
    """With shots."""
    for name, build, width, shots in runs:
        observables = ["Z0 Z1", "Z" * build().num_qubits]
        yield f"{name}, sampled", build, observables, {"max_qubits": width, "shots": shots}


def fitted() -> Iterator[Run]:
    """Those that the constants are fitted to."""
    known = {name: build for name, build, _ in FAMILIES}
    yield from exact_runs(
        [
            ("w 100", partial(w_state, 100), 15),
            ("ghz 40", partial(ghz, 40), 20),
            ("brickwork 24, 5 layers", partial(brickwork, 24, 5), 12),
            ("brickwork 60, 6 layers", partial(brickwork, 60, 6), 12),
            ("brickwork 100, 8 layers", partial(brickwork, 100, 8), 14),
            ("cuccaro 24", partial(cuccaro, 11), 12),
            ("swap test 25", partial(swap_test, 12), 13),
            ("grid 5x5, 2 layers", partial(grid, 5, 2), 12),
            ("tfim 40, 4 steps", partial(tfim, 40, 4), 21),
            ("tfim ring 24, 3 steps", partial(tfim, 24, 3, ring=True), 12),
            ("clusters 8 x 10", partial(clusters, 8, 10, 2), 12),
            ("clusters 10 x 14", partial(clusters, 10, 14, 2), 16),
            ("tree 63, 2 layers", partial(tree, 5, 2), 12),
            ("w 60", partial(w_state, 60), 12),
            ("brickwork 40, 4 layers", partial(brickwork, 40, 4), 10),
            ("brickwork 30, 7 layers", partial(brickwork, 30, 7), 16),
            ("grid 4x4, 1 layer", partial(grid, 4, 1), 8),
            ("tfim 60, 2 steps", partial(tfim, 60, 2), 14),
            ("tfim ring 40, 2 steps", partial(tfim, 40, 2, ring=True), 10),
            ("clusters 6 x 12", partial(clusters, 6, 12, 2), 14),
            ("tree 31", partial(tree, 4, 1), 10),
            ("cuccaro 18", partial(cuccaro, 8), 10),
            ("swap test 17", partial(swap_test, 8), 9),
            ("uncut brickwork 20", partial(brickwork, 20, 20), 20),
            ("uncut brickwork 18", partial(brickwork, 18, 20), 18),
            ("uncut brickwork 22", partial(brickwork, 22, 20), 22),
            ("graphstate 30", known["graphstate 30"], 15),
            ("su2 circular 16", known["su2 circular 16"], 8),
            ("zz feature map linear 16", known["zz feature map linear 16"], 8),
            ("qpeexact 10", known["qpeexact 10"], 7),
            ("random pairs 30, 45 gates", partial(random_pairs, 30, 45), 16),
            ("qaoa 3-regular 16", known["qaoa 3-regular 16"], 10),
            ("w 75", partial(w_state, 75), 13),
            ("ghz 55", partial(ghz, 55), 11),
            ("cuccaro 16", partial(cuccaro, 7), 9),
            ("swap test 21", partial(swap_test, 10), 11),
            ("tree 31, 2 layers", partial(tree, 4, 2), 12),
            ("brickwork 36, 5 layers", partial(brickwork, 36, 5), 13),
            ("brickwork 50, 3 layers", partial(brickwork, 50, 3), 11),
            ("tfim 30, 5 steps", partial(tfim, 30, 5), 10),
            ("clusters 5 x 9", partial(clusters, 5, 9, 2), 10),
            ("grid 6x6, 1 layer", partial(grid, 6, 1), 12),
            ("uncut brickwork 19", partial(brickwork, 19, 24), 19),
            ("uncut brickwork 24", partial(brickwork, 24, 20), 24),
            ("grid 6x6, 2 layers", partial(grid, 6, 2), 12),
            ("qaoa 3-regular 100", known["qaoa 3-regular 100"], 50),
            ("brickwork 100, 10 layers", partial(brickwork, 100, 10), 16),
            ("clusters 6 x 17", partial(clusters, 6, 17, 2), 18),
            ("random pairs 30, 60 gates", partial(random_pairs, 30, 60), 18),
            ("tfim ring 60, 4 steps", partial(tfim, 60, 4, ring=True), 16),
        ]
    )
    yield from sampled_runs(
        [
            ("w 40", partial(w_state, 40), 10, 10**6),
            ("brickwork 20, 3 layers", partial(brickwork, 20, 3), 11, 10**6),
            ("clusters 5 x 6", partial(clusters, 5, 6), 6, 10**6),
            ("cuccaro 12", partial(cuccaro, 5), 7, 10**6),
            ("ghz 24", partial(ghz, 24), 13, 10**6),
            ("w 20", partial(w_state, 20), 10, 10**6),
            ("brickwork 24, 4 layers", partial(brickwork, 24, 4), 12, 10**6),
            ("swap test 13", partial(swap_test, 6), 7, 10**6),
            ("tree 15", partial(tree, 3, 1), 6, 10**6),
            ("w 28", partial(w_state, 28), 9, 10**6),
            ("ghz 33", partial(ghz, 33), 12, 10**5),
            ("su2 circular 16", known["su2 circular 16"], 8, 10**6),
            ("clusters 4 x 7", partial(clusters, 4, 7), 7, 10**6),
            ("brickwork 18, 3 layers", partial(brickwork, 18, 3), 9, 10**5),
            ("swap test 9", partial(swap_test, 4), 5, 10**6),
            ("qaoa 3-regular 16", known["qaoa 3-regular 16"], 10, 10**6),
            ("tfim 16, 2 steps", partial(tfim, 16, 2), 8, 10**5),
            ("graphstate 30", known["graphstate 30"], 15, 10**5),
            ("brickwork 40, 4 layers", partial(brickwork, 40, 4), 14, 10**7),
            ("qaoa 3-regular 24", known["qaoa 3-regular 24"], 12, 10**6),
            ("tree 31", partial(tree, 4, 1), 10, 10**6),
            ("clusters 4 x 14", partial(clusters, 4, 14, 2), 14, 10**6),
            ("random pairs 24, 40 gates", partial(random_pairs, 24, 40), 14, 10**6),
            ("tfim ring 24, 3 steps", partial(tfim, 24, 3, ring=True), 12, 10**6),
        ]
    )

    wide = w_state(100)
    pairs = [(i, *sorted(wide.find_bit(q).index for q in item.qubits)) for i, item in enumerate(wide.data)]
    for each in (15, 20):
        severed = tuple(GateCut(i) for i, low, *high in pairs if high and low % each == each - 1)
        name = f"w 100 by {len(severed)} cut gates, sampled"
        yield name, lambda: wide, ["Z0 Z1", "Z" * 100], {"cuts": severed, "shots": 10**6}


def turned(graph: nx.Graph, layers: int, gate: str = "cz") -> QuantumCircuit:
    """Layers of a gate along the edges of a graph, random rotations between."""
    rng = np.random.default_rng([_SEED, graph.number_of_nodes(), graph.number_of_edges(), layers])
    graph = nx.convert_node_labels_to_integers(graph, ordering="sorted")
    out = QuantumCircuit(graph.number_of_nodes())
    for _ in range(layers):
        for q in range(out.num_qubits):
            out.ry(float(rng.uniform(0, 3)), q)
            out.rz(float(rng.uniform(0, 3)), q)
        for a, b in graph.edges:
            if gate == "rzz":
                out.rzz(float(rng.uniform(0.2, 1.2)), a, b)
            else:
                getattr(out, gate)(a, b)
    return out


def ladder(rungs: int, layers: int) -> QuantumCircuit:
    """Two rails with rungs between, rzz of random angles."""
    return turned(nx.ladder_graph(rungs), layers, "rzz")


def hexagons(rows: int, columns: int, layers: int) -> QuantumCircuit:
    """A patch of a hexagonal lattice, CX along its edges."""
    return turned(nx.hexagonal_lattice_graph(rows, columns), layers, "cx")


def triangles(rows: int, columns: int, layers: int) -> QuantumCircuit:
    """A patch of a triangular lattice."""
    return turned(nx.triangular_lattice_graph(rows, columns), layers)


def box(sides: tuple[int, int, int], layers: int) -> QuantumCircuit:
    """A cubic lattice."""
    return turned(nx.grid_graph(sides), layers)


def heisenberg(qubits: int, steps: int) -> QuantumCircuit:
    """Trotter steps of the Heisenberg model on a line."""
    out = QuantumCircuit(qubits)
    out.x(range(0, qubits, 2))
    for _ in range(steps):
        for first in (0, 1):
            for q in range(first, qubits - 1, 2):
                out.rxx(0.3, q, q + 1)
                out.ryy(0.3, q, q + 1)
                out.rzz(0.25, q, q + 1)
    return out


def communities(number: int, size: int, layers: int = 2) -> QuantumCircuit:
    """Random dense groups in a ring, neighbours joined by one gate."""
    graph = nx.Graph(nx.disjoint_union_all(nx.gnp_random_graph(size, 0.6, seed=_SEED + k) for k in range(number)))
    out = turned(graph, layers, "rzz")
    for k in range(number):
        out.cx(k * size, ((k + 1) % number) * size + 1)
    rng = np.random.default_rng([_SEED, number, size])
    for q in range(out.num_qubits):
        out.rx(float(rng.uniform(0, 3)), q)
    return out


def _volume(qubits: int, depth: int) -> QuantumCircuit:
    return basis_of(quantum_volume(qubits, depth, seed=_SEED))


def _small_world(qubits: int, neighbours: int) -> QuantumCircuit:
    return qaoa(nx.connected_watts_strogatz_graph(qubits, neighbours, 0.1, seed=_SEED))


def _caterpillar(spine: int, legs: int, layers: int) -> QuantumCircuit:
    graph = nx.path_graph(spine)
    for k in range(spine):
        graph.add_edges_from((k, spine + k * legs + j) for j in range(legs))
    return turned(graph, layers, "cx")


def _staircase(qubits: int, reps: int) -> QuantumCircuit:
    return ansatz(n_local(qubits, ["ry", "rz"], "cx", "reverse_linear", reps=reps))


def _pairwise(qubits: int, reps: int) -> QuantumCircuit:
    return ansatz(efficient_su2(qubits, reps=reps, entanglement="pairwise"))


def second() -> Iterator[Run]:
    """Held out at first, where a fit to ``fitted`` alone was 81 % right in the median; constants are fitted to both."""
    yield from exact_runs(
        [
            ("ladder 2 x 30, 2 layers", partial(ladder, 30, 2), 14),
            ("ladder 2 x 22, 3 layers", partial(ladder, 22, 3), 16),
            ("ladder 2 x 60, 2 layers", partial(ladder, 60, 2), 14),
            ("hexagons 3 x 6, 2 layers", partial(hexagons, 3, 6, 2), 16),
            ("hexagons 4 x 8, 1 layer", partial(hexagons, 4, 8, 1), 18),
            ("hexagons 2 x 9, 2 layers", partial(hexagons, 2, 9, 2), 14),
            ("hexagons 4 x 9, 1 layer", partial(hexagons, 4, 9, 1), 20),
            ("triangles 3 x 9, 2 layers", partial(triangles, 3, 9, 2), 15),
            ("box 2 x 2 x 9, 2 layers", partial(box, (2, 2, 9), 2), 16),
            ("box 2 x 2 x 6, 2 layers", partial(box, (2, 2, 6), 2), 16),
            ("heisenberg 30, 5 steps", partial(heisenberg, 30, 5), 15),
            ("heisenberg 90, 3 steps", partial(heisenberg, 90, 3), 12),
            ("communities 12 x 13", partial(communities, 12, 13), 15),
            ("communities 20 x 11", partial(communities, 20, 11), 12),
            ("communities 5 x 16", partial(communities, 5, 16), 18),
            ("communities 4 x 19", partial(communities, 4, 19), 21),
            ("volume 19, depth 12", partial(_volume, 19, 12), 19),
            ("volume 21, depth 10", partial(_volume, 21, 10), 21),
            ("volume 23, depth 8", partial(_volume, 23, 8), 23),
            ("volume 17, depth 30", partial(_volume, 17, 30), 17),
            ("small world 70, 4 neighbours", partial(_small_world, 70, 4), 24),
            ("small world 60, 4 neighbours", partial(_small_world, 60, 4), 20),
            ("caterpillar 30 x 4, 3 layers", partial(_caterpillar, 30, 4, 3), 16),
            ("caterpillar 25 x 3, 3 layers", partial(_caterpillar, 25, 3, 3), 18),
            ("staircase 120, 3 repetitions", partial(_staircase, 120, 3), 14),
            ("staircase 36, 4 repetitions", partial(_staircase, 36, 4), 16),
            ("pairwise su2 70, 5 repetitions", partial(_pairwise, 70, 5), 14),
            ("pairwise su2 48, 6 repetitions", partial(_pairwise, 48, 6), 18),
            ("qaoa 5-regular 28", partial(regular, 5, 28), 16),
            ("vbe adder 61", partial(mqt_bench, "vbe_ripple_carry_adder", 61), 13),
        ]
    )
    yield from sampled_runs(
        [
            ("ladder 2 x 12, 1 layer", partial(ladder, 12, 1), 12, 10**6),
            ("ladder 2 x 9, 2 layers", partial(ladder, 9, 2), 10, 3 * 10**5),
            ("hexagons 2 x 4, 1 layer", partial(hexagons, 2, 4, 1), 12, 10**6),
            ("hexagons 2 x 6, 1 layer", partial(hexagons, 2, 6, 1), 15, 2 * 10**6),
            ("triangles 3 x 5, 1 layer", partial(triangles, 3, 5, 1), 10, 10**6),
            ("box 2 x 2 x 4, 1 layer", partial(box, (2, 2, 4), 1), 10, 10**6),
            ("heisenberg 14, 2 steps", partial(heisenberg, 14, 2), 10, 10**6),
            ("communities 4 x 8", partial(communities, 4, 8), 9, 10**6),
            ("communities 5 x 11", partial(communities, 5, 11), 12, 3 * 10**6),
            ("communities 3 x 15", partial(communities, 3, 15), 16, 10**6),
            ("volume 16, depth 6", partial(_volume, 16, 6), 16, 3 * 10**6),
            ("small world 24, 4 neighbours", partial(_small_world, 24, 4), 14, 10**6),
            ("caterpillar 8 x 3, 1 layer", partial(_caterpillar, 8, 3, 1), 9, 10**5),
            ("caterpillar 12 x 3, 2 layers", partial(_caterpillar, 12, 3, 2), 14, 10**6),
            ("staircase 26, 2 repetitions", partial(_staircase, 26, 2), 11, 5 * 10**5),
            ("pairwise su2 30, 3 repetitions", partial(_pairwise, 30, 3), 12, 10**7),
            ("pairwise su2 20, 4 repetitions", partial(_pairwise, 20, 4), 10, 10**6),
            ("graphstate 21", partial(mqt_bench, "graphstate", 21), 11, 10**6),
            ("vbe adder 16", partial(mqt_bench, "vbe_ripple_carry_adder", 16), 9, 10**6),
        ]
    )


def _strip(length: int, layers: int) -> QuantumCircuit:
    return turned(nx.grid_2d_graph(3, length), layers, "rzz")


def _random_tree(qubits: int, layers: int) -> QuantumCircuit:
    return turned(nx.random_labeled_tree(qubits, seed=_SEED), layers, "cx")


def _ternary(qubits: int, layers: int) -> QuantumCircuit:
    return turned(nx.full_rary_tree(3, qubits), layers)


def _cliques(number: int, size: int, layers: int) -> QuantumCircuit:
    return turned(nx.connected_caveman_graph(number, size), layers, "cx")


def _sparse(qubits: int, share: float) -> QuantumCircuit:
    return qaoa(nx.gnp_random_graph(qubits, share, seed=_SEED))


def _lollipop(clique: int, tail: int, layers: int) -> QuantumCircuit:
    return turned(nx.lollipop_graph(clique, tail), layers)


def _swaps(qubits: int, layers: int) -> QuantumCircuit:
    """Layers of iSWAP-like gates between neighbours."""
    rng = np.random.default_rng([_SEED, qubits, layers])
    out = QuantumCircuit(qubits)
    for layer in range(layers):
        for q in range(qubits):
            out.ry(float(rng.uniform(0, 3)), q)
        for q in range(layer % 2, qubits - 1, 2):
            out.rxx(float(rng.uniform(0.2, 1)), q, q + 1)
            out.ryy(float(rng.uniform(0.2, 1)), q, q + 1)
    return out


def _cascade(qubits: int, reach: int) -> QuantumCircuit:
    """Controlled phases as in a Fourier transform, on so many neighbours."""
    out = QuantumCircuit(qubits)
    for q in range(qubits):
        out.h(q)
        out.ry(0.2 + 0.03 * q, q)
        for other in range(q + 1, min(qubits, q + 1 + reach)):
            out.cp(float(np.pi / 2 ** (other - q)), q, other)
    out.rx(0.4, range(qubits))
    return out


def _dense(qubits: int, layers: int) -> QuantumCircuit:
    return turned(nx.random_regular_graph(5, qubits, seed=_SEED), layers, "rzz")


def third() -> Iterator[Run]:
    """Held out next, where fits to the two before were 84 % right in the median; constants are fitted to all three."""
    yield from exact_runs(
        [
            ("strip 3 x 10, 1 layer", partial(_strip, 10, 1), 14),
            ("strip 3 x 16, 1 layer", partial(_strip, 16, 1), 13),
            ("strip 3 x 9, 2 layers", partial(_strip, 9, 2), 15),
            ("random tree 90, 2 layers", partial(_random_tree, 90, 2), 16),
            ("random tree 70, 3 layers", partial(_random_tree, 70, 3), 18),
            ("ternary tree 100, 2 layers", partial(_ternary, 100, 2), 18),
            ("ternary tree 64, 3 layers", partial(_ternary, 64, 3), 15),
            ("cliques 8 x 7, 2 layers", partial(_cliques, 8, 7, 2), 15),
            ("cliques 12 x 6, 3 layers", partial(_cliques, 12, 6, 3), 14),
            ("cliques 5 x 12, 2 layers", partial(_cliques, 5, 12, 2), 18),
            ("cliques 4 x 17, 2 layers", partial(_cliques, 4, 17, 2), 19),
            ("sparse qaoa 50", partial(_sparse, 50, 0.05), 20),
            ("sparse qaoa 70", partial(_sparse, 70, 0.035), 22),
            ("lollipop 16, 20, 2 layers", partial(_lollipop, 16, 20, 2), 19),
            ("lollipop 18, 30, 2 layers", partial(_lollipop, 18, 30, 2), 20),
            ("swaps 40, 3 layers", partial(_swaps, 40, 3), 15),
            ("swaps 64, 4 layers", partial(_swaps, 64, 4), 16),
            ("swaps 28, 5 layers", partial(_swaps, 28, 5), 15),
            ("cascade 32, 2", partial(_cascade, 32, 2), 14),
            ("cascade 60, 2", partial(_cascade, 60, 2), 16),
            ("cascade 40, 3", partial(_cascade, 40, 3), 18),
            ("uncut cascade 20, 19", partial(_cascade, 20, 19), 20),
            ("uncut dense 18, 6 layers", partial(_dense, 18, 6), 18),
            ("uncut dense 20, 4 layers", partial(_dense, 20, 4), 20),
            ("uncut dense 22, 4 layers", partial(_dense, 22, 4), 22),
            ("uncut swaps 21, 12 layers", partial(_swaps, 21, 12), 21),
            ("uncut dense 24, 3 layers", partial(_dense, 24, 3), 24),
            ("strip 3 x 14, 2 layers", partial(_strip, 14, 2), 15),
            ("cliques 6 x 15, 2 layers", partial(_cliques, 6, 15, 2), 17),
            ("cliques 10 x 11, 3 layers", partial(_cliques, 10, 11, 3), 13),
        ]
    )
    yield from sampled_runs(
        [
            ("strip 3 x 6, 1 layer", partial(_strip, 6, 1), 10, 10**6),
            ("strip 3 x 8, 1 layer", partial(_strip, 8, 1), 13, 2 * 10**6),
            ("random tree 30, 1 layer", partial(_random_tree, 30, 1), 12, 10**6),
            ("random tree 24, 2 layers", partial(_random_tree, 24, 2), 13, 5 * 10**5),
            ("ternary tree 40, 1 layer", partial(_ternary, 40, 1), 14, 10**6),
            ("ternary tree 22, 2 layers", partial(_ternary, 22, 2), 10, 10**6),
            ("cliques 5 x 6, 1 layer", partial(_cliques, 5, 6, 1), 8, 10**6),
            ("cliques 4 x 8, 2 layers", partial(_cliques, 4, 8, 2), 10, 10**6),
            ("cliques 6 x 5, 2 layers", partial(_cliques, 6, 5, 2), 12, 3 * 10**5),
            ("cliques 3 x 13, 2 layers", partial(_cliques, 3, 13, 2), 14, 10**6),
            ("sparse qaoa 30", partial(_sparse, 30, 0.07), 13, 10**6),
            ("sparse qaoa 26", partial(_sparse, 26, 0.09), 12, 10**6),
            ("lollipop 10, 12, 1 layer", partial(_lollipop, 10, 12, 1), 12, 10**6),
            ("lollipop 12, 14, 2 layers", partial(_lollipop, 12, 14, 2), 14, 10**6),
            ("swaps 20, 2 layers", partial(_swaps, 20, 2), 10, 10**6),
            ("swaps 26, 2 layers", partial(_swaps, 26, 2), 9, 3 * 10**6),
            ("swaps 16, 3 layers", partial(_swaps, 16, 3), 9, 10**6),
            ("cascade 20, 1", partial(_cascade, 20, 1), 8, 10**6),
            ("cascade 24, 2", partial(_cascade, 24, 2), 13, 10**6),
            ("cascade 18, 2", partial(_cascade, 18, 2), 10, 3 * 10**5),
            ("swaps 30, 3 layers", partial(_swaps, 30, 3), 12, 10**7),
            ("cliques 4 x 12, 2 layers", partial(_cliques, 4, 12, 2), 13, 3 * 10**6),
            ("strip 3 x 7, 2 layers", partial(_strip, 7, 2), 12, 10**6),
            ("random tree 36, 2 layers", partial(_random_tree, 36, 2), 14, 10**6),
        ]
    )


def _torus(rows: int, columns: int, layers: int) -> QuantumCircuit:
    return turned(nx.grid_2d_graph(rows, columns, periodic=True), layers)


def _prism(rungs: int, layers: int) -> QuantumCircuit:
    return turned(nx.circular_ladder_graph(rungs), layers, "cx")


def _barbell(clique: int, path: int, layers: int) -> QuantumCircuit:
    return turned(nx.barbell_graph(clique, path), layers, "rzz")


def _windmill(cliques: int, size: int, layers: int) -> QuantumCircuit:
    """Cliques that share one qubit."""
    return turned(nx.windmill_graph(cliques, size), layers, "rzz")


def _binomial(order: int, layers: int) -> QuantumCircuit:
    return turned(nx.binomial_tree(order), layers, "cx")


def _geometric(qubits: int, radius: float, layers: int) -> QuantumCircuit:
    """Random points in a square, those close together joined."""
    return turned(nx.random_geometric_graph(qubits, radius, seed=_SEED), layers)


def _kicked(qubits: int, steps: int) -> QuantumCircuit:
    """A kicked Ising chain with neighbours and the neighbours' neighbours."""
    out = QuantumCircuit(qubits)
    for _ in range(steps):
        out.rx(0.7, range(qubits))
        for reach in (1, 2):
            for q in range(qubits - reach):
                out.rzz(0.5 / reach, q, q + reach)
    return out


def _hubbard(sites: int, steps: int) -> QuantumCircuit:
    """Hops along two chains, one a spin, and phases between them."""
    out = QuantumCircuit(2 * sites)
    out.x(range(0, 2 * sites, 3))
    for _ in range(steps):
        for spin in (0, 1):
            for first in (0, 1):
                for site in range(first, sites - 1, 2):
                    out.rxx(0.4, 2 * site + spin, 2 * site + 2 + spin)
                    out.ryy(0.4, 2 * site + spin, 2 * site + 2 + spin)
        for site in range(sites):
            out.cp(0.6, 2 * site, 2 * site + 1)
    return out


def _gadgets(qubits: int, number: int, length: int) -> QuantumCircuit:
    """Exponentials of random Paulis on neighbours, as ladders of CX."""
    rng = np.random.default_rng([_SEED, qubits, number, length])
    out = QuantumCircuit(qubits)
    out.ry(0.9, range(qubits))
    for _ in range(number):
        first = int(rng.integers(qubits - length + 1))
        own = range(first, first + length)
        turned = [q for q in own if rng.integers(2)]
        for q in turned:
            out.h(q)
        for q in own[:-1]:
            out.cx(q, q + 1)
        out.rz(float(rng.uniform(0.2, 1.5)), own[-1])
        for q in reversed(own[:-1]):
            out.cx(q, q + 1)
        for q in turned:
            out.h(q)
    return out


def _syndromes(data: int, rounds: int) -> QuantumCircuit:
    """Parities of neighbours written to helpers between them, turned a little before each round."""
    out = QuantumCircuit(2 * data - 1)
    for k in range(rounds):
        for q in range(0, 2 * data - 1):
            out.rx(0.3 + 0.1 * k + 0.02 * q, q)
        for q in range(1, 2 * data - 1, 2):
            out.cx(q - 1, q)
            out.cx(q + 1, q)
    return out


def held_out() -> Iterator[Run]:
    """Of other families, sizes and seeds than the three; written down before the last fit, run once, after it."""
    yield from exact_runs(
        [
            ("torus 4 x 8, 1 layer", partial(_torus, 4, 8, 1), 18),
            ("torus 3 x 6, 2 layers", partial(_torus, 3, 6, 2), 14),
            ("prism 14, 2 layers", partial(_prism, 14, 2), 15),
            ("prism 40, 1 layer", partial(_prism, 40, 1), 16),
            ("prism 20, 2 layers", partial(_prism, 20, 2), 17),
            ("barbell 12, 20, 2 layers", partial(_barbell, 12, 20, 2), 18),
            ("barbell 16, 12, 2 layers", partial(_barbell, 16, 12, 2), 18),
            ("windmill 5 x 9, 2 layers", partial(_windmill, 5, 9, 2), 18),
            ("windmill 3 x 15, 2 layers", partial(_windmill, 3, 15, 2), 20),
            ("binomial tree 64, 2 layers", partial(_binomial, 6, 2), 20),
            ("binomial tree 32, 4 layers", partial(_binomial, 5, 4), 20),
            ("geometric 40, 2 layers", partial(_geometric, 40, 0.26, 2), 20),
            ("geometric 60, 1 layer", partial(_geometric, 60, 0.22, 1), 21),
            ("kicked 26, 3 steps", partial(_kicked, 26, 3), 16),
            ("kicked 36, 2 steps", partial(_kicked, 36, 2), 15),
            ("uncut kicked 19, 12 steps", partial(_kicked, 19, 12), 19),
            ("uncut kicked 22, 6 steps", partial(_kicked, 22, 6), 22),
            ("uncut geometric 21, 4 layers", partial(_geometric, 21, 0.45, 4), 21),
            ("hubbard 14, 2 steps", partial(_hubbard, 14, 2), 16),
            ("hubbard 30, 1 step", partial(_hubbard, 30, 1), 16),
            ("gadgets 40, 90 of 4", partial(_gadgets, 40, 90, 4), 18),
            ("gadgets 60, 50 of 5", partial(_gadgets, 60, 50, 5), 18),
            ("syndromes 20, 8 rounds", partial(_syndromes, 20, 8), 18),
            ("syndromes 40, 5 rounds", partial(_syndromes, 40, 5), 17),
            ("modular adder 18", partial(mqt_bench, "modular_adder", 18), 14),
        ]
    )
    yield from sampled_runs(
        [
            ("torus 3 x 5, 1 layer", partial(_torus, 3, 5, 1), 11, 10**6),
            ("prism 9, 1 layer", partial(_prism, 9, 1), 11, 10**6),
            ("prism 12, 1 layer", partial(_prism, 12, 1), 14, 2 * 10**6),
            ("barbell 6, 8, 2 layers", partial(_barbell, 6, 8, 2), 9, 10**6),
            ("barbell 10, 6, 2 layers", partial(_barbell, 10, 6, 2), 13, 3 * 10**6),
            ("windmill 4 x 6, 2 layers", partial(_windmill, 4, 6, 2), 12, 10**6),
            ("windmill 3 x 8, 1 layer", partial(_windmill, 3, 8, 1), 12, 10**6),
            ("binomial tree 16, 2 layers", partial(_binomial, 4, 2), 10, 5 * 10**5),
            ("binomial tree 32, 1 layer", partial(_binomial, 5, 1), 12, 10**6),
            ("geometric 24, 1 layer", partial(_geometric, 24, 0.35, 1), 15, 10**6),
            ("geometric 18, 2 layers", partial(_geometric, 18, 0.32, 2), 12, 3 * 10**5),
            ("kicked 16, 1 step", partial(_kicked, 16, 1), 9, 10**6),
            ("kicked 14, 2 steps", partial(_kicked, 14, 2), 10, 10**6),
            ("hubbard 8, 1 step", partial(_hubbard, 8, 1), 10, 10**6),
            ("hubbard 10, 1 step", partial(_hubbard, 10, 1), 12, 5 * 10**6),
            ("gadgets 20, 40 of 3", partial(_gadgets, 20, 40, 3), 12, 10**6),
            ("gadgets 24, 30 of 4", partial(_gadgets, 24, 30, 4), 15, 10**6),
            ("gadgets 14, 20 of 3", partial(_gadgets, 14, 20, 3), 9, 3 * 10**5),
            ("syndromes 8, 4 rounds", partial(_syndromes, 8, 4), 9, 10**6),
            ("syndromes 12, 2 rounds", partial(_syndromes, 12, 2), 13, 10**6),
            ("syndromes 16, 3 rounds", partial(_syndromes, 16, 3), 11, 10**6),
            ("modular adder 12", partial(mqt_bench, "modular_adder", 12), 8, 10**6),
            ("uncut kicked 14, 3 steps", partial(_kicked, 14, 3), 14, 10**6),
            ("uncut gadgets 17, 20 of 3", partial(_gadgets, 17, 20, 3), 17, 10**7),
        ]
    )
