"""Least predicted error of a sampled run: what the cut ends of each fragment cost, summed over fragments.

Severed ends are measured as a tomographer would and contracted as a network. With v_f the product of the costs of the
ends on fragment f, n_f its shots and the fragments independent, an estimate made of one entry of each has the variance
prod_f (1 + v_f / n_f) - 1. With many shots, shared out best, this is (sum_f sqrt(v_f))**2 / shots, far below
the product over all cuts that kappa**2 is; with few, the product of many poor fragments counts for what it is.
"""

from __future__ import annotations

from math import expm1, inf, log, log2
from typing import ClassVar

import numpy as np
from numpy import logaddexp2

from tasks.cutting.objectives.objective import Objective
from tasks.cutting.schmidt import Copied, SchmidtForm
from tasks.cutting.search.sketch import Sketch

_MANY_SHOTS = 1 << 30


class LeastError(Objective):
    """log2 of the variance; among equal ones less work."""

    name: ClassVar[str] = "error"
    wire: ClassVar[float] = 4.1

    def gate(self, form: SchmidtForm | Copied) -> float:
        """See ``Objective``."""
        return 2 * log2(form.kappa()) + 0.1

    def score(self, candidate: Sketch, shots: int | None) -> float:
        """See ``Objective``."""
        return log_variance(candidate, shots) + 0.02 * log2(candidate.seconds)


def log_variance(candidate: Sketch, shots: int | None) -> float:
    """log2 of the variance of an observable of norm 1 that the cut ends alone let expect."""
    logs = np.array([fragment.log_cost for fragment in candidate.fragments])
    # Shares of the shots are as the roots, so v_f / n_f = sqrt(v_f) sum(sqrt(v)) / shots; all in powers of two.
    total = logaddexp2.reduce(logs / 2)
    each = logs / 2 + total - log2(shots or _MANY_SHOTS)
    grown = float(logaddexp2(0.0, each).sum())  # log2 of the product
    if grown == 0:  # no fragments
        return -inf
    return log2(expm1(grown * log(2))) if grown < 50 else grown
