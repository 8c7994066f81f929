"""Results of a run's jobs in its folder: what an interrupted run has left, and what is kept as it comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scheduler_policies import Device
from tasks.execution.jobs import FragmentJob, missing_shares
from tasks.execution.on_device import JobResult
from tasks.runs.record import RunDirectory
from tasks.runtime import Outcome

Results = dict[int, list[tuple[FragmentJob, dict[str, np.ndarray]]]]


def found_results(
    jobs: Sequence[FragmentJob], directory: RunDirectory
) -> tuple[Results, list[FragmentJob], list[tuple[Mapping[str, Any], FragmentJob]]]:
    """What is there already, the jobs (or parts of them) still to do, and (record, job) of what is there."""
    kept: dict[str, Any] = {key: stored for key, stored in directory.stored()}
    results: Results = {}
    todo: list[FragmentJob] = []
    ran: list[tuple[Mapping[str, Any], FragmentJob]] = []
    for job in jobs:
        own = results.setdefault(job.fragment.index, [])
        whole = job.as_exact()
        if whole.key in kept and kept[whole.key].meta.get("digest") == whole.digest:
            own.append((whole, kept[whole.key].arrays))
            ran.append((kept[whole.key].meta, whole))
            continue
        if job.exact:
            todo.append(job)
            continue
        ranges = []
        for stored in kept.values():
            meta = stored.meta
            if (meta.get("fragment"), meta.get("round")) == (job.fragment.index, job.round_index):
                part = job.share(meta["first"], meta["count"])
                if part.digest == meta["digest"]:
                    own.append((part, stored.arrays))
                    ran.append((meta, part))
                    ranges.append((meta["first"], meta["count"]))
        todo += missing_shares(job, ranges)
    return results, todo, ran


def keep(directory: RunDirectory, device: Device, result: JobResult, outcome: Outcome, batch: int) -> None:
    """Store a result with what the record says of it.

    Args:
        directory: of the run.
        device: that produced it.
        result: the job and its arrays.
        outcome: of the task that did it.
        batch: how many jobs the task did.
    """
    job = result.job
    meta: dict[str, Any] = {
        "device": device.name,
        "attempt": outcome.attempt,
        "seconds": round(outcome.seconds / batch, 6),
        "digest": job.digest,
        **result.origin,
    }
    if not job.exact:
        meta |= {
            "fragment": job.fragment.index,
            "round": job.round_index,
            "first": job.first,
            "count": len(job.variants),
            "shots": sum(job.shots),
        }
    directory.store(job.key, result.arrays, meta)
