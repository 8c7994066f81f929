"""Regret: the plan that is chosen beside all candidates, by what is measured of each; part of ``planner.py``.

Sampled, even shots, as many for every candidate: the root mean square error over seeds where that is done in time, and
what the exact tensors say of the error. Exact: processor seconds of execution and reconstruction in whole runs by given
cuts, turn by turn.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit

from results.benchmarks.planner_problems import FAMILIES
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cut import chosen_plan
from tasks.cutting import CuttingError, Plan, make_plans, structure_of
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job, sampled_jobs, uniform_shots
from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem
from tasks.options import options_of
from tasks.prediction import done_here, predicted_spending, shot_variances, variances_bytes
from tasks.reconstruction import estimate_values
from tasks.runs import RunDirectory
from tasks.runs.temporary import temporary_runs
from tasks.workflow import run

DATA = Path(__file__).with_name("planner_regret.json")
SEEDS, SHOTS, CANDIDATES = 24, 10**6, 8
_ROOM_BYTES = 1 << 30  # for a candidate's errors; those that take more have hundreds of thousands of variants
_MOST_VARIANTS = 50  # of a plan whose error is simulated
_TURNS, _MOST_S = 60, 8.0  # of a problem's exact runs; of all of them, about
LONGER, ALWAYS_S = 1.25, 0.15  # as ``tasks/cut.py`` has it
_HOPELESS = {1: 3.0, 4: 1.6, 12: 1.3}  # after so many turns: times the least
WIDTHS = {
    "w 20": (6, 10), "cuccaro 12": (7, 8), "swap test 13": (5, 7), "qaoa 3-regular 16": (8, 10),
    "tfim line 20, 3 steps": (5, 10), "brickwork 12, 4 layers": (4, 6), "bernstein-vazirani 30": (12, 16),
    "clusters 5 x 6": (6, 12), "tree 31": (6, 10), "random pairs 24, 40 gates": (14, 16), "su2 linear 20": (7, 10),
    "su2 circular 16": (6, 8), "zz feature map linear 16": (6, 8), "dj 24": (8, 12), "graphstate 30": (10, 15),
    "ghz 40": (12, 20), "qft 8": (6,), "tfim ring 24, 3 steps": (8, 12), "brickwork 24, 5 layers": (8, 12),
    "grid 4x4, 2 layers": (8,), "grid 5x5, 1 layer": (13,), "qaoa 3-regular 20, 2 layers": (14,),
    "swap test 25": (8, 13), "cuccaro 24": (8, 12), "clusters 8 x 10": (10,), "tfim line 40, 4 steps": (10, 21),
}  # fmt: skip


def main(modes: Sequence[str] = ("sampled", "exact")) -> None:
    """Measure what is not there yet, one problem after the other; only exact runs need a machine that is quiet."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text()) if DATA.exists() else []
    known = {(row["problem"], row["width"]): row for row in rows}
    for mode in modes:
        for name, build, _ in FAMILIES:
            for width in WIDTHS.get(name, ()):
                if (name, width) not in known:
                    known[name, width] = {"problem": name, "width": width}
                    rows.append(known[name, width])
                row = known[name, width]
                if mode not in row:
                    row[mode] = compared(build(), width, None if mode == "exact" else SHOTS)
                    DATA.write_text(json.dumps(rows, indent=1) + "\n")
                    print(row, flush=True)


def compared(circuit: QuantumCircuit, width: int, shots: int | None) -> Any:
    """What is measured of the plan chosen, first, and of all others."""
    qubits = circuit.num_qubits
    problem = make_problem(circuit, ["Z" * qubits, f"Z0 Z{qubits - 1}", "X0 X1", "0.5*Z0 + 0.5*Z1 Z2 - 0.3*Z3"])
    limits: dict[str, Any] = {"max_qubits": width, "shots": shots, "memory_bytes": None, "seed": 0}
    try:
        chosen = chosen_plan(problem, None, {**limits, "plan_seconds": None})
        others = make_plans(problem, **limits, most=CANDIDATES)
    except CuttingError as refusal:
        return {"refused": str(refusal)[:200]}
    plans = [chosen, *(plan for plan in others if plan.cuts != chosen.cuts)]
    return seconds_of(problem, plans) if shots is None else errors_of(problem, plans, others[0])


def errors_of(problem: Problem, plans: list[Plan], first: Plan) -> list[dict[str, Any]]:
    """Root mean square errors at even shots, by the exact tensors; of the first and its rival by seeds too.

    Args:
        problem: the problem.
        plans: the one that is taken, and the others.
        first: that of the search.
    """
    rows = []
    plans = [plan for plan in plans if variances_bytes(plan) < _ROOM_BYTES]
    for plan in plans:
        known, spent = shot_variances(problem, plan), predicted_spending(plan, (TYPICAL_CPU,), SHOTS)
        even = np.concatenate(uniform_shots(plan, SHOTS), axis=1)[0] if plan.fragments else np.ones(0)
        rows.append(
            {
                "cuts": len(plan.cuts),
                "variants": len(known.fragments),
                "kappa": float(np.sqrt(plan.sampling_overhead / SHOTS)),
                "known": float(np.sqrt((known.values / even[:, None]).sum(axis=0).mean())),
                "allocated": float(known.std_errors(SHOTS).max()),
                "seconds": spent.execute + spent.reconstruct,
                "first": plan.cuts == first.cuts,
            }
        )
    rival = min(range(1, len(rows)), key=lambda k: rows[k]["known"], default=0)
    for k in {0, rival}:
        if rows[k]["variants"] <= _MOST_VARIANTS:
            rows[k]["measured"] = _measured(problem, plans[k])
    return rows


def _measured(problem: Problem, plan: Plan) -> float:
    structure, shots = structure_of(problem, plan), uniform_shots(plan, SHOTS)

    def tensors(jobs: Any) -> list[Any]:
        pairs = zip(plan.fragments, plan.schemes, jobs, strict=True)
        return [fragment_tensor(f, s, [(job, run_job(job))]) for f, s, job in pairs]

    truth, _ = estimate_values(structure, tensors(exact_jobs(plan)))
    runs = [estimate_values(structure, tensors(sampled_jobs(plan, shots, seed)))[0] for seed in range(SEEDS)]
    return float(np.sqrt(np.mean([(values - truth) ** 2 for values in runs])))


def seconds_of(problem: Problem, plans: list[Plan]) -> list[dict[str, Any]]:
    """Processor seconds of exact runs of each, of which none is predicted to start an engine.

    All in one process, turn by turn in an order drawn anew, so that what else the machine does meets all alike; after
    a few turns only those go on that may yet be the best. Other work makes a turn longer by up to a half, at random,
    and none shorter: the least repeats itself within a few per cent, which the least of either half of the turns tells.
    """
    spent = [predicted_spending(plan, (TYPICAL_CPU,), None) for plan in plans]
    rows: list[dict[str, Any]] = [
        {
            "cuts": len(plan.cuts),
            "width": max((f.num_qubits for f in plan.fragments), default=0),
            "predicted": one.execute + one.reconstruct,
        }
        for plan, one in zip(plans, spent, strict=True)
    ]
    left = [k for k, plan in enumerate(plans) if done_here(plan, (TYPICAL_CPU,), None)]
    took: dict[int, list[float]] = {k: [] for k in left}
    rng, began = np.random.default_rng(0), time.process_time()
    for turn in range(_TURNS):
        for k in rng.permutation(left).tolist():
            took[k].append(_took(problem, plans[k]))
        if turn == 0:
            took = {k: [] for k in left}  # what is loaded or worked out at a first time does not count
        if turn in _HOPELESS:
            least = min(min(own) for own in took.values())
            left = [k for k in left if k == 0 or min(took[k]) < _HOPELESS[turn] * least]
        if time.process_time() - began > _MOST_S:
            break
    for k, own in took.items():
        rows[k]["measured"] = min(own)
        rows[k]["halves"] = [min(own[half::2] or own) for half in (0, 1)]
        rows[k]["turns"] = len(own)
    return rows


class _Clocked(RunDirectory):
    """A run's folder that knows the processor seconds of the stages that follow the plan."""

    processor_seconds = 0.0

    @contextlib.contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """As it is."""
        began = time.process_time()
        with super().timing(stage):
            yield
        if stage in ("execute", "reconstruct"):
            self.processor_seconds += time.process_time() - began


def _took(problem: Problem, plan: Plan) -> float:
    """Of what follows the plan; all of a short run is done in this process."""
    options = options_of({"cuts": plan.cuts, "cache": "off"})
    with temporary_runs() as parent, _Clocked.create(parent, {"seed": 0}, problem) as directory:
        run(problem, options, directory)
        return directory.processor_seconds


def regret(candidates: list[dict[str, Any]], key: str) -> float:
    """Of the first over the best one."""
    return float(candidates[0][key] / min(one[key] for one in candidates if key in one))


def in_time(candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that the planner may take, by their seconds and the largest errors of shots as they are shared out."""
    first = next((one for one in candidates if one.get("first")), {"seconds": inf, "allocated": inf})
    most = LONGER * first["seconds"] * first["allocated"] ** 2
    return [
        one
        for one in candidates
        if one["seconds"] <= first["seconds"] + ALWAYS_S or one["seconds"] * one["allocated"] ** 2 <= most
    ]


def of_taken(row: dict[str, Any], mode: str) -> dict[str, Any]:
    """What is known of the plan taken; nothing where it was refused or takes too long."""
    own = row.get(mode)
    return own[0] if isinstance(own, list) else {}


if __name__ == "__main__":
    main(sys.argv[1:] or ("sampled", "exact"))
