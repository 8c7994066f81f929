"""The cutting task: problem -> plan, as options and devices ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil
from statistics import median
from typing import Any

import numpy as np

from scheduler_policies.device import Device, Kind
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
_MOST_TIMES = 1e12  # as many shots: nobody pays for more
_LARGEST = 500.0  # powers of two of an error
_NARROWER = (0.75, 0.5)  # of the width allowed, where noise may make narrower fragments pay
_MOST_WIDTHS, _OF_A_WIDTH = 3, 2
_CHOSEN_BY = {"minimise", "cheaply", "mitigation", "readouts", "target_error"}  # of what is asked of a plan


@constraint(computing_units="1")
@task(returns=1, limits=IN_DELETE, ticket=IN_DELETE)
def cut(problem: Problem, cuts: tuple[Cut, ...] | None, limits: dict[str, Any], ticket: Ticket) -> Outcome:
    """Plan a problem; ``limits`` are what ``asked_of_plan`` says."""
    with ticket.held():
        return contained(_plan, problem, cuts, limits)


def plan_problem(problem: Problem, options: Options, *, runs: bool = True) -> Plan:
    """The plan that a run would follow; QPUs are asked what they can do where shots are taken or cost counts.

    Args:
        problem: the problem.
        options: of the run.
        runs: see ``make_plans``.

    Raises:
        CuttingError: there is none within the limits.
        QompassError: the devices that the options name cannot be used.
    """
    from tasks.execution.run_devices import run_devices, simulators  # and with it what reads resources files

    asked = options.sampled or options.cheapest
    devices = run_devices(options.resources) if asked else simulators(options.resources)
    readouts = readouts_due(devices, options.mitigation) if options.sampled and options.minimise == "cost" else {}
    return chosen_plan(problem, options.cuts, {**asked_of_plan(options, devices, readouts), "runs": runs})


def readouts_due(devices: Sequence[Device], mitigation: str) -> dict[str, int]:
    """Shots that each QPU with a price takes to measure its readout under ``mitigation``, where that is due."""
    qpus = [device for device in devices if device.kind is Kind.QPU and device.priced]
    if not qpus:
        return {}
    from tasks.execution.mitigation.extrapolation import readout_shots_due  # loads what talks to QPUs

    due = {device.name: readout_shots_due(device, mitigation) for device in qpus}
    return {name: shots for name, shots in due.items() if shots}


def asked_of_plan(
    options: Options, devices: Sequence[Device], readouts: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """What ``chosen_plan`` is asked: the keyword arguments of ``make_plan`` that options and a run's devices say.

    Besides ``minimise``, ``cheaply``, ``mitigation``, ``readouts`` (``readouts_due``) and ``target_error``, by which
    plans are chosen.
    """
    midway = all(device.limits.mid_circuit_measurement for device in devices if not device.exact)
    return {
        **plan_limits(options),
        "mid_circuit_measurement": midway,
        "devices": tuple(devices),
        "minimise": options.minimise,
        "cheaply": options.cheapest,
        "mitigation": options.mitigation,
        "readouts": readouts,
        "target_error": options.target_error,
    }


def chosen_plan(problem: Problem, cuts: tuple[Cut, ...] | None, limits: Mapping[str, Any]) -> Plan:
    """The best of the plans that the search finds, by what is predicted of each.

    Exact runs are compared by their seconds. Errors are predicted where simulating the candidates takes little beside
    the run, of the first and then of those that take least; elsewhere the search's order is kept. Where only QPUs with
    errors run, plans of narrower fragments are compared too, and the bias that the QPUs bring is part of the error:
    what mitigation leaves of it, beside the spread that it adds.

    Where cost is minimised, plans that cost nothing come first and are compared as above; the others by what they cost,
    sampled ones by what the shots would cost that give each the same error: the one asked for, or the least of theirs.

    Raises:
        CuttingError: there is none within the limits.
    """
    asked, by = _split(limits)
    aim, mitigation, cheaply = by.get("minimise"), by.get("mitigation", "none"), by.get("cheaply", False)
    shots, devices = asked["shots"], asked.get("devices", ())
    if shots is None and aim in (None, "error"):
        aim, devices = "time", ()  # every exact plan has no error
    if cuts is not None or asked["plan_seconds"] == 0:
        return make_plan(problem, cuts=cuts, **asked)
    most = min(_COMPARED, _COMPARED_INSTRUCTIONS // max(1, len(problem.circuit.data)))
    plans = compared_plans(problem, asked, max(1, most), cheaply)
    if len(plans) == 1:
        return plans[0]
    from tasks.prediction import predicted_spending  # loads the simulator

    def errors_of(kept: Sequence[int], noisy: Sequence[Device]) -> dict[int, float]:
        return {k: _predicted_error(problem, plans[k], shots, noisy, mitigation) for k in kept}

    spend = partial(predicted_spending, shots=shots, readouts=by.get("readouts"), mitigation=mitigation)
    if aim in ("time", "cost"):
        every = [(plan, spend(plan, devices or (TYPICAL_CPU,), cheaply=cheaply)) for plan in plans]
        every = [(plan, one) for plan, one in every if not one.unplaced] or every
        plans, spent = [plan for plan, _ in every], [one for _, one in every]
        took = [one.execute + one.reconstruct for one in spent]
        price = [one.price if aim == "cost" else 0.0 for one in spent]
        if aim == "time" or shots is None:
            return plans[min(range(len(plans)), key=lambda k: (price[k], took[k]))]
        if min(price) > 0:
            noisy = devices if only_noisy(devices) else ()
            told = _all_errors(errors_of(_predictable(plans, asked, noisy, took[0]), noisy), plans, shots)
            times = _times_the_shots(told, by.get("target_error"))
            many = [
                max(sum(c.variants for c in plan.costs), own * shots) for plan, own in zip(plans, times, strict=True)
            ]
            on = partial(spend, devices=devices or (TYPICAL_CPU,), cheaply=cheaply, target=bool(by.get("target_error")))
            cost = [on(plan, shots=own).price for plan, own in zip(plans, many, strict=True)]
            return plans[min(range(len(plans)), key=lambda k: (cost[k], told[k], took[k]))]
        plans = [plan for plan, own in zip(plans, price, strict=True) if own == 0]
        devices = unpriced(devices) if cheaply else devices
    noisy = devices if only_noisy(devices) else ()
    spent = [spend(plan, noisy or (TYPICAL_CPU,)) for plan in plans]
    took = [one.execute + one.reconstruct for one in spent]
    kept = _predictable(plans, asked, noisy, took[0])
    if kept in ([], [0]) or (noisy and 0 not in kept):  # nothing to compare it with
        return plans[0]
    known = errors_of(kept, noisy)
    clearly = _CLEARLY if 0 in known else _GUESSED
    # What the search guesses of the first is too large, as much as for the others: within twice as much of that.
    errors = {0: _all_errors(known, plans, shots)[0], **known}
    worth = [
        k
        for k, error in errors.items()
        if noisy  # no time that is saved makes up for bias
        or took[k] <= took[0] + _ALWAYS_S
        or took[k] * error**2 <= _LONGER * took[0] * errors[0] ** 2
    ]
    best = min(worth, key=lambda k: errors[k])
    return plans[best if errors[best] < clearly * errors[0] else 0]


def _times_the_shots(errors: Sequence[float], wanted: float | None) -> list[float]:
    """How many times as many shots give each plan the same error: ``wanted``, or the least of theirs."""
    aimed = wanted or min(errors)
    return [min((own / aimed) ** 2, _MOST_TIMES) if aimed else (_MOST_TIMES if own else 1.0) for own in errors]


def _split(limits: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the search for plans is asked, and by what one of them is chosen."""
    return {k: v for k, v in limits.items() if k not in _CHOSEN_BY}, {k: limits[k] for k in _CHOSEN_BY & limits.keys()}


def asked_of_search(limits: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of ``make_plan`` among those of ``chosen_plan``."""
    return _split(limits)[0]


def unpriced(devices: Sequence[Device]) -> list[Device]:
    """Those that cost nothing."""
    return [device for device in devices if not device.priced]


def only_noisy(devices: Sequence[Device]) -> bool:
    """Whether whatever runs has errors that a calibration tells: there are QPUs only, and not all of them perfect."""
    errors = (max(device.one_qubit_error, device.two_qubit_error, device.readout_error) for device in devices)
    return bool(devices) and not any(device.exact for device in devices) and max(errors) > 0


def compared_plans(problem: Problem, limits: Mapping[str, Any], most: int, cheaply: bool = False) -> list[Plan]:
    """Plans that the search finds, in its order, and then others of narrower fragments.

    These are added on QPUs with errors, and where fragments that only devices without a price run may cost less.

    Args:
        problem: the problem.
        limits: the keyword arguments of ``make_plans``.
        most: how many of the width allowed.
        cheaply: whether fragments run where they cost least.

    Raises:
        CuttingError: there is none within the limits.
    """
    plans, devices, shots = make_plans(problem, **limits, most=most), limits.get("devices", ()), limits["shots"]
    more: list[tuple[dict[str, Any], int]] = []
    if shots is not None and (cheaply or only_noisy(devices)):
        sizes = {device.qubits for device in devices if device.qubits is not None}
        widest = min(max(sizes, default=0), problem.num_qubits, limits["max_qubits"] or problem.num_qubits)
        smaller = sorted((size for size in sizes if size < widest), reverse=True)
        shares = _NARROWER if only_noisy(devices) else ()
        widths = dict.fromkeys([*smaller, *(ceil(share * widest) for share in shares)])
        within = [width for width in widths if 1 < width < widest][:_MOST_WIDTHS]
        more += [({"max_qubits": width}, _OF_A_WIDTH) for width in within]
    free = [device for device in unpriced(devices) if device.exact or shots is not None]
    if cheaply and free and len(free) < len(devices):
        from tasks.prediction import predicted_spending  # loads the simulator

        if all(predicted_spending(plan, free, shots).unplaced for plan in plans):
            more.append(({"devices": tuple(free)}, most))
    known = {plan.cuts for plan in plans}
    for changed, many in more:
        try:
            found = make_plans(problem, **{**limits, **changed}, most=many)
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


def _predictable(plans: Sequence[Plan], asked: Mapping[str, Any], noisy: Sequence[Device], took: float) -> list[int]:
    """The first plan and then those that take least to predict the error of, as far as that is worth it.

    Args:
        plans: the plans.
        asked: the keyword arguments of ``make_plan``.
        noisy: QPUs whose errors bias the estimates.
        took: seconds of a run of the first plan.
    """
    from tasks.prediction import variances_bytes, variances_seconds

    simulated = [sum(map(exact_fragment_seconds, plan.fragments)) for plan in plans]
    left = _WORTH * took + _ALWAYS_S
    room = min(_ROOM_BYTES, asked.get("memory_bytes") or _ROOM_BYTES)
    kept = []
    for k in sorted(range(len(plans)), key=lambda k: (k > 0, simulated[k])):
        takes = variances_seconds(plans[k]) + bool(noisy) * simulated[k]
        if takes <= left and variances_bytes(plans[k]) <= room:
            left -= takes
            kept.append(k)
    return kept


def _all_errors(known: Mapping[int, float], plans: Sequence[Plan], shots: int) -> list[float]:
    """Those that are known, and for the others what the search guesses, as much less as it is for those."""
    guessed = [_guessed_error(plan, shots) for plan in plans]
    scale = median(error / guessed[k] for k, error in known.items()) if known else 1.0
    return [known.get(k, scale * guess) for k, guess in enumerate(guessed)]


def _guessed_error(plan: Plan, shots: int) -> float:
    """What the search ranks by: nothing is simulated for it, and it is several times too large."""
    return float(2.0 ** min(log_variance(sketch_of(partition_of(plan)), shots) / 2, _LARGEST))


def _plan(problem: Problem, cuts: tuple[Cut, ...] | None, limits: dict[str, Any]) -> Any:
    return chosen_plan(problem, cuts, limits)
