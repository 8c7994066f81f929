"""QPUs as devices of a run: what their targets say of them, and how they are doing right now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from qiskit.circuit import Measure, Reset
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.transpiler import InstructionProperties, Target

from scheduler_policies.device import Device, DeviceState, Kind
from scheduler_policies.machine import QPU_SPEED
from tasks.execution.held import held_qpus
from tasks.execution.leases import LeaseError, open_leases
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import QpuError
from tasks.execution.qpu.journal import Journal, default_folder
from tasks.execution.qpu.resources import QpuResource, qpu_resource, qpu_resources
from tasks.execution.qpu.retry import PRESENT_SECONDS, present_target
from tasks.execution.qpu.target import QpuTarget, digest

CALL_SECONDS = 20.0
AWAY_SECONDS = 30.0  # a QPU that cannot be asked is asked again after this
# A job of somebody else's, of which nothing is known: 20 circuits of 1000 shots.
THEIR_CIRCUITS, THEIR_SHOTS = 20, 1000

_first_errors: dict[str, float] = {}


@dataclass(frozen=True)
class QpuReport:
    """One QPU in a list of devices.

    Attributes:
        name: its name.
        device: what it is, None where its target cannot be had.
        state: how it is doing.
        status: "online", "paused", "offline" or "unreachable".
        problem: why something is missing, "" where nothing is.
    """

    name: str
    device: Device | None
    state: DeviceState
    status: str
    problem: str = ""


def describe_qpu(declared: Device, resource: QpuResource | None = None) -> Device:
    """A QPU with everything that its target says: qubits, gates, errors, readout, limits, speed.

    Args:
        declared: what the resources file says; its name is the resource's, and its units and price stay.
        resource: how to reach it; this process's own of that name when not given.

    Raises:
        QpuError: there is no such resource, or its target cannot be had.
    """
    resource = resource or qpu_resource(declared.name)
    with QpuClient(resource, CALL_SECONDS) as client:
        target = present_target(client)
        return with_target(declared, target, resource.type)


def with_target(declared: Device, target: QpuTarget, resource_type: str) -> Device:
    """A declared QPU as its target has it."""
    speed = declared.speed if target.shot_seconds is None else replace(declared.speed, shot=target.shot_seconds)
    return replace(
        declared,
        qubits=target.num_qubits,
        basis_gates=target.basis_gates,
        coupling=target.coupling,
        gates=target.gates,
        readout_errors=tuple(sum(pair) / 2 for pair in target.readout),
        readout_seconds=target.readout_seconds,
        speed=speed,
        limits=target.limits,
        resource_type=resource_type,
    )


@lru_cache(maxsize=16)
def target_of(device: Device) -> QpuTarget:
    """What a QPU's target was described by, so far as transpiling goes: gates whose names Qiskit knows, readout."""
    size, standard = device.qubits or 0, get_standard_gate_name_mapping()
    entries: dict[str, dict[tuple[int, ...], InstructionProperties]] = {}
    for gate in device.gates:
        if gate.error < 1 and gate.name in standard:
            found = InstructionProperties(duration=gate.seconds, error=gate.error)
            entries.setdefault(gate.name, {})[gate.qubits] = found
    target = Target(num_qubits=size)
    for name, places in entries.items():
        target.add_instruction(standard[name], places, name=name)
    working = sorted({qubit for places in entries.values() for place in places for qubit in place})
    wrong = (*device.readout_errors, *(0.0,) * size)[:size]
    seconds = device.readout_seconds
    target.add_instruction(Measure(), {(q,): InstructionProperties(duration=seconds, error=wrong[q]) for q in working})
    if device.limits.reset:
        target.add_instruction(Reset(), {(q,): None for q in working})
    epoch = digest([[gate.name, gate.qubits, gate.error] for gate in device.gates], wrong)
    readout = tuple((error, error) for error in wrong)
    names = tuple(map(str, range(size)))
    return QpuTarget(device.name, target, epoch, 0.0, device.gates, readout, seconds, device.limits, names)


def qpu_report(device: Device, resource: QpuResource | None = None) -> QpuReport:
    """How a QPU is doing: queue, wait, free units, calibration. One that cannot be asked is set aside for a while."""
    return _report(device, resource or qpu_resource(device.name))


def list_qpus(declared: Sequence[Device] = (), environ: Mapping[str, str] | None = None) -> list[QpuReport]:
    """All QPUs of this process with their state, for ``qompass devices``.

    Args:
        declared: those of the resources file; the others are shown with one unit.
        environ: variables to read instead of this process's.

    Raises:
        QpuError: the configuration cannot be read. A QPU that cannot be reached is in the list, with its problem.
    """
    known = {device.name: device for device in declared if device.kind is Kind.QPU}
    resources = qpu_resources(environ)
    reports = [
        _report(known.get(name) or Device(name, Kind.QPU, qubits=1, speed=QPU_SPEED), resource)
        for name, resource in resources.items()
    ]
    for name, device in known.items():
        if name not in resources:
            reports.append(
                QpuReport(name, device, DeviceState(free_units=0), "unreachable", "no QRMI resource of this name")
            )
    return reports


def _report(device: Device, resource: QpuResource) -> QpuReport:
    away = DeviceState(free_units=0, set_aside_until=time.monotonic() + AWAY_SECONDS)
    try:
        with QpuClient(resource, CALL_SECONDS) as client:
            status = client.status()
            if status.get("status") != "online":
                why = str(status.get("status_reason") or "")
                return QpuReport(device.name, device, away, str(status.get("status") or "unknown"), why)
            target = present_target(client, age=PRESENT_SECONDS)
    except QpuError as error:
        return QpuReport(device.name, None, away, "unreachable", str(error))
    now = with_target(device, target, resource.type)
    return QpuReport(device.name, now, online_state(device, target, status), "online")


def their_seconds(device: Device) -> float:
    """How long a job of somebody else is likely to take on a QPU."""
    return device.speed.job + THEIR_CIRCUITS * (device.speed.circuit + THEIR_SHOTS * device.speed.shot)


def online_state(
    known: Device, target: QpuTarget, status: Mapping[str, Any], journal: Path | None = None
) -> DeviceState:
    """How a QPU that is online is doing.

    Args:
        known: what the run knows of it; its error rates are those that drift is counted from.
        target: as it is now.
        status: what ``QpuClient.status`` returned.
        journal: where our own jobs are written down, None for the user's own folder.
    """
    device = with_target(known, target, known.resource_type)
    pending = int(status.get("pending_job_count") or 0)
    others = max(0, pending - Journal(journal or default_folder()).in_flight(device.name))
    try:
        held = held_qpus().get(device.name)
        free = held.units if held is not None else max(0, device.units - open_leases().wanted(device.name))
    except LeaseError:
        free = device.units
    now = max(device.two_qubit_error, 1e-9)
    # A device that could not be described when the run began is compared with what it was when first seen.
    first = known.two_qubit_error if known.gates else _first_errors.setdefault(device.name, now)
    return DeviceState(
        queue_length=others,
        expected_wait=others * their_seconds(device),
        free_units=free,
        calibration_epoch=target.epoch,
        calibration_age=target.age(),
        drift=now / max(first, 1e-9) - 1.0,
    )
