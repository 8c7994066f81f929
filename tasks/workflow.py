"""The graph: which task follows which; ``run`` for the programs, ``estimate`` for notebooks and bigger workflows."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit

from scheduler_policies import Device, Kind
from tasks.cut import plan_problem
from tasks.cutting import Plan, structure_of
from tasks.dispatch.driver import Driver
from tasks.dispatch.errors import RunError
from tasks.dispatch.events import LoggedProgress
from tasks.dispatch.fan_in import TakesTensors
from tasks.dispatch.rounds import run_round, shot_rounds
from tasks.dispatch.start import started
from tasks.execution.jobs import exact_jobs
from tasks.execution.run_devices import unused
from tasks.inputs.operators import Observables
from tasks.inputs.validation import make_problem
from tasks.model.problem import Estimate, Problem
from tasks.model.progress import Progress, Quiet, Stage
from tasks.model.tensor import Structure
from tasks.options import Options, options_of
from tasks.prediction import greedy_flops
from tasks.reconstruct import (
    Answer,
    answer_of_ranks,
    contraction_search,
    reconstruct,
    reconstruct_on,
    worth_gpu,
    worth_ranks,
    write_for_ranks,
)
from tasks.runs import RunDirectory, RunRecord
from tasks.runs.temporary import temporary_runs
from tasks.runtime import Ticket, limits, wait_on

__all__ = ["Options", "Progress", "Quiet", "Result", "RunError", "Stage", "estimate", "plan_problem", "run"]

logger = logging.getLogger(__name__)

_NEAR_TARGET = 1.05  # times the target; closer than that is how well an error is known


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
        parent = Path(out) if out is not None else stack.enter_context(temporary_runs())
        directory = stack.enter_context(RunDirectory.create(parent, {"seed": chosen.seed}, problem))
        result = run(problem, chosen, directory)
    for note in result.record["notes"]:
        logger.warning("%s", note)
    return result.estimates


def run(
    problem: Problem,
    options: Options,
    directory: RunDirectory,
    progress: Progress | None = None,
    *,
    driver: Callable[..., Driver] = Driver,
    choose: Callable[[list[Device]], list[Device]] = list,
    share: float = 1.0,
    promised: Callable[[float], object] = float,
) -> Result:
    """Run a problem, or finish it: results that ``directory`` already holds are not computed again.

    Args:
        problem: the problem.
        options: how to run it.
        directory: of the run.
        progress: where progress is shown.
        driver: makes what sees to it that jobs have results (`tasks.stages` has one that waits for other processes).
        choose: which of the run's devices to use.
        share: of the budget, what the policy is to keep to; the rest is there for policies that do not.
        promised: called before each task with what the run will then have paid, at most; where devices have prices.

    Raises:
        QompassError: with one line that says what to do; everything completed so far stays in ``directory``.
    """
    shown = LoggedProgress(progress or Quiet(), directory)
    with started(problem, options, directory, shown, driver=driver, choose=choose) as runs, _priced(runs, directory):
        plan, structure = runs.plan, structure_of(problem, runs.plan)
        runs.promised = promised
        end = _end(structure, runs, options)
        with directory.timing("execute"):
            _execute(structure, options, runs, shown, end, share)
        executed = runs.statistics()
        if executed.tasks or "tasks" not in directory.record:  # a repeated reconstruction executes nothing
            directory.update(tasks=vars(executed))
        with directory.timing("reconstruct"), shown.stage("reconstruct", 1) as step:
            found = runs.value_of("the reconstruction", end)
            # A path says where the network is for MPI ranks.
            answer: Answer = answer_of_ranks(found) if isinstance(found, str) else found
            step.advance()
    if answer.shares:
        shares = {problem.names[own]: np.round(part, 6) for own, part in answer.shares.items()}
        directory.record.set(variance_shares=shares)
    estimates = [
        Estimate(name, float(value), float(error))
        for name, value, error in zip(problem.names, answer.values, answer.std_errors, strict=True)
    ]
    ran = sorted({name for fragment in plan.fragments for name in runs.state.shots_of(fragment.index)})
    noisy = [name for name in ran if name in runs.devices and not runs.devices[name].exact]
    idle = unused(list(runs.devices.values()), ran, runs.trouble) if options.sampled else []
    for note in (*idle, biased(noisy, options.mitigation), missed_target(estimates, options.target_error)):
        if note:
            directory.record.note(note)
    paid = {"price": runs.state.pool.price, "readout_price": runs.state.pool.readout_price}
    directory.finish("done", **paid, estimates=[vars(e) for e in estimates])
    return Result(estimates, plan, directory.record)


@contextlib.contextmanager
def _priced(runs: Driver, directory: RunDirectory) -> Iterator[None]:
    """A run that ends before its time has paid all the same: its record says how much, at most."""
    try:
        yield
    except BaseException:
        committed = runs.state.pool.committed
        if committed is not None:
            directory.record.set(price=committed)
        raise


def biased(noisy: Sequence[str], mitigation: str) -> str:
    """One line on what the standard errors leave out where QPUs took shots, else ""."""
    if not noisy:
        return ""
    names = " and ".join(noisy)
    if "zne" in mitigation:
        return f"what extrapolation leaves of the gate errors of {names} is not in the standard errors"
    return f"gate errors of {names} are not in the standard errors; `mitigation` readout+zne lowers what they shift"


def missed_target(estimates: Sequence[Estimate], target_error: float | None) -> str:
    """One line where a standard error asked for was not reached, else ""."""
    if target_error is None or not estimates:
        return ""
    worst = max(estimates, key=lambda estimate: estimate.std_error)
    if worst.std_error <= _NEAR_TARGET * target_error:
        return ""
    return (
        f"`target_error` {target_error:g} was not reached: the standard error of {worst.observable} is "
        f"{worst.std_error:.2g}; give more `shots`, or leave them out"
    )


def _execute(
    structure: Structure, options: Options, driver: Driver, shown: Progress, end: TakesTensors, share: float
) -> None:
    if not options.sampled:
        run_round("execute", exact_jobs(driver.plan), driver, shown, end)
        return
    shot_rounds(
        structure,
        driver.plan,
        driver,
        shown,
        end,
        shots=options.shots,
        target_error=options.target_error,
        seed=options.seed,
        memory_bytes=options.room,
        share=share,
    )


def _end(structure: Structure, driver: Driver, options: Options) -> TakesTensors:
    """From the tensors to values and standard errors, or to a folder for MPI ranks where those are sooner."""
    room, greedy = options.room, greedy_flops(driver.plan)
    gpu = next((device for device in driver.devices.values() if device.kind is Kind.GPU), None)
    there = gpu is not None and worth_gpu(greedy)

    def searched() -> tuple[Any, Ticket] | None:
        # A greedy path is found in milliseconds; only where that says many operations a better one is searched.
        ticket = driver.tickets.next()
        return (contraction_search(structure, room, ticket), ticket) if worth_ranks(greedy) else None

    ahead = None if there else searched()

    def submit(tensors: list[Any], ticket: Ticket) -> Any:
        if gpu is not None and there and ticket.attempt == 0:
            return reconstruct_on(gpu)(structure, tensors, room, limits(), ticket, gpu)
        search = searched() if there else ahead
        flops, path = (0.0, None) if search is None else wait_on(*search).value or (0.0, None)
        if not worth_ranks(flops):
            return reconstruct(structure, tensors, room, limits(), ticket, path)
        return write_for_ranks(str(driver.directory.path / "network"), structure, tensors, room, ticket)

    return submit
