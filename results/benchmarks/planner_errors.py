"""Predicted against measured standard errors, plan by plan; part of ``planner.py``.

Several plans of each problem, by the search and at several widths; even shots, many seeds, against exact values. Beside
them what a pilot would say: the error bar of one run with half of the shots, brought to all of them. Plans are searched
for each time: those that have been measured are not measured again, those that are no longer found are left out.
``python -m results.benchmarks.planner_errors [PROBLEM ...]`` does it for some.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from results.benchmarks.planner_plans import told_cuts
from results.benchmarks.planner_problems import FAMILIES
from tasks.cutting import CuttingError, make_plans, structure_of
from tasks.cutting.objectives.error import log_variance
from tasks.cutting.partition import partition
from tasks.cutting.search.sketch import sketch_of
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job, sampled_jobs, uniform_shots
from tasks.inputs.validation import make_problem
from tasks.prediction import shot_variances
from tasks.reconstruction import contract, estimate_values

DATA = Path(__file__).with_name("planner_errors.json")
SEEDS, SHOTS, PILOT_SHOTS, MOST_VARIANTS = 48, 200, 100, 1500  # seeds at least
_MOST_SEEDS, _LONG_S = 400, 8.0  # of a plan
_PILOT = 1 << 20  # its seed
SMALL = {
    "w 20": (4, 6, 8, 10), "cuccaro 12": (5, 7, 8), "swap test 13": (4, 5, 7), "qaoa 3-regular 16": (8, 10),
    "tfim line 20, 3 steps": (7, 10), "brickwork 12, 4 layers": (5, 6, 8), "bernstein-vazirani 30": (8, 12, 16),
    "clusters 5 x 6": (6, 12, 18), "tree 31": (6, 10, 12), "random pairs 24, 40 gates": (14, 16, 18),
    "su2 linear 20": (7, 10, 14), "su2 circular 16": (8, 10), "zz feature map linear 16": (6, 8, 10),
    "dj 24": (6, 8, 12), "graphstate 30": (8, 10, 15), "ghz 40": (6, 12, 20), "qft 8": (6,),
    "qaoa 4-regular 30": (20,),
}  # fmt: skip


def main(names: Sequence[str] = ()) -> None:
    """Measure the plans that are not there yet, one problem after the other."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text()) if DATA.exists() else []
    for name, build, _ in FAMILIES:
        if name in (names or SMALL):
            known = [row for row in rows if row["problem"] == name]
            found = measured(name, build(), SMALL[name], known)
            place = next((k for k, row in enumerate(rows) if row["problem"] == name), len(rows))
            rows = [row for row in rows if row["problem"] != name]
            rows[place:place] = found
            DATA.write_text(json.dumps(rows, indent=1))


def measured(name: str, circuit: Any, widths: tuple[int, ...], known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a plan; ``known``: of plans that have been measured."""
    qubits = circuit.num_qubits
    observables = ["Z" * qubits, f"Z0 Z{qubits - 1}", "X0 X1", "0.5*Z0 + 0.5*Z1 Z2 - 0.3*Z3"]
    problem = make_problem(circuit, observables)
    plans: dict[Any, Any] = {}
    for width in widths:
        try:
            found = make_plans(problem, max_qubits=width, shots=10**9, most=4)
        except CuttingError:
            continue
        plans |= {plan.cuts: plan for plan in found if sum(c.variants for c in plan.costs) <= MOST_VARIANTS}
    rows = []
    for plan in plans.values():
        variants = sum(cost.variants for cost in plan.costs)
        predicted = root(shot_variances(problem, plan).even_errors(SHOTS) ** 2)
        same = [row for row in known if row["of"] == told_cuts(plan.cuts)]
        if same:
            rows += [row | {"predicted": predicted} for row in same]
            continue
        structure = structure_of(problem, plan)

        def tensors(jobs: Any, plan: Any = plan) -> list[Any]:
            pairs = zip(plan.fragments, plan.schemes, jobs, strict=True)
            return [fragment_tensor(f, s, [(job, run_job(job))]) for f, s, job in pairs]

        truth, _ = estimate_values(structure, tensors(exact_jobs(plan)))
        shots = SHOTS * variants
        pilot = sampled_jobs(plan, uniform_shots(plan, PILOT_SHOTS * variants), _PILOT)
        told = estimate_values(structure, tensors(pilot))[1] * np.sqrt(PILOT_SHOTS / SHOTS)
        squares: list[float] = []
        began = time.process_time()
        while len(squares) < SEEDS or (len(squares) < _MOST_SEEDS and time.process_time() - began < _LONG_S):
            jobs = sampled_jobs(plan, uniform_shots(plan, shots), len(squares))
            squares.append(float(np.mean((contract(structure, tensors(jobs)) - truth) ** 2)))
        guess = 2 ** (log_variance(sketch_of(partition(problem, plan.cuts)), shots) / 2)
        rows.append(
            {
                "problem": name, "of": told_cuts(plan.cuts),
                "cuts": len(plan.cuts), "fragments": len(plan.fragments), "variants": variants,
                "shots": shots, "predicted": predicted, "measured": root(squares), "seeds": len(squares),
                "halves": [root(squares[half::2]) for half in (0, 1)],
                "uncertain": float(np.std(squares) / np.mean(squares) / 2 / np.sqrt(len(squares))),
                "pilot": root(told**2), "magnitude": float(guess),
                "kappa": float(np.sqrt(plan.sampling_overhead / shots)),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def root(squares: Any) -> float:
    """Of the mean."""
    return float(np.sqrt(np.mean(squares)))


if __name__ == "__main__":
    main(sys.argv[1:])
