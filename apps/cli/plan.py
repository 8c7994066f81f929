"""``qompass plan``: the cuts, the fragments, and what they will cost, without running anything."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from qiskit import QuantumCircuit

from apps.cli.chosen import options_from
from apps.cli.flags import flagged, flagged_notes
from apps.cli.forecast_text import candidates_text, forecast_text, ranked, uncut_text
from apps.cli.interruption import reading
from apps.cli.tables import plan_text, table
from apps.cli.terminal import SCHEMA
from apps.extras import EXTRA_MISSING
from scheduler_policies import Device
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cut import readouts_due
from tasks.cutting import Plan, with_known_error
from tasks.cutting.document import plan_document
from tasks.errors import QompassError
from tasks.execution.run_devices import run_devices
from tasks.forecast import forecast, others, planned, refuse_without_device, uncut
from tasks.inputs.validation import read_problem
from tasks.model.problem import Problem
from tasks.runtime.machine import usable_cores


def plan(arguments: argparse.Namespace) -> int:
    """Plan a circuit file; without observables, for Z on every qubit, so that no part of the circuit is left out."""
    with reading():
        if arguments.draw is not None:  # refused now, and not after a search for cuts
            _drawing().check_format(arguments.draw)
        problem = read_problem(arguments.circuit, arguments.observable, arguments.observables, every_qubit=True)
    options = options_from(arguments, problem)
    devices = run_devices(options.resources) or _last_resort()
    due = readouts_due(devices, options.mitigation) if options.sampled else {}
    made, seconds = planned(problem, options, devices, due)
    known, whole = forecast(problem, made, options, devices, seconds, readouts=due), uncut(problem, devices)
    refuse_without_device(made, known, devices)
    if known.computed:
        made = with_known_error(made, max(known.std_errors, default=0.0))
    document = plan_document(made) | {"predicted": known.document(), "uncut": vars(whole)}
    rivals = others(problem, options, devices) if arguments.explain else []
    compared = [(rival, forecast(problem, rival, options, devices, readouts=due)) for rival in rivals]
    compared = ranked(made, compared, options.minimise)
    if arguments.draw is not None:
        draw(problem, made, arguments.draw)
    if arguments.json:
        everything = {
            "schema": SCHEMA,
            "plan": document,
            "instructions": instructions_document(problem.circuit),
            "notes": list(problem.notes),
        }
        if arguments.explain:
            everything["candidates"] = [plan_document(r) | {"predicted": k.document()} for r, k in compared]
        print(json.dumps(flagged_notes(everything), indent=2))
        return 0
    for note in problem.notes:
        print(f"Note: {flagged(note)}")
    print(uncut_text(whole, known, options.memory_bytes, len(made.cuts)))
    print(plan_text(flagged_notes(document)))
    print(f"\n{forecast_text(known, problem.names, target=options.target_error is not None)}")
    if arguments.explain:
        print(f"\n{candidates_text(made, compared, options.minimise)}")
    if arguments.instructions:
        print(f"\n{instructions_text(problem.circuit)}")
    return 0


def _last_resort() -> list[Device]:
    """What a run takes where its resources file names no device."""
    from tasks.dispatch.pool import LAST_RESORT  # and with it all that runs need and plans do not

    return [replace(TYPICAL_CPU, name=LAST_RESORT, units=usable_cores())]


def draw(problem: Problem, made: Plan, path: Path) -> None:
    """Draw a cut circuit; the file's name says in which format."""
    _drawing().write_drawing(problem, made.cuts, path)


def _drawing() -> ModuleType:
    try:
        from apps.report import drawing
    except ModuleNotFoundError as error:
        raise QompassError(f"{EXTRA_MISSING} ({error.name} is missing)") from error
    return drawing


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
