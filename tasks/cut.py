"""The cutting task: problem -> plan, as options and devices ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from statistics import median
from typing import Any

import numpy as np

from scheduler_policies.device import Device
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cutting import Cut, CuttingError, Plan, make_plan, make_plans
from tasks.cutting.objectives.error import log_variance
from tasks.cutting.partition import partition_of
from tasks.cutting.search.sketch import sketch_of
from tasks.cutting.seconds import exact_fragment_seconds
from tasks.model.problem import Problem
from tasks.options import Options, plan_limits
from tasks.runtime import IN_DELETE, Outcome, Ticket, constraint, contained, task

_COMPARED = 12  # plans
_COMPARED_INSTRUCTIONS = 8_000  # in all: building the fragments of large circuits takes long
_WORTH = 0.1  # of a run's seconds, computing the errors of its plans may take
_ALWAYS_S = 0.15
_LONGER = 1.25  # so many times the seconds in which the first plan would reach the same error, a plan may take
_ROOM_BYTES = 1 << 31  # for the errors of one plan
_CLEARLY = 0.97  # a plan that the search ranked lower has to be better by more than predictions are uncertain
_GUESSED = 0.5  # the same where the error of the first is a guess: these are within twice of each other
_LARGEST = 500.0  # powers of two of an error
_NARROWER = (0.75, 0.5)  # of the width allowed, where noise may make narrower fragments pay
_MOST_WIDTHS, _OF_A_WIDTH = 3, 2


@constraint(computing_units="1")
@task(returns=1, limits=IN_DELETE, ticket=IN_DELETE)
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
    """What ``chosen_plan`` is asked: the keyword arguments of ``make_plan`` that options and a run's devices say.

    Besides ``minimise`` and ``mitigation``, by which plans are chosen.
    """
    midway = all(device.limits.mid_circuit_measurement for device in devices if not device.exact)
    return {
        **plan_limits(options),
        "mid_circuit_measurement": midway,
        "devices": tuple(devices),
        "minimise": options.minimise,
        "mitigation": options.mitigation,
    }


def chosen_plan(problem: Problem, cuts: tuple[Cut, ...] | None, limits: Mapping[str, Any]) -> Plan:
    """The best of the plans that the search finds, by what is predicted of each.

    Exact runs are compared by their seconds. Errors are predicted where simulating the candidates takes little beside
    the run, of the first and then of those that take least; elsewhere the search's order is kept. Where only QPUs with
    errors run, plans of narrower fragments are compared too, and the bias that the QPUs bring is part of the error:
    what mitigation leaves of it, beside the spread that it adds.

    Raises:
        CuttingError: there is none within the limits.
    """
    asked = dict(limits)
    aim, mitigation = asked.pop("minimise", None), asked.pop("mitigation", "none")
    shots, devices = asked["shots"], asked.get("devices", ())
    if shots is None and aim in (None, "error"):
        aim, devices = "time", ()  # every exact plan has no error
    if cuts is not None or asked["plan_seconds"] == 0:
        return make_plan(problem, cuts=cuts, **asked)
    most = min(_COMPARED, _COMPARED_INSTRUCTIONS // max(1, len(problem.circuit.data)))
    plans = compared_plans(problem, asked, max(1, most))
    if len(plans) == 1:
        return plans[0]
    from tasks.prediction import predicted_spending, variances_bytes, variances_seconds  # loads the simulator

    if aim in ("time", "cost"):
        spent = [predicted_spending(plan, devices or (TYPICAL_CPU,), shots, mitigation=mitigation) for plan in plans]
        keys = [(one.price if aim == "cost" else 0.0, one.execute + one.reconstruct) for one in spent]
        return plans[min(range(len(plans)), key=lambda k: keys[k])]
    noisy = only_noisy(devices)
    where = devices if noisy else (TYPICAL_CPU,)
    spent = [predicted_spending(plan, where, shots, mitigation=mitigation) for plan in plans]
    took = [one.execute + one.reconstruct for one in spent]
    simulated = [sum(map(exact_fragment_seconds, plan.fragments)) for plan in plans]
    left = _WORTH * took[0] + _ALWAYS_S
    room = min(_ROOM_BYTES, asked.get("memory_bytes") or _ROOM_BYTES)
    kept = []
    for k in sorted(range(len(plans)), key=lambda k: (k > 0, simulated[k])):
        takes = variances_seconds(plans[k]) + noisy * simulated[k]
        if takes <= left and variances_bytes(plans[k]) <= room:
            left -= takes
            kept.append(k)
    if kept in ([], [0]) or (noisy and 0 not in kept):  # nothing to compare it with
        return plans[0]
    errors = {k: _predicted_error(problem, plans[k], shots, devices if noisy else (), mitigation) for k in kept}
    clearly = _CLEARLY
    if 0 not in errors:
        # The search's guess of it, which is too large, as much as for the others: within twice as much of that.
        guessed = {k: _guessed_error(plans[k], shots) for k in (0, *kept)}
        errors[0] = guessed[0] * median(errors[k] / guessed[k] for k in kept)
        clearly = _GUESSED
    worth = [
        k
        for k, error in errors.items()
        if noisy  # no time that is saved makes up for bias
        or took[k] <= took[0] + _ALWAYS_S
        or took[k] * error**2 <= _LONGER * took[0] * errors[0] ** 2
    ]
    best = min(worth, key=lambda k: errors[k])
    return plans[best if errors[best] < clearly * errors[0] else 0]


def only_noisy(devices: Sequence[Device]) -> bool:
    """Whether whatever runs has errors that a calibration tells: there are QPUs only, and not all of them perfect."""
    errors = (max(device.one_qubit_error, device.two_qubit_error, device.readout_error) for device in devices)
    return bool(devices) and not any(device.exact for device in devices) and max(errors) > 0


def compared_plans(problem: Problem, limits: Mapping[str, Any], most: int) -> list[Plan]:
    """Plans that the search finds, in its order; on QPUs with errors then those of narrower fragments, too.

    Args:
        problem: the problem.
        limits: the keyword arguments of ``make_plans``.
        most: how many of the width allowed.

    Raises:
        CuttingError: there is none within the limits.
    """
    plans, devices = make_plans(problem, **limits, most=most), limits.get("devices", ())
    if limits["shots"] is None or not only_noisy(devices):
        return plans
    sizes = {device.qubits for device in devices if device.qubits is not None}
    widest = min(max(sizes), problem.num_qubits, limits["max_qubits"] or problem.num_qubits)
    smaller = sorted((size for size in sizes if size < widest), reverse=True)
    widths = dict.fromkeys([*smaller, *(ceil(share * widest) for share in _NARROWER)])
    known = {plan.cuts for plan in plans}
    for width in [width for width in widths if 1 < width < widest][:_MOST_WIDTHS]:
        try:
            found = make_plans(problem, **{**limits, "max_qubits": width}, most=_OF_A_WIDTH)
        except CuttingError:  # too many cuts for the shots
            continue
        plans += [plan for plan in found if plan.cuts not in known]
        known.update(plan.cuts for plan in found)
    return plans


def _predicted_error(problem: Problem, plan: Plan, shots: int, devices: Sequence[Device], mitigation: str) -> float:
    """Of the observable that errs most: the standard error that shots give, and the bias that devices bring."""
    from tasks.prediction import noise_biases, shot_variances

    errors = shot_variances(problem, plan, shots=shots, devices=devices, mitigation=mitigation).std_errors(shots)
    if devices:
        errors = np.hypot(errors, noise_biases(problem, plan, devices, mitigation=mitigation))
    return float(errors.max(initial=0.0))


def _guessed_error(plan: Plan, shots: int) -> float:
    """What the search ranks by: nothing is simulated for it, and it is several times too large."""
    return float(2.0 ** min(log_variance(sketch_of(partition_of(plan)), shots) / 2, _LARGEST))


def _plan(problem: Problem, cuts: tuple[Cut, ...] | None, limits: dict[str, Any]) -> Any:
    return chosen_plan(problem, cuts, limits)
