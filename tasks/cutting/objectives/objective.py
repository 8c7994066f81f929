"""What an objective is: weights for the searches, and a score by which whole plans are compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from tasks.cutting.cost import contraction_cost, exact_work
from tasks.cutting.partition import Partition
from tasks.cutting.schmidt import SchmidtForm

_FRAGMENT_WORK = 2e7  # a fragment of any size is a task, of about 20 ms at 1e9 operations a second


class Objective(ABC):
    """Something to minimise.

    Attributes:
        name: by which it is chosen.
        wire: what cutting one wire costs, in the unit of ``gate``.
    """

    name: ClassVar[str]
    wire: ClassVar[float]

    @abstractmethod
    def gate(self, form: SchmidtForm) -> float:
        """What cutting a gate of that form costs; costs of several cuts add up."""

    @abstractmethod
    def score(self, candidate: Partition, shots: int | None) -> float:
        """Lower is better; ``shots`` in all, None for an exact run."""


def exact_operations(candidate: Partition) -> float:
    """Floating-point operations of an exact run, a task's own overhead included; at least 1."""
    fragments = sum(_FRAGMENT_WORK + exact_work(fragment) for fragment in candidate.fragments)
    return max(1.0, fragments + contraction_cost(candidate.fragments, candidate.bonds).flops)
