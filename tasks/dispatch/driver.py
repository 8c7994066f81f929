"""Does what the state says: submits tasks, waits for their reports, and keeps record, progress and log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scheduler_policies import Device, DeviceState, Kind, Work
from tasks.cut import readouts_due
from tasks.cutting import Plan
from tasks.dispatch.errors import BudgetError, RunError
from tasks.dispatch.events import device_came, devices_seen, piece_moved, task_ended, task_submitted
from tasks.dispatch.fan_in import FanIn, TakesTensors
from tasks.dispatch.instructions import GiveUp, Instruction, Look, Move, Submit, Warn
from tasks.dispatch.pool import Pool
from tasks.dispatch.result_store import found_results
from tasks.dispatch.state import State
from tasks.errors import QompassError
from tasks.execute import Payload, execute_on
from tasks.execution.device_results import ExecutionOptions
from tasks.execution.jobs import FragmentJob, predicted_seconds
from tasks.execution.on_device import forget_stored
from tasks.execution.pieces import Done, Piece, Report, outcome_from
from tasks.model.progress import Stage
from tasks.runs import RunDirectory
from tasks.runs.results import has_results
from tasks.runtime import (
    Limits,
    Outcome,
    Ticket,
    as_completed,
    engine_info,
    is_inline,
    limits,
    raise_defect,
    tickets_in,
)
from tasks.runtime.batching import TaskStatistics, task_statistics

logger = logging.getLogger(__name__)

LEAST_LIMIT_S = 60.0
LIMIT_FACTOR = 50.0  # a simulator may take this many times what was predicted
QPU_LIMIT_S = 3600.0


class Driver:
    """Runs jobs on the devices of a pool; what comes of them stays with the engine, as futures.

    Args:
        plan: the plan that the jobs belong to.
        pool: the devices.
        works: one for each fragment.
        directory: of the run.
        norm: of the observables' coefficients, for the weight of each fragment's error.
        options: cache and mitigation.
        read_state: reads how a QPU is doing now.
        fan_in: the task that makes one value of all results of a fragment.
        trouble: what is wrong with QPUs, by name; ``read_state`` may say more there.
        brought: devices that have come since the run began, given the names of those it has.

    Attributes:
        promised: called before a task is submitted with what the run will then have paid, at most; where devices have
            prices.
    """

    def __init__(
        self,
        plan: Plan,
        pool: Pool,
        works: Sequence[Work],
        directory: RunDirectory,
        norm: float,
        options: ExecutionOptions,
        read_state: Callable[[Device], DeviceState],
        fan_in: Callable[..., Any],
        trouble: Mapping[str, str],
        brought: Callable[[Collection[str]], Sequence[Device]],
    ):
        self.plan, self._directory, self._options, self._read_state = plan, directory, options, read_state
        self._brought = brought
        self.tickets = tickets_in(directory.path)
        self._fan_in, self._trouble = FanIn(plan, fan_in, directory, self.tickets), trouble
        self.state = State(pool, works, norm, self._predicted, engine_info().overhead_s)
        self._running: dict[int, tuple[Submit, Ticket, Any]] = {}  # with the future of the report
        self._task_seconds: list[float] = []
        self._wall_s = 0.0
        self.promised: Callable[[float], object] = float

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

    def release(self) -> None:
        """Everything has been asked for: what the engine holds of the run's results is not needed any more."""
        self._fan_in.release()

    def close(self) -> None:
        """Remove what only a running process needs."""
        self.tickets.close()

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
        self._finish(self._fan_in.once(todo), stage, ahead)

    def _recalled(self, jobs: Sequence[FragmentJob]) -> list[Piece]:
        """Ask for jobs and take what the run's folder holds of them; what is still to do."""
        for job in jobs:
            self._fan_in.ask(job)
        found, todo = found_results(jobs, self._directory)
        for done, arrays in found:
            self.state.recall(done, str(done.meta["device"]))
            self._fan_in.find(done.piece, arrays)
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
        """The value of a task that takes all tensors (see ``FanIn.value_of``)."""
        return self._fan_in.value_of(what, submit)

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
                    kind = BudgetError if instruction.budget else RunError
                    raise kind(f"{instruction.text}{self._how_to_go_on()}")

    def _submit(self, submit: Submit) -> None:
        task = execute_on(submit.device, late=submit.late)
        ticket = self.tickets.next(submit.attempt)
        jobs = tuple(self._fan_in.job(piece) for piece in submit.pieces)
        options = replace(self._options, placed=submit.placed)
        folder = str(self._directory.path)
        if (price := self.state.pool.committed) is not None:
            self.promised(price)
        task_submitted(self._directory, submit, sum(map(self._predicted, submit.pieces)))
        report, payload = task(jobs, submit.device, options, folder, self._limits(submit), ticket)
        self._running[submit.number] = (submit, ticket, report)
        self._fan_in.add(submit.number, self._fragments(submit), payload)

    def _submit_ahead(self, ahead: TakesTensors | None) -> None:
        """Submit what follows the tasks that are submitted."""
        self._fan_in.submit_ahead(self.state.waiting, ahead)

    def _end(self, number: int, outcome: Outcome, stage: Stage) -> None:
        submit, _, _ = self._running.pop(number)
        if not outcome.device:  # nobody was left to say where it was
            outcome = replace(outcome, device=submit.device.name)
        self._task_seconds.append(outcome.seconds)
        task_ended(self._directory, submit, outcome)
        report: Report = outcome.value or Report()
        self._keep(submit, report, stage)
        if outcome.failure is not None or report.failure or report.left:
            done = {done.piece.fragment for done in report.done}
            self._fan_in.lose(number, self._fragments(submit), done)
        measured = outcome.failure is not None and self.state.pool.measures(number) and self._measured(submit.device)
        self._follow(self.state.end(number, outcome, time.monotonic(), measured=measured))

    def _measured(self, device: Device) -> bool:
        """Whether the readout that was due on a QPU no longer is; so also where that cannot be asked."""
        try:
            return not readouts_due([device], self._options.mitigation)
        except QompassError as error:
            logger.warning("device %s: its readout is taken for measured (%s)", device.name, error)
            return True

    def _keep(self, submit: Submit, report: Report, stage: Stage) -> None:
        """Put into the record what a task reports, and its results into the run's folder where it could not."""
        for done in report.done:
            if done.stored:
                self._directory.record.result(done.key, done.meta)
            stage.advance(steps_of(done.piece))
        if not all(done.stored for done in report.done):
            self._gather(report.done, self._fan_in.gather(submit.number))
            where = f"{submit.device.name} does not see the run's folder"
            self._directory.record.note(f"{where}: results go through the application")
        forget_stored(submit.device, [done.meta for done in report.done])
        for note in report.notes:
            self._directory.record.note(f"{submit.device.name}: {note}")
        if report.cache:
            self._directory.record.count_cache(self._options.cache, report.cache)

    def _gather(self, reported: Sequence[Done], payload: Payload) -> None:
        arrays = dict(payload)
        for done in reported:
            if not done.stored:
                self._directory.results.store(done.key, arrays[done.piece], done.meta)

    def _seen(self) -> dict[str, DeviceState]:
        """How the QPUs are doing, where there is something to place on them; those that have come are among them."""
        if not self.state.waiting:
            return {}
        for device in self._brought(self.devices.keys()):
            self.state.pool.add(device)
            device_came(self._directory, device)
        if self.state.pool.single is not None:
            return {}
        seen = {name: self._read_state(d) for name, d in self.devices.items() if d.kind is Kind.QPU}
        devices_seen(self._directory, seen, self._trouble)
        return seen

    def _fragments(self, submit: Submit) -> set[int]:
        return {own for piece in submit.pieces for own in self._fan_in.job(piece).fragments}

    def _predicted(self, piece: Piece) -> float:
        return predicted_seconds(self._fan_in.job(piece))

    def _limits(self, submit: Submit) -> Limits:
        if not submit.device.exact:
            return limits(seconds=QPU_LIMIT_S)
        return limits(seconds=LEAST_LIMIT_S + LIMIT_FACTOR * sum(map(self._predicted, submit.pieces)))

    def _how_to_go_on(self) -> str:
        """Only where something was kept: a run without results leaves no folder."""
        kept = has_results(self._directory.path) and "options" in self._directory.record
        return f"; `qompass resume {self._directory.path}` goes on from here" if kept else "; nothing was kept"


def steps_of(piece: Piece) -> int:
    """How many steps of progress a piece is."""
    return max(1, piece.count)
