"""Jobs on a device of any kind: a simulator on a CPU or GPU, or a QPU through QRMI. Runs in a task's child process."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version

import numpy as np
from qiskit import QuantumCircuit

from scheduler_policies import Device, DeviceState, Kind
from tasks.cutting.variants import VariantBuilder
from tasks.execution.cache.cache import OFF, Cache, open_cache
from tasks.execution.cache.keys import AS_WRITTEN, Target, make_key
from tasks.execution.errors import ExecutionError
from tasks.execution.jobs import FragmentJob, pack_counts, predicted_seconds, run_job
from tasks.runs.storage import pack, unpack

logger = logging.getLogger(__name__)

_WORTH_SECONDS = 0.01  # less than this is run again sooner than it is found


@dataclass(frozen=True)
class How:
    """What a run says about its jobs on any device.

    Attributes:
        cache: where results of earlier runs are kept (``--cache``), or "off".
        mitigation: what is done against the errors of QPUs (``mitigation_of``).
        placed: how a QPU did when the jobs were placed on it; they leave its queue when that got too bad to wait on
            (``scheduler_policies.why_leave``). None: they stay.
        share_meaning: on QPUs, also use stored counts of circuits that are equal only in the ideal.
        run: names the run, also when it is resumed; two runs never share a QPU's shots except through the cache.
    """

    cache: str = OFF
    mitigation: str = "none"
    placed: DeviceState | None = None
    share_meaning: bool = False
    run: str = ""


@dataclass(frozen=True)
class JobResult:
    """A job, or the part of it that was done, and its arrays.

    Attributes:
        job: what was done.
        arrays: as ``run_job`` returns them.
        origin: what the record says beside the device: provider job ids, calibration epoch, what the cache gave.
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
        failure: why something is missing, "" where nothing is or all that is has left.
        left: why what is missing was taken back before it started, "" where it was not.
        waited: seconds spent waiting, for a unit of the device and in its queue.
        cache: what the cache did for them (``Cache.numbers``).
    """

    results: tuple[JobResult, ...]
    notes: tuple[str, ...] = ()
    failure: str = ""
    left: str = ""
    waited: float = 0.0
    cache: Mapping[str, float] = field(default_factory=dict)


def run_on_device(
    jobs: Sequence[FragmentJob],
    device: Device,
    how: How = How(),
    keep: Callable[[JobResult], None] = lambda result: None,
) -> DeviceResults:
    """Run jobs one after the other on one unit of a device.

    Args:
        jobs: what to do.
        device: where.
        how: cache and mitigation.
        keep: told of every result as soon as it is there.

    Raises:
        QompassError: none of them could be run.
    """
    if device.kind is Kind.QPU:
        found = _run_on_qpu(jobs, device, how)
        for result in found.results:
            keep(result)
        return found
    aer = "GPU" if device.kind is Kind.GPU else "CPU"
    worth = [how.cache != OFF and predicted_seconds(job) >= _WORTH_SECONDS for job in jobs]
    before = _opened(how.cache).numbers() if any(worth) else {}
    results = []
    for job, cached in zip(jobs, worth, strict=True):
        if cached:
            results.append(recalled(job, device.name, aer, how.cache))
        else:
            results.append(JobResult(job, run_job(job, device=aer), {}))
        keep(results[-1])
    notes = _opened(how.cache).notes() if any(worth) else []
    return DeviceResults(tuple(results), tuple(notes), cache=_since(before, how.cache))


def recalled(job: FragmentJob, device: str, aer: str, cache: str) -> JobResult:
    """A job's result from the cache, or run and put there.

    An exact tensor is found by what the fragment means, where finding that out costs little beside computing it. Counts
    are found only for the same variants, shots and seed: drawing them anew costs less than what they mean.
    """
    store = _opened(cache)
    target = Target(f"aer-{aer}", version("qiskit-aer"), "statevector, complex128, legs open")
    written = ""
    if job.exact:
        key, written = store.tensor_key(job.fragment, target, predicted_seconds(job))
    else:
        key = make_key(AS_WRITTEN, [b"counts of variants", target.digest_material(), job.digest.encode()])

    def compute(indices: list[int]) -> list[np.ndarray]:
        arrays = run_job(job, device=aer)
        return [arrays["values"] if job.exact else np.frombuffer(pack(arrays, {}), dtype=np.uint8)]

    about = {"device": device, "backend": f"{target.backend} {target.version}"}
    (found,) = store.arrays([key], compute, provenance=about, written=[written] if written else ())
    try:
        if found is not None:
            arrays = {"values": found.array} if job.exact else unpack(found.array.tobytes()).arrays
            return JobResult(job, arrays, _made_by(found.origin) if found.from_cache else {})
    except Exception as error:  # whatever a file that somebody else wrote can make of itself
        logger.warning("fragment %d: what the cache holds for it cannot be read (%s)", job.fragment.index, error)
    return JobResult(job, run_job(job, device=aer), {})


def _made_by(origin: Mapping[str, str]) -> dict[str, str]:
    """What the record says of a result from the cache: which device had made it."""
    return {"cache": "hit", "made_by": origin.get("device", origin.get("backend", "unknown"))}


def _since(before: Mapping[str, float], cache: str) -> dict[str, float]:
    """What this process's cache did since then: the process lives on from task to task."""
    return {name: number - before[name] for name, number in _opened(cache).numbers().items()} if before else {}


@lru_cache(maxsize=4)
def _opened(cache: str) -> Cache:
    return open_cache(cache)


def _run_on_qpu(jobs: Sequence[FragmentJob], device: Device, how: How) -> DeviceResults:
    # Imported here: a run without QPUs needs no QRMI.
    from tasks.execution.leases import lease
    from tasks.execution.mitigation.extrapolation import mitigation_of, run_mitigated
    from tasks.execution.qpu import Fault, QpuError, QpuOptions, Watch, qpu_resource

    watch = None if how.placed is None else Watch(device, how.placed)
    circuits: list[QuantumCircuit] = []
    shots: list[int] = []
    owners: list[tuple[int, int]] = []
    streams: list[str] = []
    for number, job in enumerate(jobs):
        if job.exact:
            raise ExecutionError(f"fragment {job.fragment.index}: {device.name} is a QPU and cannot give exact tensors")
        builder = VariantBuilder(job.fragment, job.schemes, defer=_must_defer(job, device))
        circuits += [builder.circuit(variant) for variant in job.variants]
        shots += job.shots
        owners += [(number, place) for place in range(len(job.variants))]
        streams += job.streams
    # Shots that a task collected and lost are its own: the same run's, for the same work with the same seed and round.
    work = hashlib.sha256("".join(job.digest for job in jobs).encode()).hexdigest()[:16]
    resource = qpu_resource(device.name)
    store = _opened(how.cache)
    before = store.numbers()
    waited = 0.0

    @contextmanager
    def reserve() -> Iterator[None]:
        nonlocal waited
        began = time.monotonic()
        with lease(device.name, device.units):
            waited += time.monotonic() - began
            yield

    options = QpuOptions(
        run=f"{how.run}/{work}" if how.run else "",
        watch=watch,
        cache=store if store.flight is not None else None,
        streams=tuple(streams),
        share_meaning=how.share_meaning,
        reserve=reserve,
    )
    try:
        run = run_mitigated(resource, circuits, shots, mitigation_of(how.mitigation), options)
    except QpuError as error:
        if error.fault.again:
            return DeviceResults((), failure=str(error), waited=waited)
        raise  # the same device will never take this work
    done: list[JobResult] = []
    origin = {
        "provider_jobs": ",".join(record.job for record in run.jobs),
        "calibration": run.target.epoch if run.target else "",
        "mitigation": how.mitigation,
    }
    counts = [[run.counts[i] for i, (owner, _) in enumerate(owners) if owner == number] for number in range(len(jobs))]
    for number, (job, found) in enumerate(zip(jobs, counts, strict=True)):
        start = 0
        while start < len(found):
            stop = start
            while stop < len(found) and found[stop] is not None:
                stop += 1
            if stop > start:
                part = job.share(job.first + start, stop - start)
                kept = [c for c in found[start:stop] if c is not None]
                first = owners.index((number, start))
                told = origin | _told(run.origins[first : first + stop - start])
                done.append(JobResult(part, pack_counts(kept), told))
            start = max(stop, start + 1)
    waited += run.waited
    failed = [error for error in run.failures.values() if error.fault is not Fault.LEFT]
    if failed and not done and not any(error.fault.again for error in failed):
        raise failed[0]
    failure = str(failed[0]) if failed else ""
    left = str(next(iter(run.failures.values()))) if run.failures and not failed else ""
    notes = (*run.notes, *store.notes())
    return DeviceResults(tuple(done), notes, failure, left, waited, _since(before, how.cache))


def forget_stored(device: Device, results: Sequence[Mapping[str, str]]) -> None:
    """A QPU's results, of which the record says this, are in the run's folder: nobody needs to find them again."""
    if device.kind is not Kind.QPU:
        return
    from tasks.execution.qpu.journal import Journal, default_folder

    jobs = {job for result in results for job in result.get("provider_jobs", "").split(",")}
    Journal(default_folder()).forget(device.name, jobs)


def _told(origins: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What the record says of variants some of which came from the cache: how many, and who had measured them."""
    held = [origin for origin in origins if origin]
    if not held:
        return {}
    told = {
        name: ",".join(sorted({part for o in held for part in o.get(field, "").split(",") if part}))
        for name, field in (("made_by", "device"), ("made_in_jobs", "provider_jobs"))
    }
    return {"cache": "hit" if len(held) == len(origins) else f"{len(held)} of {len(origins)} variants", **told}


def _must_defer(job: FragmentJob, device: Device) -> bool:
    """Whether bits read in mid-circuit go to ancillas: where there is room (no replay, no reset), or no other way."""
    ancillas = sum(leg.kind.measures_midway + leg.kind.ancillas for leg in job.fragment.legs)
    room = device.qubits is None or job.fragment.num_qubits + ancillas <= device.qubits
    return room or not device.limits.mid_circuit_measurement
