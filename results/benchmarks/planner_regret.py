"""Regret: the plan that is chosen beside all candidates, by what is measured of each; part of ``planner.py``.

Sampled, as many shots for every candidate: what the exact tensors say of the error, at even shots and as a run shares
them out, and the root mean square error of whole runs over seeds, of the plan taken and of its best rival. Exact:
processor seconds of execution and reconstruction in whole runs by given cuts, turn by turn.

``python -m results.benchmarks.planner_regret sampled|exact [again] [PROBLEM ...]``: ``again`` measures what is there
but of which the search finds other candidates now.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from math import inf, isclose
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from qiskit import QuantumCircuit

from results.benchmarks.planner_errors import root
from results.benchmarks.planner_problems import FAMILIES
from results.benchmarks.steady import ClockedRun, SteadyClock
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cut import chosen_plan
from tasks.cutting import CuttingError, Plan, make_plans
from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem
from tasks.options import options_of
from tasks.prediction import done_here, predicted_spending, shot_variances, variances_bytes
from tasks.runs import RunDirectory
from tasks.runs.temporary import temporary_runs
from tasks.workflow import run

DATA = Path(__file__).with_name("planner_regret.json")
MODES = ("sampled", "exact")
SEEDS, SHOTS, CANDIDATES = 24, 10**6, 12
_ROOM_BYTES = 1 << 30  # for a candidate's errors; those that take more have hundreds of thousands of variants
_TURNS, _MOST_S = 9, 9.0  # of a plan's exact runs that count; of all of a problem's, about
LONGER, ALWAYS_S = 1.25, 0.15  # as ``tasks/cut.py`` has it
_WAIT_S = 0.05  # for the processor's full speed, before each
_HOPELESS = {1: 2.5, 3: 1.5, 7: 1.25}  # after so many turns: times the least
WIDTHS = {
    "w 20": (6, 10), "cuccaro 12": (7, 8), "swap test 13": (5, 7), "qaoa 3-regular 16": (8, 10),
    "tfim line 20, 3 steps": (5, 10), "brickwork 12, 4 layers": (4, 6), "bernstein-vazirani 30": (12, 16),
    "clusters 5 x 6": (6, 12), "tree 31": (6, 10), "random pairs 24, 40 gates": (14, 16), "su2 linear 20": (7, 10),
    "su2 circular 16": (6, 8), "zz feature map linear 16": (6, 8), "dj 24": (8, 12), "graphstate 30": (10, 15),
    "ghz 40": (12, 20), "qft 8": (6,), "tfim ring 24, 3 steps": (8, 12), "brickwork 24, 5 layers": (8, 12),
    "grid 4x4, 2 layers": (8,), "grid 5x5, 1 layer": (13,), "qaoa 3-regular 20, 2 layers": (14,),
    "swap test 25": (8, 13), "cuccaro 24": (8, 12), "clusters 8 x 10": (10,), "tfim line 40, 4 steps": (10, 21),
}  # fmt: skip


def main(modes: Sequence[str] = MODES, names: Sequence[str] = (), *, again: bool = False) -> None:
    """Measure what is not there yet, one problem after the other; only exact runs need a machine that is quiet."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text()) if DATA.exists() else []
    known = {(row["problem"], row["width"]): row for row in rows}
    for mode in modes:
        for name, build, _ in FAMILIES:
            for width in WIDTHS.get(name, ()) if name in (names or WIDTHS) else ():
                if (name, width) not in known:
                    known[name, width] = {"problem": name, "width": width}
                    rows.append(known[name, width])
                row = known[name, width]
                if mode not in row or again:
                    own = compared(build(), width, None if mode == "exact" else SHOTS, row.get(mode))
                    if own != row.get(mode):
                        row[mode] = own
                        DATA.write_text(json.dumps(rows, indent=1) + "\n")
                        print(row, flush=True)


def compared(circuit: QuantumCircuit, width: int, shots: int | None, known: Any = None) -> Any:
    """What is measured of the plan chosen, first, and of all others; what is known where they are the same."""
    qubits = circuit.num_qubits
    problem = make_problem(circuit, ["Z" * qubits, f"Z0 Z{qubits - 1}", "X0 X1", "0.5*Z0 + 0.5*Z1 Z2 - 0.3*Z3"])
    limits: dict[str, Any] = {"max_qubits": width, "shots": shots, "memory_bytes": None, "seed": 0}
    try:
        chosen = chosen_plan(problem, None, {**limits, "plan_seconds": None})
        others = make_plans(problem, **limits, most=CANDIDATES)
    except CuttingError as refusal:
        return {"refused": str(refusal)[:200]}
    plans = [chosen, *(plan for plan in others if plan.cuts != chosen.cuts)]
    return seconds_of(problem, plans, known) if shots is None else errors_of(problem, plans, others[0], known)


def errors_of(problem: Problem, plans: list[Plan], first: Plan, known: Any = None) -> list[dict[str, Any]]:
    """Root mean square errors by the exact tensors; of the first and its rival over whole runs, too.

    Args:
        problem: the problem.
        plans: the one that is taken, and the others.
        first: that of the search.
        known: what is known, of these or of other plans.
    """
    rows: list[dict[str, Any]] = []
    plans = [plan for plan in plans if variances_bytes(plan) < _ROOM_BYTES]
    for plan in plans:
        worth, spent = shot_variances(problem, plan), predicted_spending(plan, (TYPICAL_CPU,), SHOTS)
        variants, shared = len(worth.fragments), worth.std_errors(SHOTS)
        rows.append(
            {
                "cuts": len(plan.cuts),
                "variants": variants,
                "kappa": float(np.sqrt(plan.sampling_overhead / SHOTS)),
                "known": root(worth.even_errors(SHOTS / max(1, variants)) ** 2),
                "allocated": float(shared.max()),
                "shared": root(shared**2),
                "seconds": spent.execute + spent.reconstruct,
                "first": plan.cuts == first.cuts,
            }
        )
    if _same(rows, known):
        return known
    rival = min(range(1, len(rows)), key=lambda k: rows[k]["allocated"], default=0)
    for k in {0, rival}:
        if done_here(plans[k], (TYPICAL_CPU,), SHOTS):
            rows[k]["measured"] = _measured(problem, plans[k])
    return rows


def _measured(problem: Problem, plan: Plan) -> float:
    truth = _values(problem, plan, None, 0)
    return root([(_values(problem, plan, SHOTS, seed) - truth) ** 2 for seed in range(SEEDS)])


def _values(problem: Problem, plan: Plan, shots: int | None, seed: int) -> np.ndarray:
    options = options_of({"cuts": plan.cuts, "cache": "off", "shots": shots, "seed": seed})
    with temporary_runs() as parent, RunDirectory.create(parent, {"seed": seed}, problem) as directory:
        return np.array([one.value for one in run(problem, options, directory).estimates])


def seconds_of(problem: Problem, plans: list[Plan], known: Any = None) -> list[dict[str, Any]]:
    """Processor seconds of exact runs of each, of which none is predicted to start an engine.

    All in one process, turn by turn in an order drawn anew, so that what else the machine does meets all alike, as
    seconds at the processor's full speed (``steady.py``); after a few turns only those go on that may yet be the best.
    What is told is the median, with that of either half of the turns.
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
    if _same(rows, known):
        return known
    left = [k for k, plan in enumerate(plans) if done_here(plan, (TYPICAL_CPU,), None)]
    took: dict[int, list[float]] = {k: [] for k in left}
    clock = SteadyClock()
    for k in left:  # what is loaded or worked out at a first time does not count
        _took(clock, problem, plans[k])
    rng, began = np.random.default_rng(0), time.process_time()
    while left and time.process_time() - began < _MOST_S:
        for k in rng.permutation(left).tolist():
            if len(took[k]) < _TURNS:
                seconds, stayed = _took(clock, problem, plans[k])
                if stayed:
                    took[k].append(seconds)
        turns = min(len(took[k]) for k in left)
        if turns == _TURNS:
            break
        if turns in _HOPELESS:
            least = min(median(took[k]) for k in left)
            left = [k for k in left if k == 0 or median(took[k]) < _HOPELESS[turns] * least]
    for k, own in took.items():
        if own:
            rows[k]["measured"] = median(own)
            rows[k]["halves"] = [median(own[half::2] or own) for half in (0, 1)]
            rows[k]["turns"] = len(own)
    return rows


def _same(rows: list[dict[str, Any]], known: Any) -> bool:
    """Whether what is predicted of candidates, which tells plans apart, is what is known of those measured."""
    return (
        isinstance(known, list)
        and len(rows) == len(known)
        and all(isclose(row[key], one.get(key, inf)) for row, one in zip(rows, known, strict=True) for key in row)
    )


def _took(clock: SteadyClock, problem: Problem, plan: Plan) -> tuple[float, bool]:
    """Of what follows the plan, and whether the speed stayed; all of a short run is done in this process."""
    options = options_of({"cuts": plan.cuts, "cache": "off"})
    with temporary_runs() as parent, ClockedRun.create(parent, {"seed": 0}, problem) as directory:
        directory.clock, directory.wait_s = clock, _WAIT_S
        run(problem, options, directory)
        speed, stayed = directory.speed
        return speed * sum(directory.used.values()), stayed


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
    own = sys.argv[1:]
    main(
        [mode for mode in MODES if mode in own] or MODES,
        [name for name in own if name not in (*MODES, "again")],
        again="again" in own,
    )
