"""What a refusal for want of width says besides: the narrowest fragments for which there is a plan, and its price."""

from __future__ import annotations

from collections.abc import Callable
from math import log2, sqrt

from tasks.cutting.cost import exact_fragment_seconds, greedy_contraction, joining_seconds
from tasks.cutting.errors import CuttingError
from tasks.cutting.objectives.error import log_variance
from tasks.cutting.partition import partition_of
from tasks.cutting.plan import Plan
from tasks.cutting.search.sketch import sketch_of
from tasks.model.problem import Problem

_HALVINGS = 5  # of the range of widths
_WANTED = 0.01  # standard error
_MANY = 1e15  # shots, for which variances are in proportion to 1 / shots
_LONG_S = 365.25 * 24 * 3600.0


def with_narrowest(
    refusal: CuttingError, problem: Problem, plan_at: Callable[[int], Plan], limit: int, shots: int | None
) -> CuttingError:
    """The same refusal with the smallest width that would do.

    Args:
        refusal: of a width.
        problem: that was planned.
        plan_at: makes a plan for fragments of a width at most, by a short search.
        limit: the width refused.
        shots: in all, None for an exact run.
    """
    plans: dict[int, Plan] = {}

    def does(width: int) -> bool:
        try:
            plans[width] = plan_at(width)
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
        if high - low < 2:
            break
        middle = (low + high) // 2
        low, high = (low, middle) if does(middle) else (middle, high)
    found = plans[high]
    width = max((fragment.width for fragment in found.fragments), default=high)
    price = _exact_price(found) if shots is None else _shots(problem, found)
    return CuttingError(
        f"{refusal}; the narrowest that a short search finds a plan for is `max_qubits` {width}: {price}",
        field=refusal.field or "max_qubits",
    )


def _exact_price(plan: Plan) -> str:
    flops = greedy_contraction(plan.fragments, plan.bonds).flops * len(plan.factor_index)
    numbers = sum(cost.tensor_bytes for cost in plan.costs) / 8
    seconds = sum(map(exact_fragment_seconds, plan.fragments)) + joining_seconds(flops, len(plan.fragments), numbers)
    if seconds > _LONG_S:
        return f"2**{log2(seconds / _LONG_S):.0f} years of one core"
    return f"about {seconds:.2g} s of one core" if seconds < 7200 else f"about {seconds / 3600:,.3g} hours of one core"


def _shots(problem: Problem, plan: Plan) -> str:
    variance = log_variance(sketch_of(partition_of(plan)), int(_MANY)) + log2(_MANY / _WANTED**2)
    largest = sqrt(float(problem.terms.coefficients.power(2).sum(axis=1).max()))
    shots = variance + 2 * log2(max(largest, 1e-300))
    amount = f"{2.0**shots:.1g}" if shots < 1000 else f"2**{shots:.0f}"
    return (
        f"{sum(c.variants for c in plan.costs):,} variants, of the order of {amount} shots for an error of {_WANTED:g}"
    )
