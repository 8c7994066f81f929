"""Circuits to a QPU and counts back: transpile, pack, submit, follow, collect, release, and pick up after a crash."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from qiskit import QuantumCircuit

from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.job import QpuJob
from tasks.execution.qpu.journal import Journal, default_folder, forget_handed_over, hand_over
from tasks.execution.qpu.packing import JobBatch, Piece, pack_jobs
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
                (index, _digest(f"{program.digest} {requests[index].stream}"), requests[index].shots)
                for index, program in zip(wanted, programs, strict=True)
            ]
            self._session = Session(self._client, self._journal, self._options, self._note)  # its time begins now
            with self._session:
                self._waiting = pack_jobs(out.target, self._recover(pieces, out.target))
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

    def _recover(self, pieces: Sequence[Piece], target: QpuTarget) -> list[Piece]:
        """Take over what an earlier process left behind; returns the pieces that are still to be submitted.

        A job is found by what its circuits compute, in whatever order and beside whatever others they are wanted now.
        """
        due: dict[str, list[tuple[int, int]]] = {}
        for index, digest, shots in pieces:
            due.setdefault(digest, []).append((index, shots))
        totals = {digest: sum(shots for _, shots in own) for digest, own in due.items()}
        for slot in adopt(self._client, self._journal, totals, self._options.run, self._note):
            digests, shots_each = zip(*slot.entry.pieces, strict=True)
            requests = tuple(_served(due.get(digest, []), shots) for digest, shots in slot.entry.pieces)
            programs = []
            for request, qubits in zip(requests, slot.entry.measured, strict=True):
                program = Program("", QuantumCircuit(), qubits)  # nothing more is needed to read counts
                if request is not None:
                    program = replace(*self._write([request], target), measured=qubits)
                    self._out.results[request].program = program
                    self._written.pop(request, None)  # what is still due of it may run on other qubits
                programs.append(program)
            self._session.take_over(slot, JobBatch(requests, shots_each, digests), target, programs)
        return sorted((index, digest, shots) for digest, own in due.items() for index, shots in own)

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
        programs = self._write([index for index, _, _ in batch.wanted], target)
        return self._session.submit(batch, _digest(f"{self._name}:{batch.key}"), target, programs)

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
                self._waiting[:0] = pack_jobs(job.target, job.batch.wanted)
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
            if index is None or self._out.results[index].failure is not None:
                continue  # nobody wants it, or another part of its shots is missing
            result = self._out.results[index]
            (result.counts,) = merge_counts([found] if result.counts is None else [result.counts, found])
            result.sources.append(Source(found.shots, program.measured, epochs))
        unwanted = [found.shots for index, found in zip(job.batch.requests, counts, strict=True) if index is None]
        self._out.jobs.append(
            JobRecord(
                entry.job, len(job.programs), sum(found.shots for found in counts), time.monotonic() - job.submitted,
                job.polls, job.epoch, after, job.recovered, sum(unwanted),
            )
        )  # fmt: skip

    def _fail(self, batch: JobBatch, error: QpuError) -> None:
        for index, _, _ in batch.wanted:
            self._out.results[index].fail(error)

    def _fail_waiting(self, error: QpuError) -> None:
        waiting, self._waiting = self._waiting, []
        for batch in waiting:
            self._fail(batch, error)

    def _note(self, text: str) -> None:
        log.info("QPU %s: %s", self._name, text)
        self._out.notes.append(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _served(due: list[tuple[int, int]], shots: int) -> int | None:
    """The first request (index, shots) that is due, None where none is; it is due so many shots less afterwards."""
    if not due:
        return None
    index, wanted = due.pop(0)
    if wanted > shots:
        due.insert(0, (index, wanted - shots))
    return index
