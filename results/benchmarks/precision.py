"""What a precision asked of the estimator is worth: ``python -m results.benchmarks.precision [--only NAME]``.

Parametric plans with shots towards a standard error, each with other seeds: how far values are from the truth in the
standard errors that they claim, and how large these are beside what was asked. Writes precision.md and precision.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import SparsePauliOp

from tasks.evaluate import Evaluator
from tasks.options import Options
from tasks.parametric.sampled import SampledPlan

_HERE = Path(__file__).parent
_FIRST = 400  # shots of a variant in the first round


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=600, help="seeds of a case")
    parser.add_argument("--only", default="", help="measure problems that begin so, keep the others' rows")
    chosen = parser.parse_args()
    path, rows = _HERE / "precision.json", []
    if chosen.only:
        rows = [row for row in json.loads(path.read_text())["rows"] if not row["problem"].startswith(chosen.only)]
    for name, circuit, operator, width, values in _cases():
        if not name.startswith(chosen.only):
            continue
        for factor in (2.0, 1.0, 0.6, 0.35):
            rows.append(_measured(name, circuit, operator, width, values, factor, chosen.runs))
            sys.stderr.write(f"{rows[-1]}\n")
    path.write_text(json.dumps({"runs": chosen.runs, "rows": rows}, indent=1) + "\n")
    (_HERE / "precision.md").write_text(_markdown(rows, chosen.runs))


def _cases() -> list[tuple[str, QuantumCircuit, SparsePauliOp, int, np.ndarray]]:
    su2 = efficient_su2(6, reps=1, entanglement="circular")
    typical = np.random.default_rng(0).normal(size=(1, su2.num_parameters))
    angle = Parameter("angle")
    chain = QuantumCircuit(6)
    chain.ry(angle, range(6))
    for qubit in range(5):
        chain.rzz(0.3, qubit, qubit + 1)
    return [
        ("efficient SU2, 6 qubits in 2", su2, SparsePauliOp(["ZIIIIZ", "XXIIII"], [1, 0.5]), 4, typical),
        ("chain of 3, turned by 0.5", chain, SparsePauliOp("Z" * 6), 2, np.array([[0.5]])),
        ("chain of 3, turned by 0.1", chain, SparsePauliOp("Z" * 6), 2, np.array([[0.1]])),
    ]


def _measured(
    name: str,
    circuit: QuantumCircuit,
    operator: SparsePauliOp,
    width: int,
    values: np.ndarray,
    factor: float,
    runs: int,
) -> dict[str, Any]:
    plan = Evaluator(circuit, [operator], Options(max_qubits=width, shots=10**6)).prepared()
    assert plan is not None
    exact = float(plan.values(values)[0, 0])
    first = SampledPlan(plan, 0)
    target = factor * float(first.values(values, shots=_FIRST * first.variants)[1][0, 0])
    found = []
    for seed in range(runs):
        sampled = SampledPlan(plan, seed)
        value, error = (float(own[0, 0]) for own in sampled.values(values, target_error=target))
        found.append((value - exact, error, sampled.shots / sampled.variants))
    off, error, shots = np.array(found).T
    pull = off / error
    return {
        "problem": name, "target": target, "mean": pull.mean(), "within_1": float((abs(pull) < 1).mean()),
        "within_2": float((abs(pull) < 2).mean()), "rms": float(np.sqrt((off**2).mean())),
        "claimed": float(error.mean()), "largest": float(error.max()), "shots": float(shots.mean()),
    }  # fmt: skip


def _markdown(rows: list[dict[str, Any]], runs: int) -> str:
    lines = [
        "# Towards a precision",
        "",
        f"`python -m results.benchmarks.precision` wrote this. {runs} seeds a row; a mean pull is known to"
        f" {1 / np.sqrt(runs):.3f}, a coverage to {0.47 / np.sqrt(runs):.3f}. Targets are 2, 1, 0.6 and 0.35 times the"
        f" error of the first {_FIRST} shots a variant.",
        "",
        "| problem | target | mean pull | within 1 | within 2 | rms error | claimed | at most | shots a variant |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['problem']} | {row['target']:.3g} | {row['mean']:.3f} | {row['within_1']:.3f} |"
            f" {row['within_2']:.3f} | {row['rms']:.3g} | {row['claimed']:.3g} | {row['largest']:.3g} |"
            f" {row['shots']:.0f} |"
        )
    decided = [row for row in rows if row["shots"] > 1.05 * _FIRST]
    worst = max(abs(row["mean"]) for row in decided)
    lines += [
        "",
        f"Where more shots were taken than the first: |mean pull| at most {worst:.3f}, within 1"
        f" {min(r['within_1'] for r in decided):.3f} to {max(r['within_1'] for r in decided):.3f}, within 2 at least"
        f" {min(r['within_2'] for r in decided):.3f}. Where the first are enough their number is fixed: what is left is"
        " the pull of a fixed number of shots, which a handful of flips among all variants makes (`rounds.md`).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
