"""What a run holds at a QPU service: a session opened with its first job, the jobs in the queue, and its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.job import QpuJob
from tasks.execution.qpu.journal import STARTED, STARTING, Journal, JournalEntry, Slot
from tasks.execution.qpu.packing import JobBatch
from tasks.execution.qpu.programs import Program
from tasks.execution.qpu.records import QpuOptions
from tasks.execution.qpu.resources import QpuResource
from tasks.execution.qpu.retry import FIRST_PAUSE, retry
from tasks.execution.qpu.target import QpuTarget

SESSION_MARGIN = 120  # seconds a session may outlive the time limit
MOST_RETRIES = 3  # of a submission that got no answer

T = TypeVar("T")


def bounded(resource: QpuResource, time_limit: float) -> QpuResource:
    """The resource with sessions that end soon after the time limit, if nobody is left to release them."""
    return replace(
        resource, environment=resource.vendor.bounded(resource.environment, int(time_limit) + SESSION_MARGIN)
    )


class Session:
    """Submits jobs within one session of a service that has such, and within the run's time; a context manager.

    On the way out everything held is let go: jobs that are left stay in the journal for the next start.

    Args:
        client: talks to the service.
        journal: where jobs are written down before they are submitted.
        options: time limit and patience.
        note: takes sentences for the run record.

    Attributes:
        jobs: in the service's queue, oldest first.
    """

    def __init__(self, client: QpuClient, journal: Journal, options: QpuOptions, note: Callable[[str], None]) -> None:
        self.client, self._journal, self._options, self._note = client, journal, options, note
        self.jobs: list[QpuJob] = []
        self._vendor = client.resource.vendor
        lent = client.resource.environment.get(self._vendor.session_variable, "")
        self._opens = self._vendor.sessions and not lent  # one that somebody else opened is theirs to close
        self._name = client.resource.name
        self._end = time.monotonic() + options.time_limit
        self._token = ""
        self._close_later = False

    def __enter__(self) -> Session:
        """Nothing is opened before the first job."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of everything."""
        for job in self.jobs:  # none, unless something stopped us
            job.slot.close()
        self._release(*{job.slot.entry.session for job in self.jobs if job.recovered}, self._token)
        self._token = ""

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

    def retry(self, call: Callable[[], T]) -> T:
        """Repeat a call that has no effect of its own while the service cannot be reached, while time lasts."""
        return retry(call, min(self._options.patience, max(0.0, self.left())))

    def submit(self, batch: JobBatch, key: str, target: QpuTarget, programs: Sequence[Program]) -> bool:
        """Start a job; False when its submission is to be tried again after the jobs in the queue have ended.

        Args:
            batch: its circuits and shots.
            key: digest of what it computes.
            target: of the device, for whose calibration the programs were written.
            programs: of its circuits.

        Raises:
            QpuError: it was refused, or nobody can tell whether it was accepted.
        """
        if self._opens and not self._token:
            self._token = self.retry(self.client.acquire)
        kind, fields = self._vendor.write_job(target, programs, batch.shots, f"qompass-{key[:12]}")
        entry = JournalEntry(
            self._name, key, STARTING, session=self._token, submitted=time.time(),
            circuits=len(programs), shots=sum(batch.shots), run=self._options.run, epoch=target.epoch,
            measured=tuple(program.measured for program in programs),
            pieces=tuple(zip(batch.digests, batch.shots, strict=True)),
        )  # fmt: skip
        slot = self._journal.open(entry)
        try:
            job = self.client.start(kind, fields, within=max(1.0, self.left()))
        except QpuError as error:
            if error.fault not in {Fault.UNAVAILABLE, Fault.GARBLED, Fault.TIME_LIMIT}:
                slot.drop()
                raise
            self._answer_lost(batch, slot, error)
            return False
        except BaseException:
            slot.close()
            raise
        slot.write(state=STARTED, job=job)
        self.jobs.append(QpuJob(batch, slot, programs, target, time.monotonic()))
        return True

    def take_over(self, slot: Slot, batch: JobBatch, target: QpuTarget, programs: Sequence[Program]) -> None:
        """Follow a job that an earlier process submitted; its session is released when the last of it has ended."""
        self.jobs.append(QpuJob(batch, slot, programs, target, time.monotonic(), recovered=True))

    def ended(self, job: QpuJob) -> None:
        """A job has ended, or will not be followed any longer."""
        self.jobs.remove(job)
        if job.recovered:
            self._release(*({job.slot.entry.session} - {other.slot.entry.session for other in self.jobs}))
        if not self.jobs and self._close_later:
            self._close_later = False
            self._release(self._token)
            self._token = ""

    def _answer_lost(self, batch: JobBatch, slot: Slot, error: QpuError) -> None:
        """The submission was not answered: the job may exist. Closing its session ends it, where there are sessions."""
        if not self._opens:
            slot.drop()
            tag = f" under the tag qompass-{slot.entry.key[:12]}" if self._vendor.tags else ""
            raise QpuError(
                Fault.LOST if error.fault is not Fault.TIME_LIMIT else Fault.TIME_LIMIT,
                self._name,
                f"the submission was not answered ({error}); the service may run it{tag}",
            )
        if self.jobs:
            slot.drop()  # its session is in the entries of the jobs in the queue
            batch.retries += 1
            if batch.retries > MOST_RETRIES:
                raise error
            self._close_later = True
            return
        try:
            self.retry(lambda: self.client.release(self._token))
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

    def _release(self, *tokens: str) -> None:
        """Close sessions; one that cannot be closed ends by itself."""
        for token in filter(None, tokens):
            try:
                retry(partial(self.client.release, token), min(self._options.patience, self._vendor.stop_seconds))
            except QpuError as error:
                if token == self._token or error.fault.again:  # one that an earlier run opened may have ended
                    self._note(f"a session could not be released and ends by itself: {error}")
