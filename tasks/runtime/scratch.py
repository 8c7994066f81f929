"""One temporary folder for all that a process needs for a while; what killed processes left, the next one removes.

A process that lives holds the lock of a file in its folder; the system lets go of it however the process ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import threading
from pathlib import Path

from tasks.runtime.file_lock import lock, try_lock

_PREFIX = "qompass-"
_ALIVE = "alive"

_making = threading.Lock()
_made: tuple[int, Path] | None = None  # by which process, since a forked one needs its own


def scratch_folder() -> Path:
    """This process's own folder below the temporary one, mode 0700; removed when it ends."""
    global _made
    with _making:
        if _made is None or _made[0] != os.getpid():
            _remove_left_ones(Path(tempfile.gettempdir()))
            path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            # Locked before it has its name, so that nobody finds it free.
            descriptor = os.open(path / f".{_ALIVE}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with contextlib.suppress(OSError):  # a file system without locks: then nothing is ever removed
                lock(descriptor)
                os.rename(path / f".{_ALIVE}", path / _ALIVE)
            _made = os.getpid(), path
            atexit.register(_remove_own, *_made)
        return _made[1]


def _remove_own(process: int, path: Path) -> None:
    if process == os.getpid():
        shutil.rmtree(path, ignore_errors=True)


def _remove_left_ones(parent: Path) -> None:
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(parent)):
            with contextlib.suppress(OSError):
                if entry.name.startswith(_PREFIX) and _is_left(entry):
                    shutil.rmtree(entry.path, ignore_errors=True)


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder of ours whose process has ended; never through a link."""
    status = entry.stat(follow_symlinks=False)
    if not entry.is_dir(follow_symlinks=False) or status.st_uid != os.geteuid():
        return False
    descriptor = os.open(Path(entry.path) / _ALIVE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)
