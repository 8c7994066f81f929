"""What can go wrong between fragment tensors and estimates, each with what the user can do."""

from __future__ import annotations

from tasks.errors import QompassError


class ReconstructionError(QompassError):
    """Base of every error this room raises on purpose."""


class InconsistentNetworkError(ReconstructionError):
    """Tensors, bonds and factor indices do not fit together."""


class MissingCountsError(ReconstructionError):
    """A variant that the estimate needs has no counts, or counts that are no counts."""


class MemoryLimitError(ReconstructionError):
    """No slicing of the network fits the memory allowed.

    Attributes:
        least_bytes: the smallest limit under which the contraction would run.
    """

    def __init__(self, message: str, least_bytes: int) -> None:
        super().__init__(message, field="memory_bytes")
        self.least_bytes = least_bytes


class ContractionCostError(ReconstructionError):
    """The network can be contracted in principle, but not in anybody's lifetime."""


class SpillError(ReconstructionError):
    """Writing or reading a network on disk failed."""


class DistributionError(ReconstructionError):
    """A distribution was asked for that these tensors cannot give."""


class AllocationError(ReconstructionError):
    """No number of shots does what was asked."""
