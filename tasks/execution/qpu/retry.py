"""Questions to a QPU service that change nothing: asked again while it cannot be reached, and remembered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.resources import shown_variables
from tasks.execution.qpu.target import QpuTarget

FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0
TARGET_SECONDS = 300.0  # age at which a target is read again
PRESENT_SECONDS = 2.0  # the same where a decision hangs on what the device is like now

T = TypeVar("T")
_targets: dict[tuple[str, ...], tuple[float, QpuTarget]] = {}
_lock = threading.Lock()


def retry(call: Callable[[], T], seconds: float) -> T:
    """Repeat a call that has no effect of its own while the service cannot be reached or answers garbage.

    Args:
        call: the call.
        seconds: for how long; the pauses between tries double from 0.1 s to 5 s.

    Raises:
        QpuError: the last try's, or that of a failure that repeating does not mend.
    """
    end, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        try:
            return call()
        except QpuError as error:
            if error.fault not in {Fault.UNAVAILABLE, Fault.GARBLED} or time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE)


def present_target(client: QpuClient, patience: float = 0.0, age: float = TARGET_SECONDS) -> QpuTarget:
    """The target of a QPU, read now or at most ``age`` seconds ago by this process.

    Raises:
        QpuError: it cannot be had.
    """
    resource = client.resource
    key = (resource.name, *(f"{k}={v}" for k, v in sorted(shown_variables(resource).items())))
    with _lock:
        known = _targets.get(key)
    if known is not None and time.monotonic() - known[0] <= age:
        return known[1]
    try:
        target = retry(lambda: resource.vendor.target(resource.name, _whole_target(client)), patience)
    except QpuError as error:
        if error.fault is not Fault.UNAVAILABLE:
            raise
        # Better without error rates than not at all, if it is only those that are missing.
        target = resource.vendor.target(resource.name, client.target())
    with _lock:
        _targets[key] = (time.monotonic(), target)
    return target


def _whole_target(client: QpuClient) -> dict[str, Any]:
    raw = client.target()
    if not client.resource.vendor.complete(raw):
        client.status()  # says why, if it is the token or the name
        raise QpuError(Fault.UNAVAILABLE, client.resource.name, "the service did not give all of its target")
    return raw
