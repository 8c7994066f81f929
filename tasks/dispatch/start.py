"""From a problem to a driver: devices, engine, plan, and what is known of the fragments before the first is run."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import EntryPoints, entry_points
from itertools import count
from typing import Any

import numpy as np

from resources_xml import units_of
from scheduler_policies import POLICIES, POLICY_GROUP, Device, Goal, Kind, Policy, find_policy
from tasks.cut import asked_of_plan, cut, readouts_due
from tasks.cutting import Plan, with_known_error
from tasks.cutting.cuts import cuts_from
from tasks.cutting.document import plan_document
from tasks.dispatch.driver import Driver
from tasks.dispatch.errors import value_of
from tasks.dispatch.events import work_ended
from tasks.dispatch.pool import Pool
from tasks.execute import fidelities
from tasks.execution.cache.stores.registry import check_place
from tasks.execution.device_results import ExecutionOptions
from tasks.execution.held import held_qpus
from tasks.execution.run_devices import devices_brought, run_devices, state_of
from tasks.execution.works import noise_shares, works_of
from tasks.forecast import forecast, refuse_exact_without_simulator
from tasks.model.problem import Problem
from tasks.model.progress import Progress
from tasks.options import Options, plan_limits
from tasks.prediction import done_here
from tasks.runs import RunDirectory
from tasks.runtime import Reason, RetryPolicy, inline, prepare_engine, shared_engine, tickets_in, units_now, wait_on
from tasks.runtime.machine import usable_cores
from tasks.tensors import tensor

logger = logging.getLogger(__name__)

_SURELY_LARGE_QUBITS = 30  # circuits that take longer to run than an engine to start
_FORECAST = 0.03  # of a run's seconds, predicting its errors may take
_RUNS = count()  # of this process: the first has waited for all that a process loads


@contextlib.contextmanager
def started(
    problem: Problem,
    options: Options,
    directory: RunDirectory,
    shown: Progress,
    fan_in: Callable[..., Any] = tensor,
    *,
    driver: Callable[..., Driver] = Driver,
    choose: Callable[[list[Device]], list[Device]] = list,
) -> Iterator[Driver]:
    """What runs a problem's fragments, as long as the block lasts.

    Args:
        problem: the problem.
        options: how to run it.
        directory: of the run.
        shown: where progress is shown.
        fan_in: the task that makes one value of all results of a fragment.
        driver: makes the driver: its class, or what takes the same arguments.
        choose: which of the run's devices to use.

    Raises:
        QompassError: there is no plan, or what the options name cannot be used.
    """
    check_place(options.cache)
    trouble: dict[str, str] = {}
    devices = choose(run_devices(options.resources, trouble))
    refuse_exact_without_simulator(options, devices)
    with contextlib.ExitStack() as stack:
        units = units_of(devices)
        run = str(directory.record["run"])
        info = stack.enter_context(shared_engine(options.engine, units=units, scheduler=options.scheduler, run=run))
        if options.scheduler and "CPU" in info.units:
            # Without a resources file the cores are those of the cluster.
            devices = [
                d if d.processor or d.kind is not Kind.CPU else replace(d, units=info.units["CPU"]) for d in devices
            ]
        devices = _with_units(devices, units_now(), directory)
        used = {own.name: {"kind": own.kind.value, "units": own.units, **_calibrated(own)} for own in devices}
        engine = {"name": info.name, "version": info.version} | ({"logs": info.logs} if info.logs else {})
        directory.update(engine=engine, devices=used)
        with directory.timing("cut"), shown.stage("cut", 1) as step:
            readouts = readouts_due(devices, options.mitigation) if options.sampled else {}
            plan = _planned(problem, options, directory, devices, readouts)
            step.advance()
        stack.enter_context(inline(_small(plan, options, devices)))
        known = None
        choice = len(devices) > 1 or options.budget is not None or options.scheduler
        if options.sampled and choice and any(device.kind is Kind.QPU for device in devices):
            with contextlib.closing(tickets_in(directory.path)) as tickets:
                ticket = tickets.next()
                outcome = wait_on(fidelities(plan, devices, options.mitigation, ticket), ticket)
            work_ended(directory, outcome)
            known = value_of(outcome, "the QPUs' fidelities")
        made = driver(
            plan,
            Pool(
                devices,
                _policy(options.policy),
                Goal(options.target_error, options.budget, options.cheapest),
                units=usable_cores(),
                readouts=readouts,
            ),
            works_of(plan, 1, fidelities=known, shares=noise_shares(devices, options.mitigation)),
            directory,
            float(np.sqrt((problem.terms.coefficients.data**2).sum())),
            ExecutionOptions(
                options.cache,
                options.mitigation,
                share_meaning=options.share_meaning,
                held=held_qpus(),
                memory_bytes=options.room,
                run=run,
            ),
            partial(state_of, trouble=trouble),
            fan_in,
            trouble,
            partial(devices_brought, info.units, trouble=trouble) if options.scheduler and options.sampled else _none,
        )
        stack.callback(made.close)
        yield made
        made.release()


def _with_units(devices: list[Device], units: Mapping[str, int], directory: RunDirectory) -> list[Device]:
    """Without GPUs of which an engine that ran before has no units, where other simulators do their work.

    Args:
        devices: of the run.
        units: of the engine; empty where it does not say them.
        directory: its record says which are left out.
    """
    lacking = [d for d in devices if units and d.kind is Kind.GPU and units.get(d.processor, 0) < d.computing_units]
    if not any(device.exact and device not in lacking for device in devices):
        return devices  # the task says what it needs
    for device in lacking:
        directory.record.note(
            f"{device.name} is not used: the engine runs without units of processor {device.processor}"
        )
    return [device for device in devices if device not in lacking]


def _none(known: Collection[str]) -> Sequence[Device]:
    """This machine's devices are what they are, and numbers that are exact come from simulators."""
    return ()


def _calibrated(device: Device) -> dict[str, Any]:
    """What a QPU's calibration said of it when the run began, for the record."""
    if device.exact or not device.gates:
        return {}
    errors = {
        "one_qubit": device.one_qubit_error, "two_qubit": device.two_qubit_error, "readout": device.readout_error,
    }  # fmt: skip
    return {"type": device.resource_type, "qubits": device.qubits, "errors": errors}


@cache
def _installed() -> EntryPoints:
    """Policies that users installed, as this process first found them: looking takes longer than a small run."""
    return entry_points(group=POLICY_GROUP)


def _policy(name: str) -> Policy:
    return find_policy(name, _installed() if name in POLICIES else entry_points(group=POLICY_GROUP))


def _planned(
    problem: Problem,
    options: Options,
    directory: RunDirectory,
    devices: Sequence[Device],
    readouts: Mapping[str, int],
) -> Plan:
    """Plan, or plan again with the cuts that an interrupted run had chosen."""
    stored = directory.record.get("plan")
    cuts = cuts_from(stored["cuts"]) if stored else options.cuts
    asked = asked_of_plan(options, devices, readouts)
    if problem.num_qubits > _SURELY_LARGE_QUBITS:
        prepare_engine()
    began = time.perf_counter()
    with inline(True), contextlib.closing(tickets_in(directory.path)) as tickets:  # nothing can begin before it
        for attempt in range(RetryPolicy().attempts_per_device):
            ticket = tickets.next(attempt)
            outcome = wait_on(cut(problem, cuts, asked, ticket), ticket)
            if outcome.failure is None or outcome.failure.reason is not Reason.KILLED:
                break
    work_ended(directory, outcome)
    plan: Plan = value_of(outcome, "the plan")
    cut_seconds = time.perf_counter() - began
    before = max(0.0, time.process_time() - cut_seconds) if next(_RUNS) == 0 else 0.0
    known = forecast(problem, plan, options, devices, cut_seconds, within=_FORECAST, before=before, readouts=readouts)
    plan = with_known_error(plan, max(known.std_errors, default=0.0)) if known.computed else plan
    document = plan_document(plan) | {"predicted": known.document()}
    directory.update(plan=document)
    widths = [fragment.num_qubits for fragment in plan.fragments]
    told = f"plan: cuts {document['cuts']}; widths {widths}; {document['variants']} variants; seed {options.seed}"
    directory.event("plan", told, widths=widths, variants=document["variants"])
    return plan


def _small(plan: Plan, options: Options, devices: Sequence[Device]) -> bool:
    """Whether what follows the plan is done sooner than an engine and its first process have started."""
    if options.scheduler:  # who names nodes wants them used
        return False
    return done_here(plan, devices, plan_limits(options)["shots"] if options.sampled else None)
