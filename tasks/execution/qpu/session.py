"""What a run holds at a QPU service: a session opened with its first job, the jobs submitted in it, and its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.dialects import write_job
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.job import Flight
from tasks.execution.qpu.journal import STARTED, STARTING, Entry, Journal, Slot
from tasks.execution.qpu.packing import Batch
from tasks.execution.qpu.programs import Program
from tasks.execution.qpu.records import QpuOptions
from tasks.execution.qpu.resources import IQM_TYPE, QpuResource
from tasks.execution.qpu.retry import FIRST_PAUSE, patiently
from tasks.execution.qpu.target import IBM, IQM, QpuTarget

# For clearing up after a time limit. IQM's client asks for the job's status, which the service holds back for 30 s,
# before it cancels.
STOP_SECONDS = {IBM: 10.0, IQM: 40.0}
SESSION_MARGIN = 120  # seconds a session may outlive the time limit
MOST_RETRIES = 3  # of a submission that got no answer

T = TypeVar("T")


def bounded(resource: QpuResource, time_limit: float) -> QpuResource:
    """The resource with sessions that end soon after the time limit, if nobody is left to release them."""
    variable = "QRMI_IBM_QCS_SESSION_MAX_TTL"
    if resource.type == IQM_TYPE:
        return resource
    allowed = resource.environment.get(variable, "")
    seconds = min(int(allowed) if allowed.isdigit() else 28800, int(time_limit) + SESSION_MARGIN)
    return replace(resource, environment={**resource.environment, variable: str(seconds)})


class Session:
    """Submits jobs within one session of a service that has such, and within the run's time.

    Args:
        client: talks to the service.
        journal: where jobs are written down before they are submitted.
        options: time limit and patience.
        note: takes sentences for the run record.
    """

    def __init__(self, client: QpuClient, journal: Journal, options: QpuOptions, note: Callable[[str], None]) -> None:
        self.client, self._journal, self._options, self._note = client, journal, options, note
        self._name = client.resource.name
        self._end = time.monotonic() + options.time_limit
        self._token = ""
        self._close_later = False

    def left(self) -> float:
        """Seconds until the time limit."""
        return self._end - time.monotonic()

    def check_time(self) -> None:
        """Make sure that there is time left.

        Raises:
            QpuError: there is none.
        """
        if self.left() <= 0:
            raise QpuError(
                Fault.TIME_LIMIT, self._name, f"no result within the time limit of {self._options.time_limit:g} s"
            )

    def patiently(self, call: Callable[[], T]) -> T:
        """Repeat a call that has no effect of its own while the service cannot be reached, while time lasts."""
        return patiently(call, min(self._options.patience, max(0.0, self.left())))

    def submit(
        self, batch: Batch, key: str, target: QpuTarget, programs: Sequence[Program], flying: bool
    ) -> Flight | None:
        """Start a job; None when its submission is to be tried again after the jobs in flight have ended.

        Args:
            batch: its variants and shots.
            key: digest of what it computes.
            target: of the device, for whose calibration the programs were written.
            programs: of its variants.
            flying: whether other jobs of this session are in flight.

        Raises:
            QpuError: it was refused, or nobody can tell whether it was accepted.
        """
        if not self._token:
            self._token = self.patiently(self.client.acquire)
        kind, fields = write_job(target, programs, batch.shots, f"qompass-{key[:12]}")
        entry = Entry(
            self._name, key, STARTING, session=self._token, submitted=time.time(),
            circuits=len(programs), shots=sum(batch.shots), run=self._options.run, epoch=target.epoch,
            measured=tuple(program.measured for program in programs),
        )  # fmt: skip
        slot = self._journal.open(entry)
        try:
            job = self.client.start(kind, fields, within=max(1.0, self.left()))
        except QpuError as error:
            if error.fault not in {Fault.UNAVAILABLE, Fault.GARBLED, Fault.TIME_LIMIT}:
                slot.drop()
                raise
            self._lost_answer(batch, slot, error, target.dialect == IBM, flying)
            return None
        except BaseException:
            slot.close()
            raise
        slot.write(state=STARTED, job=job)
        return Flight(batch, slot, programs, target, time.monotonic())

    def _lost_answer(self, batch: Batch, slot: Slot, error: QpuError, has_sessions: bool, flying: bool) -> None:
        """The submission was not answered: the job may exist. Closing its session ends it, where there are sessions."""
        if not has_sessions:
            slot.drop()
            raise QpuError(
                Fault.LOST if error.fault is not Fault.TIME_LIMIT else Fault.TIME_LIMIT,
                self._name,
                f"the submission was not answered ({error}); the service may run it under the tag "
                f"qompass-{slot.entry.key[:12]}",
            )
        if flying:
            slot.drop()  # its session is in the entries of the jobs in flight
            batch.retries += 1
            if batch.retries > MOST_RETRIES:
                raise error
            self._close_later = True
            return
        try:
            self.patiently(lambda: self.client.release(self._token))
        except QpuError:
            slot.close()  # the next start closes the session
            self._token = ""
            raise
        slot.drop()
        self._token = ""
        batch.retries += 1
        if batch.retries > MOST_RETRIES:
            raise error
        time.sleep(max(0.0, min(FIRST_PAUSE * 2**batch.retries, self.left())))

    def none_in_flight(self) -> None:
        """All jobs in flight have ended: close the session if a submission in it was not answered."""
        if self._close_later:
            self._close_later = False
            self.release(STOP_SECONDS[IBM])

    def release(self, seconds: float) -> None:
        """Close the session, trying for so long; one that cannot be closed ends by itself."""
        token, self._token = self._token, ""
        if not token:
            return
        try:
            patiently(lambda: self.client.release(token), min(self._options.patience, seconds))
        except QpuError as error:
            self._note(f"its session could not be released and ends by itself: {error}")
