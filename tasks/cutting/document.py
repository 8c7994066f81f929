"""A plan as plain JSON values: what ``qompass plan --json`` prints and a run's record keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.cutting.plan import Cut, GateCut, Plan, WireCut
from tasks.cutting.planner import predicted_bytes


def plan_document(plan: Plan) -> dict[str, Any]:
    """Describe a plan.

    Returns:
        {"cuts": {"gates": [instruction], "wires": [{"instruction", "qubit"}]}, "fragments": [{"index", "width",
        "depth", "two_qubit_gates", "legs": [{"cut", "kind", "dimension"}], "qubits": [problem qubit], "variants",
        "settings": [scheme of each leg], "exact_bytes", "tensor_bytes"}], "sampling_overhead", "variants",
        "predicted_bytes", "notes"}
    """
    return {
        "cuts": cuts_document(plan.cuts),
        "fragments": [
            {
                "index": fragment.index,
                "width": cost.width,
                "depth": cost.depth,
                "two_qubit_gates": cost.two_qubit_gates,
                "legs": [
                    {"cut": leg.cut, "kind": leg.kind.replace("_", " "), "dimension": leg.dimension}
                    for leg in fragment.legs
                ],
                "qubits": [qubit for _, qubit in fragment.outputs],
                "variants": cost.variants,
                "settings": list(schemes),
                "exact_bytes": cost.exact_bytes,
                "tensor_bytes": cost.tensor_bytes,
            }
            for fragment, cost, schemes in zip(plan.fragments, plan.costs, plan.schemes, strict=True)
        ],
        "sampling_overhead": plan.sampling_overhead,
        "variants": sum(cost.variants for cost in plan.costs),
        "predicted_bytes": predicted_bytes(plan),
        "notes": list(plan.notes),
    }


def cuts_document(cuts: Sequence[Cut]) -> dict[str, Any]:
    """Cuts in the form of a cuts file."""
    return {
        "gates": [c.instruction for c in cuts if isinstance(c, GateCut)],
        "wires": [{"instruction": c.instruction, "qubit": c.qubit} for c in cuts if isinstance(c, WireCut)],
    }


def cuts_from(document: Mapping[str, Any]) -> tuple[Cut, ...]:
    """The inverse of ``cuts_document``."""
    return (
        *(GateCut(i) for i in document["gates"]),
        *(WireCut(w["instruction"], w["qubit"]) for w in document["wires"]),
    )
