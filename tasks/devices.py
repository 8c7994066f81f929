"""Which devices a run has: those of the COMPSs resources file it was given, else the cores of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from resources_xml import Need, ResourcesError, devices_of, needs_of_devices, read_nodes, unsatisfied
from scheduler_policies import CPU_SPEED, Device, Kind

RESOURCES_VARIABLE = "QOMPASS_RESOURCES"


def run_devices(resources: Path | None) -> list[Device]:
    """The devices of a run.

    Args:
        resources: a COMPSs resources file (or the folder of it and its project file), None for the one that
            ``QOMPASS_RESOURCES`` names, or without that this machine's cores.

    Raises:
        ResourcesError: the file cannot be used, or a task of Qompass could never run on what it describes.
    """
    declared = os.environ.get(RESOURCES_VARIABLE)
    if resources is None and not declared:
        return [Device("cpu", Kind.CPU, units=os.cpu_count() or 1, speed=CPU_SPEED)]
    nodes = read_nodes(resources or Path(declared or ""))
    devices = devices_of(nodes)
    lines = unsatisfied([Need("cut"), Need("reconstruct"), *needs_of_devices("execute", devices)], nodes)
    if lines:
        raise ResourcesError(f"{resources or declared}: {lines[0]}")
    return list(devices)


def declared_devices() -> list[Device]:
    """The devices that this process, master or worker, must have tasks for: those of ``QOMPASS_RESOURCES``."""
    path = os.environ.get(RESOURCES_VARIABLE)
    return run_devices(Path(path)) if path else []
