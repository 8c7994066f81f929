"""The law of error: standard error at fixed shots against the number of cuts; part of ``planner.py``.

Chains, cycles, trees and grids of fragments of three qubits, a gate cut on every edge between two fragments: the error
that Qompass predicts from the fragments' tensors, the one it measures over seeds where it runs that many shots, and
kappa / sqrt(shots), which is what a reconstruction has that samples all cuts together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from qiskit import QuantumCircuit

from tasks.cutting import GateCut, make_plan, structure_of
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job, sampled_jobs, uniform_shots
from tasks.inputs.validation import make_problem
from tasks.prediction import shot_variances
from tasks.reconstruction import estimate_values

DATA = Path(__file__).with_name("planner_law.json")
SHOTS, SEEDS = 10**6, 10
_OWN = 3  # qubits of a fragment


def graphs() -> Iterator[tuple[str, nx.Graph]]:
    """Fragments as nodes, cuts as edges."""
    for cuts in (2, 4, 8, 15, 30, 60):
        yield "chain", nx.path_graph(cuts + 1)
        yield "tree", nx.full_rary_tree(2, cuts + 1)
        if cuts > 2:
            yield "cycle", nx.cycle_graph(cuts)
    for side in (2, 3, 4, 5):
        yield "grid", nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, side), ordering="sorted")


def circuit_of(graph: nx.Graph) -> tuple[QuantumCircuit, tuple[GateCut, ...]]:
    """Fragments of general gates, and an rzz(0.8) between two for every edge."""
    rng = np.random.default_rng([graph.number_of_nodes(), graph.number_of_edges()])
    circuit = QuantumCircuit(_OWN * graph.number_of_nodes())

    def mix() -> None:
        for q in range(circuit.num_qubits):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for node in graph.nodes:
            for k in range(_OWN - 1):
                circuit.cz(_OWN * node + k, _OWN * node + k + 1)

    mix()
    cuts = []
    for number, (a, b) in enumerate(graph.edges):
        cuts.append(GateCut(len(circuit.data)))
        circuit.rzz(0.8, _OWN * a + number % _OWN, _OWN * b + (number + 1) % _OWN)
    mix()
    return circuit, tuple(cuts)


def main() -> None:
    """Measure what is not there yet."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text()) if DATA.exists() else []
    done = {(row["family"], row["cuts"]) for row in rows}
    for family, graph in graphs():
        if (family, graph.number_of_edges()) not in done:
            rows.append({"family": family, "cuts": graph.number_of_edges(), **measured(graph)})
            DATA.write_text(json.dumps(rows, indent=1) + "\n")
            print(rows[-1], flush=True)


def measured(graph: nx.Graph) -> dict[str, Any]:
    """Errors of one-body and two-body observables: predicted, seen, claimed by the bars, and by kappa."""
    circuit, cuts = circuit_of(graph)
    qubits = circuit.num_qubits
    asked = [f"Z{q}" for q in range(0, qubits, max(1, qubits // 6))] + [f"Z{q} Z{q + _OWN}" for q in (0, _OWN + 1)]
    problem = make_problem(circuit, asked[: 8 if qubits > 2 * _OWN + 1 else 6])
    plan = make_plan(problem, cuts=cuts, shots=SHOTS)
    structure = structure_of(problem, plan)
    predicted = shot_variances(problem, plan).values
    each = SHOTS / len(predicted)
    exact = [
        fragment_tensor(job.fragment, schemes, [(job, run_job(job))])
        for job, schemes in zip(exact_jobs(plan), plan.schemes, strict=True)
    ]
    truth = estimate_values(structure, exact)[0]
    errors, bars = [], []
    for seed in range(SEEDS):
        jobs = sampled_jobs(plan, uniform_shots(plan, SHOTS), seed)
        tensors = [
            fragment_tensor(job.fragment, schemes, [(job, run_job(job))])
            for job, schemes in zip(jobs, plan.schemes, strict=True)
        ]
        values, std_errors = estimate_values(structure, tensors)
        errors.append(values - truth)
        bars.append(std_errors)
    within = np.abs(errors) <= np.array(bars)
    return {
        "variants": len(predicted),
        "predicted": float(np.sqrt((predicted.sum(axis=0) / each).mean())),
        "measured": float(np.sqrt(np.square(errors).mean())),
        "claimed": float(np.sqrt(np.square(bars).mean())),
        "coverage": float(within.mean()),
        "kappa": float(np.sqrt(plan.sampling_overhead / SHOTS)),
    }
