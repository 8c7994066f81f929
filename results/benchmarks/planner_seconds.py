"""Predicted against measured seconds of whole runs, problem by problem; part of ``planner.py``.

``python -m results.benchmarks.planner_seconds calibrate`` measures this machine, ``fitted`` the runs that constants
are fitted to, ``fit`` prints these constants for ``scheduler_policies/machine.py``, ``held_out`` and ``fresh`` measure
the others, once, when they are final. ``again`` predicts all anew, of the plans of today.

Runs after the first of a kind, without the cache, in seconds at the processor's full speed (``steady.py``): of those
done in this process, as short ones are, the processor seconds of the stages, of others what their records say, beside
what is predicted of the plan, by a typical core's speed and by this machine's own. That is linear in the constants, so
that what each of them is multiplied with is kept, too. The baseline has two constants, a circuit's and a gate's on an
amplitude, fitted to the same runs.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from qiskit import QuantumCircuit
from scipy.optimize import least_squares, nnls

from results.benchmarks.planner_fresh import fresh
from results.benchmarks.planner_runs import Run, fitted, held_out, second, third
from results.benchmarks.steady import STAGES, ClockedRun, SteadyClock
from scheduler_policies import Device, machine
from tasks.cut import chosen_plan
from tasks.cutting import Plan
from tasks.cutting import seconds as cutting_seconds
from tasks.execution.calibration_file import read_calibration, write_calibration
from tasks.execution.jobs import run_job, sampled_jobs, uniform_shots
from tasks.forecast import asked_of_plan
from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem
from tasks.options import Options, options_of
from tasks.prediction import done_here, predicted_spending, spending
from tasks.runs.temporary import temporary_runs
from tasks.whole_runs import calibrated
from tasks.workflow import run

DATA = Path(__file__).with_name("planner_seconds.json")
CALIBRATION = Path(__file__).with_name("planner_calibration.json")
SETS: dict[str, tuple[Callable[[], Iterator[Run]], ...]] = {
    "fitted": (fitted, second, third), "held_out": (held_out,), "fresh": (fresh,),
}  # fmt: skip
CONSTANTS = {
    **dict.fromkeys(("JOIN_FRAGMENT_S", "JOIN_NUMBER_S"), cutting_seconds),
    **dict.fromkeys(
        (
            "INLINE_RUN_S", "INLINE_FRAGMENT_S", "INLINE_NUMBER_S", "ROUNDS_RUN_S", "ROUNDS_FRAGMENT_S",
            "ROUNDS_VARIANT_S", "ROUNDS_OUTCOME_S", "JOIN_RUN_S", "ERRORS_RUN_S", "ERRORS_FRAGMENT_S",
            "ERRORS_VARIANT_S", "ERRORS_OUTCOME_S", "ERRORS_PLACE_S",
            "ROUNDS_LEG_S", "ERRORS_LEG_S", "ROUNDS_GROUP_S", "ERRORS_GROUP_S",
            "JOIN_TERM_S", "JOIN_REFINE_S", "JOIN_LEG_S", "ENGINE_NUMBER_S",
        ),
        spending,
    ),
}  # fmt: skip
"""Those that are fitted, and who uses them."""
_RUNS, _SHORT_S = 3, 4.0  # of one problem that count, at most; no more than two begin after so long
_WAIT_S = 1.0  # for the processor's full speed, before each
_KEPT = 0.1  # weight of what constants are: with .02 some changed 25-fold for nothing that the runs tell
_CALIBRATIONS, _CALIBRATION_WAIT_S = 3, 20.0
TYPICAL = replace(machine.TYPICAL_CPU, units=2)
_MANY = 1000  # variants from which drawing alone is timed


def main(sets: Sequence[str] = tuple(SETS)) -> None:
    """Run what is not there yet."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text()) if DATA.exists() else []
    done, clock = {(row["problem"], row["set"]) for row in rows}, SteadyClock()
    for name in sets:
        for problem, build, observables, options in (own for runs in SETS[name] for own in runs()):
            if (problem, name) not in done:
                rows.append({"problem": problem, "set": name, **measured(clock, build(), observables, options)})
                DATA.write_text(json.dumps(rows, indent=1) + "\n")
                told, took = told_of(rows[-1:])[0], sum(rows[-1]["measured"].values())
                print(f"{problem}: {told:.3f} predicted, {took:.3f} measured", flush=True)


def calibrate() -> None:
    """Measure this machine at the processor's full speed, or by the last of some times."""
    clock = SteadyClock()
    for _ in range(_CALIBRATIONS):
        before = clock.before(_CALIBRATION_WAIT_S)
        write_calibration(calibrated(), CALIBRATION)
        speed, stayed = clock.speed(before)
        if stayed and clock.full(speed):
            return
    print("the processor was not ours alone")


def predict_again() -> None:
    """What is measured stays."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text())
    known = {(row["problem"], row["set"]): row for row in rows}
    for name, sets in SETS.items():
        for problem, build, observables, given in (own for runs in sets for own in runs()):
            if row := known.get((problem, name)):
                options = options_of(given)
                plan = _planned(make_problem(build(), observables), options)
                row |= _predicted(plan, options.shots)
    DATA.write_text(json.dumps(rows, indent=1) + "\n")


def own_device() -> Device:
    """A core of the machine that the runs were measured on, as its calibration has it."""
    found = read_calibration(CALIBRATION)
    if found is None:
        raise SystemExit(f"{CALIBRATION} is of another machine: `planner_seconds calibrate`, and measure all runs anew")
    return replace(machine.TYPICAL_CPU, speed=found.speed)


def _planned(problem: Problem, options: Options) -> Plan:
    return chosen_plan(problem, options.cuts, asked_of_plan(options, [TYPICAL]))


def _predicted(plan: Plan, shots: int | None) -> dict[str, Any]:
    return {**parts_of(plan, [TYPICAL], shots), "own": parts_of(plan, [own_device()], shots)}


def measured(
    clock: SteadyClock, circuit: QuantumCircuit, observables: list[str], given: dict[str, Any]
) -> dict[str, Any]:
    """Predicted and measured seconds of the stages after planning; the least of some runs after a first one."""
    problem, options = make_problem(circuit, observables), options_of(given | {"cache": "off"})
    plan = _planned(problem, options)
    options = replace(options, cuts=plan.cuts)  # nothing long before the stages that are measured
    alone = done_here(plan, [TYPICAL], options.shots)  # in this process: what others do does not make it longer
    seen: list[tuple[bool, float, dict[str, float]]] = []
    began = time.perf_counter()
    while len(seen) < 2 or (sum(own[0] for own in seen) <= _RUNS and time.perf_counter() - began < _SHORT_S):
        with temporary_runs() as parent, ClockedRun.create(parent, {"seed": 0}, problem) as directory:
            directory.clock, directory.wait_s = clock, _WAIT_S
            timings = dict(run(problem, options, directory).record["timings"])
            speed, stayed = directory.speed
        seen.append((stayed and clock.full(speed), speed, directory.used if alone else timings))
    counting = [own for own in seen[1:] if own[0]] or seen[1:]
    variants = sum(own.variants for own in plan.costs) if options.shots else len(plan.fragments)
    drawn = 0.0
    if options.shots and variants > _MANY:
        jobs = sampled_jobs(plan, uniform_shots(plan, options.shots), 0)
        before, began = clock.before(), time.process_time()
        for job in jobs:
            run_job(job)
        drawn = (time.process_time() - began) * clock.speed(before)[0]
    work = sum(
        (own.variants if options.shots else 1) * len(fragment.circuit.data) * 2.0**own.width
        for fragment, own in zip(plan.fragments, plan.costs, strict=True)
    )
    return {
        **_predicted(plan, options.shots),
        "measured": min(({stage: speed * own[stage] for stage in STAGES} for _, speed, own in counting), key=_whole),
        "full": sum(own[0] for own in seen[1:]),
        "drawn": drawn,
        "circuits": variants,
        "gates_on_amplitudes": work,
    }


def _whole(stages: dict[str, float]) -> float:
    return sum(stages.values())


def parts_of(plan: Plan, devices: Sequence[Device], shots: int | None) -> dict[str, Any]:
    """By stage, what is predicted with none of the constants, and what each of them is multiplied with."""

    def told(**known: float) -> np.ndarray:
        with contextlib.ExitStack() as stack:
            for name, user in CONSTANTS.items():
                stack.enter_context(mock.patch.object(user, name, known.get(name, 0.0)))
            spent = predicted_spending(plan, devices, shots)
        return np.array([spent.execute, spent.reconstruct])

    rest = told()
    parts = {name: (told(**{name: 1.0}) - rest).tolist() for name in CONSTANTS}
    return {"rest": rest.tolist(), "parts": {name: own for name, own in parts.items() if any(own)}}


def by_stage(rows: list[dict[str, Any]], constants: dict[str, float], *, typical: bool = False) -> np.ndarray:
    """(run, stage) seconds predicted with these constants, by this machine's calibration or a typical core's speed."""
    told = [row if typical else row["own"] for row in rows]
    return np.array(
        [
            np.array(one["rest"]) + sum(constants[name] * np.array(own) for name, own in one["parts"].items())
            for one in told
        ]
    )


def shipped() -> dict[str, float]:
    """The constants as they are."""
    return {name: float(getattr(machine, name)) for name in CONSTANTS}


def told_of(rows: list[dict[str, Any]], *, typical: bool = False) -> np.ndarray:
    """(run,) seconds predicted with the constants that Qompass ships."""
    return by_stage(rows, shipped(), typical=typical).sum(axis=1)


def fit(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The constants for which the logarithms of predicted and measured seconds, of stages and of runs, differ least."""
    rows = [row for row in rows if row["set"] == "fitted"]
    seconds = np.array([[row["measured"][stage] for stage in STAGES] for row in rows])
    names = [name for name in CONSTANTS if any(name in row["parts"] for row in rows)]
    start = np.array([shipped()[name] for name in names])

    def apart(logs: np.ndarray) -> np.ndarray:
        told = by_stage(rows, shipped() | dict(zip(names, np.exp(logs), strict=True)))
        both = np.concatenate([told, told.sum(axis=1, keepdims=True)], axis=1)
        true = np.concatenate([seconds, seconds.sum(axis=1, keepdims=True)], axis=1)
        weights = np.array([0.3, 0.3, 1.0])  # it is the whole run that is asked about
        return np.concatenate([(weights * np.log(both / true)).ravel(), _KEPT * (logs - np.log(start))])

    found = least_squares(apart, np.log(start), loss="soft_l1", f_scale=0.1)
    return dict(zip(names, np.exp(found.x).tolist(), strict=True))


def totals(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(run,) seconds predicted, by the baseline, and measured; the baseline is fitted to the runs not held out."""
    seconds = np.array([sum(row["measured"].values()) for row in rows])
    columns = np.array([[row["circuits"], row["gates_on_amplitudes"]] for row in rows]) / seconds[:, None]
    own = columns[[row["set"] == "fitted" for row in rows]]
    scale = own.max(axis=0)
    found, _ = nnls(own / scale, np.ones(len(own)))
    return told_of(rows), (columns @ (found / scale)) * seconds, seconds


def accuracy(predicted: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """(run,) 100 min / max."""
    return np.asarray(100 * np.minimum(predicted, seconds) / np.maximum(predicted, seconds))


if __name__ == "__main__":
    if sys.argv[1:] == ["fit"]:
        print(*(f"{name} = {value:.2g}" for name, value in fit(json.loads(DATA.read_text())).items()), sep="\n")
    elif sys.argv[1:] == ["calibrate"]:
        calibrate()
    elif sys.argv[1:] == ["again"]:
        predict_again()
    else:
        main(sys.argv[1:] or tuple(SETS))
