"""Jobs through the pool to tasks, and their results to disk: the loop in the middle of a run."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from scheduler_policies import Device, Kind, NoDeviceError, Work
from tasks.cutting import Plan
from tasks.dispatch.batches import parts_of, tasks_of
from tasks.dispatch.pool import Pool, work_of
from tasks.dispatch.result_store import Results, found_results, keep
from tasks.errors import QompassError
from tasks.execute import execute_on
from tasks.execution.jobs import FragmentJob, missing_shares, predicted_seconds
from tasks.execution.on_device import DeviceResults, How, forget_stored
from tasks.execution.works import works_of
from tasks.model.progress import Stage
from tasks.runs.record import RunDirectory
from tasks.runtime import Next, Outcome, Reason, RetryPolicy, as_completed, limits, next_step
from tasks.runtime.batching import TaskStatistics, task_statistics

logger = logging.getLogger(__name__)

_LEAST_LIMIT_S = 60.0
_LIMIT_FACTOR = 50.0  # a simulator may take this many times what was predicted
_QPU_LIMIT_S = 3600.0
_MOST_FAILURES = 200  # of tasks in one run
_LONGEST_WAIT_S = 600.0  # for devices at rest, with nothing else to do

_Piece = tuple[int, int, int]  # fragment, round, first variant


def _piece(job: FragmentJob) -> _Piece:
    return job.fragment.index, job.round_index, job.first


class RunError(QompassError):
    """A fragment could not be run, however often it was tried; what is done is kept."""


def size_of(job: FragmentJob) -> int:
    """How many steps of progress a job is."""
    return max(1, len(job.variants))


class Dispatcher:
    """Runs jobs on a pool; every result is in the run's folder before the next is waited for.

    Args:
        plan: the plan that the jobs belong to.
        pool: the devices.
        directory: of the run.
        norm: of the observables' coefficients, for the weight of each fragment's error.
        cache: where results of earlier runs are kept, or "off".
        mitigation: what is done against the errors of QPUs.
        fidelities: for a fragment, (QPU, fidelity of its transpiled circuit) where known.
        share_meaning: on QPUs, also use stored counts of circuits that are equal only in the ideal.
    """

    def __init__(
        self,
        plan: Plan,
        pool: Pool,
        directory: RunDirectory,
        norm: float,
        cache: str = "off",
        mitigation: str = "none",
        fidelities: Mapping[int, Sequence[tuple[str, float]]] | None = None,
        share_meaning: bool = False,
    ):
        self._pool, self._directory, self._norm = pool, directory, norm
        self._how = How(cache, mitigation, share_meaning=share_meaning, run=str(directory.record["run"]))
        self._works = works_of(plan, 1, fidelities=fidelities)
        self._retry = RetryPolicy(attempts=6)
        self._history: dict[_Piece, list[Outcome]] = {}
        self._failures = 0
        self.trouble: dict[str, str] = {}  # why a device last failed, by its name
        self._moved: dict[_Piece, tuple[str, str, bool]] = {}  # (device it came from, why, whether it left a queue)
        self._leaves: Counter[int] = Counter()  # how often pieces of each fragment left a queue
        self._shots: dict[int, Counter[str]] = {}
        self._task_seconds: list[float] = []
        self._wall_s = 0.0

    @property
    def directory(self) -> RunDirectory:
        """The run's folder."""
        return self._directory

    @property
    def devices(self) -> Mapping[str, Device]:
        """The devices, by name."""
        return self._pool.devices

    def run(self, jobs: Sequence[FragmentJob], stage: Stage) -> Results:
        """All results of the jobs, from the run's folder where they are there, else from tasks.

        Raises:
            RunError: a job failed too often, or everywhere.
        """
        results, todo, ran = found_results(jobs, self._directory)
        for meta, job in ran:
            self._tally(str(meta["device"]), job)
            if meta.get("cache") != "hit":
                self._pool.paid(str(meta["device"]), self._work(job))
        stage.advance(sum(map(size_of, jobs)) - sum(map(size_of, todo)))
        began = time.monotonic()
        flying: list[tuple[Device, tuple[FragmentJob, ...], Any, int]] = []
        idle_since: float | None = None
        while todo or flying:
            todo, launched, retry_at = self._launch(todo)
            flying += launched
            if not flying:
                idle_since = self._wait(idle_since, retry_at, todo)
                continue
            idle_since = None
            landed: set[int] = set()
            for position, outcome in as_completed([future for _, _, future, _ in flying]):
                device, batch, _, launch = flying[position]
                landed.add(position)
                self._pool.landed(device.name, launch)
                todo += self._landed(device, batch, outcome, results, stage)
                if todo:  # place it at once, while the others fly on
                    break
            flying = [flight for i, flight in enumerate(flying) if i not in landed]
        self._wall_s += time.monotonic() - began
        return results

    def statistics(self) -> TaskStatistics:
        """How the tasks' work and its overhead compare so far; the start of the first processes counts as overhead."""
        units = sum(device.units for device in self._pool.devices.values())
        return task_statistics(self._task_seconds, self._wall_s, units)

    def _wait(self, since: float | None, retry_at: float | None, todo: Sequence[FragmentJob]) -> float:
        """Pass some time while all devices that could take the work are at rest; since when that is so."""
        now = time.monotonic()
        if since is None:
            logger.warning("fragment %d waits for a device that is at rest", todo[0].fragment.index)
        elif now - since > _LONGEST_WAIT_S:
            raise RunError(
                f"fragment {todo[0].fragment.index}: no device that could take it came back within "
                f"{_LONGEST_WAIT_S:.0f} s{self._how_to_go_on()}"
            )
        time.sleep(max(0.1, min(5.0, (retry_at or 0.0) - now)))
        return now if since is None else since

    def shots_of(self, fragment: int) -> Mapping[str, int]:
        """Shots that each device has made of a fragment's variants, in this process or an earlier one of this run."""
        return self._shots.get(fragment, {})

    def _tally(self, device: str, job: FragmentJob) -> None:
        self._shots.setdefault(job.fragment.index, Counter())[device] += sum(job.shots)

    def _launch(
        self, todo: Sequence[FragmentJob]
    ) -> tuple[list[FragmentJob], list[tuple[Device, tuple[FragmentJob, ...], Any, int]], float | None]:
        """Submit what can run now: (what has to wait, what was launched, when to look again)."""
        if not todo:
            return [], [], None
        placed, waiting, retry_at = self._placed(todo)
        launched = []
        for device, batch in tasks_of(placed):
            attempt = max(len(self._history.get(_piece(job), [])) for job in batch)
            late = self._pool.late_binding and attempt == 0
            seen = self._pool.state(device.name) if self._may_leave(device, batch) else None
            how = replace(self._how, placed=seen)
            future = execute_on(device, late=late)(batch, device, how, _limits(device, batch), attempt)
            launch = self._pool.launched(device.name, [self._work(job) for job in batch])
            launched.append((device, batch, future, launch))
        return waiting, launched, retry_at

    def _may_leave(self, device: Device, batch: Sequence[FragmentJob]) -> bool:
        """Whether jobs may leave the queue of a QPU: where another device would take them, and not for ever."""
        if device.exact:
            return False
        return all(
            self._leaves[job.fragment.index] < self._pool.rules.moves
            and self._pool.elsewhere(device.name, self._work(job, self._failed_on(job)))
            for job in batch
        )

    def _placed(
        self, todo: Sequence[FragmentJob]
    ) -> tuple[list[tuple[Device, FragmentJob]], list[FragmentJob], float | None]:
        single = self._pool.single
        if single is not None:
            return [(single, part) for job in todo for part in parts_of(single, job)], [], None
        works = {}
        for job in todo:
            works[job.fragment.index, job.first] = (job, self._work(job, self._avoided(job)))
        try:
            schedule = self._pool.place([work for _, work in works.values()])
        except NoDeviceError as error:
            raise RunError(f"{error}{self._how_to_go_on()}") from error
        for note in schedule.notes:
            logger.warning("%s", note)
        owner = sorted(works.values(), key=lambda pair: (pair[0].fragment.index, pair[0].first))

        def job_of(fragment: int, first: int) -> FragmentJob:
            return next(j for j, _ in reversed(owner) if j.fragment.index == fragment and j.first <= first)

        noisy = any(not device.exact for device in self._pool.devices.values())
        placed = []
        for placement in schedule.placements:
            work, device = placement.work, self._pool.devices[placement.device]
            job = job_of(work.fragment, work.first)
            self._tell_move(job, work, device)
            if not job.exact:
                job = job.share(work.first, work.variants)
            if device.exact and work.whole and noisy:
                job = job.as_exact()  # beside QPUs, a simulator that has a whole fragment need not sample it
            placed += [(device, part) for part in parts_of(device, job)]
        waiting = []
        for work in schedule.waiting:
            job = job_of(work.fragment, work.first)
            waiting.append(job.share(work.first, work.variants))
            if _piece(job) in self._moved:
                self._moved[_piece(waiting[-1])] = self._moved[_piece(job)]
        return placed, waiting, schedule.retry_at

    def _tell_move(self, job: FragmentJob, work: Work, device: Device) -> None:
        """Put into the record that a piece goes elsewhere, and why."""
        source, why, _ = self._moved.get(_piece(job), (device.name, "", False))
        if source == device.name:
            return
        moves = self._directory.record.setdefault("moves", [])
        moves.append(
            {
                "fragment": work.fragment, "round": job.round_index, "first": work.first, "count": work.variants,
                "from": source, "to": device.name, "why": why,
            }
        )  # fmt: skip

    def _avoided(self, job: FragmentJob) -> list[str]:
        """Devices not to use for a piece: those that failed it, and the one whose queue it left if there is another."""
        failed = self._failed_on(job)
        source, _, left = self._moved.get(_piece(job), ("", "", False))
        if left and source not in failed and self._pool.elsewhere(source, self._work(job, failed)):
            return [*failed, source]
        return failed

    def _failed_on(self, job: FragmentJob) -> list[str]:
        """Devices that refused a piece or failed it as often as one may, and QPUs where exact numbers are asked for."""
        history = self._history.get(_piece(job), [])
        refused = {o.device for o in history if o.failure is not None and o.failure.reason is Reason.REFUSED}
        return [
            name
            for name, device in self._pool.devices.items()
            if (job.exact and not device.exact)
            or name in refused
            or sum(o.device == name for o in history) >= self._retry.attempts_per_device
        ]

    def _landed(
        self,
        device: Device,
        batch: tuple[FragmentJob, ...],
        outcome: Outcome,
        results: Results,
        stage: Stage,
    ) -> list[FragmentJob]:
        """Keep what came back; return what has to run again."""
        device = self._pool.devices.get(outcome.device, device)  # another one where the runtime bound late
        self._task_seconds.append(outcome.seconds)
        if outcome.failure is not None:
            return self._again(device, batch, outcome, outcome.failure.message)
        found: DeviceResults = outcome.value
        for result in found.results:
            keep(self._directory, device, result, outcome, len(batch))
            self._tally(device.name, result.job)
            self._pool.done(device.name, self._work(result.job), paid=result.origin.get("cache") != "hit")
            results[result.job.fragment.index].append((result.job, result.arrays))
            stage.advance(size_of(result.job))
        forget_stored(device, found.results)
        if found.notes:
            told = self._directory.record.setdefault("notes", [])
            told += [f"{device.name}: {note}" for note in found.notes]
        self._count(found.cache)
        if not found.failure and not found.left:
            seconds = (outcome.seconds - found.waited) / len(batch)
            if any("cache" in result.origin for result in found.results):
                seconds = 0.0  # what is found says nothing of how fast the device is
            for job in batch:
                self._pool.succeeded(device.name, self._work(job), seconds)
            return []
        done = [(r.job.fragment.index, r.job.first, len(r.job.variants)) for r in found.results]
        missing = [
            part
            for job in batch
            for part in missing_shares(job, [(first, n) for index, first, n in done if index == job.fragment.index])
        ]
        if found.failure:
            return self._again(device, missing, outcome, found.failure)
        for result in found.results:
            self._pool.succeeded(device.name, self._work(result.job), 0.0)
        for fragment in {job.fragment.index for job in missing}:
            self._leaves[fragment] += 1
        for job in missing:
            self._moved[_piece(job)] = (device.name, found.left, True)
            logger.warning("fragment %d leaves %s: %s", job.fragment.index, device.name, found.left)
        return missing

    def _again(self, device: Device, batch: Sequence[FragmentJob], outcome: Outcome, why: str) -> list[FragmentJob]:
        self._pool.failed(device.name)
        self.trouble[device.name] = why
        self._failures += 1
        # Pieces are cut anew when they move, so their own counts alone would not end every run.
        exhausted = self._failures > _MOST_FAILURES
        cancelled = outcome.failure is not None and outcome.failure.reason is Reason.CANCELLED
        refused = outcome.failure is not None and outcome.failure.reason is Reason.REFUSED
        for job in batch:
            history = self._history.setdefault(_piece(job), [])
            history.append(outcome)
            self._moved[_piece(job)] = (device.name, why, False)
            others = len(self._pool.devices.keys() - {device.name, *self._avoided(job)})
            # A QPU or GPU that refuses says something of itself; a CPU that refuses says it of the work.
            hopeless = refused and device.kind is Kind.CPU
            step = Next.OTHER_DEVICE if refused and others > 0 else next_step(history, self._retry, others)
            if outcome.ok:  # part of it was done
                step = (
                    Next.OTHER_DEVICE if others > 0 or len(history) < self._retry.attempts_per_device else Next.GIVE_UP
                )
            if cancelled or hopeless or exhausted or len(history) >= self._retry.attempts or step is Next.GIVE_UP:
                where = f"(device {device.name}, try {len(history)})"
                raise RunError(f"fragment {job.fragment.index}: {why} {where}{self._how_to_go_on()}")
            logger.warning("fragment %d on %s: %s; trying again", job.fragment.index, device.name, why)
        return list(batch)

    def _how_to_go_on(self) -> str:
        """Only where something was kept: a run without results leaves no folder."""
        kept = self._directory.record.get("results") and "options" in self._directory.record
        return f"; `qompass resume {self._directory.path}` goes on from here" if kept else "; nothing was kept"

    def _count(self, cache: Mapping[str, float]) -> None:
        """Add to what the record says of the cache."""
        if cache:
            total = self._directory.record.setdefault("cache", {"store": self._how.cache})
            for name, number in cache.items():
                total[name] = round(total.get(name, 0) + number, 6)

    def _work(self, job: FragmentJob, avoid: Sequence[str] = ()) -> Work:
        index = job.fragment.index
        counted = any(self.shots_of(index).values())
        return work_of(job, self._works[index], self._norm, avoid, counted=counted)


def _limits(device: Device, batch: Sequence[FragmentJob]) -> Any:
    if not device.exact:
        return limits(seconds=_QPU_LIMIT_S)
    return limits(seconds=_LEAST_LIMIT_S + _LIMIT_FACTOR * sum(predicted_seconds(job) for job in batch))
