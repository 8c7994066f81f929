"""Which devices a run has: those of the COMPSs resources file it was given, else the cores of this machine."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from resources_xml import Need, ResourcesError, devices_of, needs_of_devices, read_nodes, unsatisfied
from scheduler_policies import CPU_SPEED, GPU_SPEED, QPU_SPEED, Device, DeviceState, Kind
from scheduler_policies.device import Speed
from tasks.cutting.plan import Plan
from tasks.execution.calibration_file import read_calibration
from tasks.execution.leases import open_leases
from tasks.runtime import units_now
from tasks.runtime.machine import usable_cores

logger = logging.getLogger(__name__)

RESOURCES_VARIABLE = "QOMPASS_RESOURCES"


def run_devices(resources: Path | None, trouble: dict[str, str] | None = None) -> list[Device]:
    """The devices of a run, QPUs as their targets describe them now.

    A QPU that cannot be reached is left as the file declares it: it may be back before its turn comes.

    Args:
        resources: a COMPSs resources file (or the folder of it and its project file), None for the one that
            ``QOMPASS_RESOURCES`` names, or without that this machine's cores.
        trouble: takes, for each QPU that cannot be reached, why.

    Raises:
        ResourcesError: the file cannot be used, or a task of Qompass could never run on what it describes.
        QpuError: a QPU's name, type, token or configuration is wrong.
        LeaseError: there are QPUs, and the place where their units are leased cannot be used.
    """
    devices = _file_devices(resources)
    if any(device.kind is Kind.QPU for device in devices):
        open_leases()
    return [_described(device, {} if trouble is None else trouble) for device in devices]


def simulators(resources: Path | None) -> list[Device]:
    """The devices of a run without shots; no QPU is asked anything (see ``run_devices``)."""
    return [device for device in _file_devices(resources) if device.exact]


def declared_devices() -> list[Device]:
    """The devices that this process, master or worker, must have tasks for: those of ``QOMPASS_RESOURCES``."""
    path = os.environ.get(RESOURCES_VARIABLE)
    return _file_devices(Path(path)) if path else []


def devices_brought(before: Collection[str], known: Collection[str], trouble: dict[str, str]) -> list[Device]:
    """QPUs of nodes that joined the run's cluster after the run had begun, as QRMI describes them.

    Args:
        before: processors that the cluster had when the run began.
        known: names of the run's devices.
        trouble: takes, for each QPU that cannot be reached, why; it is asked for again.
    """
    units = {name: count for name, count in units_now().items() if name not in before and name not in known}
    if not units:
        return []
    from tasks.execution.qpu import QpuError, describe_qpu, qpu_resources

    found = []
    for name in sorted(units.keys() & qpu_resources().keys()):
        bare = Device(name, Kind.QPU, units=units[name], qubits=1, speed=QPU_SPEED, processor=name)
        try:
            found.append(describe_qpu(bare))
            trouble.pop(name, None)
        except QpuError as error:
            trouble[name] = f"it is unreachable: {error}"
    return found


@dataclass(frozen=True)
class DeviceReport:
    """A device in a list.

    Attributes:
        device: what it is, as far as is known.
        state: how it is doing.
        status: "ready" for simulators; "online", "paused", "offline" or "unreachable" for QPUs.
        problem: why something is missing, "" where nothing is.
    """

    device: Device
    state: DeviceState
    status: str
    problem: str = ""


def report_devices(resources: Path | None) -> list[DeviceReport]:
    """The devices of a resources file or of this machine, and every QPU that QRMI knows of, with their states.

    Raises:
        ResourcesError: the file cannot be used.
        QpuError: the configuration of QRMI cannot be read.
    """
    from qiskit_aer import AerSimulator  # a plan asks for devices, and needs no simulator

    declared = _file_devices(resources)
    if resources is None and "GPU" in AerSimulator().available_devices():
        declared.append(Device("gpu", Kind.GPU, speed=GPU_SPEED))
    known = {device.name: device for device in declared}
    reports = [DeviceReport(d, DeviceState(free_units=d.units), "ready") for d in declared if d.exact]
    from tasks.execution.qpu import list_qpus

    for report in list_qpus(declared):
        name = report.name
        device = report.device or known.get(name) or Device(name, Kind.QPU, qubits=1)
        reports.append(DeviceReport(device, report.state, report.status, report.problem))
    return reports


def state_of(device: Device, trouble: dict[str, str]) -> DeviceState:
    """How a QPU is doing now; why it cannot be used, where that is so, goes into ``trouble``."""
    # Imported here: a run without QPUs needs no QRMI.
    from tasks.execution.qpu import qpu_report

    report = qpu_report(device)
    if report.status == "online":
        trouble.pop(device.name, None)
    else:
        trouble[device.name] = f"it is {report.status}" + (f": {report.problem}" if report.problem else "")
    return report.state


def unused(devices: Sequence[Device], used: Sequence[str], trouble: Mapping[str, str]) -> list[str]:
    """One line for each QPU of a run with shots that took none because something was wrong with it.

    Args:
        devices: of the run.
        used: names of those that took shots.
        trouble: by name, what was wrong.
    """
    names = [device.name for device in devices if device.kind is Kind.QPU and device.name not in used]
    return [f"{name} took no shots: {trouble[name]}" for name in names if name in trouble]


def holding_qpus(devices: Sequence[Device]) -> AbstractContextManager[None]:
    """Hold units and sessions of the QPUs among some devices for many runs (``tasks.execution.qpu.held``)."""
    qpus = [device for device in devices if device.kind is Kind.QPU]
    if not qpus:
        return contextlib.nullcontext()
    from tasks.execution.qpu.held import holding

    return holding(qpus)


def fidelities_of(plan: Plan, devices: Sequence[Device], mitigation: str) -> dict[int, list[tuple[str, float]]]:
    """For each fragment, (QPU, expected fidelity along the transpiled circuit), as far as it can be known."""
    if not any(device.kind is Kind.QPU for device in devices):
        return {}
    from tasks.execution.qpu.fidelity import fragment_fidelities

    return fragment_fidelities(plan, devices, readout_mitigated=mitigation != "none")


def _file_devices(resources: Path | None) -> list[Device]:
    declared = os.environ.get(RESOURCES_VARIABLE)
    if resources is None and not declared:
        return [Device("cpu", Kind.CPU, units=usable_cores(), speed=_measured_speed())]
    nodes = read_nodes(resources or Path(declared or ""))
    devices = devices_of(nodes)
    lines = unsatisfied([Need("cut"), Need("reconstruct"), *needs_of_devices("execute", devices)], nodes)
    if lines:
        raise ResourcesError(f"{resources or declared}: {lines[0]}")
    return list(devices)


def _measured_speed() -> Speed:
    """Of one core of this machine, where it was calibrated."""
    found = read_calibration()
    return CPU_SPEED if found is None else found.speed


def _described(device: Device, trouble: dict[str, str]) -> Device:
    if device.kind is not Kind.QPU:
        return device
    from tasks.execution.qpu import QpuError, describe_qpu

    try:
        found = describe_qpu(device)
        if found.qubits != device.qubits:
            logger.warning(
                "%s has %s qubits, as its target says, not the %s of the resources file",
                device.name, found.qubits, device.qubits,
            )  # fmt: skip
        return found
    except QpuError as error:
        if not error.fault.again:
            raise
        logger.warning("%s", error)
        trouble[device.name] = f"it is unreachable: {error}"
        return device
