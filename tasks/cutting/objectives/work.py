"""Least work of an exact run: the simulations and the contraction."""

from __future__ import annotations

from math import log2
from typing import ClassVar

from scheduler_policies.machine import JOIN_FRAGMENT_S, TYPICAL_CPU
from tasks.cutting.objectives.objective import Objective
from tasks.cutting.schmidt import Copied, SchmidtForm
from tasks.cutting.search.sketch import Sketch


class LeastWork(Objective):
    """log2 of the predicted seconds; a cut costs the dimension of its legs, its overhead breaks ties."""

    name: ClassVar[str] = "work"
    wire: ClassVar[float] = 2.2
    joins: ClassVar[bool] = False

    def gate(self, form: SchmidtForm | Copied) -> float:
        """See ``Objective``."""
        return 2 * log2(form.rank) + 0.05 * 2 * log2(form.kappa())

    def score(self, candidate: Sketch, shots: int | None) -> float:
        """See ``Objective``."""
        return log2(candidate.seconds)

    def least(self, fragments: int) -> float:
        """See ``Objective``: a job each, and its place in the contraction."""
        return log2(fragments * (TYPICAL_CPU.speed.job + JOIN_FRAGMENT_S))
