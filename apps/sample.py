"""``qompass sample``: bit strings that measuring every qubit of the uncut circuit would give."""

from __future__ import annotations

import argparse
import json
from typing import Any

from apps.progress import make_progress
from apps.run import SCHEMA, options_from
from apps.tables import plan_text, table
from tasks import workflow
from tasks.cutting.document import plan_document
from tasks.inputs import read_problem
from tasks.sampling import draw, fragment_outputs, labels, likeliest

_SHOWN = 20


def sample(arguments: argparse.Namespace) -> int:
    """Simulate the fragments exactly, then draw ``--shots`` strings, or list the ``--top`` most likely ones."""
    shots, arguments.shots = arguments.shots, None  # the fragments are simulated exactly; shots are drawn afterwards
    # Z on every qubit: so that the plan leaves out nothing that a measurement could see.
    problem = read_problem(arguments.circuit, [], None, every_qubit=True)
    progress = make_progress()
    with progress.stage("cut", 1) as stage:
        plan = workflow.plan_problem(problem, options_from(arguments, problem))
        stage.advance()
    outputs = fragment_outputs(problem, plan, progress)
    document: dict[str, Any] = {"schema": SCHEMA, "qubits": problem.num_qubits, "plan": plan_document(plan)}
    if arguments.top:
        found = likeliest(outputs, arguments.top, arguments.seed)
        document["likely"] = [
            {"bits": bits, "probability": float(probability), "std_error": float(error)}
            for bits, probability, error in zip(labels(found.bits), found.probabilities, found.std_errors, strict=True)
        ]
        rows = [(entry["bits"], f"{entry['probability']:.9g}") for entry in document["likely"]]
        names = ("bits", "probability")
    else:
        drawn = draw(outputs, shots or 1024, arguments.seed)
        pairs = sorted(
            zip(labels(drawn.bits), drawn.counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])
        )
        document["counts"] = dict(pairs)
        rows = [(bits, f"{count:,}") for bits, count in pairs]
        names = ("bits", "count")
    if arguments.json:
        print(json.dumps(document, indent=2))
        return 0
    print("\n".join([plan_text(document["plan"]), "", table(names, rows[:_SHOWN], right=[1])]))
    if len(rows) > _SHOWN:
        print(f"and {len(rows) - _SHOWN:,} more: --json prints them all")
    return 0
