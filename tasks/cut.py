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
from tasks.runtime import Outcome, Ticket, constraint, contained, task

_COMPARED = 8  # plans
_COMPARED_INSTRUCTIONS = 8_000  # in all: building the fragments of large circuits takes long
_WORTH = 0.1  # of a run's seconds, computing the errors of its plans may take
_ALWAYS_S = 0.15
_VARIANCES = 3.0  # times as long as the exact tensors of a plan, what its shots are worth takes
_LONGER = 1.25  # a plan of less error may take so many times the seconds of the first
_CLEARLY = 0.97  # a plan that the search ranked lower has to be better by more than predictions are uncertain


@constraint(computing_units="1")
@task(returns=1)
def cut(problem: Problem, cuts: tuple[Cut, ...] | None, limits: dict[str, Any], ticket: Ticket) -> Outcome:
    """Plan a problem; ``limits`` are the keyword arguments of ``make_plan``."""
    with ticket.held():
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

    Exact runs are compared by their seconds. Errors are predicted where simulating the candidates takes little beside
    the run, of the first and then of those that take least; elsewhere the search's order is kept.

    Raises:
        CuttingError: there is none within the limits.
    """
    asked = dict(limits)
    aim, shots, devices = asked.pop("minimise", None), asked["shots"], asked.get("devices", ())
    if shots is None and aim in (None, "error"):
        aim, devices = "time", ()  # every exact plan has no error
    if cuts is not None or asked["plan_seconds"] == 0:
        return make_plan(problem, cuts=cuts, **asked)
    most = min(_COMPARED, _COMPARED_INSTRUCTIONS // max(1, len(problem.circuit.data)))
    plans = make_plans(problem, **asked, most=max(1, most))
    if len(plans) == 1:
        return plans[0]
    from tasks.prediction import predicted_spending, shot_variances  # loads the simulator

    if aim in ("time", "cost"):
        spent = [predicted_spending(plan, devices or (TYPICAL_CPU,), shots) for plan in plans]
        keys = [(one.price if aim == "cost" else 0.0, one.execute + one.reconstruct) for one in spent]
        return plans[min(range(len(plans)), key=lambda k: keys[k])]
    spent = [predicted_spending(plan, (TYPICAL_CPU,), shots) for plan in plans]
    took = [one.execute + one.reconstruct for one in spent]
    simulated = [_VARIANCES * sum(map(exact_fragment_seconds, plan.fragments)) for plan in plans]
    left = _WORTH * took[0] + _ALWAYS_S
    kept = []
    for k in sorted(range(len(plans)), key=lambda k: (k > 0, simulated[k])):
        left -= simulated[k]
        if left < 0:
            break
        if took[k] <= _LONGER * took[0]:
            kept.append(k)
    if len(kept) < 2:
        return plans[0]
    errors = [float(shot_variances(problem, plans[k], shots=shots).std_errors(shots).max(initial=0.0)) for k in kept]
    best = int(np.argmin(errors))
    return plans[kept[best if errors[best] < _CLEARLY * errors[0] else 0]]


def _plan(problem: Problem, cuts: tuple[Cut, ...] | None, limits: dict[str, Any]) -> Any:
    return chosen_plan(problem, cuts, limits)
