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
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from resources_xml import units_of
from scheduler_policies import Device, Goal
from tasks.cut import cut
from tasks.cutting import Plan, make_plan, structure_of
from tasks.cutting.document import cuts_from, plan_document
from tasks.dispatch.driver import Dispatcher, RunError
from tasks.dispatch.pool import Pool
from tasks.dispatch.result_store import Results
from tasks.dispatch.rounds import exact_round, shot_rounds, tensors_of
from tasks.execution.cache.stores.store import check_place
from tasks.execution.run_devices import fidelities_of, run_devices, state_of, unused
from tasks.inputs.validation import make_problem
from tasks.model.problem import Estimate, Problem
from tasks.model.progress import Progress, Stage
from tasks.options import Options, options_of
from tasks.reconstruct import reconstruct, reconstruct_in_ranks, worth_ranks, write_for_ranks
from tasks.runs.record import RunDirectory
from tasks.runtime import EngineError, Outcome, Reason, engine, engine_info, limits, wait_on

logger = logging.getLogger(__name__)

_NEAR_TARGET = 1.05  # times the target; closer than that is how well an error is known
_SHOTS_FOR_TARGET = 10_000_000  # what a plan may count on where as many shots are spent as it takes


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
    record: dict[str, Any]


class Quiet:
    """Progress shown nowhere."""

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """A stage that nobody watches."""
        yield self

    def advance(self, amount: float = 1) -> None:
        """Nothing to show."""


def plan_problem(problem: Problem, options: Options) -> Plan:
    """The plan that ``run`` would follow.

    Raises:
        CuttingError: there is none within the limits.
    """
    return make_plan(problem, cuts=options.cuts, **_plan_limits(options))


def estimate(
    circuit: QuantumCircuit,
    observables: str | SparsePauliOp | Sequence[str | SparsePauliOp],
    *,
    out: Path | str | None = None,
    **options: Any,
) -> list[Estimate]:
    """Expectation values of a circuit, cut as far as needed.

    Args:
        circuit: unitary, two qubits or more (final measurements are dropped).
        observables: text as on the command line (``"0.5*Z0 Z3 - X1"``) or operators; one or several.
        out: keep the run's folder below this directory; by default it is not kept.
        options: fields of ``Options`` (``max_qubits=12, shots=100_000, seed=7``).

    Returns:
        one Estimate for each observable, in order.

    Raises:
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
    with _engine(options, devices) as info:
        directory.update(engine={"name": info.name, "version": info.version})
        with directory.timing("cut"), shown.stage("cut", 1) as stage:
            plan = _planned(problem, options, directory)
            stage.advance()
        goal = Goal(options.target_error, options.budget)
        pool = Pool(
            devices, options.policy, goal, refresh=partial(state_of, trouble=trouble), units=os.cpu_count() or 1
        )
        norm = float(np.sqrt((problem.terms.coefficients.data**2).sum()))
        sampled = options.shots is not None or options.target_error is not None
        fidelities = fidelities_of(plan, devices, options.mitigation) if sampled else None
        dispatcher = Dispatcher(
            plan, pool, directory, norm, options.cache, options.mitigation, fidelities, options.share_meaning
        )
        with directory.timing("execute"):
            results = _executed(problem, plan, options, dispatcher, shown)
        directory.update(tasks=vars(dispatcher.statistics()))
        with directory.timing("reconstruct"), shown.stage("reconstruct", 1) as stage:
            values, errors = _reconstruct(problem, plan, results, directory, options)
            stage.advance()
    estimates = [
        Estimate(name, float(value), float(error))
        for name, value, error in zip(problem.names, values, errors, strict=True)
    ]
    ran = sorted({name for fragment in plan.fragments for name in dispatcher.shots_of(fragment.index)})
    noisy = [name for name in ran if name in dispatcher.devices and not dispatcher.devices[name].exact]
    idle = unused(devices, ran, trouble | dispatcher.trouble) if sampled else []
    for note in (*idle, biased(noisy, options.mitigation), missed_target(estimates, options.target_error)):
        if note and note not in directory.record["notes"]:
            directory.record["notes"].append(note)
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


@contextlib.contextmanager
def _engine(options: Options, devices: Sequence[Device]) -> Iterator[Any]:
    """The engine that runs already (a bigger workflow's), else one of our own for as long as this run."""
    try:
        info = engine_info()
    except EngineError:
        with engine(options.engine, units=units_of(devices)) as info:
            yield info
    else:
        yield info


def _planned(problem: Problem, options: Options, directory: RunDirectory) -> Plan:
    """Plan, or plan again with the cuts that an interrupted run had chosen."""
    stored = directory.record.get("plan")
    cuts = cuts_from(stored["cuts"]) if stored else options.cuts
    outcome: Outcome = wait_on(cut(problem, cuts, _plan_limits(options)))
    plan: Plan = _value(outcome, "the plan")
    directory.update(plan=plan_document(plan))
    return plan


def _executed(problem: Problem, plan: Plan, options: Options, dispatcher: Dispatcher, shown: Progress) -> Results:
    if options.shots is None and options.target_error is None:
        return exact_round(plan, dispatcher, shown)
    return shot_rounds(
        problem,
        plan,
        dispatcher,
        shown,
        shots=options.shots,
        target_error=options.target_error,
        seed=options.seed,
        prices={name: device.price.per_shot for name, device in dispatcher.devices.items()},
        memory_bytes=_room(options),
    )


def _reconstruct(
    problem: Problem, plan: Plan, results: Results, directory: RunDirectory, options: Options
) -> tuple[np.ndarray, np.ndarray]:
    structure, tensors = structure_of(problem, plan), tensors_of(plan, results)
    room = _room(options)
    if worth_ranks(structure, room):
        folder = directory.path / "network"
        found = wait_on(reconstruct_in_ranks(write_for_ranks(folder, structure, tensors, room)))
        shutil.rmtree(folder)
        return found[0]
    outcome: Outcome = wait_on(reconstruct(structure, tensors, room, limits(), 0))
    values, errors = _value(outcome, "the reconstruction")
    return values, errors


def _room(options: Options) -> int | None:
    """Memory that a contraction may use: half of what is allowed, the other half holds the results."""
    return None if options.memory_bytes is None else options.memory_bytes // 2


def _value(outcome: Outcome, what: str) -> Any:
    if outcome.failure is not None:
        refused = outcome.failure.reason is Reason.REFUSED  # then the message says all that there is to say
        raise RunError(outcome.failure.message if refused else f"{what}: {outcome.failure.message}")
    return outcome.value
