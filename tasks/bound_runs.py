"""Sets of parameter values that are bound and run, as ``qompass run`` does it: many in one run, or each for itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from scipy.linalg import block_diag
from scipy.sparse import csr_array

from resources_xml import units_of
from tasks.cut import plan_problem
from tasks.cutting.document import plan_document
from tasks.execution.run_devices import run_devices
from tasks.inputs.limits import MAX_QUBITS
from tasks.inputs.observables import MAX_TERMS
from tasks.model.problem import PauliTerms, Problem
from tasks.model.progress import Progress, Quiet
from tasks.options import Options, options_document
from tasks.runs import RunDirectory
from tasks.runs.temporary import temporary_runs
from tasks.runtime import shared_engine
from tasks.workflow import run

_MOST_TOGETHER = 64  # sets in one run


@dataclass(frozen=True)
class Evaluated:
    """What the sets of parameter values gave.

    Attributes:
        values: (set, observable) float64.
        std_errors: (set, observable) float64, 0 on the exact path.
        shots: taken by all fragments together, 0 on the exact path.
        devices: that ran something.
        plan: of the (first) run, as ``plan_document`` has it; {} where nothing was run.
        notes: what the user should know, in sentences.
        runs: folders of the runs that are kept.
    """

    values: np.ndarray
    std_errors: np.ndarray
    shots: int = 0
    devices: tuple[str, ...] = ()
    plan: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


def kept_run(parent: Path, problem: Problem, options: Options) -> Path:
    """A folder that holds a run which has not begun: ``qompass resume`` finishes it.

    Raises:
        RunRecordError: the folder cannot be written.
    """
    fields = {
        "seed": options.seed,
        "shots": options.shots,
        "memory": None,
        "options": options_document(options),
        "inputs": {},
    }
    directory = RunDirectory.create(parent, fields, problem)
    directory.close()
    return directory.path


def run_problems(
    problems: Iterable[Problem],
    options: Options,
    folders: Sequence[Path] | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """Run the problems of one circuit at several angles: as many as go together in one run, if nothing is kept of them.

    Args:
        problems: the problems.
        options: how to run them.
        folders: what ``kept_run`` made for each; None keeps nothing.
        progress: where each run's progress is shown.

    Raises:
        QompassError: with one line that says what to do.
    """
    if folders is None:
        return _in_bulk(list(problems), options, progress or Quiet())
    return _one_by_one(problems, options, folders, progress or Quiet())


def _in_bulk(problems: Sequence[Problem], options: Options, progress: Progress) -> Evaluated:
    """The sets beside each other, as one problem of as many qubits: one graph of tasks, and jobs of all sets."""
    found, start = [], 0
    gates = [item.operation.name for item in problems[0].circuit.data]
    plan = plan_problem(problems[0], options) if len(problems) > 1 else None
    if plan is not None:  # the circuits differ in their angles alone: one search does for all
        options = replace(options, cuts=plan.cuts)
    while start < len(problems):
        part, start = problems[start : start + together(problems[0])], start + together(problems[0])
        alike = all([item.operation.name for item in own.circuit.data] == gates for own in part)
        if plan is not None and len(part) > 1 and alike:
            found.append(replace(_beside(part, options, progress), plan=plan_document(plan)))
        else:
            found.append(_one_by_one(part, options, None, progress))
    devices = dict.fromkeys(name for own in found for name in own.devices)
    return Evaluated(
        np.concatenate([own.values for own in found]),
        np.concatenate([own.std_errors for own in found]),
        sum(own.shots for own in found),
        tuple(devices),
        found[0].plan,
        tuple(dict.fromkeys(note for own in found for note in own.notes)),
    )


def together(problem: Problem) -> int:
    """How many sets of a problem go into one run."""
    return max(1, min(_MOST_TOGETHER, MAX_QUBITS // problem.num_qubits, MAX_TERMS // max(1, problem.terms.count)))


def _beside(problems: Sequence[Problem], options: Options, progress: Progress) -> Evaluated:
    count, length = len(problems), len(problems[0].circuit.data)
    width, asked = problems[0].num_qubits, len(problems[0].names)
    cuts = tuple(cut.moved(place * length, place * width) for place in range(count) for cut in options.cuts or ())
    whole = replace(
        options,
        cuts=cuts,
        shots=None if options.shots is None else count * options.shots,
        budget=None if options.budget is None else count * options.budget,
    )
    found = _one_by_one([joined(problems)], whole, None, progress)
    values, errors = (own.reshape(count, asked) for own in (found.values, found.std_errors))
    return replace(found, values=values, std_errors=errors)


def joined(problems: Sequence[Problem]) -> Problem:
    """Problems of the same shape beside each other, each on qubits of its own."""
    width = problems[0].num_qubits
    circuit = QuantumCircuit(width * len(problems))
    for place, problem in enumerate(problems):
        qubits = circuit.qubits[place * width : (place + 1) * width]
        for item in problem.circuit.data:
            own = [qubits[problem.circuit.find_bit(qubit).index] for qubit in item.qubits]
            circuit.append(item.operation, own, copy=False)
    x, z = (block_diag(*(getattr(problem.terms, name) for problem in problems)).astype(bool) for name in "xz")
    coefficients = block_diag(*(problem.terms.coefficients.toarray() for problem in problems))
    constant = np.flatnonzero(~(x | z).any(axis=1))  # the same string in all of them
    kept = np.setdiff1d(np.arange(len(x)), constant[1:])
    if constant.size > 1:
        coefficients[:, [constant[0]]] = coefficients[:, constant].sum(axis=1, keepdims=True)
    terms = PauliTerms(x[kept], z[kept], csr_array(coefficients[:, kept]))
    names = [f"{name}, set {place}" for place, problem in enumerate(problems) for name in problem.names]
    return Problem(circuit, terms, tuple(names), problems[0].notes)


def _one_by_one(
    problems: Iterable[Problem], options: Options, folders: Sequence[Path] | None, progress: Progress
) -> Evaluated:
    values, errors, devices, notes = [], [], dict[str, None](), dict[str, None]()
    shots, document = 0, dict[str, Any]()
    units = units_of(run_devices(options.resources, {}))
    with contextlib.ExitStack() as engine:
        engine.enter_context(shared_engine(options.engine, units=units))
        for number, problem in enumerate(problems):
            with contextlib.ExitStack() as stack:
                if folders is None:
                    parent = stack.enter_context(temporary_runs())
                    directory = RunDirectory.create(parent, {"seed": options.seed}, problem)
                else:
                    directory = RunDirectory.open(folders[number])
                with directory:
                    result = run(problem, options, directory, progress)
            if options.cuts is None:  # the circuits differ in their angles alone: one search does for all
                options = replace(options, cuts=result.plan.cuts)
            values.append([estimate.value for estimate in result.estimates])
            errors.append([estimate.std_error for estimate in result.estimates])
            for meta in result.record["results"].values():
                devices[meta["device"]] = None
                shots += meta.get("shots", 0)
            notes.update(dict.fromkeys(result.record["notes"]))
            document = document or plan_document(result.plan)
    return Evaluated(
        np.array(values),
        np.array(errors),
        shots,
        tuple(devices),
        document,
        tuple(notes),
        tuple(str(folder) for folder in folders or ()),
    )
