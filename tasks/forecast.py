"""What a user should know before a run: whether to cut at all, and what the plan gives and takes.

A forecast is plain data: ``qompass plan`` prints it, and its document is the plan's ``predicted``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import log2
from typing import Any

import numpy as np

from scheduler_policies import Device, Kind
from scheduler_policies.cost import cpu_speed, exact_seconds, state_bytes
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cut import asked_of_plan, asked_of_search, chosen_plan, compared_plans, only_noisy
from tasks.cutting import CuttingError, Plan, make_plan, structure_of
from tasks.cutting.cone_program import cone_program
from tasks.cutting.limits import predicted_bytes
from tasks.cutting.objectives.error import log_variance
from tasks.cutting.partition import partition, partition_of
from tasks.cutting.pauli_program import is_clifford, pauli_program
from tasks.cutting.product_program import product_program
from tasks.cutting.schmidt import find_form
from tasks.cutting.search.sketch import sketch_of
from tasks.cutting.seconds import exact_fragment_seconds
from tasks.errors import InputError
from tasks.execution.calibration import constants_name
from tasks.model.problem import Problem
from tasks.options import Options
from tasks.prediction import (
    Spending,
    noise_biases,
    predicted_spending,
    shot_variances,
    variances_bytes,
    variances_seconds,
)
from tasks.reconstruction.contraction.kernel import SCRATCH_BYTES
from tasks.reconstruction.contraction.schedule import network_cost
from tasks.reconstruction.errors import ContractionCostError

_SIMULATED_S = 5.0  # the errors of a plan whose fragments take longer are guessed from its cut ends
_ROOM_BYTES = 1 << 31  # and of those that take more memory
_DRAWN_S = 0.3  # that draws of their noise may take, where errors beyond first order cannot be computed
_AMPLE = 4  # times what a contraction takes at least by its plan: whether it fits is not asked
_COMPARED = 6
_BOND_FLOPS = 60.0  # of a gate on a matrix product state, times the bond's dimension to the third power
_MOST_BOND = 2.0**40


@dataclass(frozen=True)
class Uncut:
    """How long the circuit takes whole, on one core.

    Attributes:
        statevector_seconds: with all amplitudes.
        statevector_bytes: memory of these.
        product_seconds: at most, as a matrix product state in the order of its qubits.
        bond: largest bond dimension that its gates can make.
        pauli_seconds: at most, following the observables' Paulis back through its gates; None where their sums may
            become too long.
        cone_seconds: simulating apart what each observable sees; None where that is no less than with all amplitudes.
        clifford: whether all its gates that an observable can see are Clifford gates.
    """

    statevector_seconds: float
    statevector_bytes: int
    product_seconds: float
    bond: float
    pauli_seconds: float | None
    cone_seconds: float | None
    clifford: bool


@dataclass(frozen=True)
class Forecast:
    """What is predicted of a plan.

    Attributes:
        cut_seconds: what planning took.
        spent: seconds and price of the rest.
        std_errors: (observable,) of the estimates; zero for an exact run.
        computed: whether the errors come from the fragments' tensors; otherwise they are an order of magnitude.
        shots_for: shots for a standard error of ``wanted`` of every observable, None for an exact run.
        wanted: that error.
        for_wanted: what as many shots take.
        bytes: peak memory here.
        constants: the name of the CPUs' constants that seconds were predicted with, "" without CPUs.
        all_orders: whether computed errors are whole; otherwise they are at least so large.
        biases: (observable,) by how much what mitigation leaves of the devices' errors shifts the estimates, by their
            calibrations; empty where nothing does, where simulators run fragments, too, or that is not known.
    """

    cut_seconds: float
    spent: Spending
    std_errors: tuple[float, ...]
    computed: bool
    shots_for: float | None
    wanted: float
    for_wanted: Spending | None
    bytes: int
    constants: str
    all_orders: bool = True
    biases: tuple[float, ...] = ()

    @property
    def error_is(self) -> str:
        """What the errors are: "computed", or what they are instead of that."""
        if not self.computed:
            return "an order of magnitude"
        return "computed" if self.all_orders else "at least"

    def document(self) -> dict[str, Any]:
        """As ``plan.predicted`` of ``qompass plan --json``."""
        seconds = {"cut": self.cut_seconds, "execute": self.spent.execute, "reconstruct": self.spent.reconstruct}
        return {
            "seconds": {**seconds, "total": sum(seconds.values())},
            "std_error": list(self.std_errors),
            "std_error_is": self.error_is,
            "bias": list(self.biases),
            "bytes": self.bytes,
            "price": self.spent.price,
            "constants": self.constants,
            "target": {
                "std_error": self.wanted,
                "shots": None if self.shots_for is None or math.isinf(self.shots_for) else round(self.shots_for),
                "seconds": None if self.for_wanted is None else self.for_wanted.execute + self.for_wanted.reconstruct,
                "price": None if self.for_wanted is None else self.for_wanted.price,
            },
        }


def forecast(
    problem: Problem,
    plan: Plan,
    options: Options,
    devices: Sequence[Device],
    cut_seconds: float = 0.0,
    *,
    within: float | None = None,
    before: float = 0.0,
    readouts: Mapping[str, int] | None = None,
) -> Forecast:
    """Predict a run of a plan.

    Args:
        problem: the problem.
        plan: its plan.
        options: how it would be run.
        devices: on which.
        cut_seconds: what planning took.
        within: part of the run's seconds, those of its planning among them, that computing the errors may take, and
            nothing else is asked; None: a few seconds, and what the error wanted takes.
        before: seconds that go into the run besides.
        readouts: ``readouts_due`` of the devices.
    """
    shots, noisy = asked_of_plan(options, devices)["shots"], devices if only_noisy(devices) else ()
    count = problem.terms.coefficients.shape[0]
    wanted = options.target_error or 0.01
    constants = next((constants_name(device.speed) for device in devices if device.kind is Kind.CPU), "")
    if shots is None:
        spent = predicted_spending(plan, devices, None, cheaply=options.cheapest)
        size = predicted_bytes(plan, devices)
        return Forecast(cut_seconds, spent, (0.0,) * count, True, None, wanted, None, size, constants)
    spend = partial(
        predicted_spending, plan, devices, readouts=readouts, mitigation=options.mitigation, cheaply=options.cheapest
    )
    spent = spend(shots)
    may_take = _SIMULATED_S if within is None else within * (before + cut_seconds + spent.execute)
    computed = (
        sum(map(exact_fragment_seconds, plan.fragments)) <= may_take  # known, where what follows is worked out
        and variances_seconds(plan) <= may_take
        and variances_bytes(plan) <= min(_ROOM_BYTES, options.memory_bytes or _ROOM_BYTES)
        and (options.memory_bytes is None or predicted_bytes(plan) <= options.memory_bytes)
    )
    needed, known = None, None
    biases = np.zeros(0)
    if computed:
        known = shot_variances(
            problem,
            plan,
            options.memory_bytes,
            devices=noisy,
            mitigation=options.mitigation,
            drawn_s=min(_DRAWN_S, may_take),
            each=max(1.0, shots / max(1, sum(cost.variants for cost in plan.costs))),
        )
        if noisy:
            biases = noise_biases(problem, plan, noisy, options.memory_bytes, mitigation=options.mitigation)
        needed = known.shots_for(wanted) if within is None or options.target_error is not None else None
        errors = known.std_errors(shots)
        spent = spend(shots, worth=known)
    else:
        candidate = sketch_of(partition_of(plan))
        norms = np.sqrt(problem.terms.coefficients.power(2).sum(axis=1))
        errors = norms * _root(log_variance(candidate, shots))
        many = 1e15
        needed = max(1.0, many * (float(norms.max()) * _root(log_variance(candidate, int(many))) / wanted) ** 2)
    target = options.target_error is not None and options.shots is None
    if target and needed is not None:
        shots, errors = needed, errors * 0 + wanted
        spent = spend(shots, target=True, worth=known)
    return Forecast(
        cut_seconds,
        spent,
        tuple(float(error) for error in errors),
        computed,
        needed,
        wanted,
        None if needed is None else spend(needed, target=target, worth=known),
        predicted_bytes(plan, devices, int(min(shots, 1e15))),
        constants,
        known is None or known.all_orders,
        tuple(biases.tolist()) if biases.any() else (),
    )


def refuse_exact_without_simulator(options: Options, devices: Sequence[Device]) -> None:
    """Refuse an exact run on devices that all take shots.

    Raises:
        InputError: it is one.
    """
    if not options.sampled and devices and not any(device.exact for device in devices):
        names = ", ".join(device.name for device in devices)
        raise InputError(
            f"{names} takes shots: say how many (`shots`), or the error to reach (`target_error`)", field="shots"
        )


def refuse_without_device(plan: Plan, known: Forecast, devices: Sequence[Device]) -> None:
    """Refuse a plan with a fragment that no device can run, as a run does.

    Raises:
        CuttingError: there is one, and simulators among the devices: else one of last resort would run it.
    """
    for number, why in sorted(known.spent.unplaced)[:1]:
        if any(device.exact for device in devices):
            raise CuttingError(
                f"fragment {number} ({plan.fragments[number].num_qubits} qubits) fits no device in use: {why}; "
                "cut into narrower fragments or add a device"
            )


def planned(
    problem: Problem, options: Options, devices: Sequence[Device], readouts: Mapping[str, int] | None = None
) -> tuple[Plan, float]:
    """The plan that a run would follow, and the seconds that planning took; ``readouts``: ``readouts_due``.

    Where every plan takes more memory than there is, it is the least bad one, with the refusal of a run as its note.

    Raises:
        CuttingError: there is none within the limits.
        InputError: the devices do not run it exactly.
        MemoryLimitError: its contraction does not fit into its half of the memory, however it is sliced.
    """
    refuse_exact_without_simulator(options, devices)
    began = time.perf_counter()
    asked = asked_of_plan(options, devices, readouts)
    try:
        plan = chosen_plan(problem, options.cuts, asked)
    except CuttingError as refusal:
        if refusal.field != "memory_bytes":
            raise
        plan = make_plan(problem, cuts=options.cuts, **asked_of_search(asked), over_memory=True)
        plan = replace(plan, notes=(*plan.notes, f"a run here would be refused: {refusal}"))
        return plan, time.perf_counter() - began
    room, least = options.room, SCRATCH_BYTES + predicted_bytes(plan, devices, asked["shots"])
    if room is not None and room < _AMPLE * least:
        with suppress(ContractionCostError):  # is no question of memory
            network_cost(structure_of(problem, plan), memory_bytes=room, gradients=options.sampled)
    return plan, time.perf_counter() - began


def others(problem: Problem, options: Options, devices: Sequence[Device]) -> list[Plan]:
    """Plans that the search found, in its order."""
    if options.cuts is not None:
        return []
    asked = asked_of_search(asked_of_plan(options, devices))
    try:
        return compared_plans(problem, asked, _COMPARED, options.cheapest)
    except CuttingError:
        return []


def uncut(problem: Problem, devices: Sequence[Device] = ()) -> Uncut:
    """What the circuit takes whole, on a core as those of a run's devices."""
    speed = cpu_speed(devices)
    circuit, qubits = problem.circuit, problem.num_qubits
    gates, factors = len(circuit.data), problem.terms.count
    index = {bit: k for k, bit in enumerate(circuit.qubits)}
    bonds = np.zeros(max(0, qubits - 1))
    twos = 0
    for item in circuit.data:
        if len(item.qubits) == 2:
            low, high = sorted(index[q] for q in item.qubits)
            form = find_form(item.operation)
            rank = 4 if form is None else form.rank
            bonds[low:high] += log2(rank)
            twos += high - low
    sides = np.minimum(np.arange(1, qubits), np.arange(qubits - 1, 0, -1))
    bond = float(2.0 ** min(np.minimum(bonds, sides).max(initial=0.0), log2(_MOST_BOND)))
    product = gates * speed.gate + (twos + factors * qubits) * _BOND_FLOPS * bond**3 * speed.contraction
    whole = partition(problem, ()).fragments
    programs = [product_program(fragment) for fragment in whole]
    if all(programs):
        product = speed.housekeeping * sum(program.seconds for program in programs if program is not None)
        bond = 2.0 ** max((float(p.bonds.max(initial=0.0)) for p in programs if p is not None), default=0.0)
    followed = [pauli_program(fragment) for fragment in whole]
    paulis = speed.housekeeping * sum(program.seconds for program in followed if program is not None)
    width = min(qubits, 1000)
    amplitudes = exact_seconds(replace(TYPICAL_CPU, speed=speed), width, 0, 0, 0, factors, gates)
    apart = [cone_program(fragment, amplitudes) for fragment in whole]
    cones = speed.housekeeping * sum(program.seconds for program in apart if program is not None)
    return Uncut(
        amplitudes,
        state_bytes(width),
        product,
        bond,
        paulis if all(followed) else None,
        cones if all(apart) and cones < amplitudes else None,
        all(map(is_clifford, whole)),
    )


def _root(log: float) -> float:
    return float(2.0 ** min(log / 2, 500.0))
