"""Least predicted error of a sampled run: what the cut ends of each fragment cost, summed over fragments.

Severed ends are measured as a tomographer would and contracted as a network, so the variance paid is that of each
fragment's own ends, far below the product over all cuts: with shots shared out best, (sum_f sqrt(v_f))**2 / shots with
v_f the product of the costs of the ends on fragment f.
"""

from __future__ import annotations

from math import log2
from typing import ClassVar

from tasks.cutting.cost import end_cost
from tasks.cutting.kinds import SCHEMES
from tasks.cutting.objectives.objective import Objective, exact_operations
from tasks.cutting.partition import Partition
from tasks.cutting.schmidt import SchmidtForm


class Error(Objective):
    """log2 of the variance for one shot; among equal ones less work."""

    name: ClassVar[str] = "error"
    wire: ClassVar[float] = 4.1

    def gate(self, form: SchmidtForm) -> float:
        """See ``Objective``."""
        return 2 * log2(form.kappa()) + 0.1

    def score(self, candidate: Partition) -> float:
        """See ``Objective``."""
        logs = [
            sum(log2(min(end_cost(leg, candidate.bonds[leg.cut], s) for s in SCHEMES)) for leg in fragment.legs)
            for fragment in candidate.fragments
        ]
        largest = max(logs, default=0.0)
        spread = sum(2 ** ((value - largest) / 2) for value in logs)
        return largest + 2 * log2(max(1.0, spread)) + 0.02 * log2(exact_operations(candidate))
