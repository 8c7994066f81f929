"""The cutting task: problem -> plan, as options and devices ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scheduler_policies.device import Device
from tasks.cutting import Cut, Plan, make_plan
from tasks.model.problem import Problem
from tasks.options import Options, plan_limits
from tasks.runtime import Outcome, constraint, contained, task


@constraint(computing_units="1")
@task(returns=1)
def cut(problem: Problem, cuts: tuple[Cut, ...] | None, limits: dict[str, Any]) -> Outcome:
    """Plan a problem; ``limits`` are the keyword arguments of ``make_plan``."""
    return contained(_plan, problem, cuts, limits)


def plan_problem(problem: Problem, options: Options) -> Plan:
    """The plan that a run would follow; QPUs are asked what they can do where shots would be taken on them.

    Raises:
        CuttingError: there is none within the limits.
        QompassError: the devices that the options name cannot be used.
    """
    devices: Sequence[Device] = ()
    if options.sampled:
        from tasks.execution.run_devices import run_devices  # where nothing is sampled, no simulator is loaded

        devices = run_devices(options.resources)
    return make_plan(problem, cuts=options.cuts, **asked_of_plan(options, devices))


def asked_of_plan(options: Options, devices: Sequence[Device]) -> dict[str, Any]:
    """The keyword arguments of ``make_plan`` that options and the devices of a run say."""
    midway = all(device.limits.mid_circuit_measurement for device in devices if not device.exact)
    return {**plan_limits(options), "mid_circuit_measurement": midway}


def _plan(problem: Problem, cuts: tuple[Cut, ...] | None, limits: dict[str, Any]) -> Any:
    return make_plan(problem, cuts=cuts, **limits)
