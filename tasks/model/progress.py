"""Where a run's progress is shown: what the workflow tells, whoever listens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Stage(Protocol):
    """A stage in progress."""

    def advance(self, amount: float = 1) -> None:
        """So much more is done."""


class Progress(Protocol):
    """Where progress is shown."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        """Begin a stage of ``total`` steps."""


class Quiet:
    """Progress shown nowhere."""

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """A stage that nobody watches."""
        yield self

    def advance(self, amount: float = 1) -> None:
        """Nothing to show."""
