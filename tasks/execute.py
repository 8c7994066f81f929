"""The execution tasks: a batch of fragment jobs -> a small report and their payload, one task for each device.

The report is what the application waits for; the payload (counts and tensors) goes from worker to worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import numpy as np

from scheduler_policies import Device, Kind
from tasks.cutting.plan import Plan
from tasks.execution.device_results import ExecutionOptions, JobResult
from tasks.execution.jobs import FragmentJob
from tasks.execution.on_device import run_on_device
from tasks.execution.pieces import Done, Piece, Report, outcome_document
from tasks.execution.run_devices import declared_devices, fidelities_of
from tasks.runs import RunRecordError, store_result
from tasks.runs.results import stored_result
from tasks.runtime import (
    IN_DELETE,
    Limits,
    Outcome,
    Ticket,
    constraint,
    contained,
    device_tasks,
    implement,
    isolated,
    task,
)

Payload = tuple[tuple[Piece, dict[str, np.ndarray]], ...]
"""The results of a task's jobs: (what was asked, arrays as ``run_job`` returns them)."""


# What an execution alone is told is deleted with it; results and what tasks share stay.
_ONCE = {"jobs": IN_DELETE, "options": IN_DELETE, "limits": IN_DELETE, "ticket": IN_DELETE}


@constraint(computing_units="1")
@task(returns=2, **_ONCE)
def execute(
    jobs: tuple[FragmentJob, ...],
    device: Device,
    options: ExecutionOptions,
    folder: str,
    limits: Limits,
    ticket: Ticket,
) -> tuple[Outcome, Payload]:
    """Run jobs one after the other on one core of whatever node is free.

    Args:
        jobs: what to do.
        device: where.
        options: cache and mitigation.
        folder: of the run; results are kept in it as they come where this process sees it.
        limits: what it may use.
        ticket: says when the task begins and has ended, and which try it is.

    Returns:
        An outcome whose value is a Report, and the payload; () where the outcome is a failure.
    """
    return _executed(jobs, device, options, folder, limits, ticket)


def execute_bound(
    jobs: tuple[FragmentJob, ...],
    device: Device,
    options: ExecutionOptions,
    folder: str,
    limits: Limits,
    ticket: Ticket,
) -> tuple[Outcome, Payload]:
    """The body of the tasks that are bound to one device's processor."""
    return _executed(jobs, device, options, folder, limits, ticket)


@constraint(processors=[{"ProcessorType": "CPU", "ComputingUnits": "1"}])
@task(returns=2, **_ONCE)
def simulate(
    jobs: tuple[FragmentJob, ...],
    device: Device,
    options: ExecutionOptions,
    folder: str,
    limits: Limits,
    ticket: Ticket,
) -> tuple[Outcome, Payload]:
    """Run jobs on whichever simulator is free first: this is how a CPU does it, a GPU's way is declared below."""
    mine = device if device.kind is Kind.CPU else _DECLARED[Kind.CPU][0]
    return _executed(jobs, mine, options, folder, limits, ticket)


@constraint(computing_units="1")
@task(returns=1, ticket=IN_DELETE)
def fidelities(plan: Plan, devices: list[Device], mitigation: str, ticket: Ticket) -> Outcome:
    """What to expect of QPUs: the value is, for a fragment, (QPU, fidelity along its transpiled circuit)."""
    with ticket.held():
        return contained(fidelities_of, plan, devices, mitigation)


def _executed(
    jobs: tuple[FragmentJob, ...],
    device: Device,
    options: ExecutionOptions,
    folder: str,
    limits: Limits,
    ticket: Ticket,
) -> tuple[Outcome, Payload]:
    with ticket.held():
        outcome = isolated(
            run_jobs, jobs, device, options, folder, ticket.attempt,
            limits=limits, device=device.name, attempt=ticket.attempt,
        )  # fmt: skip
        payload: Payload = ()
        if outcome.failure is None:
            report, payload = outcome.value
            outcome = replace(outcome, value=report)
        ticket.end(outcome_document(outcome))
    return outcome, payload


def run_jobs(
    jobs: tuple[FragmentJob, ...], device: Device, options: ExecutionOptions, folder: str, attempt: int
) -> tuple[Report, Payload]:
    """The work itself, in a child process of the task: every result is on disk before the next is begun."""
    shared = Path(folder).is_dir()
    done: list[Done] = []
    payload = []
    left = []

    def put(piece: Piece, key: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        stored = shared
        try:
            if shared:
                meta["sha256"] = store_result(Path(folder), key, arrays, meta)
        except RunRecordError:
            stored = False  # what was paid for is not lost with it: the application tries, and says why it cannot
        done.append(Done(piece, key, meta, stored))
        payload.append((piece, arrays))

    def put_same(job: FragmentJob, arrays: dict[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        for other in job.fragments[1:]:
            told = {name: value for name, value in meta.items() if name != "sha256"}
            same = {**told, "seconds": 0.0, "same_as": job.fragment.index}
            put(Piece(other), job.as_exact().key_of(other), arrays, same)

    for job in jobs:
        stored = stored_result(Path(folder), job.key) if shared else None
        if stored is None or stored.meta.get("digest") != job.digest:
            left.append(job)
        else:  # an engine runs a task again whose worker died after it; what was paid for is not paid for twice
            done.append(Done(job.piece, job.key, stored.meta, True))
            payload.append((job.piece, stored.arrays))
            put_same(job, stored.arrays, stored.meta)
    if not left:
        return Report(tuple(done)), tuple(payload)
    began = time.perf_counter()

    def keep(result: JobResult) -> None:
        nonlocal began
        job, ended = result.job, time.perf_counter()
        meta = {
            "device": device.name,
            "attempt": attempt,
            "seconds": round(ended - began, 6),
            "digest": job.digest,
            **result.origin,
        }
        piece = job.piece
        if not piece.exact:
            meta |= {
                "fragment": piece.fragment,
                "round": piece.round_index,
                "first": piece.first,
                "count": piece.count,
                "shots": sum(piece.shots),
            }
        put(piece, job.key, result.arrays, meta)
        put_same(job, result.arrays, meta)
        began = ended

    found = run_on_device(left, device, options, keep)
    size = sum(array.nbytes for _, arrays in payload for array in arrays.values())
    said = found.notes, found.failure, found.left, found.waited, found.cache
    return Report(tuple(done), *said, size, found.readout_shots, found.jobs), tuple(payload)


# COMPSs workers find a task by its name in this module, so the tasks of all declared devices are made on import.
_BODY = cast(FunctionType, execute_bound)
_devices = declared_devices()
_bound: dict[str, Callable[..., Any]] = device_tasks(_BODY, _devices, globals(), returns=2, **_ONCE)
_DECLARED = {kind: [device for device in _devices if device.kind is kind] for kind in Kind}

if _DECLARED[Kind.CPU] and _DECLARED[Kind.GPU]:
    _GPU = _DECLARED[Kind.GPU][0]

    @implement(source_class="tasks.execute", method="simulate")
    @constraint(processors=[{"ProcessorType": "GPU", "ProcessorName": _GPU.processor, "ComputingUnits": "1"}])
    @task(returns=2, **_ONCE)
    def simulate_on_gpu(
        jobs: tuple[FragmentJob, ...],
        device: Device,
        options: ExecutionOptions,
        folder: str,
        limits: Limits,
        ticket: Ticket,
    ) -> tuple[Outcome, Payload]:
        """The GPU's way of ``simulate``."""
        return _executed(jobs, _GPU, options, folder, limits, ticket)


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
        _bound.update(device_tasks(_BODY, [device], globals(), returns=2, **_ONCE))
    return _bound[device.name]
