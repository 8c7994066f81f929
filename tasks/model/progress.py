"""Where a run's progress is shown: what the workflow tells, whoever listens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tasks.model.problem import Estimate


class Stage(Protocol):
    """A stage in progress."""

    def advance(self, amount: float = 1) -> None:
        """So much more is done."""


class Progress(Protocol):
    """Where progress is shown."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        """Begin a stage of ``total`` steps."""

    def estimates(self, rounds: int, told: Sequence[Estimate]) -> None:
        """What the shots of so many rounds say of the first observables."""


class Quiet:
    """Progress shown nowhere."""

    @contextlib.contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """A stage that nobody watches."""
        yield self

    def estimates(self, rounds: int, told: Sequence[Estimate]) -> None:
        """Nobody to tell."""

    def advance(self, amount: float = 1) -> None:
        """Nothing to show."""
