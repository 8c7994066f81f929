"""What the search for cuts minimises, one file an objective."""

from tasks.cutting.objectives.objective import Objective
from tasks.cutting.objectives.registry import OBJECTIVES, find_objective

__all__ = ["OBJECTIVES", "Objective", "find_objective"]
