"""Shallow fragments with local observables, apart and by all amplitudes: part of limit.py, a process of its own.

Run as a program it prints JSON; only the widest take so long that all amplitudes are predicted, not measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import networkx
import numpy as np
from qiskit import QuantumCircuit

from scheduler_policies.cost import exact_seconds
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cutting import GateCut, make_plan
from tasks.cutting.cone_program import ConeProgram, cone_program
from tasks.cutting.pauli_program import pauli_program
from tasks.cutting.plan import Fragment
from tasks.cutting.product_program import product_program
from tasks.cutting.seconds import cheaper_way
from tasks.cutting.sizes import gram_passes, simulated_legs
from tasks.execution.simulators.cones import cone_tensor
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.pauli_tensor import pauli_tensor
from tasks.execution.simulators.product_state import product_tensor
from tasks.execution.simulators.whole import whole_tensor
from tests.oracles import problem_of

_MOST_BITS = 24  # of the amplitudes of all branches; more are predicted
_MOST_OTHER_S = 5.0


def _severed(circuit: QuantumCircuit, cuts: list[GateCut], ends: tuple[int, ...], angle: float) -> None:
    for own in ends:
        cuts.append(GateCut(len(circuit.data)))
        circuit.rzz(angle, own, circuit.num_qubits - 1)


def qaoa(graph: networkx.Graph, layers: int) -> Fragment:
    """MaxCut on a graph, two of its nodes joined to another fragment in each layer: Z Z of all edges."""
    nodes, cuts = graph.number_of_nodes(), list[GateCut]()
    circuit = QuantumCircuit(nodes + 1)
    circuit.h(circuit.qubits)
    for layer in range(layers):
        for a, b in graph.edges:
            circuit.rzz(0.4 + 0.2 * layer, a, b)
        _severed(circuit, cuts, (0, nodes // 2), 0.4)
        circuit.rx(0.7 - 0.2 * layer, circuit.qubits)
    return _fragment(circuit, cuts, [{a: "Z", b: "Z"} for a, b in graph.edges])


def line(qubits: int, steps: int) -> Fragment:
    """Trotter steps of a transverse-field Ising line, cut at its end: Z Z of neighbours and X of all."""
    circuit, cuts = QuantumCircuit(qubits + 1), list[GateCut]()
    for _ in range(steps):
        for first in (0, 1):
            for q in range(first, qubits - 1, 2):
                circuit.rzz(0.3, q, q + 1)
        _severed(circuit, cuts, (qubits - 1,), 0.3)
        circuit.rx(0.5, circuit.qubits)
    asked = [{q: "Z", q + 1: "Z"} for q in range(qubits - 1)] + [{q: "X"} for q in range(qubits)]
    return _fragment(circuit, cuts, asked)


def ansatz(rows: int, columns: int, layers: int) -> Fragment:
    """A hardware-efficient ansatz on a grid: rotations and CZ of all neighbours; X X, Y Y, Z Z of these."""
    graph = networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(rows, columns))
    rng, cuts, qubits = np.random.default_rng(8), list[GateCut](), rows * columns
    circuit = QuantumCircuit(qubits + 1)
    for _ in range(layers):
        for q in range(qubits + 1):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for a, b in graph.edges:
            circuit.cz(a, b)
        _severed(circuit, cuts, (0,), 0.8)
    for q in range(qubits):
        circuit.ry(float(rng.uniform(0, 3)), q)
    return _fragment(circuit, cuts, [{a: p, b: p} for a, b in graph.edges for p in "XYZ"])


def _fragment(circuit: QuantumCircuit, cuts: list[GateCut], asked: list[dict[int, str]]) -> Fragment:
    labels = ["".join(own.get(q, "I") for q in reversed(range(circuit.num_qubits))) for own in asked]
    plan = make_plan(problem_of(circuit, labels, np.ones((1, len(labels)))), cuts=tuple(cuts))
    return max(plan.fragments, key=lambda fragment: fragment.num_qubits)


def cases() -> dict[str, Callable[[], Fragment]]:
    """What is measured, by name."""
    made: dict[str, Callable[[], Fragment]] = {}
    for rows, columns in ((4, 4), (4, 5), (5, 5), (6, 6)):
        for layers in (1, 2) if rows < 6 else (1,):
            grid = networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(rows, columns))
            made[f"QAOA, grid {rows} x {columns}, {layers} layer{'s' * (layers > 1)}"] = lambda g=grid, n=layers: qaoa(
                g, n
            )
    for nodes in (20, 60):
        for layers in (1, 2, 3) if nodes == 20 else (1, 2):
            graph = networkx.random_regular_graph(3, nodes, seed=1)
            made[f"QAOA, 3-regular, {nodes} nodes, {layers} layer{'s' * (layers > 1)}"] = lambda g=graph, n=layers: (
                qaoa(g, n)
            )
    for qubits, steps in ((16, 2), (20, 2), (20, 3), (20, 5), (24, 3)):
        made[f"Ising line, {qubits} qubits, {steps} steps"] = partial(line, qubits, steps)
    for layers in (1, 2, 3):
        made[f"ansatz, grid 4 x 5, {layers} layer{'s' * (layers > 1)}"] = partial(ansatz, 4, 5, layers)
    return made


def _least(work: Callable[[], np.ndarray], repeats: int = 3) -> tuple[float, np.ndarray]:
    best = np.inf
    for _ in range(repeats):
        began = time.perf_counter()
        found = work()
        best = min(best, time.perf_counter() - began)
        if best > 1:
            break
    return best, found


def _apart(fragment: Fragment, program: ConeProgram) -> np.ndarray:
    return cone_tensor(fragment, program, [whole_tensor(part.of(fragment)) for part in program.parts])


def measured(fragment: Fragment) -> dict[str, Any]:
    """Seconds of each way through a fragment, and how far apart their tensors are."""
    qubits, legs = fragment.num_qubits, len(fragment.legs)
    began = time.perf_counter()
    program = cone_program(fragment, 60.0)
    row: dict[str, Any] = {"qubits": qubits, "legs": legs, "observables": fragment.num_factors}
    row |= {"search": time.perf_counter() - began, "apart": None, "parts": 0, "off": 0.0}
    found: list[np.ndarray] = []
    if program is not None:
        row["apart"], tensor = _least(partial(_apart, fragment, program))
        row |= {"parts": len(program.parts), "widest": max(len(part.qubits) for part in program.parts)}
        row["predicted"] = program.seconds
        found.append(tensor)
    way = cheaper_way(fragment)
    row["way"] = "all amplitudes" if way is None else type(way).__name__
    product = product_program(fragment)
    row["product"] = None
    if product is not None and product.seconds < _MOST_OTHER_S:
        row["product"], tensor = _least(partial(product_tensor, fragment, product))
        found.append(tensor)
    pauli = pauli_program(fragment)
    row["Paulis"] = None
    if pauli is not None and pauli.seconds < _MOST_OTHER_S:
        row["Paulis"], tensor = _least(partial(pauli_tensor, fragment, pauli))
        found.append(tensor)
    sizes = *simulated_legs(fragment), fragment.num_factors, len(fragment.circuit.data), gram_passes(fragment)
    row["amplitudes"], row["measured"] = exact_seconds(TYPICAL_CPU, qubits, 0, *sizes), False
    if qubits + legs <= _MOST_BITS:
        row["amplitudes"], tensor = _least(lambda: exact_tensor(fragment, open_state(fragment)))
        row["measured"] = True
        found.append(tensor)
    row["off"] = max((float(np.abs(one - found[0]).max()) for one in found[1:]), default=None)
    return row


def cone_lines(rows: dict[str, dict[str, Any]] | None) -> list[str]:
    """The section of the page."""
    if not rows:
        return []
    names = {"ConeProgram": "apart", "ProductProgram": "matrix product state", "PauliProgram": "Paulis"}
    lines = [
        "",
        "## Light cones of the observables",
        "",
        "What an observable does not see is left out: going back from it, a gate that commutes with what acts there "
        "cancels, a leg acts always, and the parts that no gate joins are simulated apart. Milliseconds of a "
        "fragment's whole tensor on one thread, two gates severed in each layer (ansatz and line: one); 'search' is "
        "what finding the parts takes. A way is taken where all amplitudes are predicted to take 1.3 times as long. "
        f"The ways that were measured differ by {max(row['off'] or 0.0 for row in rows.values()):.0e} at most.",
        "",
        "| fragment | qubits/legs | observables | all amplitudes | matrix product state | Paulis | apart | search |"
        " parts, widest | taken |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, row in rows.items():
        whole = _milliseconds(row["amplitudes"]) + ("" if row["measured"] else " (predicted)")
        parts = f"{row['parts']}, {row['widest']}" if row["parts"] else "-"
        others = " | ".join(_milliseconds(row.get(way)) for way in ("product", "Paulis", "apart"))
        lines.append(
            f"| {name} | {row['qubits']}/{row['legs']} | {row['observables']} | {whole} | "
            f"{others} | {1e3 * row['search']:,.0f} | {parts} | "
            f"{names.get(row['way'], row['way'])} |"
        )
    return lines


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1e3 * seconds:,.0f}" if seconds < 1e4 else f"{1e3 * seconds:.1e}"


def main() -> None:
    """Measure all, print JSON."""
    json.dump({name: measured(make()) for name, make in cases().items()}, sys.stdout)


if __name__ == "__main__":
    main()
