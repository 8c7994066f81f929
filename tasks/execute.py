"""The execution tasks: a batch of fragment jobs -> their results, one task for each device of the run."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

from scheduler_policies import Device, Kind
from tasks.execution.jobs import FragmentJob
from tasks.execution.on_device import DeviceResults, How, run_on_device
from tasks.execution.run_devices import declared_devices
from tasks.runtime import Limits, Outcome, constraint, device_tasks, implement, isolated, task


@constraint(computing_units="1")
@task(returns=1)
def execute(jobs: tuple[FragmentJob, ...], device: Device, how: How, limits: Limits, attempt: int) -> Outcome:
    """Run jobs one after the other on one core of whatever node is free; the value is a DeviceResults."""
    return isolated(run_jobs, jobs, device, how, limits=limits, device=device.name, attempt=attempt)


def execute_bound(jobs: tuple[FragmentJob, ...], device: Device, how: How, limits: Limits, attempt: int) -> Outcome:
    """The body of the tasks that are bound to one device's processor."""
    return isolated(run_jobs, jobs, device, how, limits=limits, device=device.name, attempt=attempt)


@constraint(processors=[{"ProcessorType": "CPU", "ComputingUnits": "1"}])
@task(returns=1)
def simulate(jobs: tuple[FragmentJob, ...], device: Device, how: How, limits: Limits, attempt: int) -> Outcome:
    """Run jobs on whichever simulator is free first: this is how a CPU does it, a GPU's way is declared below."""
    mine = device if device.kind is Kind.CPU else _DECLARED[Kind.CPU][0]
    return isolated(run_jobs, jobs, mine, how, limits=limits, device=mine.name, attempt=attempt)


def run_jobs(jobs: tuple[FragmentJob, ...], device: Device, how: How) -> DeviceResults:
    """The work itself, in a child process of the task."""
    return run_on_device(jobs, device, how)


# COMPSs workers find a task by its name in this module, so the tasks of all declared devices are made on import.
_BODY = cast(FunctionType, execute_bound)
_devices = declared_devices()
_bound: dict[str, Callable[..., Any]] = device_tasks(_BODY, _devices, globals(), returns=1)
_DECLARED = {kind: [device for device in _devices if device.kind is kind] for kind in Kind}

if _DECLARED[Kind.CPU] and _DECLARED[Kind.GPU]:
    _GPU = _DECLARED[Kind.GPU][0]

    @implement(source_class="tasks.execute", method="simulate")
    @constraint(processors=[{"ProcessorType": "GPU", "ProcessorName": _GPU.processor, "ComputingUnits": "1"}])
    @task(returns=1)
    def simulate_on_gpu(
        jobs: tuple[FragmentJob, ...], device: Device, how: How, limits: Limits, attempt: int
    ) -> Outcome:
        """The GPU's way of ``simulate``."""
        return isolated(run_jobs, jobs, _GPU, how, limits=limits, device=_GPU.name, attempt=attempt)


def execute_on(device: Device, *, late: bool = False) -> Callable[..., Any]:
    """The task that runs jobs on a device: bound to its processor if it names one, else to any core.

    Args:
        device: the device.
        late: let the runtime choose between CPUs and GPUs when a unit is free, where both are declared.
    """
    if late and device.exact and _DECLARED[Kind.CPU] and _DECLARED[Kind.GPU]:
        return simulate
    if not device.processor:
        return execute
    if device.name not in _bound:
        _bound.update(device_tasks(_BODY, [device], globals(), returns=1))
    return _bound[device.name]
