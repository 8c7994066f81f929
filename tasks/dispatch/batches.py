"""Placed jobs in tasks that are worth their overhead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scheduler_policies import Device
from tasks.execution.jobs import FragmentJob, deal_job, predicted_seconds, split_job
from tasks.runtime import engine_info
from tasks.runtime.batching import batches

PART_SECONDS = 1.0  # a sampled job longer than this on a simulator is split, so that its parts run side by side
JOBS_A_TASK = 4  # provider jobs that one task on a QPU submits: what is lost at most when it dies


def parts_of(device: Device, job: FragmentJob) -> list[FragmentJob]:
    """A job in parts that a device does side by side, or that one task on a QPU submits."""
    if device.exact:
        return split_job(job, PART_SECONDS)
    most = device.limits.circuits_per_job
    return [job] if most is None else deal_job(job, -(-len(job.variants) // (most * JOBS_A_TASK)))


def tasks_of(placed: Sequence[tuple[Device, FragmentJob]]) -> Iterator[tuple[Device, tuple[FragmentJob, ...]]]:
    """Jobs in tasks: on a QPU all of a device's together, else the longest first."""
    by_device: dict[str, list[FragmentJob]] = {}
    devices = {device.name: device for device, _ in placed}
    for device, job in placed:
        by_device.setdefault(device.name, []).append(job)
    for name, jobs in by_device.items():
        device = devices[name]
        if not device.exact:
            most = (device.limits.circuits_per_job or 1 << 30) * JOBS_A_TASK
            yield from ((device, batch) for batch in _filled(jobs, [float(len(j.variants)) for j in jobs], float(most)))
            continue
        seconds = [predicted_seconds(job) for job in jobs]
        for members in batches(seconds, engine_info().overhead_s, device.units):
            yield device, tuple(jobs[member] for member in members)


def _filled(jobs: Sequence[FragmentJob], sizes: Sequence[float], room: float) -> Iterator[tuple[FragmentJob, ...]]:
    batch: list[FragmentJob] = []
    used = 0.0
    for job, size in zip(jobs, sizes, strict=True):
        if batch and used + size > room:
            yield tuple(batch)
            batch, used = [], 0.0
        batch.append(job)
        used += size
    if batch:
        yield tuple(batch)
