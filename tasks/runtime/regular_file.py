"""Opens what should be a regular file: in its place may lie a pipe, for whose writer nobody is to wait."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotRegularError(OSError):
    """There is a pipe or a device in the place of a file."""


def open_regular(path: Path) -> BinaryIO:
    """A regular file, open for reading.

    Raises:
        NotRegularError: it is a pipe or a device.
        OSError: it cannot be opened, or is a folder.
        ValueError: there is a NUL in its name.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotRegularError(errno.EINVAL, "is not a regular file", str(path))
    return file
