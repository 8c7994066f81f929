"""A run's folder as a process sees it that works on a part of the run, while others may work on other parts."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Any

from tasks.runs.directory import RunDirectory, read_record
from tasks.runs.log import RunLog
from tasks.runs.record import RunRecord, RunRecordError
from tasks.runs.results import FOLDER
from tasks.runs.run_results import RunResults


class SharedRunDirectory(RunDirectory):
    """Results go into the folder, but the record on disk stays as it is: who holds the run's lock writes that.

    What this process has to say is in ``self.record``: its notes, moves and numbers of the cache are those of this
    process alone.
    """

    def __init__(self, path: Path, record: RunRecord) -> None:
        """Use :meth:`join`."""
        self.path = path
        self.record = record
        self.results = RunResults(path, record)
        self._log = RunLog(path)

    @classmethod
    def join(cls, path: Path) -> SharedRunDirectory:
        """Work on a part of an existing run.

        Raises:
            RunRecordError: there is no such run, others may write to it, or it is damaged.
        """
        path = Path(path).resolve()
        said = ("notes", "moves", "cache")
        record = RunRecord({name: value for name, value in read_record(path).items() if name not in said})
        check_owner(path)
        if not os.access(path / FOLDER, os.W_OK):
            raise RunRecordError(f"cannot write {path / FOLDER}: make the run's folder writable")
        return cls(path, record)

    def __enter__(self) -> SharedRunDirectory:
        """Nothing more."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the log."""
        self.close()

    def update(self, **fields: Any) -> None:
        """Set fields of the record of this process."""
        self.record.set(**fields)

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()


def check_owner(path: Path) -> None:
    """Make sure that nobody else decides what a run's folder holds.

    Raises:
        RunRecordError: it is another user's, or anybody may write to it.
    """
    status = path.stat()
    if status.st_uid != os.geteuid() and os.geteuid() != 0:
        raise RunRecordError(f"{path}: belongs to another user (uid {status.st_uid}): copy it to a folder of your own")
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise RunRecordError(f"{path}: anybody may write to it: look at what is in it, then chmod o-w {path}")
