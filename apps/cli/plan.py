"""``qompass plan``: the cuts, the fragments, and what they will cost, without running anything."""

from __future__ import annotations

import argparse
import json
from typing import Any

from qiskit import QuantumCircuit

from apps.cli.chosen import options_from
from apps.cli.flags import flagged, flagged_notes
from apps.cli.tables import plan_text, table
from apps.cli.terminal import SCHEMA
from tasks.cut import plan_problem
from tasks.cutting.document import plan_document
from tasks.inputs.validation import read_problem


def plan(arguments: argparse.Namespace) -> int:
    """Plan a circuit file; without observables, for Z on every qubit, so that no part of the circuit is left out."""
    problem = read_problem(arguments.circuit, arguments.observable, arguments.observables, every_qubit=True)
    options = options_from(arguments, problem)
    document = plan_document(plan_problem(problem, options))
    if arguments.json:
        everything = {
            "schema": SCHEMA,
            "plan": document,
            "instructions": instructions_document(problem.circuit),
            "notes": list(problem.notes),
        }
        print(json.dumps(flagged_notes(everything), indent=2))
        return 0
    for note in problem.notes:
        print(f"Note: {flagged(note)}")
    print(plan_text(document))
    if arguments.instructions:
        print(f"\n{instructions_text(problem.circuit)}")
    return 0


def instructions_document(circuit: QuantumCircuit) -> list[dict[str, Any]]:
    """The instructions that a cuts file names by index."""
    return [
        {
            "index": index,
            "gate": instruction.operation.name,
            "parameters": [float(p) for p in instruction.operation.params if isinstance(p, int | float)],
            "qubits": [circuit.find_bit(qubit).index for qubit in instruction.qubits],
        }
        for index, instruction in enumerate(circuit.data)
    ]


def instructions_text(circuit: QuantumCircuit) -> str:
    """The same as a table."""
    rows = [
        (
            str(entry["index"]),
            entry["gate"] + (f"({', '.join(f'{p:g}' for p in entry['parameters'])})" if entry["parameters"] else ""),
            ", ".join(map(str, entry["qubits"])),
        )
        for entry in instructions_document(circuit)
    ]
    return table(("instruction", "gate", "qubits"), rows)
