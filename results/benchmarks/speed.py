"""Speed beside other tools: ``python -m results.benchmarks.speed [--quick | --full]``.

The same circuits, cuts and shots through Qompass, qiskit-addon-cutting and, for wire cuts, PennyLane's qcut, in one run
on one machine. A peer that would take longer than the budget runs a random part of its sub-experiments, and its time is
extrapolated from these (marked with ~). PennyLane is looked for in the interpreter that ``--pennylane PYTHON`` names,
this one by default, and left out by name where it is missing. Writes speed.md, speed.json and speed.png beside this
file (speed_quick.* with --quick).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator

from results.benchmarks.speed_peers import PeerTimes, addon_error, addon_times
from results.benchmarks.speed_problems import Case, gate_case, wire_case
from results.benchmarks.speed_tables import figure, markdown
from tasks import workflow
from tasks.cutting import WireCut, make_plan, structure_of
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job, sampled_jobs, uniform_shots
from tasks.reconstruction import estimate_values

SHOTS = 4_096
_HERE = Path(__file__).parent
_REPEATS = 5


def main() -> None:
    """Measure, write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="a few cases and small budgets: under a minute")
    length.add_argument("--full", action="store_true", help="run every peer up to 1,250 s instead of extrapolating")
    parser.add_argument("--peer-budget", type=float, help="seconds a peer may run one case (default 6)")
    parser.add_argument(
        "--pennylane", default=sys.executable, metavar="PYTHON", help="an interpreter that has PennyLane"
    )
    chosen = parser.parse_args()
    budget = chosen.peer_budget or (3.0 if chosen.quick else 1_250.0 if chosen.full else 6.0)
    if chosen.quick:
        cases = [gate_case(2, 1), gate_case(2, 2), gate_case(4, 3), wire_case(1)]
    else:
        cases = [gate_case(2, k) for k in range(1, 6)] + [gate_case(4, 3), gate_case(4, 6)]
        cases += [wire_case(k) for k in range(1, 5)]
    ours_once(cases[0], None)  # first use of the simulator loads it
    rows = []
    for case in cases:
        rows.append(measure(case, budget, chosen.pennylane, spread=chosen.full))
        sys.stderr.write(f"{case.name}: done\n")
    bundled = [bundled_run() for _ in range(3)][1:]  # the first call sets up or warms the file cache
    document = {"bundled_s": bundled, "machine": machine(), "budget_s": budget, "shots": SHOTS, "cases": rows}
    stem = "speed_quick" if chosen.quick else "speed"
    (_HERE / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    (_HERE / f"{stem}.md").write_text(markdown(document))
    figure(rows, _HERE / f"{stem}.png")


def bundled_run() -> float:
    """Seconds of the README's first command on the bundled example, import and engine start included."""
    root = _HERE.parent.parent
    command = [str(root / "launch" / "qompass")] if (root / ".venv").exists() else [sys.executable, "-m", "apps.cli"]
    with tempfile.TemporaryDirectory() as out:
        asked = ["run", "apps/circuits/ghz12.qasm", "--observable", "Z0 Z1", "--max-qubits", "6", "--out", out]
        began = time.perf_counter()
        subprocess.run([*command, *asked], cwd=root, check=True, capture_output=True)
        return time.perf_counter() - began


def machine() -> dict[str, Any]:
    """Where this was measured."""
    names = ("qiskit", "qiskit-aer", "qiskit-addon-cutting", "numpy")
    load = os.getloadavg()[0]
    return {
        "cores": os.cpu_count(),
        "cpu": platform.processor() or platform.machine(),
        "load": round(load, 1),
        "versions": {name: version(name) for name in names},
    }


def measure(case: Case, budget: float, pennylane: str, *, spread: bool) -> dict[str, Any]:
    """All numbers of one case."""
    sampled = addon_times(case, SHOTS, budget, seed=1)
    exact = addon_times(case, None, budget / 2, seed=1)
    total = sampled.experiments * SHOTS
    variants, _ = ours_once(case, total, each=SHOTS)
    row: dict[str, Any] = {
        "name": case.name,
        "family": case.family,
        "cuts": len(case.cuts),
        "variants": variants["variants"],
        "peer_sampled": _times(sampled),
        "peer_exact": _times(exact),
        "peer_error": addon_error(case, SHOTS),
        "peer_shots": total,
        "value": ours_once(case, None)[1][0],
        "ours_exact": timed(lambda: ours_once(case, None)),
        "ours_sampled": timed(lambda: ours_once(case, total, each=SHOTS)),
        "ours_error": ours_once(case, total, each=SHOTS)[1][1],
        "ours_error_equal_shots": ours_once(case, total)[1][1],
        "ours_exact_end_to_end": end_to_end(case, None),
        "ours_sampled_end_to_end": end_to_end(case, SHOTS * variants["variants"]),
        "uncut": uncut(case),
    }
    if spread:
        values = [ours_once(case, total, seed=seed)[1][0] for seed in range(20)]
        row["ours_spread_equal_shots"] = float(np.std(values, ddof=1))
    if case.family == "wire":
        row["pennylane_exact"] = pennylane_run(case, None, pennylane, 3 * budget)
        row["pennylane_sampled"] = pennylane_run(case, SHOTS, pennylane, 3 * budget)
        found = row["pennylane_exact"].get("value", row["value"])
        if abs(found - row["value"]) > 1e-6:
            raise AssertionError(f"{case.name}: PennyLane finds {found}, Qompass {row['value']}: not the same circuit")
    return row


def _times(times: PeerTimes) -> dict[str, Any]:
    return {**asdict(times), "total": times.total, "extrapolated": times.extrapolated}


def ours_once(case: Case, total: int | None, *, each: int | None = None, seed: int = 0) -> tuple[dict, tuple]:
    """One run in this process: plan, execution and reconstruction with its error bars.

    Args:
        case: what to run.
        total: shots that the plan may count on, None for the exact path.
        each: shots of each variant; None spreads ``total`` evenly.
        seed: of the shots.

    Returns:
        {"variants", "plan", "run", "reconstruct", "total"} (seconds), and (value, standard error).
    """
    problem = case.problem
    began = time.perf_counter()
    plan = make_plan(problem, cuts=case.cuts, shots=total)
    planned = time.perf_counter()
    if total is None:
        jobs = exact_jobs(plan)
    else:
        shots = uniform_shots(plan, total) if each is None else [[each] * c.variants for c in plan.costs]
        jobs = sampled_jobs(plan, shots, seed)
    results = [run_job(job) for job in jobs]
    ran = time.perf_counter()
    tensors = [fragment_tensor(job.fragment, job.schemes, [(job, r)]) for job, r in zip(jobs, results, strict=True)]
    values, errors = estimate_values(structure_of(problem, plan), tensors)
    ended = time.perf_counter()
    seconds = {"plan": planned - began, "run": ran - planned, "reconstruct": ended - ran, "total": ended - began}
    return {"variants": sum(c.variants for c in plan.costs), **seconds}, (float(values[0]), float(errors[0]))


def timed(work: Callable[[], tuple[dict, tuple]]) -> dict[str, float]:
    """Median seconds of each stage over repeats (one, where one takes seconds)."""
    runs = [work()[0]]
    while len(runs) < _REPEATS and runs[0]["total"] < 2.0:
        runs.append(work()[0])
    return {key: median(run[key] for run in runs) for key in runs[0]}


def end_to_end(case: Case, shots: int | None) -> float:
    """Seconds of the importable ``estimate``: engine start, run folder, tasks and all; median of three calls."""
    operator = SparsePauliOp(list(case.labels), case.weights)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        workflow.estimate(case.circuit, operator, cuts=case.cuts, shots=shots, engine="embedded")
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def uncut(case: Case) -> float:
    """Seconds to simulate the circuit whole and take the same expectation value, exactly."""
    circuit = case.circuit.copy()
    circuit.save_expectation_value(SparsePauliOp(list(case.labels), case.weights), range(circuit.num_qubits))
    simulator = AerSimulator(method="statevector")
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        simulator.run(circuit, shots=1).result().data(0)
        seconds.append(time.perf_counter() - began)
        if seconds[0] > 2.0:
            break
    return median(seconds)


def pennylane_run(case: Case, shots: int | None, python: str, limit: float) -> dict[str, Any]:
    """PennyLane on the same circuit and cuts; {"skipped": why} where there is none or it takes too long."""
    cuts = {(c.instruction, c.qubit) for c in case.cuts if isinstance(c, WireCut)}
    gates: list[tuple[str, list[float], list[int]]] = []
    for i, item in enumerate(case.circuit.data):
        qubits = [case.circuit.find_bit(q).index for q in item.qubits]
        gates += [("cut", [], [q]) for q in qubits if (i, q) in cuts]
        gates.append((item.operation.name, [float(p) for p in item.operation.params], qubits))
    observable = [q for q, letter in enumerate(reversed(case.labels[0])) if letter == "Z"]
    asked = {
        "wires": case.circuit.num_qubits,
        "device_wires": 6,
        "gates": gates,
        "observable": observable,
        "shots": shots,
    }
    script = str(_HERE / "speed_pennylane.py")
    try:
        done = subprocess.run([python, script], input=json.dumps(asked), capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"skipped": f"not done after {limit:.0f} s"}
    if done.returncode:
        missing = "No module named 'pennylane'" in done.stderr
        return {"skipped": "PennyLane is not installed" if missing else done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
