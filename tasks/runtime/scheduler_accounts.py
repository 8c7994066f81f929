"""The part of ``tasks.runtime.accounting`` that lives in a cluster's scheduler."""

from __future__ import annotations

import time
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

from tasks.runtime.accounting import NAME, run_of


class Accounts(SchedulerPlugin):
    """Adds up the time that tasks held units, by run and by processor."""

    name = NAME

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, float]] = {}
        self.busy: dict[str, float] = {}
        self.unit_seconds: dict[str, float] = {}
        self.counted = time.monotonic()
        self.scheduler: Any = None

    async def start(self, scheduler: Any) -> None:
        """Begin."""
        self.scheduler = scheduler

    def count_units(self) -> None:
        """Units that were there since this was called last; called whenever their number is about to change."""
        now = time.monotonic()
        for worker in self.scheduler.workers.values():
            for name, count in worker.resources.items():
                self.unit_seconds[name] = self.unit_seconds.get(name, 0.0) + count * (now - self.counted)
        self.counted = now

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """The new one counts from now on."""
        added = scheduler.workers[worker].resources
        now = time.monotonic()
        for other in scheduler.workers.values():
            if other.address != worker:
                for name, count in other.resources.items():
                    self.unit_seconds[name] = self.unit_seconds.get(name, 0.0) + count * (now - self.counted)
        for name in added:
            self.unit_seconds.setdefault(name, 0.0)
        self.counted = now

    def remove_worker(self, scheduler: Any, worker: str, **more: Any) -> None:
        """It has left already: the others count until now."""
        self.count_units()

    def transition(self, key: Any, start: str, finish: str, *args: Any, **more: Any) -> None:
        """Count a task that has ended."""
        run = run_of(key)
        if finish != "memory" or start != "processing" or not run:
            return
        seconds = sum(s["stop"] - s["start"] for s in more.get("startstops") or () if s["action"] == "compute")
        task = self.scheduler.tasks[key]
        if not task.resource_restrictions:
            return
        own = self.runs.setdefault(run, {"tasks": 0, "busy_s": 0.0})
        own["tasks"] += 1
        for name, amount in task.resource_restrictions.items():
            own["busy_s"] += seconds * amount
            self.busy[name] = self.busy.get(name, 0.0) + seconds * amount
