"""Jobs on a device of any kind: a simulator on a CPU or GPU, or a QPU through QRMI. Runs in a task's child process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from qiskit import QuantumCircuit

from scheduler_policies import Device, Kind
from tasks.cutting.variants import VariantBuilder
from tasks.execution.errors import ExecutionError
from tasks.execution.jobs import FragmentJob, pack_counts, run_job


@dataclass(frozen=True)
class JobResult:
    """A job, or the part of it that was done, and its arrays.

    Attributes:
        job: what was done.
        arrays: as ``run_job`` returns them.
        origin: what the record says beside the device: provider job ids, calibration epoch.
    """

    job: FragmentJob
    arrays: dict[str, np.ndarray]
    origin: dict[str, str]


@dataclass(frozen=True)
class DeviceResults:
    """What came of a batch of jobs.

    Attributes:
        results: what was done; parts of a sampled job that failed are missing.
        notes: sentences for the record.
        failure: why something is missing, "" where nothing is.
    """

    results: tuple[JobResult, ...]
    notes: tuple[str, ...] = ()
    failure: str = ""


def run_on_device(jobs: Sequence[FragmentJob], device: Device) -> DeviceResults:
    """Run jobs one after the other on one unit of a device.

    Raises:
        QompassError: none of them could be run.
    """
    if device.kind is Kind.QPU:
        return _run_on_qpu(jobs, device)
    aer = "GPU" if device.kind is Kind.GPU else "CPU"
    return DeviceResults(tuple(JobResult(job, run_job(job, device=aer), {}) for job in jobs))


def _run_on_qpu(jobs: Sequence[FragmentJob], device: Device) -> DeviceResults:
    # Imported here: a run without QPUs needs no QRMI.
    from tasks.execution.qpu import qpu_resource, run_variants

    circuits: list[QuantumCircuit] = []
    shots: list[int] = []
    owners: list[tuple[int, int]] = []
    for number, job in enumerate(jobs):
        if job.exact:
            raise ExecutionError(f"fragment {job.fragment.index}: {device.name} is a QPU and cannot give exact tensors")
        builder = VariantBuilder(job.fragment, job.schemes, defer=_must_defer(job, device))
        circuits += [builder.circuit(variant) for variant in job.variants]
        shots += job.shots
        owners += [(number, place) for place in range(len(job.variants))]
    run = run_variants(qpu_resource(device.name), circuits, shots)
    done: list[JobResult] = []
    origin = {
        "provider_jobs": ",".join(record.job for record in run.jobs),
        "calibration": run.target.epoch if run.target else "",
    }
    counts = [[run.counts[i] for i, (owner, _) in enumerate(owners) if owner == number] for number in range(len(jobs))]
    for job, found in zip(jobs, counts, strict=True):
        start = 0
        while start < len(found):
            stop = start
            while stop < len(found) and found[stop] is not None:
                stop += 1
            if stop > start:
                part = job.share(job.first + start, stop - start)
                kept = [c for c in found[start:stop] if c is not None]
                done.append(JobResult(part, pack_counts(kept), origin))
            start = max(stop, start + 1)
    failure = str(next(iter(run.failures.values()))) if run.failures else ""
    if failure and not done:
        raise next(iter(run.failures.values()))
    return DeviceResults(tuple(done), tuple(run.notes), failure)


def _must_defer(job: FragmentJob, device: Device) -> bool:
    """Whether bits read in mid-circuit go to ancillas: where there is room (no replay, no reset), or no other way."""
    midway = sum(leg.kind == "gate" for leg in job.fragment.legs)
    room = device.qubits is None or job.fragment.num_qubits + midway <= device.qubits
    return room or not device.limits.mid_circuit_measurement
