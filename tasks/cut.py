"""The cutting task: problem -> plan."""

from __future__ import annotations

from typing import Any

from tasks.cutting import Cut, make_plan
from tasks.model.problem import Problem
from tasks.runtime import Outcome, constraint, contained, task


@constraint(computing_units="1")
@task(returns=1)
def cut(problem: Problem, cuts: tuple[Cut, ...] | None, limits: dict[str, Any]) -> Outcome:
    """Plan a problem; ``limits`` are the keyword arguments of ``make_plan``."""
    return contained(_plan, problem, cuts, limits)


def _plan(problem: Problem, cuts: tuple[Cut, ...] | None, limits: dict[str, Any]) -> Any:
    return make_plan(problem, cuts=cuts, **limits)
