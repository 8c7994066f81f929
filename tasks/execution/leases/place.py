"""Where leases are kept, and how one is taken there."""

from __future__ import annotations

import os
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from tasks.execution.leases.files import FileLeases
from tasks.execution.leases.lease import Lease, Leases
from tasks.execution.leases.redis_leases import RedisLeases

PLACE_VARIABLE = "QOMPASS_LEASES"


def open_leases(place: str | None = None) -> Leases:
    """The place named, else the one in ``QOMPASS_LEASES``, else a folder of this node for this user.

    Args:
        place: a folder, or ``redis://...`` where several nodes share devices.

    Raises:
        LeaseError: it cannot be used.
    """
    place = place or os.environ.get(PLACE_VARIABLE) or ""
    if place.startswith(("redis://", "rediss://", "unix://")):
        return RedisLeases(place)
    return FileLeases(Path(place) if place else _own_folder())


def lease(
    device: str, units: int, wait: float | None = None, place: str | None = None
) -> AbstractContextManager[Lease]:
    """Hold units of a device, where this node keeps leases by default, as a context manager."""
    return open_leases(place).hold(device, units, wait)


def _own_folder() -> Path:
    # The node's own disk: locks on a shared file system are not to be relied on, and several nodes need Redis anyway.
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"qompass-leases-{os.getuid()}"
