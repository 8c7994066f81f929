"""Variants to a QPU and counts back: transpile, pack, submit, follow, collect, release, and pick up after a crash."""

from __future__ import annotations

import atexit
import hashlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from qiskit import QuantumCircuit

from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.dialects import read_result
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.job import Flight
from tasks.execution.qpu.journal import Journal, Slot, default_folder
from tasks.execution.qpu.packing import Batch, pack
from tasks.execution.qpu.plausible import check_plausible, merge_counts, nothing_measured
from tasks.execution.qpu.programs import Program, make_programs
from tasks.execution.qpu.records import JobRecord, QpuOptions, QpuRun, Source
from tasks.execution.qpu.recovery import adopt
from tasks.execution.qpu.resources import QpuResource
from tasks.execution.qpu.retry import patiently, present_target
from tasks.execution.qpu.session import STOP_SECONDS, Session, bounded
from tasks.execution.qpu.target import IBM, QpuTarget
from tasks.model.tensor import VariantCounts

log = logging.getLogger(__name__)

AHEAD = 2  # jobs in the service's queue at once: enough to keep the device busy, little to lose

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
    _forget_handed_over()
    return run_besides(resource, circuits, shots, options)


def run_besides(
    resource: QpuResource,
    circuits: Sequence[QuantumCircuit | Program],
    shots: Sequence[int],
    options: QpuOptions | None = None,
) -> QpuRun:
    """``run_variants`` while results of an earlier call are still to be handed over: those stay in the journal."""
    options = options or QpuOptions()
    with QpuClient(bounded(resource, options.time_limit), options.call_seconds) as client:
        return _Run(client, options).run(circuits, shots)


class _Run:
    """One call of ``run_variants``."""

    def __init__(self, client: QpuClient, options: QpuOptions) -> None:
        self._client, self._options = client, options
        self._name = client.resource.name
        self._journal = Journal(options.journal or default_folder())
        self._session = Session(client, self._journal, options, self._note)
        self._flights: list[Flight] = []
        self._out = QpuRun([])
        self._waiting: list[Batch] = []
        self._written: dict[int, str] = {}  # variant -> calibration that its program was written for

    def run(self, circuits: Sequence[QuantumCircuit | Program], shots: Sequence[int]) -> QpuRun:
        out = self._out
        out.counts = [nothing_measured(n) if c.num_clbits == 0 else None for c, n in zip(circuits, shots, strict=True)]
        out.programs = [None] * len(circuits)
        out.sources = [[] for _ in circuits]
        wanted = [index for index, found in enumerate(out.counts) if found is None]
        if not wanted:
            return out
        # What was read in an earlier call may be minutes old: shots would seem to lie on both sides of a recalibration.
        out.target = self._present(self._options.believe, self._options.patience)
        self._write(circuits, wanted)
        batches = pack(out.target, [(i, out.programs[i].digest, int(shots[i])) for i in wanted])  # type: ignore[union-attr]
        self._waiting = self._recover(batches)
        try:
            self._submit_and_follow(circuits)
        finally:
            for flight in self._flights:  # none, unless something stopped us
                flight.slot.close()
            self._release({flight.slot.entry.session for flight in self._flights if flight.recovered})
            self._session.release(self._stop_seconds())
        return out

    def _write(self, circuits: Sequence[QuantumCircuit | Program], indices: Sequence[int]) -> None:
        assert self._out.target is not None
        made = make_programs([circuits[index] for index in indices], self._out.target, self._options.level)
        for index, program in zip(indices, made, strict=True):
            self._out.programs[index] = program
            self._written[index] = self._out.target.epoch

    def _present(self, age: float | None = None, patience: float = 0.0) -> QpuTarget:
        """The device as it is now, or was ``age`` seconds ago at most; without an age, as it was when last read."""
        if age is None:
            target = present_target(self._client, self._options.patience)
        else:
            target = present_target(self._client, patience, age)
        self._out.targets[target.epoch] = target
        return target

    def _programs(self, batch: Batch) -> list[Program]:
        return [program for index in batch.variants if (program := self._out.programs[index]) is not None]

    def _recover(self, batches: list[Batch]) -> list[Batch]:
        """Take over what an earlier run left behind; returns the batches that are still to be submitted."""
        wanted = {self._key(batch): batch for batch in batches}
        for slot in adopt(self._client, self._journal, set(wanted), self._options.run, self._note):
            batch = wanted.pop(slot.entry.key)
            for index, qubits in zip(batch.variants, slot.entry.measured, strict=False):
                program = self._out.programs[index]
                assert program is not None
                self._out.programs[index] = replace(program, measured=qubits)
            assert self._out.target is not None
            programs = self._programs(batch)
            self._flights.append(Flight(batch, slot, programs, self._out.target, time.monotonic(), recovered=True))
        return list(wanted.values())

    def _submit_and_follow(self, circuits: Sequence[QuantumCircuit | Program]) -> None:
        while self._waiting or self._flights:
            while self._waiting and len(self._flights) < AHEAD:
                if not self._flights and self._gone_before_submission():
                    break
                batch = self._waiting.pop(0)
                try:
                    submitted = self._submit(batch, circuits)
                except QpuError as error:
                    self._fail(batch, error)
                    if not error.fault.again or not (self._out.jobs or self._flights):
                        # What stops this job stops the others too: a wrong token, a service that is down.
                        self._fail_waiting(error)
                    continue
                if not submitted:
                    self._waiting.insert(0, batch)
                    break
            if self._flights:
                self._follow()

    def _submit(self, batch: Batch, circuits: Sequence[QuantumCircuit | Program]) -> bool:
        """Start a job; False when its submission is to be tried again after the jobs in flight have ended."""
        self._session.check_time()
        target = self._present()
        assert self._out.target is not None
        if target.epoch != self._out.target.epoch:
            self._note(f"calibration changed from {self._out.target.epoch} to {target.epoch}: circuits written anew")
            self._out.target = target
        if any(self._written[index] != target.epoch for index in batch.variants):
            self._write(circuits, batch.variants)
        flight = self._session.submit(batch, self._key(batch), target, self._programs(batch), bool(self._flights))
        if flight is None:
            return False
        self._flights.append(flight)
        return True

    def _gone_before_submission(self) -> bool:
        """Whether what waits here was told to go elsewhere; it may have waited long for its turn."""
        watch = self._options.watch
        if watch is None or watch.waited < self._options.look:
            return False
        try:
            why = watch.why(self._present(self._options.look), self._client.status(), self._options.journal)
        except QpuError:
            return False  # the submission tells what is wrong
        if why is not None:
            self._leave(why)
        return why is not None

    def _look(self, flight: Flight) -> None:
        """While the first job waits in the service's queue: which calibration is in force, and should we stay?"""
        if flight.looked and time.monotonic() - flight.looked < self._options.look:
            return
        first, flight.looked = not flight.looked, time.monotonic()
        watch = self._options.watch
        try:
            target = self._present(self._options.believe)
            status = None if watch is None else self._client.status()
        except QpuError:
            return  # the next question about the job tells what is wrong
        for one in self._flights:
            one.saw(target.epoch)
        if watch is None or status is None:
            return
        if first:
            flight.ahead = watch.others(target, status, self._options.journal)
        queued = time.monotonic() - flight.submitted
        why = watch.why(target, status, self._options.journal, flight.ahead, queued)
        if why is not None:
            self._leave(why)

    def _leave(self, why: str) -> None:
        """Take back every job: none of those in flight has started, since the first of them has not."""
        self._note(f"leaves the queue: {why}")
        self._fail_waiting(QpuError(Fault.LEFT, self._name, why))
        for flight in self._flights:
            flight.take_back(why, self._session)

    def _release(self, sessions: set[str]) -> None:
        """Close sessions of earlier runs, whose jobs were taken over."""
        for session in sessions - {""}:
            try:
                patiently(lambda session=session: self._client.release(session), self._stop_seconds())  # type: ignore[misc]
            except QpuError as error:
                if error.fault.again:  # else it has ended by itself
                    self._note(f"the session of an earlier run could not be released and ends by itself: {error}")

    def _stop_seconds(self) -> float:
        return STOP_SECONDS[self._out.target.dialect if self._out.target else IBM]

    def _follow(self) -> None:
        flight, began = self._flights[0], time.monotonic()

        def read(text: str) -> list[VariantCounts]:
            return read_result(flight.target, flight.programs, flight.batch.shots, text)

        try:
            counts = flight.look(self._session, read)
            if counts is not None:
                check_plausible(flight.target, flight.programs, counts)
        except QpuError as error:
            if error.fault is Fault.TIME_LIMIT:
                self._client.abandon()
            self._remove(flight)
            flight.stop(error, self._client, self._stop_seconds())
            if flight.recovered and error.fault in {Fault.FAILED, Fault.LOST}:
                self._note(f"job {flight.slot.entry.job} of an earlier run brought no result and is run anew")
                self._waiting.insert(0, flight.batch)
            else:
                self._fail(flight.batch, error)
        else:
            if counts is not None:
                self._remove(flight)
                self._collect(flight, counts)
            elif flight.waits:
                self._out.waited += time.monotonic() - began
                if not flight.leaving:
                    self._look(flight)
        if not self._flights:
            self._session.none_in_flight()

    def _remove(self, flight: Flight) -> None:
        """A job has ended, and with the last of an earlier run's session that session."""
        self._flights.remove(flight)
        if flight.recovered:
            self._release({flight.slot.entry.session} - {other.slot.entry.session for other in self._flights})

    def _collect(self, flight: Flight, counts: list[VariantCounts]) -> None:
        batch, programs = flight.batch, flight.programs
        with _lock:
            _handed_over.append(flight.slot)
        entry = flight.slot.entry
        after = self._epoch_now(flight.epoch)
        epochs = flight.epochs(after)
        if len(epochs) > 1:
            self._note(f"the device was recalibrated while job {entry.job} ran, or may have been")
        elif after != flight.epoch:
            self._note(f"the device was recalibrated while job {entry.job} waited or after it ran")
        for index, program, found in zip(batch.variants, programs, counts, strict=True):
            if index in self._out.failures:
                continue  # another part of its shots is missing
            earlier = self._out.counts[index]
            self._out.counts[index] = found if earlier is None else merge_counts(earlier, found)
            self._out.sources[index].append(Source(found.shots, program.measured, epochs))
        self._out.jobs.append(
            JobRecord(
                entry.job, len(programs), sum(found.shots for found in counts), time.monotonic() - flight.submitted,
                flight.polls, flight.epoch, after, flight.recovered,
            )
        )  # fmt: skip

    def _epoch_now(self, otherwise: str) -> str:
        try:
            return self._present(self._options.believe).epoch
        except QpuError:
            return otherwise

    def _fail(self, batch: Batch, error: QpuError) -> None:
        for index in batch.variants:
            self._out.failures[index] = error
            self._out.counts[index] = None
            self._out.sources[index] = []

    def _fail_waiting(self, error: QpuError) -> None:
        waiting, self._waiting = self._waiting, []
        for batch in waiting:
            self._fail(batch, error)

    def _key(self, batch: Batch) -> str:
        text = f"{self._name}:{batch.key}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _note(self, text: str) -> None:
        log.info("QPU %s: %s", self._name, text)
        self._out.notes.append(text)


def _forget_handed_over() -> None:
    """Drop the journal of results handed over: who asks for more, or ends in good order, has kept them."""
    with _lock:
        slots, _handed_over[:] = list(_handed_over), []
    for slot in slots:
        slot.drop()


atexit.register(_forget_handed_over)
