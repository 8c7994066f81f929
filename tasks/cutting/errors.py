"""What can go wrong while cutting, each with what to do about it."""

from __future__ import annotations

from tasks.errors import QompassError


class CuttingError(QompassError):
    """A cut that cannot be made, or no plan within the limits given."""
