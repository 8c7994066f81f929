"""Predicted against measured seconds of whole runs, problem by problem; part of ``planner.py``.

Some of the runs were looked at while constants were chosen, the others (``held_out``) were run once, when these were
final. Runs after the first of a kind, in this process, without the cache: what their records say of their stages
beside what is predicted of the plan, with the constants that Qompass ships. The baseline has two constants, a circuit's
and a gate's on an amplitude, fitted to the very runs that it is judged by.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from scipy.optimize import nnls

from results.benchmarks.planner_problems import (
    FAMILIES,
    brickwork,
    clusters,
    cuccaro,
    ghz,
    grid,
    random_pairs,
    swap_test,
    tfim,
    tree,
    w_state,
)
from tasks.cut import chosen_plan
from tasks.cutting import GateCut
from tasks.execution.jobs import run_job, sampled_jobs, uniform_shots
from tasks.execution.run_devices import run_devices
from tasks.forecast import asked_of_plan
from tasks.inputs.validation import make_problem
from tasks.options import options_of
from tasks.prediction import predicted_spending
from tasks.runs import RunDirectory
from tasks.runs.temporary import temporary_runs
from tasks.workflow import run

DATA = Path(__file__).with_name("planner_seconds.json")
_MOST_RUNS, _SHORT_S = 12, 1.5  # of one problem; no more than three begin after so long


Run = tuple[str, Callable[[], QuantumCircuit], list[str], dict[str, Any]]


def local(qubits: int) -> list[str]:
    """Observables on one and two qubits."""
    return [f"Z{q}" for q in range(0, qubits, 3)] + [f"X{q} Y{q + 1}" for q in range(0, qubits - 1, 5)]


def problems() -> Iterator[Run]:
    """(name, circuit, observables, options)."""
    for name, build, width in (
        ("w 100", lambda: w_state(100), 15),
        ("ghz 40", lambda: ghz(40), 20),
        ("brickwork 24, 5 layers", lambda: brickwork(24, 5), 12),
        ("brickwork 60, 6 layers", lambda: brickwork(60, 6), 12),
        ("brickwork 100, 8 layers", lambda: brickwork(100, 8), 14),
        ("cuccaro 24", lambda: cuccaro(11), 12),
        ("swap test 25", lambda: swap_test(12), 13),
        ("grid 5x5, 2 layers", lambda: grid(5, 2), 12),
        ("tfim 40, 4 steps", lambda: tfim(40, 4), 21),
        ("tfim ring 24, 3 steps", lambda: tfim(24, 3, ring=True), 12),
        ("clusters 8 x 10", lambda: clusters(8, 10, 2), 12),
        ("clusters 10 x 14", lambda: clusters(10, 14, 2), 16),
        ("tree 63, 2 layers", lambda: tree(5, 2), 12),
        ("w 60", lambda: w_state(60), 12),
        ("brickwork 40, 4 layers", lambda: brickwork(40, 4), 10),
        ("brickwork 30, 7 layers", lambda: brickwork(30, 7), 16),
        ("grid 4x4, 1 layer", lambda: grid(4, 1), 8),
        ("tfim 60, 2 steps", lambda: tfim(60, 2), 14),
        ("tfim ring 40, 2 steps", lambda: tfim(40, 2, ring=True), 10),
        ("clusters 6 x 12", lambda: clusters(6, 12, 2), 14),
        ("tree 31", lambda: tree(4, 1), 10),
        ("cuccaro 18", lambda: cuccaro(8), 10),
        ("swap test 17", lambda: swap_test(8), 9),
        ("uncut brickwork 20", lambda: brickwork(20, 20), 20),
        ("uncut brickwork 18", lambda: brickwork(18, 20), 18),
        ("uncut brickwork 22", lambda: brickwork(22, 20), 22),
    ):
        yield f"{name}, exact", build, local(build().num_qubits), {"max_qubits": width}
    for name, build, width in (
        ("w 40", lambda: w_state(40), 10),
        ("brickwork 20, 3 layers", lambda: brickwork(20, 3), 11),
        ("clusters 5 x 6", lambda: clusters(5, 6), 6),
        ("cuccaro 12", lambda: cuccaro(5), 7),
        ("ghz 24", lambda: ghz(24), 13),
        ("w 20", lambda: w_state(20), 10),
        ("brickwork 24, 4 layers", lambda: brickwork(24, 4), 12),
        ("swap test 13", lambda: swap_test(6), 7),
        ("tree 15", lambda: tree(3, 1), 6),
    ):
        yield f"{name}, sampled", build, ["Z0 Z1", "Z" * build().num_qubits], {"max_qubits": width, "shots": 10**6}

    wide = w_state(100)
    pairs = [(i, *sorted(wide.find_bit(q).index for q in item.qubits)) for i, item in enumerate(wide.data)]
    severed = tuple(GateCut(i) for i, low, *high in pairs if high and low % 15 == 14)
    yield "w 100 by 12 cut gates, sampled", lambda: wide, ["Z0 Z1", "Z" * 100], {"cuts": severed, "shots": 10**6}


def held_out() -> Iterator[Run]:
    """As ``problems``, of families and sizes that no constant was chosen by."""
    known = {name: build for name, build, _ in FAMILIES}
    for name, build, width in (
        ("graphstate 30", known["graphstate 30"], 15),
        ("su2 circular 16", known["su2 circular 16"], 8),
        ("zz feature map linear 16", known["zz feature map linear 16"], 8),
        ("qpeexact 10", known["qpeexact 10"], 7),
        ("random pairs 30, 45 gates", lambda: random_pairs(30, 45), 16),
        ("qaoa 3-regular 16", known["qaoa 3-regular 16"], 10),
        ("w 75", lambda: w_state(75), 13),
        ("ghz 55", lambda: ghz(55), 11),
        ("cuccaro 16", lambda: cuccaro(7), 9),
        ("swap test 21", lambda: swap_test(10), 11),
        ("tree 31, 2 layers", lambda: tree(4, 2), 12),
        ("brickwork 36, 5 layers", lambda: brickwork(36, 5), 13),
        ("brickwork 50, 3 layers", lambda: brickwork(50, 3), 11),
        ("tfim 30, 5 steps", lambda: tfim(30, 5), 10),
        ("clusters 5 x 9", lambda: clusters(5, 9, 2), 10),
        ("grid 6x6, 1 layer", lambda: grid(6, 1), 12),
        ("uncut brickwork 19", lambda: brickwork(19, 24), 19),
    ):
        yield f"{name}, exact", build, local(build().num_qubits), {"max_qubits": width}
    for name, build, width, shots in (
        ("w 28", lambda: w_state(28), 9, 10**6),
        ("ghz 33", lambda: ghz(33), 12, 10**5),
        ("su2 circular 16", known["su2 circular 16"], 8, 10**6),
        ("clusters 4 x 7", lambda: clusters(4, 7), 7, 10**6),
        ("brickwork 18, 3 layers", lambda: brickwork(18, 3), 9, 10**5),
        ("swap test 9", lambda: swap_test(4), 5, 10**6),
        ("qaoa 3-regular 16", known["qaoa 3-regular 16"], 10, 10**6),
        ("tfim 16, 2 steps", lambda: tfim(16, 2), 8, 10**5),
        ("graphstate 30", known["graphstate 30"], 15, 10**5),
    ):
        yield f"{name}, sampled", build, ["Z0 Z1", "Z" * build().num_qubits], {"max_qubits": width, "shots": shots}


def main() -> None:
    """Run what is not there yet."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text()) if DATA.exists() else []
    done = {(row["problem"], row["held_out"]) for row in rows}
    for held, runs in ((False, problems()), (True, held_out())):
        for name, build, observables, options in runs:
            if (name, held) in done:
                continue
            rows.append({"problem": name, "held_out": held, **measured(build(), observables, options)})
            DATA.write_text(json.dumps(rows, indent=1) + "\n")
            print(rows[-1], flush=True)


def measured(circuit: QuantumCircuit, observables: list[str], given: dict[str, Any]) -> dict[str, Any]:
    """Predicted and measured seconds of the stages after planning; the least of some runs after a first one."""
    problem, options = make_problem(circuit, observables), options_of(given | {"cache": "off"})
    devices = run_devices(options.resources)
    plan = chosen_plan(problem, options.cuts, asked_of_plan(options, devices))
    spent = predicted_spending(plan, devices, options.shots)
    seen: list[dict[str, float]] = []
    began = time.perf_counter()
    while len(seen) < 3 or (len(seen) < _MOST_RUNS and time.perf_counter() - began < _SHORT_S):
        with temporary_runs() as parent, RunDirectory.create(parent, {"seed": 0}, problem) as directory:
            seen.append(dict(run(problem, options, directory).record["timings"]))
    least = {stage: min(one[stage] for one in seen[1:]) for stage in ("execute", "reconstruct")}
    variants = sum(cost.variants for cost in plan.costs) if options.shots else len(plan.fragments)
    drawn = 0.0
    if options.shots:
        jobs = sampled_jobs(plan, uniform_shots(plan, options.shots), 0)
        began = time.process_time()
        for job in jobs:
            run_job(job)
        drawn = time.process_time() - began
    work = sum(
        (cost.variants if options.shots else 1) * len(fragment.circuit.data) * 2.0**cost.width
        for fragment, cost in zip(plan.fragments, plan.costs, strict=True)
    )
    return {
        "predicted": {"execute": spent.execute, "reconstruct": spent.reconstruct},
        "measured": least,
        "drawn": drawn,
        "circuits": variants,
        "gates_on_amplitudes": work,
    }


def totals(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(run,) seconds predicted, by the baseline, and measured."""
    predicted = np.array([sum(row["predicted"].values()) for row in rows])
    seconds = np.array([sum(row["measured"].values()) for row in rows])
    columns = np.array([[row["circuits"], row["gates_on_amplitudes"]] for row in rows]) / seconds[:, None]
    scale = columns.max(axis=0)
    found, _ = nnls(columns / scale, np.ones(len(rows)))
    return predicted, (columns @ (found / scale)) * seconds, seconds


def accuracy(predicted: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """(run,) 100 min / max."""
    return np.asarray(100 * np.minimum(predicted, seconds) / np.maximum(predicted, seconds))
