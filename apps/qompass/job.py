"""The handle of a primitive's run: an answer that is on its way."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from qiskit.primitives import BasePrimitiveJob, PrimitiveResult
from qiskit.providers import JobError, JobStatus
from qiskit.providers.jobstatus import JOB_FINAL_STATES

from tasks.runs.naming import new_name


class JobCancelled(KeyboardInterrupt):
    """The job was cancelled: what it has stored is kept as an interrupted run."""


class QompassJob(BasePrimitiveJob[PrimitiveResult, JobStatus]):
    """A primitive's run, which goes on in a thread of its own.

    ``job_id()`` is the name of the run's folder where one is kept (``out=``): ``qompass resume ID --out DIR`` finishes
    it after a crash.

    Args:
        job_id: unique.
        work: makes the result; it is given a function that raises ``JobCancelled`` once the job is cancelled.
        executor: where it runs; None for a thread of its own.
    """

    def __init__(
        self, job_id: str, work: Callable[[Callable[[], None]], PrimitiveResult], executor: Executor | None = None
    ) -> None:
        super().__init__(job_id)
        self._stop = threading.Event()
        self._future: Future[PrimitiveResult] | None = None
        self._ended: tuple[JobStatus, PrimitiveResult | None] | None = None
        if executor is not None:
            self._future = executor.submit(work, self._go_on)
        else:
            own = ThreadPoolExecutor(max_workers=1, thread_name_prefix="qompass")
            self._future = own.submit(work, self._go_on)
            own.shutdown(wait=False)

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise JobCancelled(f"job {self.job_id()} was cancelled")

    def __getstate__(self) -> dict[str, Any]:
        """A job that has ended can be pickled; one that has not is waited for."""
        result = self.result()
        return {"_job_id": self._job_id, "metadata": self.metadata, "_ended": (self.status(), result)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _future=None, _stop=threading.Event())

    def result(self) -> PrimitiveResult:
        """Wait for the answer.

        Raises:
            JobError: the job was cancelled.
            QompassError: it failed; the message is one line that says what to do.
        """
        if self._future is None:
            assert self._ended is not None and self._ended[1] is not None
            return self._ended[1]
        if self._future.cancelled():
            raise JobError(f"job {self.job_id()} was cancelled: it has no result")
        try:
            return self._future.result()
        except JobCancelled as cancelled:
            raise JobError(f"job {self.job_id()} was cancelled: it has no result") from cancelled

    def status(self) -> JobStatus:
        """Where the job is, without waiting."""
        future = self._future
        if future is None:
            assert self._ended is not None
            return self._ended[0]
        if future.cancelled():
            return JobStatus.CANCELLED
        if not future.done():
            return JobStatus.RUNNING if future.running() else JobStatus.QUEUED
        error = future.exception()
        if error is None:
            return JobStatus.DONE
        return JobStatus.CANCELLED if isinstance(error, JobCancelled) else JobStatus.ERROR

    def cancel(self) -> bool:
        """Stop the job before its next step.

        Returns:
            whether there was something left to stop.

        Raises:
            JobError: it was cancelled before.
        """
        if self._stop.is_set():
            raise JobError(f"job {self.job_id()} was cancelled already")
        if self.in_final_state():
            return False
        self._stop.set()
        assert self._future is not None
        self._future.cancel()
        return True

    def done(self) -> bool:
        """Whether it has ended well."""
        return self.status() == JobStatus.DONE

    def running(self) -> bool:
        """Whether it is being worked on."""
        return self.status() == JobStatus.RUNNING

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.status() == JobStatus.CANCELLED

    def in_final_state(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.status() in JOB_FINAL_STATES


def new_id() -> str:
    """A name for a job, made as runs are named."""
    return new_name(datetime.datetime.now().astimezone())
