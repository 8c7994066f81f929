"""What this process holds of QPUs while many runs come and go, as plain data that a task can be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a run without QPUs needs none of it
    from tasks.execution.qpu.resources import QpuResource


@dataclass(frozen=True)
class Held:
    """What is held of one QPU.

    Attributes:
        queue: of the leases by which tasks share it.
        units: how many of its units.
        session: of its service, "" where that has none.
    """

    queue: str
    units: int
    session: str = field(default="", repr=False)

    def within(self, resource: QpuResource) -> QpuResource:
        """The resource, such that its jobs run in the session."""
        if not self.session:
            return resource
        return replace(resource, environment={**resource.environment, resource.vendor.session_variable: self.session})


HELD: dict[str, Held] = {}


def held_qpus() -> Mapping[str, Held]:
    """What this process holds, by QPU."""
    return dict(HELD)
