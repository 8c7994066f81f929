"""Random shallow fragments by every way there is, and which is taken: part of limit.py, a process of its own.

Those of the first two seeds have been looked at while predictions were mended, those of the third only when all was
settled. Run as a program it prints JSON.
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

from tasks.cutting import GateCut, make_plan
from tasks.cutting.cone_program import ConeProgram, cone_program
from tasks.cutting.pauli_program import pauli_program
from tasks.cutting.plan import Fragment
from tasks.cutting.product_program import product_program
from tasks.cutting.seconds import _all_amplitudes_seconds, _most_amplitudes_seconds, cheaper_way
from tasks.execution.simulators.cones import cone_tensor
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.pauli_tensor import pauli_tensor
from tasks.execution.simulators.product_state import product_tensor
from tasks.execution.simulators.whole import whole_tensor
from tests.oracles import problem_of

_SETS = {"first": (1, 60), "second": (21, 80), "kept apart": (73, 80)}  # seed, fragments
_FROM_S = 0.05  # of all amplitudes at most: narrower fragments have no choice worth anything
_MOST_BITS = 23  # of the amplitudes of all branches that are simulated, where they are not the way taken
_LONGEST_S = 5.0  # of the way taken: what is predicted to take longer is left out
_NEAR = 1.3
_TIMED = 8  # times the least prediction: ways that are predicted to take more are not timed
_WAYS = {"ProductProgram": "matrix product state", "ConeProgram": "apart", "PauliProgram": "Paulis"}


def some_fragment(rng: np.random.Generator) -> tuple[str, Fragment]:
    """QAOA, Trotter steps, an ansatz, a brickwork or gates here and there, of 16 to 26 qubits; its shape."""
    family = str(rng.choice(["qaoa", "ising", "ansatz", "brick", "rungs"]))
    qubits = int(rng.integers(16, 27))
    circuit, cuts = QuantumCircuit(qubits + 1), list[GateCut]()
    on_graph = family in ("qaoa", "ansatz")
    graph = _graph(qubits, rng) if on_graph else networkx.path_graph(qubits)
    layers = int(rng.integers(1, (4 if family == "qaoa" else 3) if on_graph else 8))
    legs = int(rng.integers(0, 4))
    where = sorted(rng.integers(0, layers, legs).tolist())
    ends = rng.integers(0, qubits, legs)
    if family == "qaoa":
        circuit.h(range(qubits))
    for layer in range(layers):
        angles = rng.uniform(0.1, 1.2, 2)
        _add_layer(circuit, family, graph, layer, float(angles[0]), rng)
        for own, end in zip(where, ends.tolist(), strict=True):
            if own == layer:
                cuts.append(GateCut(len(circuit.data)))
                circuit.rzz(float(rng.uniform(0.2, 1.2)), end, qubits)
        if family in ("qaoa", "ising"):
            circuit.rx(float(angles[1]), range(qubits))
    if family == "ansatz":
        for q in range(qubits):
            circuit.ry(float(rng.uniform(0, 3)), q)
    labels = _labels(qubits, list(graph.edges), rng)
    plan = make_plan(problem_of(circuit, labels, np.ones((1, len(labels)))), cuts=tuple(cuts))
    shape = f"{family}, {qubits} qubits, {layers} layers, {legs} legs, {len(labels)} observables"
    return shape, max(plan.fragments, key=lambda fragment: fragment.num_qubits)


def _graph(qubits: int, rng: np.random.Generator) -> networkx.Graph:
    kind = int(rng.integers(4))
    if kind == 0:
        return networkx.random_regular_graph(3, qubits - qubits % 2, seed=int(rng.integers(10**9)))
    if kind == 1:
        rows = int(rng.integers(2, 5))
        return networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(rows, qubits // rows))
    return networkx.path_graph(qubits) if kind == 2 else networkx.cycle_graph(qubits)


def _add_layer(
    circuit: QuantumCircuit, family: str, graph: networkx.Graph, layer: int, angle: float, rng: np.random.Generator
) -> None:
    qubits = circuit.num_qubits - 1
    if family == "qaoa":
        for a, b in graph.edges:
            circuit.rzz(angle, a, b)
    elif family == "ising":
        for first in (0, 1):
            for q in range(first, qubits - 1, 2):
                circuit.rzz(angle, q, q + 1)
    elif family == "rungs":
        for q in range(qubits):
            circuit.ry(float(rng.uniform(0, 3)), q)
        for _ in range(qubits // 2):
            q = int(rng.integers(0, qubits - 2))
            circuit.cz(q, q + int(rng.integers(1, 3)))
    else:
        for q in range(qubits):
            circuit.u(*rng.uniform(0, 3, 3), q)
        if family == "ansatz":
            for a, b in graph.edges:
                circuit.cz(a, b)
        else:
            for q in range(layer % 2, qubits - 1, 2):
                circuit.cx(q, q + 1)


def _labels(qubits: int, edges: list[tuple[int, int]], rng: np.random.Generator) -> list[str]:
    kind = int(rng.integers(4))
    asked: list[dict[int, str]]
    if kind < 2:
        asked = [{a: "Z", b: "Z"} for a, b in edges] + [{q: "X"} for q in range(qubits) if kind == 1]
    elif kind == 2:
        asked = [{a: p, b: p} for a, b in edges for p in "XYZ"]
    else:
        asked = [
            {int(q): str(rng.choice(list("XYZ"))) for q in rng.choice(qubits, 2, replace=False)}
            for _ in range(int(rng.integers(1, 30)))
        ]
    return sorted({"".join(own.get(q, "I") for q in reversed(range(qubits + 1))) for own in asked})


def measured(seed: int, number: int) -> list[dict[str, Any]]:
    """Seconds of every way through random fragments, and which of them is taken."""
    rng, rows = np.random.default_rng(seed), list[dict[str, Any]]()
    while len(rows) < number:
        shape, fragment = some_fragment(rng)
        if fragment.num_qubits < 16 or _most_amplitudes_seconds(fragment) <= _FROM_S:
            continue
        way = cheaper_way(fragment)
        product, pauli, cones = product_program(fragment), pauli_program(fragment, 20.0), cone_program(fragment, 60.0)
        works: dict[str, tuple[float, Callable[[], np.ndarray]]] = {}
        if product is not None:
            works["matrix product state"] = product.seconds, partial(product_tensor, fragment, product)
        if cones is not None:
            works["apart"] = cones.seconds, partial(_apart, fragment, cones)
        if pauli is not None:
            works["Paulis"] = pauli.seconds, partial(pauli_tensor, fragment, pauli)
        if way is None or fragment.num_qubits + len(fragment.legs) <= _MOST_BITS:
            works["all amplitudes"] = _all_amplitudes_seconds(fragment), partial(_whole, fragment)
        least = min(seconds for seconds, _ in works.values())
        taken = _WAYS.get(type(way).__name__, "all amplitudes")
        if works[taken][0] > _LONGEST_S:
            continue
        timed = {
            name: work
            for name, (predicted, work) in works.items()
            if name == taken or predicted < max(1.0, min(_TIMED * least, 3.0))
        }
        rows.append({"shape": shape, "way": taken, "seconds": _in_turns(timed)})
    return rows


def _apart(fragment: Fragment, program: ConeProgram) -> np.ndarray:
    return cone_tensor(fragment, program, [whole_tensor(part.of(fragment)) for part in program.parts])


def _whole(fragment: Fragment) -> np.ndarray:
    return exact_tensor(fragment, open_state(fragment))


def _in_turns(works: dict[str, Callable[[], np.ndarray]]) -> dict[str, float]:
    """The least seconds of each, one after the other, until one has taken too long."""
    times: dict[str, list[float]] = {name: [] for name in works}
    while all(len(own) < 3 and sum(own) < 1 for own in times.values()):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    return {name: min(own) for name, own in times.items()}


def choice_lines(sets: dict[str, list[dict[str, Any]]] | None) -> list[str]:
    """The section of the page."""
    if not sets:
        return []
    lines = [
        "",
        "## Which way is taken",
        "",
        "Random shallow fragments of 16 to 26 qubits, up to three legs (`limit_choice.py`: QAOA on four kinds of "
        "graphs, Trotter steps of a line, an ansatz, brickwork, gates here and there), whole tensors on one thread, in "
        f"turns, by every way that is predicted to take no more than a second or {_TIMED} times the least. The "
        "constants of predicted seconds were fitted to fragments of other seeds; those of the first two sets were "
        "looked at, too, those kept apart only when all was settled. Near: within "
        f"{_NEAR} times of the best way measured. What finding a way takes is not counted; "
        f"fragments whose way is predicted to take more than {_LONGEST_S:.0f} s are left out.",
        "",
        "| fragments | near | worst | geometric mean |",
        "|---|---:|---:|---:|",
    ]
    far = []
    for name, rows in sets.items():
        best = np.array([min(row["seconds"].values()) for row in rows])
        taken = np.array([row["seconds"][row["way"]] for row in rows])
        ratios = taken / best
        lines.append(
            f"| {len(rows)} {name} | {100 * (ratios <= _NEAR).mean():.0f} % | {ratios.max():.1f}x | "
            f"{np.exp(np.log(ratios).mean()):.2f}x |"
        )
        far += [(ratio, row, name) for ratio, row in zip(ratios.tolist(), rows, strict=True) if ratio > _NEAR]
    lines += ["", "Not near:", ""]
    for ratio, row, name in sorted(far, key=lambda one: -one[0]):
        times = ", ".join(f"{way} {1e3 * seconds:.0f}" for way, seconds in row["seconds"].items())
        lines.append(f"* {row['shape']} ({name}): {row['way']}, {ratio:.1f} times the best; ms: {times}")
    return lines


def main() -> None:
    """Measure all, print JSON."""
    json.dump({name: measured(*size) for name, size in _SETS.items()}, sys.stdout)


if __name__ == "__main__":
    main()
