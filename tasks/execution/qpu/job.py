"""A job in a service's queue: asked for its status at growing intervals, collected, or stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.journal import Slot
from tasks.execution.qpu.packing import JobBatch
from tasks.execution.qpu.programs import Program
from tasks.execution.qpu.target import QpuTarget

FIRST_POLL, LAST_POLL, POLL_GROWTH = (
    0.02,
    5.0,
    1.1,
)  # the last pause is a tenth of all: so late is a job's end seen at most

T = TypeVar("T")


class Service(Protocol):
    """A service that is asked within a run's time."""

    client: QpuClient

    def left(self) -> float:
        """Seconds until the time limit."""

    def check_time(self) -> None:
        """Raises QpuError where none is left."""

    def retry(self, call: Callable[[], T]) -> T:
        """The call's answer, asked for again while the service cannot be reached."""


@dataclass
class QpuJob:
    """A job in a service's queue.

    Attributes:
        batch: its circuits and shots.
        slot: its entry in the journal.
        programs: what it runs.
        target: the device, at the calibration the programs were written for.
        submitted: when, on the monotonic clock.
        pause: seconds until its status is asked for again.
        polls: how often it was asked for.
        recovered: whether an earlier run submitted it.
        waits: whether it was waiting when last asked.
        looked: when the device was last looked at while this job waited, on the monotonic clock; 0 for never.
        ahead: others' jobs that were there at the first of these looks.
        leaving: why it is being cancelled to go elsewhere, "" where it is not.
        done: whether the service said that it has a result.
    """

    batch: JobBatch
    slot: Slot
    programs: Sequence[Program]
    target: QpuTarget
    submitted: float
    pause: float = FIRST_POLL
    polls: int = 0
    recovered: bool = False
    waits: bool = False
    looked: float = 0.0
    ahead: int | None = None
    leaving: str = ""
    done: bool = False
    _seen: str = ""
    _waited_in: str = ""

    @property
    def epoch(self) -> str:
        """The calibration it was written for."""
        return self.slot.entry.epoch

    def saw(self, epoch: str) -> None:
        """This calibration was in force a moment ago, when the job was last said to be waiting."""
        self._seen = epoch

    def epochs(self, after: str) -> tuple[str, ...]:
        """Calibrations under which its shots may have been taken, oldest first.

        Args:
            after: the one in force after it ended.
        """
        if self.target.pinned:
            return (self.epoch,)
        return tuple(dict.fromkeys((self._waited_in or self.epoch, after)))

    def look(self, service: Service, read: Callable[[str], T]) -> T | None:
        """Its result, kept in the journal too, or None after a pause where it still waits or runs.

        Args:
            service: that has it.
            read: reads the text of a result; one that it calls garbled is asked for again, since it is paid for.

        Raises:
            QpuError: it has ended without a result, or cannot be asked for.
        """
        client, job = service.client, self.slot.entry.job
        kept = self.slot.kept_result()
        if kept is not None:
            try:
                return read(kept)
            except QpuError as error:
                if error.fault is not Fault.GARBLED:
                    raise
        service.check_time()
        self.polls += 1
        status = service.retry(lambda: client.task_status(job, within=max(0.1, service.left())))
        if status == "Completed":
            self.done = True

            def fetch() -> tuple[str, T]:
                text = client.result(job, within=max(1.0, service.left()))
                return text, read(text)

            text, found = service.retry(fetch)
            self.slot.keep_result(text)
            return found
        if status == "Cancelled" and self.leaving:
            raise QpuError(Fault.LEFT, client.resource.name, self.leaving)
        if status in {"Failed", "Cancelled"}:
            raise QpuError(
                Fault.FAILED, client.resource.name, f"job {job} ended as {status.lower()}{_why(client, job)}"
            )
        self.waits = status == "Queued"
        if self.waits and self._seen:
            self._waited_in = self._seen  # seen before this answer, which says that nothing had started yet
        time.sleep(max(0.0, min(self.pause, service.left())))
        self.pause = min(self.pause * POLL_GROWTH, LAST_POLL)
        return None

    def leave(self, why: str, service: Service) -> None:
        """Ask the service to cancel it; it goes on being followed, since it may have been done by then."""
        client, job = service.client, self.slot.entry.job
        try:
            if service.retry(lambda: client.task_status(job, within=max(0.1, service.left()))) != "Queued":
                return  # it has begun since it was last looked at, or ended: what runs is paid for
            service.retry(lambda: client.stop(job))
        except QpuError:
            return  # then it stays where it is
        self.leaving, self.pause = why, FIRST_POLL

    def stop(self, error: QpuError, client: QpuClient, seconds: float) -> None:
        """Its result will not be used now: cancel it where that makes sense, and forget it unless it is paid for.

        Args:
            error: why.
            client: of the service; another one of the same resource does it.
            seconds: how long that may take.
        """
        if error.fault in {Fault.TIME_LIMIT, Fault.UNAVAILABLE, Fault.GARBLED, Fault.AUTHENTICATION}:
            if self.done:
                self.slot.close()  # who tries again asks for this result again
                return
            try:
                with QpuClient(client.resource, seconds) as other:
                    other.stop(self.slot.entry.job)
            except QpuError:
                self.slot.close()  # it may still run: the next start finds it or cancels it
                return
        self.slot.drop()


def _why(client: QpuClient, job: str) -> str:
    try:
        said = " ".join(client.logs(job).split())[:200]
    except QpuError:
        return ""
    return f": {said}" if said else ""
