"""What can go wrong while cutting, each with what to do about it."""

from __future__ import annotations

from tasks.errors import QompassError


class CuttingError(QompassError):
    """A cut that cannot be made, or no plan within the limits given."""


class TooFewShotsError(CuttingError):
    """A plan with more distinct variants than shots.

    Attributes:
        variants: of the plan.
    """

    def __init__(self, message: str, *, field: str | None = None, variants: int = 0) -> None:
        super().__init__(message, field=field)
        self.variants = variants
