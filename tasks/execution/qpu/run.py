"""Circuits to a QPU and counts back: transpile, pack, submit, follow, collect, release, and pick up after a crash."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.job import QpuJob
from tasks.execution.qpu.journal import Journal, default_folder, forget_handed_over, hand_over
from tasks.execution.qpu.packing import JobBatch, pack_jobs
from tasks.execution.qpu.plausible import check_plausible, nothing_measured
from tasks.execution.qpu.programs import Program, make_programs
from tasks.execution.qpu.records import CircuitRequest, CircuitResult, JobRecord, QpuOptions, QpuRun, Source
from tasks.execution.qpu.recovery import adopt
from tasks.execution.qpu.resources import QpuResource
from tasks.execution.qpu.retry import present_target
from tasks.execution.qpu.session import Session, bounded
from tasks.execution.qpu.target import QpuTarget
from tasks.model.counts import merge_counts
from tasks.model.tensor import VariantCounts

log = logging.getLogger(__name__)

AHEAD = 2  # jobs in the service's queue at once: enough to keep the device busy, little to lose


def run_requests(
    resource: QpuResource,
    requests: Sequence[CircuitRequest],
    options: QpuOptions | None = None,
    *,
    further: bool = False,
) -> QpuRun:
    """Run circuits on a QPU.

    Each is written for the device's present calibration; they are packed into as few jobs as the device allows; jobs
    are followed at intervals growing from 20 ms to 5 s. A job that fails leaves its circuits without counts and the
    others untouched; whether to try again, here or elsewhere, is the application's decision.

    Args:
        resource: the QPU.
        requests: what to run; circuits that measure nothing cost nothing.
        options: time limits and places.
        further: the results of an earlier call are still to be handed over; else they are taken to be stored by now.

    Raises:
        QpuError: nothing could be run at all (configuration, authentication, unfit circuits, unreachable service).
    """
    if not further:
        forget_handed_over()
    options = options or QpuOptions()
    with QpuClient(bounded(resource, options.time_limit), options.call_seconds) as client:
        return _Run(client, requests, options).run()


class _Run:
    """One call of ``run_requests``."""

    def __init__(self, client: QpuClient, requests: Sequence[CircuitRequest], options: QpuOptions) -> None:
        self._client, self._requests, self._options = client, requests, options
        self._name, self._vendor = client.resource.name, client.resource.vendor
        self._journal = Journal(options.journal or default_folder())
        self._out = QpuRun([CircuitResult() for _ in requests])
        self._waiting: list[JobBatch] = []
        self._written: dict[int, str] = {}  # request -> calibration that its program was written for

    def run(self) -> QpuRun:
        out, requests = self._out, self._requests
        for request, result in zip(requests, out.results, strict=True):
            if not request.circuit.num_clbits:
                result.counts = nothing_measured(request.shots)
        wanted = [index for index, result in enumerate(out.results) if result.counts is None]
        if not wanted:
            return out
        # What was read in an earlier call may be minutes old: shots would seem to lie on both sides of a recalibration.
        out.target = self._present(self._options.believe, self._options.patience)
        self._write(wanted, out.target)
        with self._options.reserve():  # everything is ready: nobody waits for a unit that only makes itself ready
            out.target = self._present(self._options.believe, self._options.patience)  # it may have waited long
            programs = self._write(wanted, out.target)
            pieces = [
                (index, f"{program.digest} {requests[index].stream}", requests[index].shots)
                for index, program in zip(wanted, programs, strict=True)
            ]
            self._session = Session(self._client, self._journal, self._options, self._note)  # its time begins now
            with self._session:
                self._waiting = self._recover(pack_jobs(out.target, pieces), out.target)
                self._submit_and_follow()
        return out

    def _write(self, indices: Sequence[int], target: QpuTarget) -> list[Program]:
        """Programs for requests; those written for another calibration are written anew."""
        old = [index for index in indices if self._written.get(index) != target.epoch]
        made = make_programs([self._requests[index].circuit for index in old], target, self._options.level)
        for index, new in zip(old, made, strict=True):
            self._out.results[index].program = new
            self._written[index] = target.epoch
        return [program for index in indices if (program := self._out.results[index].program) is not None]

    def _present(self, age: float | None = None, patience: float = 0.0) -> QpuTarget:
        """The device as it is now, or was ``age`` seconds ago at most; without an age, as it was when last read."""
        if age is None:
            target = present_target(self._client, self._options.patience)
        else:
            target = present_target(self._client, patience, age)
        self._out.targets[target.epoch] = target
        return target

    def _recover(self, batches: list[JobBatch], target: QpuTarget) -> list[JobBatch]:
        """Take over what an earlier process left behind; returns the batches that are still to be submitted."""
        wanted = {self._key(batch): batch for batch in batches}
        for slot in adopt(self._client, self._journal, set(wanted), self._options.run, self._note):
            batch = wanted.pop(slot.entry.key)
            programs = [
                replace(program, measured=qubits)
                for program, qubits in zip(self._write(batch.requests, target), slot.entry.measured, strict=True)
            ]
            for index, program in zip(batch.requests, programs, strict=True):
                self._out.results[index].program = program
            self._session.take_over(slot, batch, target, programs)
        return list(wanted.values())

    def _submit_and_follow(self) -> None:
        jobs = self._session.jobs
        while self._waiting or jobs:
            while self._waiting and len(jobs) < AHEAD:
                if not jobs and self._gone_before_submission():
                    break
                batch = self._waiting.pop(0)
                try:
                    submitted = self._submit(batch)
                except QpuError as error:
                    self._fail(batch, error)
                    if not error.fault.again or not (self._out.jobs or jobs):
                        # What stops this job stops the others too: a wrong token, a service that is down.
                        self._fail_waiting(error)
                    continue
                if not submitted:
                    self._waiting.insert(0, batch)
                    break
            if jobs:
                self._follow(jobs[0])

    def _submit(self, batch: JobBatch) -> bool:
        """Start a job; False when its submission is to be tried again after the jobs in the queue have ended."""
        self._session.check_time()
        target, known = self._present(), self._out.target
        if known is not None and target.epoch != known.epoch:
            self._note(f"calibration changed from {known.epoch} to {target.epoch}: circuits written anew")
        self._out.target = target
        return self._session.submit(batch, self._key(batch), target, self._write(batch.requests, target))

    def _gone_before_submission(self) -> bool:
        """Whether what waits here was told to go elsewhere; it may have waited long for its turn."""
        monitor = self._options.monitor
        if monitor is None or monitor.waited < self._options.look:
            return False
        try:
            why = monitor.why(self._present(self._options.look), self._client.status(), self._options.journal)
        except QpuError:
            return False  # the submission tells what is wrong
        if why is not None:
            self._leave(why)
        return why is not None

    def _look(self, job: QpuJob) -> None:
        """While the first job waits in the service's queue: which calibration is in force, and should we stay?"""
        if job.looked and time.monotonic() - job.looked < self._options.look:
            return
        first, job.looked = not job.looked, time.monotonic()
        monitor = self._options.monitor
        try:
            target = self._present(self._options.believe)
            status = None if monitor is None else self._client.status()
        except QpuError:
            return  # the next question about the job tells what is wrong
        for one in self._session.jobs:
            one.saw(target.epoch)
        if monitor is None or status is None:
            return
        if first:
            job.ahead = monitor.others(target, status, self._options.journal)
        queued = time.monotonic() - job.submitted
        why = monitor.why(target, status, self._options.journal, job.ahead, queued)
        if why is not None:
            self._leave(why)

    def _leave(self, why: str) -> None:
        """Cancel every job: none of those in the queue has started, since the first of them has not."""
        self._note(f"leaves the queue: {why}")
        self._fail_waiting(QpuError(Fault.LEFT, self._name, why))
        for job in self._session.jobs:
            job.leave(why, self._session)

    def _follow(self, job: QpuJob) -> None:
        began = time.monotonic()

        def read(text: str) -> list[VariantCounts]:
            return self._vendor.counts(job.target, job.programs, job.batch.shots, text)

        try:
            counts = job.look(self._session, read)
            if counts is not None:
                check_plausible(job.target, job.programs, counts)
        except QpuError as error:
            if error.fault is Fault.TIME_LIMIT:
                self._client.abandon()
            job.stop(error, self._client, self._vendor.stop_seconds)
            self._session.ended(job)
            if job.recovered and error.fault in {Fault.FAILED, Fault.LOST}:
                self._note(f"job {job.slot.entry.job} of an earlier run brought no result and is run anew")
                self._waiting.insert(0, job.batch)
                for index in job.batch.requests:
                    self._written.pop(index, None)  # that job's qubits may have been others
            else:
                self._fail(job.batch, error)
            return
        if counts is not None:
            self._collect(job, counts)
            self._session.ended(job)
        elif job.waits:
            self._out.waited += time.monotonic() - began
            if not job.leaving:
                self._look(job)

    def _collect(self, job: QpuJob, counts: list[VariantCounts]) -> None:
        hand_over(job.slot)
        entry, after = job.slot.entry, job.epoch
        try:
            after = self._present(self._options.believe).epoch
        except QpuError:
            log.info("QPU %s: its calibration cannot be read now", self._name)
        epochs = job.epochs(after)
        if len(epochs) > 1:
            self._note(f"the device was recalibrated while job {entry.job} ran, or may have been")
        elif after != job.epoch:
            self._note(f"the device was recalibrated while job {entry.job} waited or after it ran")
        for index, program, found in zip(job.batch.requests, job.programs, counts, strict=True):
            result = self._out.results[index]
            if result.failure is not None:
                continue  # another part of its shots is missing
            (result.counts,) = merge_counts([found] if result.counts is None else [result.counts, found])
            result.sources.append(Source(found.shots, program.measured, epochs))
        self._out.jobs.append(
            JobRecord(
                entry.job, len(job.programs), sum(found.shots for found in counts), time.monotonic() - job.submitted,
                job.polls, job.epoch, after, job.recovered,
            )
        )  # fmt: skip

    def _fail(self, batch: JobBatch, error: QpuError) -> None:
        for index in batch.requests:
            self._out.results[index].fail(error)

    def _fail_waiting(self, error: QpuError) -> None:
        waiting, self._waiting = self._waiting, []
        for batch in waiting:
            self._fail(batch, error)

    def _key(self, batch: JobBatch) -> str:
        return hashlib.sha256(f"{self._name}:{batch.key}".encode()).hexdigest()

    def _note(self, text: str) -> None:
        log.info("QPU %s: %s", self._name, text)
        self._out.notes.append(text)
