"""What can go wrong while running fragments."""

from __future__ import annotations

from tasks.errors import QompassError


class ExecutionError(QompassError):
    """A fragment or variant could not be run; which, and why."""


class UnsupportedCircuit(ExecutionError):
    """A circuit that cannot be put down in bytes, or whose meaning cannot be read (control flow, free parameters)."""
