"""A job in a service's queue: asked for its status at growing intervals, collected, or stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.journal import Slot
from tasks.execution.qpu.packing import Batch

FIRST_POLL, LAST_POLL, POLL_GROWTH = 0.02, 5.0, 1.5

T = TypeVar("T")


class Service(Protocol):
    """A service that is asked within a run's time."""

    client: QpuClient

    def left(self) -> float:
        """Seconds until the time limit."""

    def check_time(self) -> None:
        """Raises QpuError where none is left."""

    def patiently(self, call: Callable[[], T]) -> T:
        """The call's answer, asked for again while the service cannot be reached."""


@dataclass
class Flight:
    """A job in the service's queue.

    Attributes:
        batch: its variants and shots.
        slot: its entry in the journal.
        epoch: calibration it was written for.
        submitted: when, on the monotonic clock.
        pause: seconds until its status is asked for again.
        polls: how often it was asked for.
        recovered: whether an earlier run submitted it.
    """

    batch: Batch
    slot: Slot
    epoch: str
    submitted: float
    pause: float = FIRST_POLL
    polls: int = 0
    recovered: bool = False

    def look(self, service: Service) -> str | None:
        """Its result, kept in the journal too, or None after a pause where it still waits or runs.

        Raises:
            QpuError: it has ended without a result, or cannot be asked for.
        """
        kept = self.slot.kept_result()
        if kept is not None:
            return kept
        client, job = service.client, self.slot.entry.job
        service.check_time()
        self.polls += 1
        status = service.patiently(lambda: client.task_status(job, within=max(0.1, service.left())))
        if status == "Completed":
            text = service.patiently(lambda: client.result(job, within=max(1.0, service.left())))
            self.slot.keep_result(text)
            return text
        if status in {"Failed", "Cancelled"}:
            raise QpuError(
                Fault.FAILED, client.resource.name, f"job {job} ended as {status.lower()}{_why(client, job)}"
            )
        time.sleep(max(0.0, min(self.pause, service.left())))
        self.pause = min(self.pause * POLL_GROWTH, LAST_POLL)
        return None

    def stop(self, error: QpuError, client: QpuClient, seconds: float) -> None:
        """Its result will not be used: cancel it where that makes sense, and forget it.

        Args:
            error: why.
            client: of the service; another one of the same resource does it.
            seconds: how long that may take.
        """
        if error.fault in {Fault.TIME_LIMIT, Fault.UNAVAILABLE, Fault.GARBLED, Fault.AUTHENTICATION}:
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
