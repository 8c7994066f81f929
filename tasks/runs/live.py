"""How far a run is, told by its log alone: read again and again, also from another process or node."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.runs.log import LOG_NAME
from tasks.runs.trace import parsed


@dataclass
class StageState:
    """A stage that has begun.

    Attributes:
        name: of the stage.
        total: steps.
        began: seconds since 1970.
        steps: that are done.
        done: whether it has ended.
    """

    name: str
    total: float
    began: float
    steps: float = 0.0
    done: bool = False


@dataclass
class DeviceQueue:
    """Tasks of one device.

    Attributes:
        running: numbers of those that were submitted and have not ended.
        done: how many have ended well.
        failed: how many have not.
        shots: taken.
        seconds: of work.
        waited: seconds for a unit or in the device's queue, and before that from submission to start.
        transferred: seconds from the end of the work until the application knew.
        retries: tasks that were not a first try.
        cached: pieces that the cache had.
        bytes: of results.
        state: how it was doing when that was last read; empty where it never was.
    """

    running: set[int] = field(default_factory=set)
    done: int = 0
    failed: int = 0
    shots: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    transferred: float = 0.0
    retries: int = 0
    cached: int = 0
    bytes: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)


class LiveRun:
    """What a run's log has said so far; :meth:`read` takes what is new.

    Attributes:
        status: running until the log says otherwise.
        began: seconds since 1970, of the first event; None before it.
        latest: of the last event.
        pauses: (from, to), seconds since 1970, between the processes of a run that was resumed.
        stages: that have begun, in order; a process that resumes a run goes through all of them again.
        devices: by name.
        estimates: (seconds since 1970, estimates) of each time that they changed, oldest first.
        counts: how often each kind of event was seen.
        others: of other tasks than executions, by name of their work: how many have ended well, how many not, seconds.
        said: the last few messages.
    """

    _SAID = 6

    def __init__(self, run: Path) -> None:
        self._path = run / LOG_NAME
        self._place = 0
        self.status = "running"
        self.began: float | None = None
        self.latest: float | None = None
        self.pauses: list[tuple[float, float]] = []
        self.stages: list[StageState] = []
        self.devices: dict[str, DeviceQueue] = {}
        self.estimates: list[tuple[float, list[Mapping[str, Any]]]] = []
        self.counts: Counter[str] = Counter()
        self.others: dict[str, tuple[int, int, float]] = {}
        self.said: list[str] = []
        self._submitted: dict[int, tuple[str, float]] = {}

    def worked(self, until: float) -> float:
        """Seconds from the beginning to ``until`` (seconds since 1970) without the pauses."""
        return 0.0 if self.began is None else until - self.began - sum(end - begin for begin, end in self.pauses)

    def read(self) -> bool:
        """Take the lines that are new; whether there were any. A line that is not whole yet is left for later."""
        try:
            with open(self._path, "rb") as log:
                if os.fstat(log.fileno()).st_size < self._place:  # another file under the same name
                    self.__init__(self._path.parent)  # type: ignore[misc]
                log.seek(self._place)
                content = log.read()
        except OSError:
            return False
        whole = content[: content.rfind(b"\n") + 1]
        self._place += len(whole)
        for line in io.BytesIO(whole):
            event = parsed(line.decode("utf-8", "replace"))
            if event is not None:
                try:
                    self._take(event)
                except (KeyError, TypeError, ValueError, IndexError):  # an event of another version
                    continue
        return bool(whole)

    def _take(self, event: Mapping[str, Any]) -> None:
        self.began = event["time"] if self.began is None else self.began
        kind = event["event"]
        if kind == "resume" and self.latest is not None:
            self.pauses.append((self.latest, event["time"]))
        self.latest = event["time"]
        self.counts[kind] += 1
        if kind != "message" or event.get("level") not in ("INFO", "DEBUG"):
            self.said = [*self.said[1 - self._SAID :], str(event["message"])]
        match kind:
            case "begin" | "resume":
                self.status = "running"
                self.stages.clear()
                self._submitted.clear()
                for queue in self.devices.values():
                    queue.running.clear()
            case "stage":
                self._stage(event)
            case "submit":
                self._submitted[event["task"]] = event["device"], event["time"]
                self._queue(event["device"]).running.add(event["task"])
            case "task" if "task" in event:
                self._ended(event)
            case "task":
                done, failed, seconds = self.others.get(event["work"], (0, 0, 0.0))
                bad = bool(event["failure"])
                self.others[event["work"]] = done + (not bad), failed + bad, seconds + event["seconds"]
            case "devices":
                for name, state in event["devices"].items():
                    self._queue(name).state = state
            case "estimates":
                self._told(event)
            case "end":
                self.status = event["status"]
                if event.get("estimates"):
                    self._told(event)

    def _told(self, event: Mapping[str, Any]) -> None:
        if not self.estimates or self.estimates[-1][1] != event["estimates"]:
            self.estimates.append((event["time"], event["estimates"]))

    def _stage(self, event: Mapping[str, Any]) -> None:
        last = self.stages[-1] if self.stages else None
        if not event.get("done"):
            self.stages.append(StageState(event["stage"], event["total"], event["time"]))
        elif last is not None and last.name == event["stage"]:
            last.done, last.steps = True, last.total

    def _ended(self, event: Mapping[str, Any]) -> None:
        place, submitted = self._submitted.pop(event["task"], (event["device"], event["began"]))
        self._queue(place).running.discard(event["task"])
        queue = self._queue(event["device"])
        queue.done += not event["error"]
        queue.failed += bool(event["error"])
        queue.shots += sum(piece[4] for piece in event["done"])
        queue.seconds += event["seconds"] - event["waited"]
        queue.waited += event["waited"] + max(0.0, event["began"] - submitted)
        queue.transferred += max(0.0, event["time"] - event["began"] - event["seconds"])
        queue.retries += event["attempt"] > 0
        queue.cached += event["cached"]
        queue.bytes += event["bytes"]
        if self.stages and not self.stages[-1].done:
            self.stages[-1].steps += sum(max(1, piece[3]) for piece in event["done"])

    def _queue(self, device: str) -> DeviceQueue:
        return self.devices.setdefault(device, DeviceQueue())
