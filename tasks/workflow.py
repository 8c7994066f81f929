"""The graph: which task follows which; ``run`` for the programs, ``estimate`` for notebooks and bigger workflows."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from tasks.cut import cut
from tasks.cutting import Cut, Plan, make_plan, structure_of
from tasks.cutting.document import cuts_from, plan_document
from tasks.errors import QompassError
from tasks.execute import execute
from tasks.execution.jobs import (
    FragmentJob,
    exact_jobs,
    fragment_tensor,
    predicted_seconds,
    sampled_jobs,
    split_job,
    uniform_shots,
)
from tasks.inputs import make_problem
from tasks.problem import Estimate, Problem
from tasks.reconstruct import reconstruct
from tasks.runtime import (
    EngineError,
    Next,
    Outcome,
    RetryPolicy,
    as_completed,
    engine,
    engine_info,
    limits,
    next_step,
    wait_on,
)
from tasks.runtime.record import RunDirectory
from tasks.tensor import FragmentTensor

logger = logging.getLogger(__name__)

_BATCH_SECONDS = 0.2  # a task shorter than this is mostly overhead
_PART_SECONDS = 1.0  # a sampled fragment longer than this is split, so that its parts run side by side
_LEAST_LIMIT_S = 60.0
_LIMIT_FACTOR = 50.0  # a job may take this many times what was predicted


class RunError(QompassError):
    """A fragment could not be run, however often it was tried; what is done is kept."""


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        max_qubits: widest fragment, None for any.
        cuts: cut here, None to search.
        shots: total shots, None for the exact path.
        seed: of the search and of every random stream.
        engine: "auto", "embedded" or "compss".
        resources: a COMPSs resources file that says which devices there are; None means this machine's cores.
        memory_bytes: refuse plans that need more; None refuses none.
        cache: directory or URL of the semantic cache, or "off".
        policy: which device runs which fragment.
        budget: most money to spend, None for any.
        target_error: standard error to reach, None for whatever the shots give.
    """

    max_qubits: int | None = None
    cuts: tuple[Cut, ...] | None = None
    shots: int | None = None
    seed: int = 0
    engine: str = "auto"
    resources: Path | None = None
    memory_bytes: int | None = None
    cache: str = "off"
    policy: str = "balanced"
    budget: float | None = None
    target_error: float | None = None


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


class Stage(Protocol):
    """A stage in progress."""

    def advance(self, amount: float = 1) -> None:
        """So much more is done."""


class Progress(Protocol):
    """Where progress is shown."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        """Begin a stage of ``total`` steps."""


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
    chosen = Options(**options)
    with contextlib.ExitStack() as stack:
        parent = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory = stack.enter_context(RunDirectory.create(parent, {"seed": chosen.seed}, problem))
        return run(problem, chosen, directory).estimates


def run(problem: Problem, options: Options, directory: RunDirectory, progress: Progress | None = None) -> Result:
    """Run a problem, or finish it: results that ``directory`` already holds are not computed again.

    Raises:
        QompassError: with one line that says what to do; everything completed so far stays in ``directory``.
    """
    shown = progress or Quiet()
    with _engine(options) as info:
        directory.update(engine={"name": info.name, "version": info.version})
        with directory.timing("cut"), shown.stage("cut", 1) as stage:
            plan = _planned(problem, options, directory)
            stage.advance()
        jobs = _jobs(plan, options)
        with directory.timing("execute"), shown.stage("execute", len(jobs)) as stage:
            results = _execute_all(jobs, directory, stage)
        with directory.timing("reconstruct"), shown.stage("reconstruct", 1) as stage:
            values, errors = _reconstruct(problem, plan, jobs, results)
            stage.advance()
    estimates = [
        Estimate(name, float(value), float(error))
        for name, value, error in zip(problem.names, values, errors, strict=True)
    ]
    directory.finish("done", estimates=[vars(e) for e in estimates])
    return Result(estimates, plan, directory.record)


def _plan_limits(options: Options) -> dict[str, Any]:
    return {
        "max_qubits": options.max_qubits,
        "shots": options.shots,
        "memory_bytes": options.memory_bytes,
        "seed": options.seed,
    }


@contextlib.contextmanager
def _engine(options: Options) -> Iterator[Any]:
    """The engine that runs already (a bigger workflow's), else one of our own for as long as this run."""
    try:
        info = engine_info()
    except EngineError:
        with engine(options.engine) as info:
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


def _jobs(plan: Plan, options: Options) -> list[FragmentJob]:
    if options.shots is None:
        return exact_jobs(plan)
    whole = sampled_jobs(plan, uniform_shots(plan, options.shots), options.seed)
    return [part for job in whole for part in split_job(job, _PART_SECONDS)]


def _execute_all(
    jobs: Sequence[FragmentJob], directory: RunDirectory, stage: Stage
) -> dict[str, dict[str, np.ndarray]]:
    """Every job's result by key, from the run's folder where it is there, else from a task; each is stored at once."""
    results: dict[str, dict[str, np.ndarray]] = {}
    waiting = []
    for job in jobs:
        stored = directory.load(job.key)
        if stored is None:
            waiting.append(job)
        else:
            results[job.key] = stored.arrays
            stage.advance()
    batches = _batches(waiting)
    history: list[list[Outcome]] = [[] for _ in batches]
    retry = RetryPolicy()
    pending = list(range(len(batches)))
    while pending:
        futures = [execute(batches[b], _limits(batches[b]), len(history[b])) for b in pending]
        again = []
        for position, outcome in as_completed(futures):
            b = pending[position]
            history[b].append(outcome)
            if outcome.ok:
                share = outcome.seconds / len(batches[b])
                for job, arrays in zip(batches[b], outcome.value, strict=True):
                    meta = {"device": outcome.device, "attempt": outcome.attempt, "seconds": share}
                    directory.store(job.key, arrays, meta)
                    results[job.key] = arrays
                    stage.advance()
            elif next_step(history[b], retry) is Next.SAME_DEVICE:
                logger.warning("%s: %s; trying again", _named(batches[b]), outcome.failure.message)
                again.append(b)
            else:
                raise RunError(
                    f"{_named(batches[b])}: {outcome.failure.message} (device {outcome.device}, attempt "
                    f"{len(history[b])}); `qompass resume {directory.path}` goes on from here"
                )
        pending = again
    return results


def _batches(jobs: Sequence[FragmentJob]) -> list[tuple[FragmentJob, ...]]:
    """Jobs in tasks that are worth their overhead, the longest first so that none is left for last."""
    batches: list[list[FragmentJob]] = []
    room = 0.0
    for seconds, job in sorted(((predicted_seconds(j), j) for j in jobs), key=lambda pair: -pair[0]):
        if room >= seconds:
            batches[-1].append(job)
            room -= seconds
        else:
            batches.append([job])
            room = _BATCH_SECONDS - seconds
    return [tuple(batch) for batch in batches]


def _limits(batch: Sequence[FragmentJob]) -> Any:
    return limits(seconds=_LEAST_LIMIT_S + _LIMIT_FACTOR * sum(predicted_seconds(job) for job in batch))


def _named(batch: Sequence[FragmentJob]) -> str:
    numbers = sorted({job.fragment.index for job in batch})
    return f"fragment{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _reconstruct(
    problem: Problem, plan: Plan, jobs: Sequence[FragmentJob], results: dict[str, dict[str, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    structure = structure_of(problem, plan)
    by_fragment: dict[int, list[FragmentJob]] = {}
    for job in jobs:
        by_fragment.setdefault(job.fragment.index, []).append(job)
    tensors: list[FragmentTensor] = [
        fragment_tensor(
            fragment, plan.schemes[fragment.index], [(job, results[job.key]) for job in by_fragment[fragment.index]]
        )
        for fragment in plan.fragments
    ]
    outcome: Outcome = wait_on(reconstruct(structure, tensors, limits(), 0))
    values, errors = _value(outcome, "the reconstruction")
    return values, errors


def _value(outcome: Outcome, what: str) -> Any:
    if outcome.failure is not None:
        raise RunError(f"{what}: {outcome.failure.message}")
    return outcome.value

