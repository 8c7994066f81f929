"""The base class of every error a user can act on, and the one for what the user gave.

Each room derives its own from it. ``str(error)`` is a single line that says what is wrong, where, and what to do; a
program of apps/ prints that line alone and exits with status 2. Anything else that escapes is a defect of Qompass.
"""

from __future__ import annotations


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


class InputError(QompassError):
    """A file or an option that Qompass cannot use; nothing has been run or written yet."""
