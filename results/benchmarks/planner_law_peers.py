"""Errors of peers beside ours where the same cuts and as many shots are given to all; part of ``planner.py``.

Two fragments joined by one to three rzz(0.8) side by side, by one to three wires, and chains: qiskit-addon-cutting's
error from the exact distributions of its sub-experiments (``speed_peers.py``), QCut's over seeds in an interpreter that
has it, with its joint cuts of gates or its communicating cuts of wires where it can and without. Ours twice: at even
shots, as the others run, and as ``qompass.estimate`` shares them in two rounds.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from qiskit import QuantumCircuit
from qiskit_addon_cutting import partition_problem
from qompass import engine, estimate

from results.benchmarks.planner_law import circuit_of
from results.benchmarks.speed_peers import addon_error
from results.benchmarks.speed_problems import Case
from tasks.cutting import Cut, GateCut, WireCut, make_plan, structure_of
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job, sampled_jobs, uniform_shots
from tasks.prediction import shot_variances
from tasks.reconstruction import estimate_values
from tests.peers.addon import marked

DATA = Path(__file__).with_name("planner_law_peers.json")
SHOTS, SEEDS, PEER_SEEDS = 10**5, 40, 12
_SECONDS = 60  # of a peer's seeds, of which it runs three at least


def cases() -> Iterator[tuple[str, int, QuantumCircuit, tuple[Cut, ...]]]:
    """(family, cuts, circuit, cuts)."""
    for count in (1, 2, 3):
        yield "side by side", count, *parallel(4, count)
    for count in (1, 2, 3):
        yield "wires", count, *wires(count)
    for count in (2, 3):
        yield "chain", count, *circuit_of(nx.path_graph(count + 1))


def _mixed(circuit: QuantumCircuit, parts: list[list[int]], rng: np.random.Generator) -> None:
    for own in parts:
        for q in own:
            circuit.u(*rng.uniform(0, 3, 3), q)
        for a, b in pairwise(own):
            circuit.cz(a, b)


def parallel(size: int, count: int) -> tuple[QuantumCircuit, tuple[Cut, ...]]:
    """Two fragments, ``count`` gates between them in one layer."""
    rng, circuit = np.random.default_rng([size, count]), QuantumCircuit(2 * size)
    halves = [list(range(size)), list(range(size, 2 * size))]
    _mixed(circuit, halves, rng)
    cuts = []
    for q in range(count):
        cuts.append(GateCut(len(circuit.data)))
        circuit.rzz(0.8, q, size + q)
    _mixed(circuit, halves, rng)
    return circuit, tuple(cuts)


def wires(count: int) -> tuple[QuantumCircuit, tuple[Cut, ...]]:
    """Two fragments that ``count`` wires go between."""
    rng, circuit = np.random.default_rng([9, count]), QuantumCircuit(6 + count)
    first, second = list(range(3 + count)), list(range(3, 6 + count))
    _mixed(circuit, [first], rng)
    cuts: list[Cut] = []
    for q in range(3, 3 + count):
        cuts.append(WireCut(len(circuit.data), q))
        circuit.cz(q, 3 + count + (q - 3) % 3)
    _mixed(circuit, [second], rng)
    return circuit, tuple(cuts)


def main(qcut: str | None = None) -> None:
    """Measure what is not there yet; ``qcut``: an interpreter that has it."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text()) if DATA.exists() else []
    done = {(row["family"], row["cuts"]): row for row in rows}
    for family, count, circuit, cuts in cases():
        row = done.get((family, count))
        if row is None:
            row = {"family": family, "cuts": count}
            rows.append(row)
        if "ours" not in row:
            row |= measured(circuit, cuts)
        if "run" not in row:
            row |= as_run(circuit, cuts, row["truth"])
        if qcut is not None and "qcut" not in row:
            row |= asked_of_qcut(qcut, circuit, cuts, row["truth"])
        DATA.write_text(json.dumps(rows, indent=1) + "\n")
        print(row, flush=True)


def case_of(circuit: QuantumCircuit, cuts: tuple[Cut, ...]) -> Case:
    """Z on every qubit, which no cut leaves out."""
    return Case("", "", circuit, cuts, ("Z" * circuit.num_qubits,), np.ones(1))


def measured(circuit: QuantumCircuit, cuts: tuple[Cut, ...]) -> dict[str, Any]:
    """Ours over seeds, predicted, and qiskit-addon-cutting's."""
    case = case_of(circuit, cuts)
    problem = case.problem
    plan = make_plan(problem, cuts=cuts, shots=SHOTS)
    structure = structure_of(problem, plan)

    def tensors(jobs: Any) -> list[Any]:
        pairs = zip(plan.fragments, plan.schemes, jobs, strict=True)
        return [fragment_tensor(f, s, [(job, run_job(job))]) for f, s, job in pairs]

    truth = float(estimate_values(structure, tensors(exact_jobs(plan)))[0][0])
    shots = uniform_shots(plan, SHOTS)
    runs = [estimate_values(structure, tensors(sampled_jobs(plan, shots, seed))) for seed in range(SEEDS)]
    errors = np.array([float(values[0]) - truth for values, _ in runs])
    bars = np.array([float(bar[0]) for _, bar in runs])
    known = shot_variances(problem, plan)
    even = np.concatenate(shots, axis=1)[0]
    parts = peer_experiments(case)
    each = None if parts is None else addon_error(case, max(1, SHOTS // parts))
    return {
        "truth": truth,
        "ours": float(np.sqrt((errors**2).mean())),
        "predicted": float(np.sqrt((known.values[:, 0] / even).sum())),
        "rounds": float(known.std_errors(SHOTS)[0]),
        "within": float((np.abs(errors) <= bars).mean()),
        "variants": len(known.fragments),
        "kappa": float(np.sqrt(plan.sampling_overhead / SHOTS)),
        "addon": each,
        "addon_circuits": parts,
    }


def as_run(circuit: QuantumCircuit, cuts: tuple[Cut, ...], truth: float) -> dict[str, float]:
    """Ours over seeds, the shots shared out as a run shares them."""
    case = case_of(circuit, cuts)
    with engine():
        found = [estimate(circuit, case.paulis, cuts=cuts, shots=SHOTS, seed=seed)[0] for seed in range(SEEDS)]
    errors = np.array([one.value - truth for one in found])
    bars = np.array([one.std_error for one in found])
    return {"run": float(np.sqrt((errors**2).mean())), "run_within": float((np.abs(errors) <= bars).mean())}


def peer_experiments(case: Case) -> int | None:
    """How many sub-experiments qiskit-addon-cutting runs; None where they are too many."""
    circuit, paulis = marked(case.circuit, case.cuts, case.paulis)
    parts = partition_problem(circuit, observables=paulis)
    samples = int(np.prod([len(basis.maps) for basis in parts.bases]))
    return samples * len(parts.subcircuits) if 2 * samples <= 3000 else None


def asked_of_qcut(interpreter: str, circuit: QuantumCircuit, cuts: tuple[Cut, ...], truth: float) -> dict[str, Any]:
    """Root mean square errors with and without what QCut can do better than one cut after the other.

    QCut finds gates side by side only where a barrier keeps what comes before and after them away.
    """
    wires = [[cut.instruction, cut.qubit] for cut in cuts if isinstance(cut, WireCut)]
    fragments = () if wires else make_plan(case_of(circuit, cuts).problem, cuts=cuts, shots=SHOTS).fragments
    gates = [
        [
            item.operation.name,
            [float(p) for p in item.operation.params],
            [circuit.find_bit(q).index for q in item.qubits],
        ]
        for item in circuit.data
    ]
    asked = {
        "qubits": circuit.num_qubits, "gates": gates, "observable": "Z" * circuit.num_qubits, "shots": SHOTS,
        "cut": [cut.instruction for cut in cuts if isinstance(cut, GateCut)],
        "wires": wires, "parts": [sorted({q for _, q in fragment.outputs}) for fragment in fragments],
        "seeds": PEER_SEEDS, "seconds": _SECONDS,
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, better in (("qcut", True), ("qcut_single", False)):
        command = [interpreter, str(Path(__file__).with_name("planner_law_qcut.py"))]
        try:
            words = json.dumps(asked | {"joint": better, "communicating": better})
            ran = subprocess.run(command, input=words, capture_output=True, text=True, timeout=3 * _SECONDS, check=True)
        except subprocess.TimeoutExpired:
            found[name] = None
        except subprocess.CalledProcessError as error:
            found[name], found[f"{name}_why"] = None, error.stderr.strip().splitlines()[-1][:200]
        else:
            answer = json.loads(ran.stdout.splitlines()[-1])
            found[name] = float(np.sqrt(np.mean((np.array(answer["values"]) - truth) ** 2)))
            found[f"{name}_seeds"] = len(answer["values"])
            found |= {f"{name}_circuits": answer["circuits"], f"{name}_gamma": answer["gamma"]}
    return found
