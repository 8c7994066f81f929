"""The cutting task: problem -> plan, as options and devices ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scheduler_policies.device import Device
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cutting import Cut, Plan, make_plan, make_plans
from tasks.cutting.cost import exact_fragment_seconds
from tasks.model.problem import Problem
from tasks.options import Options, plan_limits
from tasks.runtime import Outcome, constraint, contained, task

_COMPARED = 8  # plans
_WORTH = 0.1  # of a run's seconds, simulating the plans that are compared may take
_ALWAYS_S = 0.05
_LONGER = 1.25  # a plan of less error may take so many times the seconds of the first
_CLEARLY = 0.97  # a plan that the search ranked lower has to be better by more than predictions are uncertain


@constraint(computing_units="1")
@task(returns=1)
def cut(problem: Problem, cuts: tuple[Cut, ...] | None, limits: dict[str, Any]) -> Outcome:
    """Plan a problem; ``limits`` are the keyword arguments of ``make_plan``."""
    return contained(_plan, problem, cuts, limits)


def plan_problem(problem: Problem, options: Options, *, runs: bool = True) -> Plan:
    """The plan that a run would follow; QPUs are asked what they can do where shots would be taken on them.

    Args:
        problem: the problem.
        options: of the run.
        runs: see ``make_plans``.

    Raises:
        CuttingError: there is none within the limits.
        QompassError: the devices that the options name cannot be used.
    """
    devices: Sequence[Device] = ()
    if options.sampled:
        from tasks.execution.run_devices import run_devices  # where nothing is sampled, no simulator is loaded

        devices = run_devices(options.resources)
    return chosen_plan(problem, options.cuts, {**asked_of_plan(options, devices), "runs": runs})


def asked_of_plan(options: Options, devices: Sequence[Device]) -> dict[str, Any]:
    """The keyword arguments of ``make_plan`` that options and the devices of a run say."""
    midway = all(device.limits.mid_circuit_measurement for device in devices if not device.exact)
    return {
        **plan_limits(options),
        "mid_circuit_measurement": midway,
        "devices": tuple(devices),
        "minimise": options.minimise,
    }


def chosen_plan(problem: Problem, cuts: tuple[Cut, ...] | None, limits: Mapping[str, Any]) -> Plan:
    """The best of the plans that the search finds, by what is predicted of each.

    Errors are predicted where simulating the candidates takes little beside the run; elsewhere the search's order is
    kept, by sampling overhead or by work.

    Raises:
        CuttingError: there is none within the limits.
    """
    asked = dict(limits)
    aim, shots, devices = asked.pop("minimise", None), asked["shots"], asked.get("devices", ())
    if aim == "error" and shots is None:
        aim = None  # every exact plan has none
    if cuts is not None or (aim is None and shots is None) or asked["plan_seconds"] == 0:
        return make_plan(problem, cuts=cuts, **asked)
    plans = make_plans(problem, **asked, most=_COMPARED)
    if len(plans) == 1:
        return plans[0]
    from tasks.prediction import predicted_spending, shot_variances  # loads the simulator

    if aim in ("time", "cost"):
        spent = [predicted_spending(plan, devices or (TYPICAL_CPU,), shots) for plan in plans]
        keys = [(one.price if aim == "cost" else 0.0, one.execute + one.reconstruct) for one in spent]
        return plans[min(range(len(plans)), key=lambda k: keys[k])]
    spent = [predicted_spending(plan, (TYPICAL_CPU,), shots) for plan in plans]
    took = [one.execute + one.reconstruct for one in spent]
    simulated = [sum(map(exact_fragment_seconds, plan.fragments)) for plan in plans]
    worth = _WORTH * took[0] + _ALWAYS_S
    kept = [
        plan
        for plan, seconds, own in zip(plans, np.cumsum(simulated), took, strict=True)
        if seconds <= worth and own <= _LONGER * took[0]
    ]
    if len(kept) < 2:
        return plans[0]
    errors = [float(shot_variances(problem, plan).std_errors(shots).max(initial=0.0)) for plan in kept]
    best = int(np.argmin(errors))
    return kept[best if errors[best] < _CLEARLY * errors[0] else 0]


def _plan(problem: Problem, cuts: tuple[Cut, ...] | None, limits: dict[str, Any]) -> Any:
    return chosen_plan(problem, cuts, limits)
