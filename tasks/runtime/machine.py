"""What this process may use of this machine: cores and memory, within the limits of containers and batch jobs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores this process may run on: its affinity, and the quota of its control group where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = (_first_line("cpu.max") or "max 1").split()
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def free_memory() -> int:
    """Bytes this process may still take: what the system has free, and what its control group and its limit leave."""
    free = int(psutil.virtual_memory().available)
    if sys.platform != "win32":
        import resource

        limit_of_addresses = resource.getrlimit(resource.RLIMIT_AS)[0]  # of a child, too, which begins about as large
        if limit_of_addresses not in (resource.RLIM_INFINITY, -1):
            free = min(free, limit_of_addresses - psutil.Process().memory_info().vms)
    limit, used = _first_line("memory.max"), _first_line("memory.current")
    if limit and used and limit != "max":
        # Files that the kernel keeps in memory count as used, but make room when asked to.
        reclaimable = sum(int(line.split()[1]) for line in _lines("memory.stat") if line.startswith("inactive_file "))
        free = min(free, int(limit) - int(used) + reclaimable)
    return max(free, 0)


def _lines(name: str) -> list[str]:
    try:
        own = next(
            line[3:].lstrip("/") for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"
        )
        path = _CGROUP / own / name
        return (path if path.exists() else _CGROUP / name).read_text().splitlines()
    except (OSError, StopIteration):
        return []


def _first_line(name: str) -> str | None:
    return next(iter(_lines(name)), None)
