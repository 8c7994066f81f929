"""Cuts for an exact run: a limit and, where the run takes long, a second search about the width that was quickest."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from math import ceil

from tasks.cutting.cuts import Cut
from tasks.cutting.errors import CuttingError
from tasks.cutting.objectives import Objective
from tasks.cutting.partition import partition
from tasks.cutting.search.candidates import NARROWEST, candidate_cuts, next_width
from tasks.cutting.search.sketch import Sketch, sketch_of
from tasks.model.problem import Problem

_SHORT_S = 0.5  # of a run: another search takes as long
_WIDER = 1.155  # times the quickest one's width: halfway to what a search looks at before it
_COUNTED = 2  # of each search, from finished fragments


@dataclass(frozen=True)
class _Counted:
    """Cuts, and what finished fragments make of them."""

    cuts: tuple[Cut, ...]
    sketch: Sketch
    score: float
    usable: bool


def exact_cuts(
    problem: Problem, max_qubits: int, objective: Objective, *, seed: int, seconds: float | None, runs: bool
) -> list[tuple[Cut, ...]]:
    """Sets of cuts worth comparing, the best first.

    The arguments are those of ``candidate_cuts``. The first of each search, and that of fewest cuts, are counted as
    finished fragments, with what a search's sketch leaves out: fragments that take no amplitudes. A search looks at all
    narrower widths, but with one seed each: the second one has a limit near the width that was the quickest. There is
    none where nothing can be joined: narrower fragments have more cuts.

    Raises:
        CuttingError: only gates that cannot be cut would part the circuit so far.
    """
    counted: dict[tuple[Cut, ...], _Counted] = {}

    def count(ways: list[tuple[Cut, ...]]) -> None:
        for cuts in [*ways[:_COUNTED], min(ways, key=len)]:
            if cuts not in counted:
                sketch = sketch_of(partition(problem, cuts))
                usable = sketch.width <= max_qubits and not sketch.too_large
                counted[cuts] = _Counted(cuts, sketch, objective.score(sketch, None), usable)

    limit = min(max_qubits, problem.num_qubits)
    others = candidate_cuts(problem, limit, objective, seed=seed, seconds=seconds, runs=runs)
    count(others)
    sketches = [one.sketch for one in counted.values() if one.usable]
    quickest = min(sketches, key=lambda sketch: sketch.seconds, default=None)
    if quickest and quickest.seconds > _SHORT_S and limit > NARROWEST and seconds is None:
        limit = max(NARROWEST, min(next_width(limit), ceil(_WIDER * quickest.width)))
        with suppress(CuttingError):  # gates that cannot be cut keep more together
            count(candidate_cuts(problem, limit, objective, seed=seed, runs=runs))
    # Equal ones stay in the order that they came in, which the order of sums does not change.
    first = [one.cuts for one in sorted(counted.values(), key=lambda one: (not one.usable, round(one.score, 9)))]
    return first + [cuts for cuts in others if cuts not in counted]
