"""Which process holds something, named so that another on the same machine can see whether it lives."""

from __future__ import annotations

import contextlib
import os
from functools import lru_cache
from pathlib import Path


def identity() -> list[object]:
    """Name this process: its machine, its number, and when it started."""
    return list(_identity(os.getpid()))


@lru_cache(maxsize=1)
def _identity(pid: int) -> tuple[object, ...]:
    """Asked once a process: reading it takes longer than a claim."""
    return _machine(), pid, start_time(pid)


def alive(holder: list[object]) -> bool:
    """Say whether a process named so lives; one on another machine is taken to, only its lease can tell."""
    machine, pid, began = holder
    if not machine or machine != _machine():
        return True
    return start_time(int(str(pid))) == began


def start_time(pid: int) -> str:
    """Return the start time of a living process; empty if there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _machine() -> str:
    """Name the set of processes that can see each other: a boot and a process namespace."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    return ""
