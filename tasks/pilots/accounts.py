"""What a pilot's scheduler knows: nodes, units, runs, and which share of the time the units were in use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.pilots.pilot import Pilot
from tasks.runtime.accounting import accounts_of
from tasks.runtime.cluster_folder import CLUSTER_FILE, find_cluster
from tasks.runtime.errors import EngineError

_ANSWER_S = 10


@dataclass(frozen=True)
class PilotStatus:
    """How a pilot is doing.

    Attributes:
        pilot: which.
        status: "queued", "starting", "running" or "ended".
        why: why it ended.
        seconds_left: until its time is over; None where that is not known.
        wanted: how many nodes it should have.
        nodes: of those that it has: ``name``, ``units``, ``busy`` (tasks in work).
        runs: of those that share it: ``run``, ``tasks`` done, ``waiting``, ``busy_s``.
        devices: by processor: ``units``, ``busy_share`` of the time since it was first there.
        restarts: how many workers have died and were replaced.
    """

    pilot: Pilot
    status: str
    why: str = ""
    seconds_left: float | None = None
    wanted: int = 0
    nodes: tuple[Mapping[str, Any], ...] = ()
    runs: tuple[Mapping[str, Any], ...] = ()
    devices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    restarts: int = 0

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.pilot.name,
            "target": self.pilot.target,
            "folder": str(self.pilot.folder),
            "status": self.status,
            "why": self.why,
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
            "wanted": self.wanted,
            "nodes": list(self.nodes),
            "runs": list(self.runs),
            "devices": dict(self.devices),
            "restarts": self.restarts,
        }


def read_accounts(pilot: Pilot, status: str, why: str, ask: bool) -> PilotStatus:
    """Ask a pilot's scheduler if so wanted; one that does not answer leaves only what its folder says."""
    state = pilot.state()
    left = max(0.0, pilot.ends - time.time()) if "began" in state and status != "ended" else None
    known = PilotStatus(pilot, status, why, left, int(pilot.wanted()["nodes"]), restarts=int(state.get("restarts", 0)))
    if not ask or status == "ended" or not (pilot.folder / CLUSTER_FILE).exists():
        return known
    import distributed

    try:
        cluster = find_cluster(str(pilot.folder))
        with distributed.Client(
            cluster.address, security=cluster.security(), set_as_default=False, timeout=_ANSWER_S, name="status"
        ) as client:
            found = client.run_on_scheduler(accounts_of)
    except (EngineError, OSError, asyncio.TimeoutError):
        return PilotStatus(pilot, status, "its scheduler does not answer", left, known.wanted, restarts=known.restarts)
    return PilotStatus(
        pilot, status, why, left, known.wanted, tuple(found["nodes"]), tuple(found["runs"]), found["devices"],
        known.restarts,
    )  # fmt: skip
