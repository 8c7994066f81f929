"""Cuts for an exact run: a limit beside narrower ones, each searched by itself while the run takes long."""

from __future__ import annotations

from math import ceil, inf

from tasks.cutting.cuts import Cut
from tasks.cutting.errors import CuttingError
from tasks.cutting.objectives import Objective
from tasks.cutting.partition import partition
from tasks.cutting.search.candidates import NARROWEST, candidate_cuts
from tasks.cutting.search.sketch import sketch_of
from tasks.model.problem import Problem

_SHORT_S = 0.5  # of a run: another search takes as long
_NEXT_LIMIT = 0.6  # of the one before: a search looks at narrower widths by itself, if with one seed each
_COUNTED = 2  # of each limit, from finished fragments


def exact_cuts(
    problem: Problem, max_qubits: int, objective: Objective, *, seed: int, seconds: float | None, runs: bool
) -> list[tuple[Cut, ...]]:
    """Sets of cuts worth comparing, the best first.

    The arguments are those of ``candidate_cuts``. The first of each limit, and that of fewest cuts, are counted as
    finished fragments, with what a search's sketch leaves out: fragments that take no amplitudes. Narrower limits are
    left when one gains nothing, and where none of the first can be joined: narrower ones have more cuts.

    Raises:
        CuttingError: only gates that cannot be cut would part the circuit so far.
    """
    limit = min(max_qubits, problem.num_qubits)
    others = candidate_cuts(problem, limit, objective, seed=seed, seconds=seconds, runs=runs)
    counted: list[tuple[bool, float, tuple[Cut, ...]]] = []
    ways, least = others, inf
    while ways:
        before = least
        for cuts in dict.fromkeys([*ways[:_COUNTED], min(ways, key=len)]):
            if any(cuts == known for *_, known in counted):
                continue
            sketch = sketch_of(partition(problem, cuts))
            wide = sketch.width > max_qubits or sketch.too_large
            counted.append((wide, objective.score(sketch, None), cuts))
            least = least if wide else min(least, sketch.seconds)
        if least <= _SHORT_S or least == inf or least >= before or limit <= NARROWEST or seconds is not None:
            break
        limit = max(NARROWEST, ceil(_NEXT_LIMIT * limit))
        try:
            ways = candidate_cuts(problem, limit, objective, seed=seed, runs=runs)
        except CuttingError:  # gates that cannot be cut keep more together
            break
    # Equal ones stay in the order that they came in, which the order of sums does not change.
    best = sorted(counted, key=lambda item: (item[0], round(item[1], 9)))
    first = [cuts for *_, cuts in best]
    return first + [cuts for cuts in others if cuts not in first]
