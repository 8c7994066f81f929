"""Which devices a run has: those of the COMPSs resources file it was given, else the cores of this machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from resources_xml import Need, ResourcesError, devices_of, needs_of_devices, read_nodes, unsatisfied
from scheduler_policies import CPU_SPEED, Device, DeviceState, Kind

logger = logging.getLogger(__name__)

RESOURCES_VARIABLE = "QOMPASS_RESOURCES"


def run_devices(resources: Path | None) -> list[Device]:
    """The devices of a run, QPUs as their targets describe them now.

    A QPU that cannot be reached is left as the file declares it: it may be back before its turn comes.

    Args:
        resources: a COMPSs resources file (or the folder of it and its project file), None for the one that
            ``QOMPASS_RESOURCES`` names, or without that this machine's cores.

    Raises:
        ResourcesError: the file cannot be used, or a task of Qompass could never run on what it describes.
        QpuError: a QPU's name, type, token or configuration is wrong.
    """
    return [_described(device) for device in _file_devices(resources)]


def declared_devices() -> list[Device]:
    """The devices that this process, master or worker, must have tasks for: those of ``QOMPASS_RESOURCES``."""
    path = os.environ.get(RESOURCES_VARIABLE)
    return _file_devices(Path(path)) if path else []


def state_of(device: Device) -> DeviceState:
    """How a QPU is doing now."""
    # Imported here: a run without QPUs needs no QRMI.
    from tasks.execution.qpu import qpu_state

    return qpu_state(device)


def _file_devices(resources: Path | None) -> list[Device]:
    declared = os.environ.get(RESOURCES_VARIABLE)
    if resources is None and not declared:
        return [Device("cpu", Kind.CPU, units=os.cpu_count() or 1, speed=CPU_SPEED)]
    nodes = read_nodes(resources or Path(declared or ""))
    devices = devices_of(nodes)
    lines = unsatisfied([Need("cut"), Need("reconstruct"), *needs_of_devices("execute", devices)], nodes)
    if lines:
        raise ResourcesError(f"{resources or declared}: {lines[0]}")
    return list(devices)


def _described(device: Device) -> Device:
    if device.kind is not Kind.QPU:
        return device
    from tasks.execution.qpu import QpuError, describe_qpu

    try:
        return describe_qpu(device)
    except QpuError as error:
        if not error.fault.again:
            raise
        logger.warning("%s", error)
        return device
