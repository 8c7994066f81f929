"""What can be severed, one object a kind: a wire, a gate by measured settings, a gate by Hadamard tests."""

from tasks.cutting.kinds.kind import CutKind, GateKind, LegKind
from tasks.cutting.kinds.registry import KINDS, cheapest_kind, cut_kind
from tasks.cutting.kinds.setting import GATES, SCHEMES, Scheme, Setting, gate_product

__all__ = [
    "GATES",
    "KINDS",
    "SCHEMES",
    "CutKind",
    "GateKind",
    "LegKind",
    "Scheme",
    "Setting",
    "cheapest_kind",
    "cut_kind",
    "gate_product",
]
