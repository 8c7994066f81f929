"""Jobs through the pool to tasks, and their results to disk: the loop in the middle of a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from scheduler_policies import Device, Kind, NoDeviceError, Work
from tasks.cutting import Plan
from tasks.errors import QompassError
from tasks.execute import execute_on
from tasks.execution.jobs import FragmentJob, deal_job, missing_shares, predicted_seconds, split_job
from tasks.execution.on_device import DeviceResults, How, JobResult
from tasks.execution.works import works_of
from tasks.pool import Pool, work_of
from tasks.runtime import Next, Outcome, Reason, RetryPolicy, as_completed, engine_info, limits, next_step
from tasks.runtime.batching import TaskStatistics, batches, task_statistics
from tasks.runtime.record import RunDirectory

logger = logging.getLogger(__name__)

_PART_SECONDS = 1.0  # a sampled job longer than this on a simulator is split, so that its parts run side by side
_JOBS_A_TASK = 4  # provider jobs that one task on a QPU submits: what is lost at most when it dies
_LEAST_LIMIT_S = 60.0
_LIMIT_FACTOR = 50.0  # a simulator may take this many times what was predicted
_QPU_LIMIT_S = 3600.0
_MOST_FAILURES = 200  # of tasks in one run
_LONGEST_WAIT_S = 600.0  # for devices at rest, with nothing else to do

Results = dict[int, list[tuple[FragmentJob, dict[str, np.ndarray]]]]


_Piece = tuple[int, int, int]  # fragment, round, first variant


def _piece(job: FragmentJob) -> _Piece:
    return job.fragment.index, job.round_index, job.first


class RunError(QompassError):
    """A fragment could not be run, however often it was tried; what is done is kept."""


class Stage(Protocol):
    """A stage in progress."""

    def advance(self, amount: float = 1) -> None:
        """So much more is done."""


class Progress(Protocol):
    """Where progress is shown."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        """Begin a stage of ``total`` steps."""


def size_of(job: FragmentJob) -> int:
    """How many steps of progress a job is."""
    return max(1, len(job.variants))


class Dispatcher:
    """Runs jobs on a pool; every result is in the run's folder before the next is waited for.

    ``device_of`` says which device last ran each fragment, ``task_seconds`` how long each task's work took.

    Args:
        plan: the plan that the jobs belong to.
        pool: the devices.
        directory: of the run.
        norm: of the observables' coefficients, for the weight of each fragment's error.
        cache: where results of earlier runs are kept, or "off".
        mitigation: what is done against the errors of QPUs.
        fidelities: for a fragment, (QPU, fidelity of its transpiled circuit) where known.
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
    ):
        self._pool, self._directory, self._norm = pool, directory, norm
        self._how = How(cache, mitigation)
        self._works = works_of(plan, 1, fidelities=fidelities)
        self._retry = RetryPolicy(attempts=6)
        self._history: dict[_Piece, list[Outcome]] = {}
        self._failures = 0
        self._task_seconds: list[float] = []
        self._wall_s = 0.0
        self.device_of: dict[int, str] = {}

    @property
    def devices(self) -> Mapping[str, Device]:
        """The devices, by name."""
        return self._pool.devices

    def run(self, jobs: Sequence[FragmentJob], stage: Stage) -> Results:
        """All results of the jobs, from the run's folder where they are there, else from tasks.

        Raises:
            RunError: a job failed too often, or everywhere.
        """
        results, todo = self._found(jobs)
        stage.advance(sum(map(size_of, jobs)) - sum(map(size_of, todo)))
        began = time.monotonic()
        flying: list[tuple[Device, tuple[FragmentJob, ...], Any]] = []
        idle_since: float | None = None
        while todo or flying:
            todo, launched, retry_at = self._launch(todo)
            flying += launched
            if not flying:
                idle_since = self._wait(idle_since, retry_at, todo)
                continue
            idle_since = None
            landed: set[int] = set()
            for position, outcome in as_completed([future for _, _, future in flying]):
                device, batch, _ = flying[position]
                landed.add(position)
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

    def _found(self, jobs: Sequence[FragmentJob]) -> tuple[Results, list[FragmentJob]]:
        """What an interrupted run has left, and the jobs (or parts of them) that are still to do."""
        kept: dict[str, Any] = {key: stored for key, stored in self._directory.stored()}
        results: Results = {}
        todo: list[FragmentJob] = []
        for job in jobs:
            own = results.setdefault(job.fragment.index, [])
            whole = job.as_exact()
            if whole.key in kept and kept[whole.key].meta.get("digest") == whole.digest:
                own.append((whole, kept[whole.key].arrays))
                continue
            if job.exact:
                todo.append(job)
                continue
            ranges = []
            for stored in kept.values():
                meta = stored.meta
                if (meta.get("fragment"), meta.get("round")) == (job.fragment.index, job.round_index):
                    part = job.share(meta["first"], meta["count"])
                    if part.digest == meta["digest"]:
                        self.device_of[job.fragment.index] = str(meta["device"])
                        own.append((part, stored.arrays))
                        ranges.append((meta["first"], meta["count"]))
            todo += missing_shares(job, ranges)
        return results, todo

    def _launch(
        self, todo: Sequence[FragmentJob]
    ) -> tuple[list[FragmentJob], list[tuple[Device, tuple[FragmentJob, ...], Any]], float | None]:
        """Submit what can run now: (what has to wait, what was launched, when to look again)."""
        if not todo:
            return [], [], None
        placed, waiting, retry_at = self._placed(todo)
        launched = []
        for device, batch in _batches(placed):
            attempt = max(len(self._history.get(_piece(job), [])) for job in batch)
            late = self._pool.late_binding and attempt == 0
            future = execute_on(device, late=late)(batch, device, self._how, _limits(device, batch), attempt)
            launched.append((device, batch, future))
        return waiting, launched, retry_at

    def _placed(
        self, todo: Sequence[FragmentJob]
    ) -> tuple[list[tuple[Device, FragmentJob]], list[FragmentJob], float | None]:
        single = self._pool.single
        if single is not None:
            return [(single, part) for job in todo for part in _parts(single, job)], [], None
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
            if not job.exact:
                job = job.share(work.first, work.variants)
            if device.exact and work.whole and noisy:
                job = job.as_exact()  # beside QPUs, a simulator that has a whole fragment need not sample it
            placed += [(device, part) for part in _parts(device, job)]
        waiting = [job_of(w.fragment, w.first).share(w.first, w.variants) for w in schedule.waiting]
        return placed, waiting, schedule.retry_at

    def _avoided(self, job: FragmentJob) -> list[str]:
        """Devices that failed this piece as often as a device may, and QPUs where exact numbers are asked for."""
        history = self._history.get(_piece(job), [])
        return [
            name
            for name, device in self._pool.devices.items()
            if (job.exact and not device.exact)
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
        if outcome.failure is None:
            found: DeviceResults = outcome.value
            for result in found.results:
                self._keep(device, result, outcome, batch)
                results[result.job.fragment.index].append((result.job, result.arrays))
                stage.advance(size_of(result.job))
            if found.notes:
                told = self._directory.record.setdefault("notes", [])
                told += [f"{device.name}: {note}" for note in found.notes]
            if not found.failure:
                for job in batch:
                    self._pool.succeeded(device.name, self._work(job), outcome.seconds / len(batch))
                return []
            missing = [
                part
                for job in batch
                for part in missing_shares(
                    job,
                    [
                        (r.job.first, len(r.job.variants))
                        for r in found.results
                        if r.job.fragment.index == job.fragment.index
                    ],
                )
            ]
            return self._again(device, missing, outcome, found.failure)
        return self._again(device, batch, outcome, outcome.failure.message)

    def _again(self, device: Device, batch: Sequence[FragmentJob], outcome: Outcome, why: str) -> list[FragmentJob]:
        self._pool.failed(device.name)
        self._failures += 1
        # Pieces are cut anew when they move, so their own counts alone would not end every run.
        exhausted = self._failures > _MOST_FAILURES
        cancelled = outcome.failure is not None and outcome.failure.reason is Reason.CANCELLED
        refused = outcome.failure is not None and outcome.failure.reason is Reason.REFUSED
        for job in batch:
            history = self._history.setdefault(_piece(job), [])
            history.append(outcome)
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

    def _keep(self, device: Device, result: JobResult, outcome: Outcome, batch: Sequence[FragmentJob]) -> None:
        job = result.job
        self.device_of[job.fragment.index] = device.name
        meta: dict[str, Any] = {
            "device": device.name,
            "attempt": outcome.attempt,
            "seconds": round(outcome.seconds / len(batch), 6),
            "digest": job.digest,
            **result.origin,
        }
        if not job.exact:
            meta |= {
                "fragment": job.fragment.index,
                "round": job.round_index,
                "first": job.first,
                "count": len(job.variants),
                "shots": sum(job.shots),
            }
        self._directory.store(job.key, result.arrays, meta)

    def _work(self, job: FragmentJob, avoid: Sequence[str] = ()) -> Work:
        return work_of(job, self._works[job.fragment.index], self._norm, avoid)


def _parts(device: Device, job: FragmentJob) -> list[FragmentJob]:
    if device.exact:
        return split_job(job, _PART_SECONDS)
    most = device.limits.circuits_per_job
    return [job] if most is None else deal_job(job, -(-len(job.variants) // (most * _JOBS_A_TASK)))


def _batches(
    placed: Sequence[tuple[Device, FragmentJob]],
) -> Iterator[tuple[Device, tuple[FragmentJob, ...]]]:
    """Jobs in tasks that are worth their overhead: on a QPU all of a device's together, else the longest first."""
    by_device: dict[str, list[FragmentJob]] = {}
    devices = {device.name: device for device, _ in placed}
    for device, job in placed:
        by_device.setdefault(device.name, []).append(job)
    for name, jobs in by_device.items():
        device = devices[name]
        if not device.exact:
            most = (device.limits.circuits_per_job or 1 << 30) * _JOBS_A_TASK
            yield from ((device, batch) for batch in _filled(jobs, [float(len(j.variants)) for j in jobs], float(most)))
            continue
        seconds = [predicted_seconds(job) for job in jobs]
        for members in batches(seconds, engine_info().overhead_s, device.units):
            yield device, tuple(jobs[member] for member in members)


def _filled(jobs: Sequence[FragmentJob], sizes: Sequence[float], room: float) -> Iterator[tuple[FragmentJob, ...]]:
    batch: list[FragmentJob] = []
    used = 0.0
    for job, size in zip(jobs, sizes, strict=True):
        if batch and used + size > room:
            yield tuple(batch)
            batch, used = [], 0.0
        batch.append(job)
        used += size
    if batch:
        yield tuple(batch)


def _limits(device: Device, batch: Sequence[FragmentJob]) -> Any:
    if not device.exact:
        return limits(seconds=_QPU_LIMIT_S)
    return limits(seconds=_LEAST_LIMIT_S + _LIMIT_FACTOR * sum(predicted_seconds(job) for job in batch))
