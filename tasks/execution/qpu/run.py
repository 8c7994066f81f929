"""Variants to a QPU and counts back: transpile, pack, submit, follow, collect, release, and pick up after a crash."""

from __future__ import annotations

import atexit
import hashlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qiskit import QuantumCircuit

from tasks.execution.qpu.asking import FIRST_PAUSE, patiently, present_target
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.dialects import read_result, write_job
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.journal import STARTED, STARTING, Entry, Journal, Slot, default_folder
from tasks.execution.qpu.packing import Batch, pack
from tasks.execution.qpu.plausible import check_plausible, merge_counts, nothing_measured
from tasks.execution.qpu.programs import Program, make_programs
from tasks.execution.qpu.records import JobRecord, QpuOptions, QpuRun
from tasks.execution.qpu.recovery import adopt
from tasks.execution.qpu.resources import IQM_TYPE, QpuResource
from tasks.execution.qpu.target import IBM, IQM

log = logging.getLogger(__name__)

FIRST_POLL, LAST_POLL, POLL_GROWTH = 0.02, 5.0, 1.5
# For clearing up after a time limit. IQM's client asks for the job's status, which the service holds back for 30 s,
# before it cancels.
STOP_SECONDS = {IBM: 10.0, IQM: 40.0}
SESSION_MARGIN = 120  # seconds a session may outlive the time limit
AHEAD = 2  # jobs in the service's queue at once: enough to keep the device busy, little to lose
MOST_RETRIES = 3  # of a submission that got no answer

_handed_over: list[Slot] = []
_lock = threading.Lock()


def run_variants(
    resource: QpuResource,
    circuits: Sequence[QuantumCircuit | Program],
    shots: Sequence[int],
    options: QpuOptions | None = None,
) -> QpuRun:
    """Run variants on a QPU.

    Each circuit is written for the device's present calibration; circuits are packed into as few jobs as the device
    allows; jobs are followed at intervals growing from 20 ms to 5 s. A job that fails leaves its variants without
    counts and the others untouched; whether to try again, here or elsewhere, is the application's decision.

    Args:
        resource: the QPU.
        circuits: variants; those that measure nothing cost nothing. Programs run on the qubits they name.
        shots: (variant,) at least this many each.
        options: time limits and places.

    Raises:
        QpuError: nothing could be run at all (configuration, authentication, unfit circuits, unreachable service).
    """
    options = options or QpuOptions()
    _forget_handed_over()
    with QpuClient(_bounded(resource, options.time_limit), options.call_seconds) as client:
        return _Run(client, options).run(circuits, shots)


def _bounded(resource: QpuResource, time_limit: float) -> QpuResource:
    """The resource with sessions that end soon after the time limit, if nobody is left to release them."""
    variable = "QRMI_IBM_QCS_SESSION_MAX_TTL"
    if resource.type == IQM_TYPE:
        return resource
    allowed = resource.environment.get(variable, "")
    seconds = min(int(allowed) if allowed.isdigit() else 28800, int(time_limit) + SESSION_MARGIN)
    return replace(resource, environment={**resource.environment, variable: str(seconds)})


@dataclass
class _Flight:
    """A job in the service's queue."""

    batch: Batch
    slot: Slot
    epoch: str
    submitted: float
    pause: float = FIRST_POLL
    polls: int = 0
    recovered: bool = False


class _Run:
    """One call of ``run_variants``."""

    def __init__(self, client: QpuClient, options: QpuOptions) -> None:
        self._client, self._options = client, options
        self._name = client.resource.name
        self._journal = Journal(options.journal or default_folder())
        self._end = time.monotonic() + options.time_limit
        self._session = ""
        self._flights: list[_Flight] = []
        self._out = QpuRun([])
        self._close_later = False
        self._again: list[Batch] = []

    def run(self, circuits: Sequence[QuantumCircuit | Program], shots: Sequence[int]) -> QpuRun:
        out = self._out
        out.counts = [nothing_measured(n) if c.num_clbits == 0 else None for c, n in zip(circuits, shots, strict=True)]
        out.programs = [None] * len(circuits)
        wanted = [index for index, found in enumerate(out.counts) if found is None]
        if not wanted:
            return out
        out.target = present_target(self._client, self._options.patience)
        self._write(circuits, wanted)
        batches = pack(out.target, [(i, out.programs[i].digest, int(shots[i])) for i in wanted])  # type: ignore[union-attr]
        batches = self._recover(batches)
        try:
            self._submit_and_follow(batches, circuits)
        except BaseException:
            self._clear_up()
            raise
        self._release()
        return out

    def _write(self, circuits: Sequence[QuantumCircuit | Program], indices: Sequence[int]) -> None:
        assert self._out.target is not None
        made = make_programs([circuits[index] for index in indices], self._out.target, self._options.level)
        for index, program in zip(indices, made, strict=True):
            self._out.programs[index] = program

    def _left(self) -> float:
        return self._end - time.monotonic()

    def _recover(self, batches: list[Batch]) -> list[Batch]:
        """Take over what an earlier run left behind; returns the batches that are still to be submitted."""
        wanted = {self._key(batch): batch for batch in batches}
        for slot in adopt(self._client, self._journal, set(wanted), self._options.run, self._note):
            batch = wanted.pop(slot.entry.key)
            for index, qubits in zip(batch.variants, slot.entry.measured, strict=False):
                program = self._out.programs[index]
                assert program is not None
                self._out.programs[index] = replace(program, measured=qubits)
            self._flights.append(_Flight(batch, slot, slot.entry.epoch, time.monotonic(), recovered=True))
        return list(wanted.values())

    def _submit_and_follow(self, batches: list[Batch], circuits: Sequence[QuantumCircuit | Program]) -> None:
        waiting = list(batches)
        while waiting or self._flights:
            while waiting and len(self._flights) < AHEAD:
                batch = waiting.pop(0)
                try:
                    submitted = self._submit(batch, circuits)
                except QpuError as error:
                    self._fail(batch, error)
                    if not error.fault.again or not (self._out.jobs or self._flights):
                        # What stops this job stops the others too: a wrong token, a service that is down.
                        for other in waiting:
                            self._fail(other, error)
                        waiting = []
                    continue
                if not submitted:
                    waiting.insert(0, batch)
                    break
            if self._flights:
                self._follow()
                waiting, self._again = self._again + waiting, []

    def _submit(self, batch: Batch, circuits: Sequence[QuantumCircuit | Program]) -> bool:
        """Start a job; False when its submission is to be tried again after the jobs in flight have ended."""
        self._check_time()
        target = present_target(self._client, self._options.patience)
        assert self._out.target is not None
        if target.epoch != self._out.target.epoch:
            self._note(f"calibration changed from {self._out.target.epoch} to {target.epoch}: circuits written anew")
            self._out.target = target
            self._write(circuits, batch.variants)
        if not self._session:
            self._session = patiently(self._client.acquire, min(self._options.patience, self._left()))
        programs = [self._out.programs[index] for index in batch.variants]
        key = self._key(batch)
        kind, fields = write_job(target, programs, batch.shots, f"qompass-{key[:12]}")  # type: ignore[arg-type]
        entry = Entry(
            self._name, key, STARTING, session=self._session, submitted=time.time(),
            circuits=len(programs), shots=sum(batch.shots), run=self._options.run, epoch=target.epoch,
            measured=tuple(program.measured for program in programs if program is not None),
        )  # fmt: skip
        slot = self._journal.open(entry)
        try:
            job = self._client.start(kind, fields, within=max(1.0, self._left()))
        except QpuError as error:
            if error.fault not in {Fault.UNAVAILABLE, Fault.GARBLED, Fault.TIME_LIMIT}:
                slot.drop()
                raise
            return self._lost_answer(batch, slot, error)
        except BaseException:
            slot.close()
            raise
        slot.write(state=STARTED, job=job)
        self._flights.append(_Flight(batch, slot, target.epoch, time.monotonic()))
        return True

    def _lost_answer(self, batch: Batch, slot: Slot, error: QpuError) -> bool:
        """The submission was not answered: the job may exist. Closing its session ends it, where there are sessions."""
        if not self._has_sessions():
            slot.drop()
            raise QpuError(
                Fault.LOST if error.fault is not Fault.TIME_LIMIT else Fault.TIME_LIMIT,
                self._name,
                f"the submission was not answered ({error}); the service may run it under the tag "
                f"qompass-{slot.entry.key[:12]}",
            )
        if self._flights:
            slot.drop()  # its session is in the entries of the jobs in flight
            batch.retries += 1
            if batch.retries > MOST_RETRIES:
                raise error
            self._close_later = True
            return False
        try:
            patiently(lambda: self._client.release(self._session), min(self._options.patience, max(0.0, self._left())))
        except QpuError:
            slot.close()  # the next start closes the session
            self._session = ""
            raise
        slot.drop()
        self._session = ""
        batch.retries += 1
        if batch.retries > MOST_RETRIES:
            raise error
        time.sleep(max(0.0, min(FIRST_PAUSE * 2**batch.retries, self._left())))
        return False

    def _stop_seconds(self) -> float:
        return STOP_SECONDS[self._out.target.dialect if self._out.target else IBM]

    def _has_sessions(self) -> bool:
        return self._out.target is not None and self._out.target.dialect == IBM

    def _follow(self) -> None:
        flight = self._flights[0]
        kept = flight.slot.kept_result()
        if kept is not None:
            self._collect(flight, kept)
            return
        entry = flight.slot.entry
        try:
            self._check_time()
            flight.polls += 1
            status = patiently(
                lambda: self._client.task_status(entry.job, within=max(0.1, self._left())),
                min(self._options.patience, max(0.0, self._left())),
            )
            if status == "Completed":
                text = patiently(
                    lambda: self._client.result(entry.job, within=max(1.0, self._left())),
                    min(self._options.patience, max(0.0, self._left())),
                )
                flight.slot.keep_result(text)
                self._collect(flight, text)
            elif status in {"Failed", "Cancelled"}:
                why = self._why(entry.job)
                raise QpuError(Fault.FAILED, self._name, f"job {entry.job} ended as {status.lower()}{why}")
            else:
                time.sleep(max(0.0, min(flight.pause, self._left())))
                flight.pause = min(flight.pause * POLL_GROWTH, LAST_POLL)
        except QpuError as error:
            if error.fault is Fault.TIME_LIMIT:
                self._client.abandon()
            self._stop(flight, error)
            if flight.recovered and error.fault in {Fault.FAILED, Fault.LOST}:
                self._note(f"job {entry.job} of an earlier run brought no result and is run anew")
                self._again.append(flight.batch)
            else:
                self._fail(flight.batch, error)
        if not self._flights and self._close_later:
            self._close_later = False
            self._release()

    def _stop(self, flight: _Flight, error: QpuError) -> None:
        """A job whose result will not be used: cancel it where that makes sense and forget it."""
        self._flights.remove(flight)
        if error.fault in {Fault.TIME_LIMIT, Fault.UNAVAILABLE, Fault.GARBLED, Fault.AUTHENTICATION}:
            try:
                with QpuClient(self._client.resource, self._stop_seconds()) as other:
                    other.stop(flight.slot.entry.job)
            except QpuError:
                flight.slot.close()  # it may still run: the next start finds it or cancels it
                return
        flight.slot.drop()

    def _why(self, job: str) -> str:
        try:
            said = " ".join(self._client.logs(job).split())[:200]
        except QpuError:
            return ""
        return f": {said}" if said else ""

    def _collect(self, flight: _Flight, text: str) -> None:
        target, batch = self._out.target, flight.batch
        assert target is not None
        programs = [self._out.programs[index] for index in batch.variants]
        self._flights.remove(flight)
        try:
            counts = read_result(target, programs, batch.shots, text)  # type: ignore[arg-type]
            check_plausible(target, programs, counts)  # type: ignore[arg-type]
        except QpuError as error:
            flight.slot.drop()
            self._fail(batch, error)
            return
        with _lock:
            _handed_over.append(flight.slot)
        for index, found in zip(batch.variants, counts, strict=True):
            if index in self._out.failures:
                continue  # another part of its shots is missing
            earlier = self._out.counts[index]
            self._out.counts[index] = found if earlier is None else merge_counts(earlier, found)
        entry = flight.slot.entry
        after = self._epoch_now(flight.epoch)
        if after != flight.epoch:
            self._note(f"the device was recalibrated while job {entry.job} ran")
        self._out.jobs.append(
            JobRecord(
                entry.job, len(programs), sum(found.shots for found in counts), time.monotonic() - flight.submitted,
                flight.polls, flight.epoch, after, flight.recovered,
            )
        )  # fmt: skip

    def _epoch_now(self, otherwise: str) -> str:
        try:
            return present_target(self._client, age=self._options.believe).epoch
        except QpuError:
            return otherwise

    def _fail(self, batch: Batch, error: QpuError) -> None:
        for index in batch.variants:
            self._out.failures[index] = error
            self._out.counts[index] = None

    def _key(self, batch: Batch) -> str:
        text = f"{self._name}:{batch.key}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _check_time(self) -> None:
        if self._left() <= 0:
            raise QpuError(
                Fault.TIME_LIMIT, self._name, f"no result within the time limit of {self._options.time_limit:g} s"
            )

    def _note(self, text: str) -> None:
        log.info("QPU %s: %s", self._name, text)
        self._out.notes.append(text)

    def _release(self) -> None:
        session, self._session = self._session, ""
        if not session:
            return
        try:
            patiently(lambda: self._client.release(session), min(self._options.patience, self._stop_seconds()))
        except QpuError as error:
            self._note(f"its session could not be released and ends by itself: {error}")

    def _clear_up(self) -> None:
        for flight in list(self._flights):
            flight.slot.close()
        self._release()


def _forget_handed_over() -> None:
    """Drop the journal of results handed over: who asks for more, or ends in good order, has kept them."""
    with _lock:
        slots, _handed_over[:] = list(_handed_over), []
    for slot in slots:
        slot.drop()


atexit.register(_forget_handed_over)
