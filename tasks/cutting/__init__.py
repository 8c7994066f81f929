"""problem -> plan -> fragments -> variants, as pure functions over plain data."""

from tasks.cutting.cuts import Cut, GateCut, WireCut
from tasks.cutting.errors import CuttingError
from tasks.cutting.limits import predicted_bytes, with_known_error
from tasks.cutting.plan import Fragment, FragmentCost, Leg, Plan
from tasks.cutting.planner import make_plan, make_plans, structure_of

__all__ = [
    "Cut",
    "CuttingError",
    "Fragment",
    "FragmentCost",
    "GateCut",
    "Leg",
    "Plan",
    "WireCut",
    "make_plan",
    "make_plans",
    "predicted_bytes",
    "structure_of",
    "with_known_error",
]
