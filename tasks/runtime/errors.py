"""Errors of the engines: all are `QompassError`, so that a program shows them as one line."""

from __future__ import annotations

from tasks.errors import QompassError


class EngineError(QompassError):
    """An engine was asked for something it cannot do, or died; the message says what to do about it."""
