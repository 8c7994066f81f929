"""The lock of a run's folder: one process works on a run at a time."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from tasks.runs.record import RunRecordError
from tasks.runtime.file_lock import try_lock

logger = logging.getLogger(__name__)

_NAME = "lock"
_held: set[Path] = set()  # record locks belong to the process, so two threads of one need this


class RunLock:
    """The lock of one run, held from here on.

    A record lock, not flock: children that outlive a killed parent do not keep it. It is lost as soon as this process
    closes any other descriptor of the file, hence the look at ``_held`` before opening it.

    Raises:
        RunRecordError: another process, or another thread of this one, works on the run.
        OSError: the folder cannot be written.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        taken = f"another process works on {run}: wait for it, or end it first"
        if run in _held:
            raise RunRecordError(taken)
        # Not through a link, which could name any file.
        self._descriptor = os.open(run / _NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            if not try_lock(self._descriptor, of_process=True):
                os.close(self._descriptor)
                raise RunRecordError(taken)
        except OSError as error:  # a file system without locks
            logger.warning("%s cannot be locked (%s): do not resume it twice at once", run, error.strerror)
        _held.add(run)

    def release(self) -> None:
        """Let go of it; safe to call twice."""
        if self._descriptor >= 0:
            _held.discard(self._run)
            os.close(self._descriptor)
            self._descriptor = -1


def is_locked(run: Path) -> bool:
    """Whether a process works on the run."""
    if run in _held:
        return True
    try:
        descriptor = os.open(run / _NAME, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:  # nobody knows
        return True
    try:
        return not try_lock(descriptor, of_process=True)
    except OSError:
        return True
    finally:
        os.close(descriptor)
