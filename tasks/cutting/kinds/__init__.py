"""What can be severed, one object a kind: a wire, a gate by measured settings, a gate by Hadamard tests."""

from tasks.cutting.kinds.kind import CutKind, GateKind, LegKind
from tasks.cutting.kinds.registry import WIRE, cheapest_gate_kind, gate_kind
from tasks.cutting.kinds.setting import GATES, SCHEMES, Scheme, Setting, gate_product

__all__ = [
    "GATES",
    "SCHEMES",
    "WIRE",
    "CutKind",
    "GateKind",
    "LegKind",
    "Scheme",
    "Setting",
    "cheapest_gate_kind",
    "gate_kind",
    "gate_product",
]
