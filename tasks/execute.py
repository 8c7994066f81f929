"""The execution tasks: a batch of fragment jobs -> their results, on whatever device the task is bound to."""

from __future__ import annotations

import numpy as np

from tasks.execution.jobs import FragmentJob, run_job
from tasks.runtime import Limits, Outcome, constraint, isolated, task


@constraint(computing_units="1")
@task(returns=1)
def execute(jobs: tuple[FragmentJob, ...], limits: Limits, attempt: int) -> Outcome:
    """Run jobs one after the other on one core; the value is one dictionary of arrays for each."""
    return isolated(run_jobs, jobs, limits=limits, device="cpu", attempt=attempt)


def run_jobs(jobs: tuple[FragmentJob, ...]) -> list[dict[str, np.ndarray]]:
    """The work itself, in a child process of the task."""
    return [run_job(job) for job in jobs]
