"""Least sampling overhead of a sampled run: the product of kappa**2 over the cuts."""

from __future__ import annotations

from math import log2
from typing import ClassVar

from tasks.cutting.objectives.objective import Objective
from tasks.cutting.schmidt import Copied, SchmidtForm
from tasks.cutting.search.sketch import Sketch


class LeastOverhead(Objective):
    """log2 of the overhead; among equal ones fewer cuts and less work."""

    name: ClassVar[str] = "overhead"
    wire: ClassVar[float] = 4.1

    def gate(self, form: SchmidtForm | Copied) -> float:
        """See ``Objective``."""
        return 2 * log2(form.kappa()) + 0.1

    def score(self, candidate: Sketch, shots: int | None) -> float:
        """See ``Objective``."""
        return candidate.overhead + 0.02 * log2(candidate.seconds)
