"""The log in a run's folder: what Qompass' rooms say while a process works on the run."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

ROOMS = ("apps", "tasks", "scheduler_policies", "resources_xml")

_NAME = "run.log"


class RunLog(logging.Handler):
    """Appends log records to ``run.log``; a log that cannot be written never stops a run.

    Which records there are is decided by the levels of the rooms' loggers: the command line asks for INFO, a program
    for what it configures.
    """

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._file: io.TextIOWrapper | None = None
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = open(os.open(run / _NAME, flags, 0o666), "w", encoding="utf-8", errors="backslashreplace")
        except OSError:
            return
        for room in ROOMS:
            logging.getLogger(room).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line."""
        heard = _handlers(record.name)
        if logging.lastResort and heard[:1] == [self] and all(isinstance(handler, RunLog) for handler in heard):
            # Without us Python would show a warning where nobody has configured logging, and so it shall.
            if record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)
        if self._file is not None:
            try:
                self._file.write(self.format(record) + "\n")
                self._file.flush()
            except (OSError, ValueError):
                self.close()

    def close(self) -> None:
        """Write no more; safe to call twice."""
        for room in ROOMS:
            logging.getLogger(room).removeHandler(self)
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:  # a full disk: what was not written is lost
                pass
        super().close()


def _handlers(name: str) -> list[logging.Handler]:
    """All that hear a logger."""
    found: list[logging.Handler] = []
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return found
