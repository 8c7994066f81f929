"""Jobs on a device of any kind: a simulator on a CPU or GPU, or a QPU through QRMI. Runs in a task's child process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from scheduler_policies import Device, Kind
from tasks.execution.cache.cache import OFF
from tasks.execution.cache.cost_benefit import finding_pays
from tasks.execution.cache.keys import AS_WRITTEN, Target, make_key
from tasks.execution.device_results import DeviceResults, ExecutionOptions, JobResult, numbers_since, opened_cache
from tasks.execution.errors import ExecutionError
from tasks.execution.jobs import ExactJob, FragmentJob, predicted_seconds, run_job
from tasks.execution.simulators.accelerator import accelerator
from tasks.runs.storage import pack, unpack

logger = logging.getLogger(__name__)

_SIMULATOR = "4"  # raised whenever the same job gets other counts or values: older ones are not found then
_DEFAULTS = ExecutionOptions()


def run_on_device(
    jobs: Sequence[FragmentJob],
    device: Device,
    options: ExecutionOptions = _DEFAULTS,
    keep: Callable[[JobResult], None] = lambda result: None,
) -> DeviceResults:
    """Run jobs one after the other on one unit of a device.

    Args:
        jobs: what to do.
        device: where.
        options: cache and mitigation.
        keep: told of every result as soon as it is there.

    Raises:
        QompassError: none of them could be run.
    """
    if device.kind is Kind.QPU:
        # Imported here: a run without QPUs needs no QRMI.
        from tasks.execution.on_qpu import run_on_qpu

        found = run_on_qpu(jobs, device, options)
        for result in found.results:
            keep(result)
        return found
    where = "GPU" if device.kind is Kind.GPU else "CPU"
    if where == "GPU":
        try:
            accelerator()
        except ExecutionError as error:
            raise ExecutionError(f"device {device.name}: {error}") from None
    cached = [options.cache != OFF and not job.outputs and finding_pays(predicted_seconds(job)) for job in jobs]
    before = opened_cache(options.cache).numbers() if any(cached) else {}
    results = []
    units, memory = device.units, _memory(device, options)
    for job, keeps in zip(jobs, cached, strict=True):
        if keeps:
            results.append(recalled(job, device.name, where, options.cache, units, memory))
        else:
            results.append(JobResult(job, run_job(job, device=where, threads=units, memory_bytes=memory), {}))
        keep(results[-1])
    notes = opened_cache(options.cache).notes() if any(cached) else []
    return DeviceResults(tuple(results), tuple(notes), cache=numbers_since(before, options.cache))


def _memory(device: Device, options: ExecutionOptions) -> int | None:
    """The less of what a unit of the device has and what the run may use."""
    return min((own for own in (device.memory_bytes, options.memory_bytes) if own is not None), default=None)


def recalled(
    job: FragmentJob, device: str, where: str, cache: str, units: int = 1, memory: int | None = None
) -> JobResult:
    """A job's result from the cache, or run and put there.

    An exact tensor is found by what the fragment means, where finding that out costs little beside computing it. Counts
    are found only for the same variants, shots and seed: drawing them anew costs less than what they mean.
    """
    store = opened_cache(cache)
    target = Target(f"qompass-{where}", _SIMULATOR, "statevector, complex128, legs open")
    written = ""
    if isinstance(job, ExactJob):
        key, written = store.tensor_key(job.fragment, target, predicted_seconds(job))
    else:
        key = make_key(AS_WRITTEN, [b"counts of variants", target.material, job.digest.encode()])

    def compute(indices: list[int]) -> list[np.ndarray]:
        arrays = run_job(job, device=where, threads=units, memory_bytes=memory)
        return [arrays["values"] if isinstance(job, ExactJob) else np.frombuffer(pack(arrays, {}), dtype=np.uint8)]

    about = {"device": device, "backend": f"{target.backend} {target.version}"}
    (found,) = store.arrays(
        [key], compute, provenance=about, written=[written] if written else (), seconds=predicted_seconds(job)
    )
    try:
        if found is not None:
            arrays = {"values": found.array} if isinstance(job, ExactJob) else unpack(found.array.tobytes()).arrays
            return JobResult(job, arrays, _made_by(found.origin) if found.from_cache else {})
    except Exception as error:  # whatever a file that somebody else wrote can make of itself
        logger.warning("fragment %d: what the cache holds for it cannot be read (%s)", job.fragment.index, error)
    return JobResult(job, run_job(job, device=where, threads=units, memory_bytes=memory), {})


def _made_by(origin: Mapping[str, str]) -> dict[str, str]:
    """What the record says of a result from the cache: which device had made it."""
    return {"cache": "hit", "made_by": origin.get("device", origin.get("backend", "unknown"))}


def forget_stored(device: Device, results: Sequence[Mapping[str, str]]) -> None:
    """A QPU's results, of which the record says this, are in the run's folder: nobody needs to find them again."""
    if device.kind is not Kind.QPU:
        return
    from tasks.execution.qpu.journal import Journal, default_folder

    jobs = {job for result in results for job in result.get("provider_jobs", "").split(",")}
    Journal(default_folder()).forget(device.name, jobs)
