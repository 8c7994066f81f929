"""This machine's cores as locks: work holds one, and lends itself those that no other work of this user holds.

So a single simulation uses every core, as many as there are cores use one each, and the last of many is not left on
one core while the others idle. The system lets go of a lock however its holder ends.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tasks.runtime.file_lock import try_lock, unlock
from tasks.runtime.machine import usable_cores
from tasks.runtime.private_folder import PrivateFolder, PrivateFolderError


class Cores:
    """What one piece of work may compute on; a context manager that lets go of it.

    Args:
        most: cores that it may use at most.
    """

    def __init__(self, most: int):
        self.most = max(1, min(most, usable_cores())) if most > 1 else 1
        self._own: int | None = None
        self._files: list[int] = []

    def __enter__(self) -> Cores:
        """Hold a core, where one is free."""
        if self.most > 1:
            # Where the folder cannot be used, or has no locks, everybody computes on one core.
            with contextlib.suppress(PrivateFolderError, OSError):
                path = Path(tempfile.gettempdir()) / f"qompass-cores-{os.geteuid()}"
                with PrivateFolder(path) as folder:
                    for number in range(usable_cores()):
                        self._files.append(folder.open(str(number), os.O_RDWR | os.O_CREAT))
            self._hold()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of everything."""
        for file in self._files:
            os.close(file)
        self._files, self._own = [], None

    @contextlib.contextmanager
    def lent(self) -> Iterator[int]:
        """How many cores to use for a moment: the own one, and those that are free until the block ends."""
        self._hold()
        taken: list[int] = []
        for file in self._files:
            if self._own is not None and len(taken) < self.most - 1 and file != self._own and _free(file):
                taken.append(file)
        try:
            yield 1 + len(taken)
        finally:
            for file in taken:
                unlock(file)

    def _hold(self) -> None:
        if self._own is None:
            self._own = next((file for file in self._files if _free(file)), None)


def _free(file: int) -> bool:
    try:
        return try_lock(file)
    except OSError:
        return False
