"""What a lease is, wherever it is kept.

Everyone who wants a unit of a device takes a numbered ticket; the holders of the lowest ``units`` tickets have leases.
So leases are granted in the order asked for, and nobody starves. A ticket whose owner died is taken out of the queue.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.execution.errors import ExecutionError

FIRST_LOOK, LAST_LOOK, LOOK_GROWTH = 0.002, 0.1, 1.5


class LeaseError(ExecutionError):
    """A lease could not be had, in time or at all."""


class LeaseLostError(LeaseError):
    """A lease ended under its holder, who was out of touch for longer than it lasts; somebody else may have it."""


class Lease(ABC):
    """A ticket for one unit of a device."""

    @abstractmethod
    def granted(self) -> bool:
        """Whether its turn has come; asking keeps it alive."""

    @abstractmethod
    def check(self) -> None:
        """Make sure that a granted lease still is one.

        Raises:
            LeaseLostError: it ended.
        """

    @abstractmethod
    def release(self) -> None:
        """Give it back. Safe to call twice."""


class Leases(ABC):
    """A place where tickets are kept."""

    @abstractmethod
    def take(self, device: str, units: int) -> Lease:
        """Take a ticket for a unit of a device; it is granted later, perhaps at once.

        Raises:
            LeaseError: the place cannot be used.
        """

    @abstractmethod
    def wanted(self, device: str) -> int:
        """How many living processes hold a unit of a device or wait for one.

        Raises:
            LeaseError: the place cannot be used.
        """

    @contextmanager
    def hold(self, device: str, units: int, wait: float | None = None) -> Iterator[Lease]:
        """Hold one unit of a device.

        Args:
            device: its name, the same for all who share it.
            units: how many may hold one at once.
            wait: seconds to wait, None for ever.

        Raises:
            LeaseError: none became free within ``wait``.
        """
        if units < 1:
            raise LeaseError(f"device {device}: {units} units cannot be leased; declare at least one")
        ticket = self.take(device, units)
        try:
            end, pause = None if wait is None else time.monotonic() + wait, FIRST_LOOK
            while not ticket.granted():
                if end is not None and time.monotonic() >= end:
                    raise LeaseError(f"device {device}: none of its {units} units became free within {wait:g} s")
                time.sleep(pause)
                pause = min(pause * LOOK_GROWTH, LAST_LOOK)
            yield ticket
        finally:
            ticket.release()
