"""When jobs that wait in a QPU's queue should go elsewhere: its queue grew, its calibration got worse, it paused.

What counts as a reason is ``scheduler_policies.why_leave``; this file reads the state that it judges.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scheduler_policies import Device, DeviceState, Rules, why_leave
from tasks.execution.qpu.devices import online_state, their_seconds
from tasks.execution.qpu.target import QpuTarget


class QueueMonitor:
    """Compares a QPU with what it was when jobs were placed on it.

    Args:
        device: the QPU, as the run knows it.
        placed: its state when the jobs were placed.
        rules: the bounds.
    """

    def __init__(self, device: Device, placed: DeviceState, rules: Rules | None = None) -> None:
        self._device, self._placed, self._rules = device, placed, rules or Rules()
        self._since = time.monotonic()

    @property
    def waited(self) -> float:
        """Seconds since there is somebody who wants the jobs done."""
        return time.monotonic() - self._since

    def others(self, target: QpuTarget, status: Mapping[str, Any], journal: Path | None) -> int:
        """How many jobs of others the device has."""
        return online_state(self._device, target, status, journal).queue_length

    def why(
        self,
        target: QpuTarget,
        status: Mapping[str, Any],
        journal: Path | None = None,
        ahead: int | None = None,
        queued: float = 0.0,
    ) -> str | None:
        """Why jobs none of whose circuits has started should be cancelled, or None when they should stay.

        Jobs that came after ours are behind it, so they do not count, until ours has waited so long that this cannot
        be true: most services do not promise an order.

        Args:
            target: of the device, as it is now.
            status: what ``QpuClient.status`` returned.
            journal: where our own jobs are written down.
            ahead: others' jobs that were there when ours was submitted; None when it has not been.
            queued: seconds since then.
        """
        if status.get("status") != "online":
            return f"it is {status.get('status') or 'in an unknown state'}"
        state = online_state(self._device, target, status, journal)
        if ahead is not None and ahead < state.queue_length:
            each = their_seconds(self._device)
            if queued <= max(self._rules.least_wait, self._rules.wait_growth * ahead * each):
                state = replace(state, queue_length=ahead, expected_wait=ahead * each)
        return why_leave(self._placed, state, self.waited, self._rules)
