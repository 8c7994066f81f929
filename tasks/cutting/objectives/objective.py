"""What an objective is: weights for the searches, and a score by which whole plans are compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import ClassVar

from tasks.cutting.schmidt import Copied, SchmidtForm
from tasks.cutting.search.sketch import Sketch


class Objective(ABC):
    """Something to minimise.

    Attributes:
        name: by which it is chosen.
        wire: what cutting one wire costs, in the unit of ``gate``.
        joins: whether a copy may join parts of fragments that no gate joins: fewer cuts for wider fragments.
    """

    name: ClassVar[str]
    wire: ClassVar[float]
    joins: ClassVar[bool] = True

    @abstractmethod
    def gate(self, form: SchmidtForm | Copied) -> float:
        """What cutting a gate of that form costs; costs of several cuts add up."""

    @abstractmethod
    def score(self, candidate: Sketch, shots: int | None) -> float:
        """Lower is better; ``shots`` in all, None for an exact run."""

    def least(self, fragments: int) -> float:
        """What no exact run of so many fragments scores below."""
        return -inf
