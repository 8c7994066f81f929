"""The objectives there are: a new one is its file and its line here."""

from __future__ import annotations

from tasks.cutting.errors import CuttingError
from tasks.cutting.objectives.error import LeastError
from tasks.cutting.objectives.objective import Objective
from tasks.cutting.objectives.overhead import LeastOverhead
from tasks.cutting.objectives.work import LeastWork

OBJECTIVES: dict[str, Objective] = {
    objective.name: objective for objective in (LeastWork(), LeastOverhead(), LeastError())
}


def find_objective(name: str) -> Objective:
    """The objective of that name.

    Raises:
        CuttingError: there is none.
    """
    if name not in OBJECTIVES:
        raise CuttingError(f"no objective {name!r}: name one of {', '.join(sorted(OBJECTIVES))}")
    return OBJECTIVES[name]
