"""Which devices a run has: those of the COMPSs resources file it was given, else the cores of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from scheduler_policies import CPU_SPEED, Device, Kind
from tasks.errors import QompassError

RESOURCES_VARIABLE = "QOMPASS_RESOURCES"


def run_devices(resources: Path | None) -> list[Device]:
    """The devices of a run.

    Args:
        resources: a COMPSs resources file, None for this machine's cores.
    """
    if resources is None:
        return [Device("cpu", Kind.CPU, units=os.cpu_count() or 1, speed=CPU_SPEED)]
    raise QompassError(f"{resources}: resources files are not read yet; leave --resources out")


def declared_devices() -> list[Device]:
    """The devices that this process, master or worker, must have tasks for: those of ``QOMPASS_RESOURCES``."""
    path = os.environ.get(RESOURCES_VARIABLE)
    return run_devices(Path(path)) if path else []
