"""Does what the state says: submits tasks, waits for their reports, and keeps record, progress and log."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scheduler_policies import Device, DeviceState, Kind, Work
from tasks.cutting import Plan
from tasks.dispatch.events import piece_moved, task_ended, task_submitted, work_ended
from tasks.dispatch.instructions import GiveUp, Instruction, Look, Move, Submit, Warn
from tasks.dispatch.pool import Pool
from tasks.dispatch.result_store import found_results
from tasks.dispatch.state import State
from tasks.errors import QompassError
from tasks.execute import Payload, execute_on
from tasks.execution.device_results import ExecutionOptions
from tasks.execution.jobs import FragmentJob, SampledJob, predicted_seconds
from tasks.execution.on_device import forget_stored
from tasks.execution.pieces import Done, Piece, Report, outcome_from
from tasks.model.progress import Stage
from tasks.runs import RunDirectory
from tasks.runtime import (
    Limits,
    Next,
    Outcome,
    Reason,
    RetryPolicy,
    Ticket,
    as_completed,
    engine_info,
    is_inline,
    limits,
    next_step,
    raise_defect,
    ticket_folder,
    wait_on,
)
from tasks.runtime.batching import TaskStatistics, task_statistics

logger = logging.getLogger(__name__)

LEAST_LIMIT_S = 60.0
LIMIT_FACTOR = 50.0  # a simulator may take this many times what was predicted
QPU_LIMIT_S = 3600.0


TakesTensors = Callable[[list[Any], int], Any]
"""Submits a task that takes the futures of all tensors, and which try it is; gives the future of its outcome."""


class RunError(QompassError):
    """A fragment could not be run, however often it was tried; what is done is kept."""


class Driver:
    """Runs jobs on the devices of a pool; what comes of them stays with the engine, as futures.

    Args:
        plan: the plan that the jobs belong to.
        pool: the devices.
        works: one for each fragment.
        directory: of the run.
        norm: of the observables' coefficients, for the weight of each fragment's error.
        how: cache and mitigation.
        read_state: reads how a QPU is doing now.
        fan_in: the task that makes one value of all results of a fragment.
        trouble: what is wrong with QPUs, by name; ``read_state`` may say more there.
    """

    def __init__(
        self,
        plan: Plan,
        pool: Pool,
        works: Sequence[Work],
        directory: RunDirectory,
        norm: float,
        how: ExecutionOptions,
        read_state: Callable[[Device], DeviceState],
        fan_in: Callable[..., Any],
        trouble: Mapping[str, str],
    ):
        self.plan, self._directory, self._how, self._read_state = plan, directory, how, read_state
        self._fan_in, self._trouble = fan_in, trouble
        self.state = State(pool, works, norm, self._predicted, engine_info().overhead_s)
        self._asked: dict[int, dict[int, FragmentJob]] = {f.index: {} for f in plan.fragments}  # by fragment and round
        self._found: dict[int, list[tuple[Piece, Any]]] = {f.index: [] for f in plan.fragments}
        self._payloads: dict[int, dict[int, Any]] = {f.index: {} for f in plan.fragments}  # futures, by task
        self._tensors: dict[int, Any] = {}  # futures; of what is in work, too
        self._ahead: tuple[TakesTensors, Any] | None = None  # what was submitted to take the tensors, and its future
        self._running: dict[int, tuple[Submit, Ticket, Any]] = {}  # with the future of the report
        self._tickets = ticket_folder(directory.path)
        self._task_seconds: list[float] = []
        self._wall_s = 0.0

    @property
    def directory(self) -> RunDirectory:
        """The run's folder."""
        return self._directory

    @property
    def devices(self) -> Mapping[str, Device]:
        """The devices, by name."""
        return self.state.pool.devices

    @property
    def trouble(self) -> Mapping[str, str]:
        """What is or was wrong with devices, by name."""
        return {**self._trouble, **self.state.trouble}

    def close(self) -> None:
        """Remove what only a running process needs."""
        if self._tickets:
            shutil.rmtree(self._tickets, ignore_errors=True)

    def run(self, jobs: Sequence[FragmentJob], stage: Stage, ahead: TakesTensors | None = None) -> None:
        """See to it that every job has its result, in the run's folder or from tasks.

        Args:
            jobs: at most one for each fragment and round.
            stage: takes a step for each variant.
            ahead: submits what takes the tensors afterwards (``value_of``): before there are any, so that the engine
                knows the whole way from here to there.

        Raises:
            RunError: a job failed too often, or everywhere.
        """
        todo = self._recalled(jobs)
        stage.advance(sum(steps_of(job.piece) for job in jobs) - sum(map(steps_of, todo)))
        self._finish(todo, stage, ahead)

    def _recalled(self, jobs: Sequence[FragmentJob]) -> list[Piece]:
        """Ask for jobs and take what the run's folder holds of them; what is still to do."""
        for job in jobs:
            self._asked[job.fragment.index][job.piece.round_index] = job
            self._tensors.pop(job.fragment.index, None)
        self._ahead = None
        found, todo = found_results(jobs, self._directory)
        for done, arrays in found:
            self.state.recall(done.piece, str(done.meta["device"]), paid=done.paid)
            self._found[done.piece.fragment].append((done.piece, arrays))
        return todo

    def _finish(self, todo: Sequence[Piece], stage: Stage, ahead: TakesTensors | None) -> None:
        """Run what is still to do."""
        self.state.ask(todo)
        began = time.monotonic()
        while not self.state.idle:
            self._follow(self.state.place(self._seen(), time.monotonic()))
            if not is_inline():  # there what is submitted is done, and may have failed
                self._submit_ahead(ahead)
            numbers = list(self._running)
            tasks = [self._running[number] for number in numbers]
            reports = as_completed([future for *_, future in tasks], [ticket for _, ticket, _ in tasks], outcome_from)
            for position, outcome in reports:
                self._end(numbers[position], outcome, stage)
                if self.state.waiting:  # place it at once, while the others go on
                    break
        self._wall_s += time.monotonic() - began

    def value_of(self, what: str, submit: TakesTensors) -> Any:
        """The value of a task that takes all tensors; it and they are tried again as often as other work.

        Args:
            what: in words, for the error.
            submit: submits the task.

        Raises:
            RunError: it failed.
            DefectError: its work, or that of a tensor, has a bug.
        """
        history: list[Outcome] = []
        while True:
            future = self._ahead[1] if self._ahead and self._ahead[0] == submit else None
            self._ahead = None
            outcome: Outcome = wait_on(future or submit(self._all_tensors(), len(history)))
            work_ended(self._directory, outcome, list(self._asked))
            failure = outcome.failure
            if failure is None:
                return outcome.value
            raise_defect(outcome, what)
            if failure.reason is Reason.REFUSED:
                raise RunError(failure.message)  # it says all that there is to say
            history.append(outcome)
            if failure.reason is Reason.DEPENDENCY and len(history) < RetryPolicy().attempts_per_device:
                for index, fan_in in list(self._tensors.items()):
                    found: Outcome = wait_on(fan_in)
                    raise_defect(found, f"the tensor of fragment {index}")
                    if found.failure is not None:
                        self._build(index, len(history))
            elif next_step(history, RetryPolicy()) is Next.GIVE_UP:
                raise RunError(f"{what}: {failure.message}")

    def statistics(self) -> TaskStatistics:
        """How the tasks' work and its overhead compare so far; the start of the first processes counts as overhead."""
        units = sum(device.units for device in self.devices.values())
        return task_statistics(self._task_seconds, self._wall_s, units)

    def _follow(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Submit():
                    self._submit(instruction)
                case Look():
                    time.sleep(instruction.seconds)
                case Move():
                    piece_moved(self._directory, instruction)
                case Warn():
                    logger.warning("%s", instruction.text)
                case GiveUp():
                    if instruction.outcome is not None:
                        raise_defect(instruction.outcome, instruction.text)
                    raise RunError(f"{instruction.text}{self._how_to_go_on()}")

    def _submit(self, submit: Submit) -> None:
        task = execute_on(submit.device, late=submit.late)
        ticket = Ticket(self._tickets, submit.number, submit.attempt)
        jobs = tuple(self._job(piece) for piece in submit.pieces)
        how = replace(self._how, placed=submit.placed)
        folder = str(self._directory.path)
        task_submitted(self._directory, submit, sum(map(self._predicted, submit.pieces)))
        report, payload = task(jobs, submit.device, how, folder, self._limits(submit), ticket)
        self._running[submit.number] = (submit, ticket, report)
        for fragment in {piece.fragment for piece in submit.pieces}:
            self._payloads[fragment][submit.number] = payload
            self._tensors.pop(fragment, None)

    def _submit_ahead(self, ahead: TakesTensors | None) -> None:
        """Submit the fan-in of every fragment that is in work with all of its pieces, and what follows all of them."""
        waiting = self.state.waiting
        for index in self._asked:
            if index not in waiting and index not in self._tensors:
                self._build(index)
        if ahead is not None and not waiting and self._ahead is None:
            self._ahead = (ahead, ahead(self._all_tensors(), 0))

    def _end(self, number: int, outcome: Outcome, stage: Stage) -> None:
        submit, _, _ = self._running.pop(number)
        self._task_seconds.append(outcome.seconds)
        task_ended(self._directory, submit, outcome)
        report: Report = outcome.value or Report()
        self._keep(submit, report, stage)
        done = {done.piece.fragment for done in report.done}
        if outcome.failure is not None or report.failure or report.left:
            for fragment in {piece.fragment for piece in submit.pieces}:  # what was submitted to follow lacks something
                if fragment not in done:
                    del self._payloads[fragment][number]
                self._tensors.pop(fragment, None)
            self._ahead = None
        self._follow(self.state.end(number, outcome, time.monotonic()))

    def _keep(self, submit: Submit, report: Report, stage: Stage) -> None:
        """Put into the record what a task reports, and its results into the run's folder where it could not."""
        for done in report.done:
            if done.stored:
                self._directory.record.result(done.key, done.meta)
            stage.advance(steps_of(done.piece))
        if not all(done.stored for done in report.done):
            payload = self._payloads[submit.pieces[0].fragment][submit.number]
            self._gather(report.done, wait_on(payload))
            where = f"{submit.device.name} does not see the run's folder"
            self._directory.record.note(f"{where}: results go through the application")
        forget_stored(submit.device, [done.meta for done in report.done])
        for note in report.notes:
            self._directory.record.note(f"{submit.device.name}: {note}")
        if report.cache:
            self._directory.record.count_cache(self._how.cache, report.cache)

    def _gather(self, reported: Sequence[Done], payload: Payload) -> None:
        arrays = dict(payload)
        for done in reported:
            if not done.stored:
                self._directory.store(done.key, arrays[done.piece], done.meta)

    def _build(self, index: int, attempt: int = 0) -> Any:
        """Submit the fan-in of a fragment."""
        fragment = self.plan.fragments[index]
        self._tensors[index] = self._fan_in(
            fragment, self.plan.schemes[index], tuple(self._asked[index].values()), tuple(self._found[index]),
            list(self._payloads[index].values()), limits(), attempt,
        )  # fmt: skip
        return self._tensors[index]

    def _all_tensors(self) -> list[Any]:
        """The futures of all fragment tensors, in the order of the fragments."""
        return [self._tensors[index] if index in self._tensors else self._build(index) for index in self._asked]

    def _seen(self) -> dict[str, DeviceState]:
        """How the QPUs are doing, where there is something to place on them."""
        if not self.state.waiting or self.state.pool.single is not None:
            return {}
        return {name: self._read_state(d) for name, d in self.devices.items() if d.kind is Kind.QPU}

    def _job(self, piece: Piece) -> FragmentJob:
        asked = self._asked[piece.fragment]
        if piece.exact:
            return next(iter(asked.values())).as_exact()
        job = asked[piece.round_index]
        assert isinstance(job, SampledJob)
        return job.share(piece.first, piece.count)

    def _predicted(self, piece: Piece) -> float:
        return predicted_seconds(self._job(piece))

    def _limits(self, submit: Submit) -> Limits:
        if not submit.device.exact:
            return limits(seconds=QPU_LIMIT_S)
        return limits(seconds=LEAST_LIMIT_S + LIMIT_FACTOR * sum(map(self._predicted, submit.pieces)))

    def _how_to_go_on(self) -> str:
        """Only where something was kept: a run without results leaves no folder."""
        kept = self._directory.record.get("results") and "options" in self._directory.record
        return f"; `qompass resume {self._directory.path}` goes on from here" if kept else "; nothing was kept"


def steps_of(piece: Piece) -> int:
    """How many steps of progress a piece is."""
    return max(1, piece.count)


def value_of(outcome: Outcome, what: str) -> Any:
    """The value of an outcome; a failure is raised with what was being done.

    Raises:
        RunError: it failed.
        DefectError: its work has a bug.
    """
    raise_defect(outcome, what)
    if outcome.failure is not None:
        refused = outcome.failure.reason is Reason.REFUSED  # then the message says all that there is to say
        raise RunError(outcome.failure.message if refused else f"{what}: {outcome.failure.message}")
    return outcome.value
