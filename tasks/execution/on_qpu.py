"""Jobs on a QPU through QRMI: their variants as circuits with shots and streams, and counts back as results of jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby

from scheduler_policies import Device
from tasks.cutting.variants import VariantBuilder
from tasks.execution.device_results import DeviceResults, ExecutionOptions, JobResult, numbers_since, opened_cache
from tasks.execution.errors import ExecutionError
from tasks.execution.jobs import ExactJob, FragmentJob, SampledJob
from tasks.execution.leases import lease
from tasks.execution.mitigation.extrapolation import mitigation_of, run_mitigated
from tasks.execution.packed_counts import pack_counts
from tasks.execution.qpu import (
    CircuitRequest,
    CircuitResult,
    Fault,
    QpuError,
    QpuOptions,
    QpuRun,
    QueueMonitor,
    qpu_resource,
)


def run_on_qpu(jobs: Sequence[FragmentJob], device: Device, options: ExecutionOptions) -> DeviceResults:
    """Run sampled jobs on one unit of a QPU, all their variants together.

    Raises:
        ExecutionError: a job asks for an exact tensor.
        QpuError: none of them could be run, and this device will never take them.
        LeaseError: its units cannot be shared out.
    """
    sampled = [_sampled(job, device) for job in jobs]
    requests = [request for job in sampled for request in _requests(job, device)]
    cache = opened_cache(options.cache)
    before = cache.numbers()
    waited = 0.0
    held = options.held.get(device.name)

    @contextmanager
    def reserve() -> Iterator[None]:
        nonlocal waited
        began = time.monotonic()
        with lease(device.name, device.units) if held is None else lease(held.queue, held.units):
            waited += time.monotonic() - began
            yield

    asked = QpuOptions(
        run=options.run,
        monitor=None if options.placed is None else QueueMonitor(device, options.placed),
        cache=cache if cache.flight is not None else None,
        share_meaning=options.share_meaning,
        reserve=reserve,
    )
    try:
        resource = qpu_resource(device.name)
        resource = resource if held is None else held.within(resource)
        run = run_mitigated(resource, requests, mitigation_of(options.mitigation), asked)
    except QpuError as error:
        if error.fault.again:
            return DeviceResults((), failure=str(error), waited=waited)
        raise  # the same device will never take this work
    done = _job_results(sampled, run, options.mitigation)
    left = [error for error in run.failures if error.fault is Fault.LEFT]
    failed = [error for error in run.failures if error.fault is not Fault.LEFT]
    readout_shots = 0 if done else run.readout_shots  # else the first result bears them
    if failed and not done and not readout_shots and not any(error.fault.again for error in failed):
        raise failed[0]
    return DeviceResults(
        tuple(done),
        (*run.notes, *cache.notes()),
        failure=str(failed[0]) if failed else "",
        left=str(left[0]) if left and not failed else "",
        waited=waited + run.waited,
        cache=numbers_since(before, options.cache),
        readout_shots=readout_shots,
        jobs={record.job: (record.shots, record.unwanted) for record in run.jobs},
    )


def _sampled(job: FragmentJob, device: Device) -> SampledJob:
    if isinstance(job, ExactJob):
        raise ExecutionError(f"fragment {job.fragment.index}: {device.name} is a QPU and cannot give exact tensors")
    return job


def _requests(job: SampledJob, device: Device) -> list[CircuitRequest]:
    builder = VariantBuilder(job.fragment, job.schemes, defer=_must_defer(job, device))
    return [
        CircuitRequest(builder.circuit(variant), shots, stream)
        for variant, shots, stream in zip(job.variants, job.shots, job.streams, strict=True)
    ]


def _job_results(jobs: Sequence[SampledJob], run: QpuRun, mitigation: str) -> list[JobResult]:
    """For each job its stretches of variants that have counts."""
    origin = {
        "provider_jobs": ",".join(record.job for record in run.jobs),
        "provider_shots": ",".join(str(record.shots) for record in run.jobs),
        "calibration": run.target.epoch if run.target else "",
        "mitigation": mitigation,
    }
    once = {"readout_shots": str(run.readout_shots)} if run.readout_shots else {}
    done: list[JobResult] = []
    results = iter(run.results)
    for job in jobs:
        own = [(job.first + place, next(results)) for place in range(len(job.variants))]
        for counted, group in groupby(own, key=lambda pair: pair[1].counts is not None):
            stretch = list(group)
            if counted:
                counts = [result.counts for _, result in stretch if result.counts is not None]
                told = origin | _from_cache([result for _, result in stretch]) | once
                once = {}  # the first result bears what all share
                done.append(JobResult(job.share(stretch[0][0], len(stretch)), pack_counts(counts), told))
    return done


def _from_cache(results: Sequence[CircuitResult]) -> dict[str, str]:
    """What the record says of variants some of which came from the cache: how many, and who had measured them."""
    held: list[Mapping[str, str]] = [result.origin for result in results if result.origin]
    if not held:
        return {}
    told = {
        name: ",".join(sorted({part for o in held for part in o.get(field, "").split(",") if part}))
        for name, field in (("made_by", "device"), ("made_in_jobs", "provider_jobs"))
    }
    return {"cache": "hit" if len(held) == len(results) else f"{len(held)} of {len(results)} variants", **told}


def _must_defer(job: FragmentJob, device: Device) -> bool:
    """Whether bits read in mid-circuit go to ancillas: where there is room (no replay, no reset), or no other way."""
    ancillas = sum(leg.kind.measures_midway + leg.kind.ancillas for leg in job.fragment.legs)
    room = device.qubits is None or job.fragment.num_qubits + ancillas <= device.qubits
    return room or not device.limits.mid_circuit_measurement
