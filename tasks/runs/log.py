"""The log in a run's folder: events of the run and what Qompass' rooms say, a JSON object a line."""

from __future__ import annotations

import datetime
import io
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.runs.storage import plain

logger = logging.getLogger(__name__)

ROOMS = ("apps", "tasks", "scheduler_policies", "resources_xml")

_NODE = platform.node()

LOG_NAME = "log.jsonl"
"""tasks/runs/README.md says what its lines hold."""


class RunLog(logging.Handler):
    """Appends events and log records to ``log.jsonl``; a log that cannot be written never stops a run.

    Every event is written. Which records there are besides is decided by the levels of the rooms' loggers: the command
    line asks for INFO, a program for what it configures.
    """

    def __init__(self, run: Path) -> None:
        super().__init__()
        self._run = run.name
        self._stage = ""
        self._attempt = 0  # of the run: 1 where this process resumed it
        self._begins = threading.Lock()
        self._file: io.TextIOWrapper | None = None
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = open(os.open(run / LOG_NAME, flags, 0o666), "w", encoding="utf-8", errors="backslashreplace")
        except OSError:
            return
        for room in ROOMS:
            logging.getLogger(room).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Append what a room says."""
        heard = _handlers(record.name)
        if logging.lastResort and heard[:1] == [self] and all(isinstance(handler, RunLog) for handler in heard):
            # Without us Python would show a warning where nobody has configured logging, and so it shall.
            if record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)
        if not getattr(record, "is_event", False):  # that has its line already
            message = self.format(record)
            self._write("message", record.created, {"level": record.levelname, "room": record.name, "message": message})

    def event(self, name: str, message: str, fields: Mapping[str, Any]) -> None:
        """Append an event, and say it as a log record of this room.

        Args:
            name: the kind of event.
            message: one line for people.
            fields: plain JSON, NumPy numbers or paths.
        """
        if name == "stage":
            self._stage = "" if fields.get("done") else str(fields.get("stage", ""))
        if name == "resume":
            self._attempt = 1
        self._write(name, time.time(), {"message": message, **fields})
        logger.info("%s", message, extra={"is_event": True})

    def _write(self, name: str, when: float, fields: Mapping[str, Any]) -> None:
        stamp = datetime.datetime.fromtimestamp(when).astimezone().isoformat(timespec="milliseconds")
        place = {"stage": self._stage, "node": _NODE, "attempt": self._attempt}
        line = json.dumps({"time": stamp, "run": self._run, "event": name, **place, **fields}, default=plain)
        with self._begins:
            if self._file is None:
                return
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except (OSError, ValueError):
                self._stop()

    def close(self) -> None:
        """Write no more; safe to call twice."""
        for room in ROOMS:
            logging.getLogger(room).removeHandler(self)
        self._stop()
        super().close()

    def _stop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:  # a full disk: what was not written is lost
                pass


def _handlers(name: str) -> list[logging.Handler]:
    """All that hear a logger."""
    found: list[logging.Handler] = []
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return found
