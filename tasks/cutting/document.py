"""A plan as plain JSON values: what ``qompass plan --json`` prints and a run's record keeps."""

from __future__ import annotations

from typing import Any

from tasks.cutting.cuts import cuts_document
from tasks.cutting.limits import predicted_bytes
from tasks.cutting.plan import Plan


def plan_document(plan: Plan) -> dict[str, Any]:
    """Describe a plan.

    Returns:
        {"cuts": {"gates": [instruction, or {"instruction", "kind", "with"}], "wires": [{"instruction", "qubit"}]},
        "fragments": [{"index", "width", "lent", "depth", "two_qubit_gates", "legs": [{"cut", "kind", "dimension"}],
        "qubits": [problem qubit], "variants", "settings": [scheme of each leg], "exact_bytes", "tensor_bytes"}],
        "sampling_overhead", "variants", "predicted_bytes", "notes"}
    """
    return {
        "cuts": cuts_document(plan.cuts),
        "fragments": [
            {
                "index": fragment.index,
                "width": cost.width,
                "lent": fragment.num_qubits - fragment.width,
                "depth": cost.depth,
                "two_qubit_gates": cost.two_qubit_gates,
                "legs": [
                    {"cut": leg.cut, "kind": leg.kind.name.replace("_", " "), "dimension": leg.dimension}
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
