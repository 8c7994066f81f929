"""The base class of every error a user can act on, and the one for what the user gave.

Each room derives its own from it. ``str(error)`` is a single line that says what is wrong, where, and what to do; a
program of apps/ prints that line alone and exits with status 2. Anything else that escapes is a defect of Qompass.
"""

from __future__ import annotations

import errno
import os

# What the system refuses for want of something, and what to do about it.
_LIMITS = {
    errno.EMFILE: "raise `ulimit -n`",
    errno.ENFILE: "end other programs",
    errno.EFBIG: "raise `ulimit -f`",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room in your quota",
    errno.EROFS: "name a folder that can be written",
    errno.ENAMETOOLONG: "shorten the name",
    errno.ELOOP: "correct the links",
    errno.EACCES: "ask its owner, or name another",
    errno.ENOMEM: "raise `ulimit -v`, or lower `max_qubits`",
    errno.EAGAIN: "raise `ulimit -u` or `ulimit -v`",
}


class QompassError(Exception):
    """Something the user gave, or this machine lacks, stops the run; the message is one clear line.

    A message names an option by its field of :class:`tasks.options.Options`, in backticks (`` `max_qubits` ``):
    a notebook reads it as it is, the command line shows the flag instead.

    Attributes:
        field: the argument or option that has to change, where it is one.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class DefectError(Exception):
    """A bug of Qompass showed in a task: not the user's to mend, hence no QompassError, and nothing is tried again.

    Args:
        message: one line, what raised and where.
        detail: the traceback in the task's own process.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(f"{message}\n\n{detail}".rstrip())


class InputError(QompassError):
    """A file or an option that Qompass cannot use; nothing has been run or written yet."""


def system_limit(error: BaseException) -> str:
    """One line where the system refused something for want of memory, files, room or processes, else ""."""
    cause: BaseException | None = error
    while cause is not None:
        number = cause.errno if isinstance(cause, OSError) else None
        if isinstance(cause, MemoryError) or "failed to map segment" in str(cause):
            number = errno.ENOMEM
        elif isinstance(cause, RuntimeError) and "start new thread" in str(cause):
            number = errno.EAGAIN
        if number in _LIMITS:
            where = f"{cause.filename!s:.200}: " if isinstance(cause, OSError) and cause.filename else ""
            return f"{where}the system refuses more: {os.strerror(number)}: {_LIMITS[number]}"
        cause = cause.__cause__ or cause.__context__
    return ""


def is_defect(error: BaseException) -> bool:
    """Whether an exception is a bug of Qompass, and not the user's or the system's to mend."""
    return isinstance(error, Exception) and not isinstance(error, QompassError) and not system_limit(error)
