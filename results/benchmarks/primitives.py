"""Evaluations a second with parameters that change: ``python -m results.benchmarks.primitives [--qcut PYTHON]``.

The same circuits, cuts and observable through the estimator primitive (one set of parameter values a call, and many),
Qompass called once for each evaluation, qiskit-addon-cutting and QCut with ``assign_parameters``, and the uncut
StatevectorEstimator where it fits, in one run on one machine. QCut is run by the interpreter that ``--qcut`` names and
left out without. ``--before`` names a checkout of f3feb21 with its environment, from when there were no primitives:
what a call took there. ``--exact`` measures the exact path again and keeps the sampled one. A peer runs within
``--budget`` seconds a problem; what takes longer is extrapolated from a part of its sub-experiments, or given as a
lower bound. Writes primitives.md, primitives.json and primitives.png beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from qiskit.primitives import StatevectorEstimator
from qompass import QompassEstimator, Session, estimate

from results.benchmarks.primitives_problems import Problem, ansatz, communities
from results.benchmarks.speed_peers import addon_times
from results.benchmarks.speed_problems import Case
from tasks.cutting import GateCut
from tasks.evaluate import Evaluator

_HERE = Path(__file__).parent
_SHOTS = 4096  # of each variant
_BATCH = 100


def main() -> None:
    """Measure, write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--qcut", metavar="PYTHON", help="an interpreter that has QCut 2.2.0")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds that a peer may take for a problem")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="a checkout of f3feb21 with its .venv")
    parser.add_argument("--exact", action="store_true", help="measure the exact path alone, keep the other numbers")
    chosen = parser.parse_args()
    kept: dict[str, Any] = json.loads((_HERE / "primitives.json").read_text()) if chosen.exact else {}
    known = {row["name"]: row for row in kept.get("problems", ())}
    problems = [ansatz(2, 2), ansatz(2, 4), ansatz(4, 1), communities()]
    rows = []
    for number, problem in enumerate(problems):
        made = _measured(number, problem, chosen.qcut, chosen.budget, exact=chosen.exact)
        rows.append(known.get(problem.name, {}) | made | _before(chosen.before, number, made["value"]))
        sys.stderr.write(f"{problem.name}: done\n")
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "qiskit": version("qiskit")}
    document = {"machine": machine, "shots": _SHOTS, "batch": _BATCH, "problems": rows}
    document["exact_again"] = chosen.exact
    document["budget_s"] = kept.get("budget_s", chosen.budget)
    (_HERE / "primitives.json").write_text(json.dumps(document, indent=1) + "\n")
    (_HERE / "primitives.md").write_text(_markdown(document))
    _figure(rows)


def _seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median of so many calls, after one that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken)


def _in_turn(works: dict[str, tuple[Callable[[], Any], int]], rounds: int) -> dict[str, float]:
    """Medians of works that take turns, so that what else a machine does weighs on all of them alike.

    Args:
        works: by name, with how many calls of it there are in a turn.
        rounds: of turns.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for work, _ in works.values():
        work()
    for _ in range(rounds):
        for name, (work, calls) in works.items():
            for _ in range(calls):
                began = time.perf_counter()
                work()
                taken[name].append(time.perf_counter() - began)
    return {name: median(own) for name, own in taken.items()}


def _before(folder: Path | None, number: int, value: float) -> dict[str, Any]:
    """Median seconds of a call in an older checkout, whose value has to be the same."""
    if folder is None:
        return {}
    command = [str(folder / ".venv/bin/python"), str(_HERE / "primitives_before.py"), str(number), "3"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    np.testing.assert_allclose(found["value"], value, atol=1e-9)
    return {"a_call_before": median(found["seconds"])}


def _measured(number: int, problem: Problem, qcut: str | None, budget: float, *, exact: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    circuit, observable = problem.circuit, problem.observable
    cuts = tuple(GateCut(place) for place in problem.severed)

    def sets(count: int | None = None) -> np.ndarray:
        return rng.uniform(-2, 2, (circuit.num_parameters,) if count is None else (count, circuit.num_parameters))

    row: dict[str, Any] = {"name": problem.name, "parameters": circuit.num_parameters, "cuts": len(cuts)}
    with Session(cuts=cuts, cache="off") as session:
        estimator = session.estimator()
        began = time.perf_counter()
        first = sets()
        value = float(estimator.run([(circuit, observable, first)]).result()[0].data.evs)
        row["first"], row["value"] = time.perf_counter() - began, value
        uncut = StatevectorEstimator()
        works: dict[str, tuple[Callable[[], Any], int]] = {
            "one": (lambda: estimator.run([(circuit, observable, sets())]).result(), 10),
            "a_call": (
                lambda: estimate(circuit.assign_parameters(sets()), observable, cuts=cuts, cache="off"), 1
            ),
            "gradient": (lambda: estimator.run_gradients([(circuit, observable, sets())]).result(), 3),
        }  # fmt: skip
        if circuit.num_qubits <= 12:
            works["uncut"] = (lambda: uncut.run([(circuit, observable, sets())]).result(), 1)
        row |= _in_turn(works, 11)
        row["batch"] = _seconds(lambda: estimator.run([(circuit, observable, sets(_BATCH))]).result(), 5) / _BATCH
        if exact:
            return row
        variants = sum(f["variants"] for f in estimator.run([(circuit, observable, first)]).result()[0].metadata[
            "plan"]["fragments"])  # fmt: skip
        sampled = QompassEstimator(session=session, shots=_SHOTS * _sampled_variants(problem, cuts), seed=1)
        row["variants"] = variants
        row["sampled"] = _seconds(lambda: sampled.run([(circuit, observable, sets())]).result(), 11)
    shots = row["sampled_variants"] = _sampled_variants(problem, cuts)
    row["a_call_sampled"] = _seconds(
        lambda: estimate(circuit.assign_parameters(sets()), observable, cuts=cuts, shots=_SHOTS * shots, cache="off"),
        3,
    )
    if circuit.num_qubits <= 12:
        row["difference"] = abs(float(uncut.run([(circuit, observable, first)]).result()[0].data.evs) - value)
    case = Case(
        problem.name, "gate", circuit.assign_parameters(first), cuts, tuple(observable.paulis.to_labels()),
        observable.coeffs.real,
    )  # fmt: skip
    peer = addon_times(case, _SHOTS, budget, seed=1)
    row["addon"], row["addon_extrapolated"] = peer.total, peer.extrapolated
    if qcut is not None:
        row |= _qcut(qcut, number, budget)
    return row


def _sampled_variants(problem: Problem, cuts: tuple[GateCut, ...]) -> int:
    """Variants of the plan that is made for shots."""
    from tasks.options import Options

    evaluator = Evaluator(problem.circuit, [problem.observable], Options(cuts=cuts, shots=10**7))
    ready = evaluator.prepared()
    assert ready is not None
    return sum(cost.variants for cost in ready.plan.costs)


def _qcut(python: str, number: int, budget: float) -> dict[str, Any]:
    command = [python, str(_HERE / "primitives_qcut.py"), str(number), str(_SHOTS), str(budget)]
    limit = 6 * budget
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"qcut": limit, "qcut_bound": True}
    if done.returncode:
        return {"qcut_failed": done.stderr.strip().splitlines()[-1][:200]}
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {"qcut": median(found["evaluations"]), "qcut_circuits": found["circuits"]}


def _rate(seconds: float | None, mark: str = "") -> str:
    return "-" if seconds is None else f"{mark}{1 / seconds:.3g}"


def _ratio(other: float | None, own: float, mark: str = "") -> str:
    return "-" if other is None else f"{mark}{other / own:.3g}x"


def _markdown(document: dict[str, Any]) -> str:
    rows = document["problems"]
    machine = document["machine"]
    exact = (
        " `--exact` made this table and the last one again; the sampled path is from an earlier run."
        if document["exact_again"]
        else ""
    )
    lines = [
        "# Evaluations a second, parameters changing",
        "",
        "`python -m results.benchmarks.primitives --qcut PYTHON` wrote this: the estimator primitive in a session, with"
        " new values for every parameter in each evaluation. `one`: one set a call, job and result included;"
        f" `batch`: {document['batch']} sets a call. `a call`: `qompass.estimate` for each evaluation. Peers: the same"
        f" cuts and observable, {document['shots']:,} shots a sub-experiment, {document['budget_s']:g} s for a problem"
        " (~ extrapolated from a part of the sub-experiments; > a lower bound of its time). Medians; evaluations,"
        " calls, gradients and the uncut estimator took turns."
        " `a call before`: the same at f3feb21, before there were primitives, same first value to 1e-9, 3 calls after"
        " these turns (`--before FOLDER`)."
        f"{exact}"
        f" {machine['cores']} cores, Python {machine['python']}, Qiskit {machine['qiskit']}, busy with other work.",
        "",
        "## Exact path, evaluations a second",
        "",
        "| problem | parameters | one | batch | a call | a call before | uncut StatevectorEstimator | one : a call |"
        " one : a call before | one : uncut |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['name']} | {row['parameters']} | {_rate(row['one'])} | {_rate(row['batch'])} |"
            f" {_rate(row['a_call'])} | {_rate(row.get('a_call_before'))} | {_rate(row.get('uncut'))} |"
            f" {_ratio(row['a_call'], row['one'])} | {_ratio(row.get('a_call_before'), row['one'])} |"
            f" {_ratio(row.get('uncut'), row['one'])} |"
        )
    lines += [
        "",
        "## Sampled path, seconds an evaluation",
        "",
        "| problem | primitive | a call | addon-cutting 0.10 | QCut 2.2.0 | addon : primitive | QCut : primitive |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        mark = "~" if row["addon_extrapolated"] else ""
        bound = "> " if row.get("qcut_bound") else ""
        lines.append(
            f"| {row['name']} | {row['sampled']:.4f} | {row['a_call_sampled']:.3f} | {mark}{row['addon']:.3g} |"
            f" {bound + format(row['qcut'], '.3g') if 'qcut' in row else row.get('qcut_failed', '-')} |"
            f" {_ratio(row['addon'], row['sampled'], mark)} | {_ratio(row.get('qcut'), row['sampled'], bound)} |"
        )
    lines += [
        "",
        "## Gradients on the exact path, and what comes first",
        "",
        "| problem | parameters | gradient, ms | one evaluation, ms | gradient : evaluation | first call, s |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['name']} | {row['parameters']} | {1e3 * row['gradient']:.2f} | {1e3 * row['one']:.2f} |"
            f" {row['gradient'] / row['one']:.2f} | {row['first']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _figure(rows: list[dict[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    kinds = [
        ("batch", "primitive, exact, many sets a call"),
        ("one", "primitive, exact"),
        ("sampled", "primitive, shots"),
        ("uncut", "uncut StatevectorEstimator"),
        ("a_call", "Qompass, a call each, exact"),
        ("qcut", "QCut 2.2.0, shots"),
        ("addon", "qiskit-addon-cutting 0.10, shots"),
    ]
    figure, axes = plt.subplots(figsize=(9, 4.2))
    width = 0.8 / len(kinds)
    for place, (key, label) in enumerate(kinds):
        at = [k + (place - len(kinds) / 2) * width for k, row in enumerate(rows) if key in row]
        axes.bar(at, [1 / row[key] for row in rows if key in row], width, label=label)
    axes.set_yscale("log")
    axes.set_ylabel("evaluations a second")
    axes.set_xticks(range(len(rows)), [row["name"].replace(", ", "\n", 1) for row in rows], fontsize=8)
    axes.legend(fontsize=7, ncol=2, loc="upper right")
    axes.set_ylim(top=axes.get_ylim()[1] * 30)
    figure.tight_layout()
    figure.savefig(_HERE / "primitives.png", dpi=110)


if __name__ == "__main__":
    main()
