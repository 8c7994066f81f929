"""Variational programs to convergence: ``python -m results.benchmarks.variational [--only qaoa|vqe]``.

QAOA for MaxCut on 40 nodes, four communities of ten joined by single edges, p = 1 to 3: the loop of
``qompass optimise`` beside a loop that calls Qompass once for each evaluation and beside qiskit-addon-cutting with the
same cuts (4,096 shots a sub-experiment, extrapolated from what fits the budget), and the energy at the end beside the
best cut, which CP-SAT finds and proves. VQE of an open chain of 24 spins in a transverse field, with the operator's own
ansatz, beside the exact energy of free fermions. Writes variational.md, .json and .png beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from qompass import estimate

from apps.variational.ansatz import qaoa
from apps.variational.energies import Hamiltonian, maxcut, transverse_ising
from apps.variational.graphs import Graph
from apps.variational.measure import Measure
from apps.variational.program import Optimum, begin, optimise
from apps.variational.settings import Settings
from results.benchmarks.speed_peers import addon_times
from results.benchmarks.speed_problems import Case
from tasks.cutting.document import plan_document
from tasks.options import Options

_HERE = Path(__file__).parent
_SHOTS = 4096
_LAYERS = (1, 2, 3)
_SPINS = 24
_FIELDS = (0.5, 1.0, 2.0)


def main() -> None:
    """Measure what is asked for, keep the rest, write the tables and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("qaoa", "vqe"))
    parser.add_argument("--budget", type=float, default=10.0, help="seconds that a peer may take for a problem")
    chosen = parser.parse_args()
    path = _HERE / "variational.json"
    document: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    document["machine"] = {
        "cores": os.cpu_count(), "python": platform.python_version(), "qiskit": version("qiskit"),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    document["budget_s"] = chosen.budget
    if chosen.only != "vqe":
        graph = communities()
        document["best_cut"] = best_cut(graph)
        document["qaoa"] = [_qaoa(graph, layers, chosen.budget) for layers in _LAYERS]
    if chosen.only != "qaoa":
        document["vqe"] = [_vqe(field, layers) for field in _FIELDS for layers in (1, 2, 3)]
    path.write_text(json.dumps(document, indent=1) + "\n")
    (_HERE / "variational.md").write_text(_markdown(document))
    _figure(document)


def communities(parts: int = 4, size: int = 10, seed: int = 3) -> Graph:
    """Rings with five chords each, joined in a row by single edges."""
    rng = np.random.default_rng(seed)
    edges: dict[tuple[int, int], None] = {}
    for first in range(0, parts * size, size):
        for k in range(size):
            a, b = first + k, first + (k + 1) % size
            edges[min(a, b), max(a, b)] = None
        for _ in range(5):
            a, b = sorted((first + rng.choice(size, 2, replace=False)).tolist())
            edges[a, b] = None
        if first:
            edges[first - 1, first] = None
    nodes = parts * size
    return Graph(tuple(map(str, range(nodes))), tuple(edges), (1.0,) * len(edges), (0.0,) * nodes)


def best_cut(graph: Graph) -> float:
    """The weight of the largest cut, proven (CP-SAT of OR-tools)."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    side = [model.new_bool_var(name) for name in graph.nodes]
    across = []
    for a, b in graph.edges:
        cut = model.new_bool_var(f"{a}-{b}")
        model.add(cut <= side[a] + side[b])
        model.add(cut <= 2 - side[a] - side[b])
        across.append(cut)
    model.maximize(sum(across))
    solver = cp_model.CpSolver()
    assert solver.solve(model) == cp_model.OPTIMAL
    return solver.objective_value


def chain_energy(spins: int, field: float) -> float:
    """Lowest energy of the open chain: minus the sum of its modes' energies (Pfeuty, Ann. Phys. 57, 79 (1970))."""
    coupling = field * np.eye(spins) + np.diag(np.ones(spins - 1), 1)
    return -float(np.linalg.svd(coupling, compute_uv=False).sum())


def _optimised(hamiltonian: Hamiltonian, ansatz: str, layers: int, width: int) -> tuple[Optimum, float]:
    options = Options(max_qubits=width, cache="off", seed=1)
    settings = Settings(hamiltonian, ansatz, layers, "lbfgsb", 200, 1e-7, 24, None, 0, 1000, options)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with begin(settings, Path(folder), {}) as directory:
            found = optimise(directory, settings, lambda state: None)
        return found, time.perf_counter() - began


def _qaoa(graph: Graph, layers: int, budget: float) -> dict[str, Any]:
    hamiltonian, width = maxcut(graph), 10
    found, seconds = _optimised(hamiltonian, "qaoa", layers, width)
    made = qaoa(hamiltonian, layers, 1)
    measure = Measure(made, hamiltonian.operator, Options(max_qubits=width, cache="off", seed=1))
    ready = measure.evaluator(0).prepared()
    assert ready is not None
    plan = plan_document(ready.plan)
    rng = np.random.default_rng(layers)
    points = made.start + 0.01 * rng.normal(size=(21, len(made.start)))
    one, call = _in_turn(
        lambda k: measure.values(points[k : k + 1], 0),
        lambda k: estimate(made.circuit.assign_parameters(points[k]), hamiltonian.operator, cuts=ready.plan.cuts,
                           cache="off"), 21)  # fmt: skip
    slope = _seconds(lambda k: measure.slopes(points[k], 0), 11)
    many = _seconds(lambda k: measure.values(made.start + 0.01 * rng.normal(size=(64, len(made.start))), 0), 3) / 64
    bound = made.circuit.assign_parameters(points[0])
    keep = hamiltonian.operator.paulis.z.any(axis=1)
    case = Case(f"p = {layers}", "gate", bound, ready.plan.cuts, tuple(hamiltonian.operator.paulis[keep].to_labels()),
                hamiltonian.operator.coeffs.real[keep])  # fmt: skip
    try:
        peer = addon_times(case, _SHOTS, budget, seed=1)
        addon = {"addon": peer.total, "addon_experiments": peer.experiments, "addon_extrapolated": peer.extrapolated}
    except (MemoryError, OverflowError, ValueError) as error:
        addon = {"addon_failed": f"{type(error).__name__}: {error}"[:120]}
    ends = {"evaluations": found.evaluations, "energy": found.energy, "string": found.bits_energy}
    return {
        "layers": layers, "qubits": hamiltonian.num_qubits, "gates_cut": len(plan["cuts"]["gates"]),
        "fragments": len(plan["fragments"]), "seconds": seconds, **ends,
        "one": one, "slope": slope, "many": many, "call": call, **addon,
    }  # fmt: skip


def _vqe(field: float, layers: int) -> dict[str, Any]:
    hamiltonian = Hamiltonian("chain", transverse_ising(1, _SPINS, field))
    found, seconds = _optimised(hamiltonian, "hamiltonian", layers, _SPINS // 2)
    return {"field": field, "layers": layers, "energy": found.energy, "exact": chain_energy(_SPINS, field),
            "evaluations": found.evaluations, "seconds": seconds}  # fmt: skip


def _seconds(work: Any, repeats: int) -> float:
    """Median, after one that is not counted."""
    work(0)
    taken = []
    for number in range(repeats):
        began = time.perf_counter()
        work(number)
        taken.append(time.perf_counter() - began)
    return median(taken)


def _in_turn(first: Any, second: Any, repeats: int) -> tuple[float, float]:
    """Medians of two ways, one after the other each time, so that other work on the machine meets both alike."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(repeats):
        for way, own in zip((first, second), taken, strict=True):
            way(number)  # not counted: the first after the other way reads its data anew
            began = time.perf_counter()
            way(number)
            own.append(time.perf_counter() - began)
    return median(taken[0]), median(taken[1])


def _markdown(document: dict[str, Any]) -> str:
    machine = document["machine"]
    lines = [
        "# Variational programs to convergence",
        "",
        "`python -m results.benchmarks.variational` wrote this: exact path, L-BFGS-B with exact gradients, from the"
        " start that `qompass optimise` takes. `a call`: `qompass.estimate` with the same cuts for each evaluation."
        f" Peer: qiskit-addon-cutting 0.10, the same cuts, {_SHOTS:,} shots a sub-experiment,"
        f" {document['budget_s']:g} s (~ extrapolated). Medians; an evaluation and a call were"
        " measured in turn."
        f" {machine['cores']} cores, Python {machine['python']}, Qiskit {machine['qiskit']}; a load of"
        f" {machine['load']:.1f} when it began.",
    ]
    if "qaoa" in document:
        best = document["best_cut"]
        lines += [
            "",
            f"## MaxCut of 40 nodes in 4 communities, fragments of at most 10 qubits; the largest cut is {best:g}",
            "",
            "| p | gates cut | evaluations to the end | seconds in all | expected cut | of the largest | best of 1,000"
            " strings |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in document["qaoa"]:
            lines.append(
                f"| {row['layers']} | {row['gates_cut']} | {row['evaluations']} | {row['seconds']:.2f} |"
                f" {-row['energy']:.4f} | {-row['energy'] / best:.3f} | {-row['string']:g} |"
            )
        lines += [
            "",
            "| p | ms an evaluation | ms with gradient | ms each of 64 at once | ms a call | addon-cutting, s |"
            " a call : evaluation | addon : evaluation |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in document["qaoa"]:
            mark = "~" if row.get("addon_extrapolated") else ""
            addon = f"{mark}{row['addon']:.3g}" if "addon" in row else row["addon_failed"]
            ratio = f"{mark}{row['addon'] / row['one']:.3g}x" if "addon" in row else "-"
            lines.append(
                f"| {row['layers']} | {1e3 * row['one']:.2f} | {1e3 * row['slope']:.2f} | {1e3 * row['many']:.2f} |"
                f" {1e3 * row['call']:.0f} | {addon} | {row['call'] / row['one']:.1f}x | {ratio} |"
            )
    if "vqe" in document:
        lines += [
            "",
            f"## VQE of an open Ising chain of {_SPINS} spins, fragments of at most {_SPINS // 2} qubits",
            "",
            "| transverse field | layers | energy | exact (free fermions) | relative error | evaluations | seconds |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in document["vqe"]:
            error = (row["energy"] - row["exact"]) / abs(row["exact"])
            lines.append(
                f"| {row['field']:g} | {row['layers']} | {row['energy']:.6f} | {row['exact']:.6f} | {error:.1e} |"
                f" {row['evaluations']} | {row['seconds']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def _figure(document: dict[str, Any]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    rows = document.get("qaoa", [])
    kinds = (("many", "loop, 64 at once"), ("one", "loop"), ("call", "a call each"), ("addon", "addon-cutting 0.10"))
    for place, (key, label) in enumerate(kinds):
        own = [row for row in rows if key in row]
        left.bar([row["layers"] + 0.2 * (place - 1.5) for row in own], [1 / row[key] for row in own], 0.2, label=label)
    left.set(yscale="log", xlabel="layers p", ylabel="evaluations a second", title="QAOA, 40 qubits, exact energies")
    left.set_xticks([row["layers"] for row in rows])
    left.legend(fontsize=8, loc="lower left", framealpha=0.9)
    for field in _FIELDS:
        own = [row for row in document.get("vqe", []) if row["field"] == field]
        errors = [(row["energy"] - row["exact"]) / abs(row["exact"]) for row in own]
        right.plot([row["layers"] for row in own], errors, "o-", label=f"field {field:g}")
    right.set_xticks([1, 2, 3])
    right.set(yscale="log", xlabel="layers", ylabel="relative error of the energy", title="VQE, 24 spins")
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(_HERE / "variational.png", dpi=110)


if __name__ == "__main__":
    main()
