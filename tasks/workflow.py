"""The graph: which task follows which; ``run`` for the programs, ``estimate`` for notebooks and bigger workflows."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit

from resources_xml import units_of
from scheduler_policies import POLICY_GROUP, Device, Goal, Kind, find_policy
from tasks.cut import cut
from tasks.cutting import Plan, make_plan, structure_of
from tasks.cutting.cost import contraction_cost
from tasks.cutting.cuts import cuts_from
from tasks.cutting.document import plan_document
from tasks.dispatch.driver import Driver, RunError, TakesTensors
from tasks.dispatch.pool import Pool
from tasks.dispatch.rounds import exact_round, shot_rounds
from tasks.execution.cache.stores.registry import check_place
from tasks.execution.jobs import exact_jobs, predicted_seconds, sampled_jobs, uniform_shots
from tasks.execution.on_device import ExecutionOptions
from tasks.execution.run_devices import fidelities_of, run_devices, state_of, unused
from tasks.execution.works import works_of
from tasks.inputs.operators import Observables
from tasks.inputs.validation import make_problem
from tasks.model.problem import Estimate, Problem
from tasks.model.progress import Progress, Quiet
from tasks.model.tensor import Structure
from tasks.options import Options, options_of
from tasks.reconstruct import contraction_flops, reconstruct, reconstruct_in_ranks, worth_ranks, write_for_ranks
from tasks.runs import RunDirectory, RunRecord
from tasks.runtime import (
    INLINE_S,
    Outcome,
    Reason,
    inline,
    limits,
    prepare_engine,
    raise_defect,
    shared_engine,
    wait_on,
)

logger = logging.getLogger(__name__)

_NEAR_TARGET = 1.05  # times the target; closer than that is how well an error is known
_SHOTS_FOR_TARGET = 10_000_000  # what a plan may count on where as many shots are spent as it takes
_SURELY_LARGE_QUBITS = 30  # circuits that take longer to run than an engine to start
_INLINE_BYTES = 1 << 29  # what takes more memory runs in a process of its own
_NETWORK = "network"  # in the run's folder, while MPI ranks read it
_FLOPS = 1e9  # a second, of small contractions


@dataclass(frozen=True)
class Result:
    """What a run gives.

    Attributes:
        estimates: one per observable, in the order given.
        plan: the plan that was run.
        record: the run's record, as written.
    """

    estimates: list[Estimate]
    plan: Plan
    record: RunRecord


def plan_problem(problem: Problem, options: Options) -> Plan:
    """The plan that ``run`` would follow.

    Raises:
        CuttingError: there is none within the limits.
    """
    return make_plan(problem, cuts=options.cuts, **_plan_limits(options))


def estimate(
    circuit: QuantumCircuit,
    observables: Observables,
    *,
    out: Path | str | None = None,
    **options: Any,
) -> list[Estimate]:
    """Expectation values of a circuit, cut as far as needed.

    Args:
        circuit: unitary, two qubits or more (final measurements are dropped).
        observables: one or several: text as on the command line (``"0.5*Z0 Z3 - X1"``), operators of Qiskit, or
            dictionaries ``{label: coefficient}``.
        out: keep the run's folder below this directory; by default it is not kept.
        options: fields of ``Options`` (``max_qubits=12, shots=100_000, seed=7``).

    Returns:
        one Estimate for each observable, in order.

    Raises:
        InputError: an argument cannot be used; ``field`` names it.
        QompassError: with one line that says what to do.
    """
    problem = make_problem(circuit, observables)
    chosen = options_of(options)
    with contextlib.ExitStack() as stack:
        parent = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory = stack.enter_context(RunDirectory.create(parent, {"seed": chosen.seed}, problem))
        result = run(problem, chosen, directory)
    for note in result.record["notes"]:
        logger.warning("%s", note)
    return result.estimates


def run(problem: Problem, options: Options, directory: RunDirectory, progress: Progress | None = None) -> Result:
    """Run a problem, or finish it: results that ``directory`` already holds are not computed again.

    Raises:
        QompassError: with one line that says what to do; everything completed so far stays in ``directory``.
    """
    shown = progress or Quiet()
    check_place(options.cache)
    trouble: dict[str, str] = {}
    devices = run_devices(options.resources, trouble)
    with contextlib.ExitStack() as stack:
        info = stack.enter_context(shared_engine(options.engine, units=units_of(devices)))
        directory.update(engine={"name": info.name, "version": info.version})
        with directory.timing("cut"), shown.stage("cut", 1) as step:
            plan = _planned(problem, options, directory, devices)
            step.advance()
        structure = structure_of(problem, plan)
        stack.enter_context(inline(_small(plan, options, devices)))
        driver = stack.enter_context(_driver(problem, plan, options, directory, devices, trouble))
        end = _end(structure, plan, driver, options)
        with directory.timing("execute"):
            _execute(structure, plan, options, driver, shown, end)
        directory.update(tasks=vars(driver.statistics()))
        with directory.timing("reconstruct"), shown.stage("reconstruct", 1) as step:
            values, errors = driver.value_of("the reconstruction", end)
            shutil.rmtree(directory.path / _NETWORK, ignore_errors=True)
            step.advance()
    estimates = [
        Estimate(name, float(value), float(error))
        for name, value, error in zip(problem.names, values, errors, strict=True)
    ]
    ran = sorted({name for fragment in plan.fragments for name in driver.state.shots_of(fragment.index)})
    noisy = [name for name in ran if name in driver.devices and not driver.devices[name].exact]
    sampled = options.shots is not None or options.target_error is not None
    idle = unused(devices, ran, trouble | driver.state.trouble) if sampled else []
    for note in (*idle, biased(noisy, options.mitigation), missed_target(estimates, options.target_error)):
        if note:
            directory.record.note(note)
    directory.finish("done", estimates=[vars(e) for e in estimates])
    return Result(estimates, plan, directory.record)


def biased(noisy: Sequence[str], mitigation: str) -> str:
    """One line on what the standard errors leave out where QPUs took shots, else ""."""
    if not noisy:
        return ""
    names = " and ".join(noisy)
    if "zne" in mitigation:
        return f"what extrapolation leaves of the gate errors of {names} is not in the standard errors"
    return f"gate errors of {names} are not in the standard errors; --mitigation readout+zne lowers what they shift"


def missed_target(estimates: Sequence[Estimate], target_error: float | None) -> str:
    """One line where a standard error asked for was not reached, else ""."""
    if target_error is None or not estimates:
        return ""
    worst = max(estimates, key=lambda estimate: estimate.std_error)
    if worst.std_error <= _NEAR_TARGET * target_error:
        return ""
    return (
        f"--target-error {target_error:g} was not reached: the standard error of {worst.observable} is "
        f"{worst.std_error:.2g}; give more shots, or leave --shots out"
    )


def _plan_limits(options: Options) -> dict[str, Any]:
    return {
        "max_qubits": options.max_qubits,
        "shots": options.shots if options.target_error is None else options.shots or _SHOTS_FOR_TARGET,
        "memory_bytes": options.memory_bytes,
        "seed": options.seed,
    }


def _planned(problem: Problem, options: Options, directory: RunDirectory, devices: Sequence[Device]) -> Plan:
    """Plan, or plan again with the cuts that an interrupted run had chosen."""
    stored = directory.record.get("plan")
    cuts = cuts_from(stored["cuts"]) if stored else options.cuts
    qpus = [device for device in devices if device.kind is Kind.QPU]
    midway = all(device.limits.mid_circuit_measurement for device in qpus)
    if problem.num_qubits > _SURELY_LARGE_QUBITS:
        prepare_engine()
    with inline(True):  # nothing can begin before it, and it cannot die
        outcome: Outcome = wait_on(cut(problem, cuts, {**_plan_limits(options), "mid_circuit_measurement": midway}))
    plan: Plan = value_of(outcome, "the plan")
    directory.update(plan=plan_document(plan))
    return plan


def _small(plan: Plan, options: Options, devices: Sequence[Device]) -> bool:
    """Whether what follows the plan is done sooner than an engine and its first process have started."""
    if any(device.kind is not Kind.CPU for device in devices):
        return False
    if sum(cost.exact_bytes for cost in plan.costs) > _INLINE_BYTES:
        return False
    contraction = _greedy_flops(plan)
    seconds = sum(predicted_seconds(job) for job in exact_jobs(plan)) + contraction / _FLOPS
    if options.shots is not None or options.target_error is not None:
        shots = _plan_limits(options)["shots"]
        jobs = sampled_jobs(plan, uniform_shots(plan, shots), options.seed)
        seconds += 2 * sum(map(predicted_seconds, jobs)) + 2 * contraction / _FLOPS  # two rounds, their tensors, errors
    return seconds <= INLINE_S


@contextlib.contextmanager
def _driver(
    problem: Problem,
    plan: Plan,
    options: Options,
    directory: RunDirectory,
    devices: Sequence[Device],
    trouble: dict[str, str],
) -> Iterator[Driver]:
    """What runs the plan's fragments on the devices; ``trouble`` takes what is wrong with QPUs, by name."""
    goal = Goal(options.target_error, options.budget)
    policy = find_policy(options.policy, entry_points(group=POLICY_GROUP))
    sampled = options.shots is not None or options.target_error is not None
    fidelities = fidelities_of(plan, devices, options.mitigation) if sampled else None
    driver = Driver(
        plan,
        Pool(devices, policy, goal, units=os.cpu_count() or 1),
        works_of(plan, 1, fidelities=fidelities),
        directory,
        float(np.sqrt((problem.terms.coefficients.data**2).sum())),
        ExecutionOptions(
            options.cache,
            options.mitigation,
            share_meaning=options.share_meaning,
            run=str(directory.record["run"]),
        ),
        partial(state_of, trouble=trouble),
    )
    try:
        yield driver
    finally:
        driver.close()


def _execute(
    structure: Structure, plan: Plan, options: Options, driver: Driver, shown: Progress, end: TakesTensors
) -> None:
    if options.shots is None and options.target_error is None:
        exact_round(plan, driver, shown, end)
        return
    shot_rounds(
        structure,
        plan,
        driver,
        shown,
        end,
        shots=options.shots,
        target_error=options.target_error,
        seed=options.seed,
        memory_bytes=_room(options),
    )


def _end(structure: Structure, plan: Plan, driver: Driver, options: Options) -> TakesTensors:
    """From the tensors to values and standard errors: one task, or the ranks of an MPI program."""
    room = _room(options)
    # A greedy path is found in milliseconds; only where that says many operations a better one is searched, by a task.
    flops = contraction_flops(structure, room) if worth_ranks(_greedy_flops(plan)) else None

    def submit(tensors: list[Any], attempt: int) -> Any:
        searched = None if flops is None else wait_on(flops).value
        if searched is None or not worth_ranks(searched):
            return reconstruct(structure, tensors, room, limits(), attempt)
        folder = str(driver.directory.path / _NETWORK)
        return reconstruct_in_ranks(write_for_ranks(folder, structure, tensors, room, attempt))[0]

    return submit


def _greedy_flops(plan: Plan) -> float:
    return contraction_cost(plan.fragments, plan.bonds).flops * len(plan.factor_index)


def _room(options: Options) -> int | None:
    """Memory that a contraction may use: half of what is allowed, the other half holds the results."""
    return None if options.memory_bytes is None else options.memory_bytes // 2


def value_of(outcome: Outcome, what: str) -> Any:
    """The value of an outcome; a failure is raised with what was being done."""
    raise_defect(outcome, what)
    if outcome.failure is not None:
        refused = outcome.failure.reason is Reason.REFUSED  # then the message says all that there is to say
        raise RunError(outcome.failure.message if refused else f"{what}: {outcome.failure.message}")
    return outcome.value
