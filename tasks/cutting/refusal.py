"""What a refusal for want of width says besides: the narrowest fragments for which there is a plan, and its price."""

from __future__ import annotations

from collections.abc import Callable
from math import log2, sqrt

import numpy as np

from tasks.cutting.cost import greedy_contraction
from tasks.cutting.errors import CuttingError
from tasks.cutting.partition import partition_of
from tasks.cutting.plan import Plan
from tasks.cutting.search.sketch import Sketch, sketch_of
from tasks.cutting.seconds import exact_fragment_seconds, joining_seconds
from tasks.model.problem import Problem

_HALVINGS = 5  # of the range of widths
_NEAR = 64  # such a part of the width need not be known better
_WANTED = 0.01  # standard error
_MOST_BITS = 1000  # of what a float holds
_LONG_S = 365.25 * 24 * 3600.0


def with_narrowest(
    refusal: CuttingError, problem: Problem, plan_at: Callable[[int, str | None], Plan], limit: int, shots: int | None
) -> CuttingError:
    """The same refusal with the smallest width that would do.

    Args:
        refusal: of a width.
        problem: that was planned.
        plan_at: makes a plan for fragments of a width at most, by a short search with an objective.
        limit: the width refused.
        shots: in all, None for an exact run.
    """
    plans: dict[int, Plan] = {}

    def does(width: int) -> bool:
        try:
            plans[width] = plan_at(width, "work")  # what is quickest to join is a plan if anything is
        except CuttingError:
            return False
        return True

    low, step = limit, 1
    while not does(min(low + step, problem.num_qubits)):
        if low + step >= problem.num_qubits:
            return refusal
        low, step = low + step, 4 * step
    high = min(plans)
    for _ in range(_HALVINGS):
        if high - low < max(2, high // _NEAR):
            break
        middle = (low + high) // 2
        low, high = (low, middle) if does(middle) else (middle, high)
    found = plans[high] if shots is None else plan_at(high, None)
    width = max((fragment.width for fragment in found.fragments), default=high)
    width = high if width <= limit else width  # what is allowed matters to the search, narrow as its fragments are
    price = _exact_price(found) if shots is None else _shots(problem, found)
    return CuttingError(
        f"{refusal}; the narrowest that a short search finds a plan for is `max_qubits` {width}: {price}",
        field=refusal.field or "max_qubits",
    )


def price_of(sketch: Sketch, shots: int | None) -> str:
    """What cuts would take that no machine joins: hours or years, and shots.

    Args:
        sketch: of the fragments.
        shots: in all, None for an exact run.
    """
    if shots is None:
        return _long(sketch.seconds)
    numbers = sum(fragment.numbers for fragment in sketch.fragments)
    joining = joining_seconds(sketch.contraction.flops * sketch.terms, len(sketch.fragments), numbers)
    return f"of the order of {_amount(_log_shots(sketch))} shots for an error of {_WANTED:g}, then {_long(joining)}"


def _exact_price(plan: Plan) -> str:
    flops = greedy_contraction(plan.fragments, plan.bonds).flops * len(plan.factor_index)
    numbers = sum(cost.tensor_bytes for cost in plan.costs) / 8
    return _long(
        sum(map(exact_fragment_seconds, plan.fragments)) + joining_seconds(flops, len(plan.fragments), numbers)
    )


def _long(seconds: float) -> str:
    if seconds > _LONG_S:
        return f"2**{min(log2(seconds / _LONG_S), _MOST_BITS):.0f} years of one core"
    return f"about {seconds:.2g} s of one core" if seconds < 7200 else f"about {seconds / 3600:,.3g} hours of one core"


def _shots(problem: Problem, plan: Plan) -> str:
    largest = sqrt(float(problem.terms.coefficients.power(2).sum(axis=1).max()))
    amount = _amount(_log_shots(sketch_of(partition_of(plan))) + 2 * log2(max(largest, 1e-300)))
    return (
        f"{sum(c.variants for c in plan.costs):,} variants, of the order of {amount} shots for an error of {_WANTED:g}"
    )


def _log_shots(sketch: Sketch) -> float:
    """log2 of the shots for an observable of norm 1: with so many the variance is in proportion to 1 / shots."""
    ends = np.array([fragment.log_cost for fragment in sketch.fragments])
    return float(2 * np.logaddexp2.reduce(ends / 2)) - 2 * log2(_WANTED)


def _amount(log_shots: float) -> str:
    return f"{2.0**log_shots:.1g}" if log_shots < _MOST_BITS else f"2**{log_shots:.0f}"
