"""QPUs that this process holds while many runs come and go: units and a session that are not opened for each of them.

Tasks share what is held through a queue of leases of their own. A session is the service's own word for it: while it
lasts, its jobs follow each other without waiting for other users' (IBM's dedicated mode).
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator, Sequence

from scheduler_policies.device import Device
from tasks.execution.held import HELD, Held
from tasks.execution.leases import LeaseError, lease
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.errors import QpuError
from tasks.execution.qpu.resources import qpu_resource

log = logging.getLogger(__name__)


@contextlib.contextmanager
def holding(devices: Sequence[Device]) -> Iterator[None]:
    """Hold one unit of each QPU, waiting for it, and what else is free of it; and its session, where it has such.

    Args:
        devices: QPUs; one that is held already stays with its holder.

    Raises:
        LeaseError: the place where leases are kept cannot be used.
        QpuError: there is no such QPU, or its session cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        for device in sorted(devices, key=lambda own: own.name):  # in one order, or two could wait for each other
            if device.name in HELD:
                continue
            resource = qpu_resource(device.name)
            stack.enter_context(lease(device.name, device.units))
            units = 1
            with contextlib.suppress(LeaseError):
                while units < device.units:
                    stack.enter_context(lease(device.name, device.units, wait=0.0))
                    units += 1
            session = ""
            if resource.vendor.session_variable and not resource.environment.get(resource.vendor.session_variable):
                client = stack.enter_context(QpuClient(resource))
                session = client.acquire()
                stack.callback(_released, client, session)
            HELD[device.name] = Held(f"{device.name} of {uuid.uuid4().hex}", units, session)
            stack.callback(HELD.pop, device.name)
        yield


def _released(client: QpuClient, session: str) -> None:
    try:
        client.release(session)
    except QpuError as error:
        log.warning("a session could not be released and ends by itself: %s", error)
