"""What an objective is: weights for the searches, and a score by which whole plans are compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from scheduler_policies.machine import CONTRACTION_FLOPS, CPU_SPEED
from tasks.cutting.cost import exact_fragment_seconds, greedy_contraction
from tasks.cutting.partition import Partition
from tasks.cutting.schmidt import SchmidtForm


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


def exact_run_seconds(candidate: Partition) -> float:
    """How long an exact run is likely to take on one core: a task a fragment, and the contraction; never 0."""
    fragments = sum(CPU_SPEED.job + exact_fragment_seconds(fragment) for fragment in candidate.fragments)
    joining = greedy_contraction(candidate.fragments, candidate.bonds).flops / CONTRACTION_FLOPS
    return max(fragments + joining, CPU_SPEED.job)  # observables that no gate reaches leave no fragment
