"""The base class of every error a user can act on, and the one for what the user gave.

Each room derives its own from it. ``str(error)`` is a single line that says what is wrong, where, and what to do; a
program of apps/ prints that line alone and exits with status 2. Anything else that escapes is a defect of Qompass.
"""

from __future__ import annotations


class QompassError(Exception):
    """Something the user gave, or this machine lacks, stops the run; the message is one clear line."""


class InputError(QompassError):
    """A file or an option that Qompass cannot use; nothing has been run or written yet."""
