"""``qompass sample``: bit strings that the uncut circuit's measurements would give, or measuring every qubit."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from apps.cli.chosen import options_from
from apps.cli.flags import flagged_notes, given_options
from apps.cli.interruption import INTERRUPTED, reading
from apps.cli.paths import run_path, shown_path
from apps.cli.progress import make_progress
from apps.cli.tables import plan_text, table
from apps.cli.terminal import SCHEMA, say
from tasks.cutting.document import plan_document
from tasks.errors import InputError, QompassError
from tasks.inputs.validation import read_problem
from tasks.model.problem import Problem
from tasks.options import options_again
from tasks.reconstruction.distribution.likely import LikelyOutcomes
from tasks.reconstruction.distribution.whole import Distribution
from tasks.runs import RunDirectory, read_record
from tasks.sample import Question, labels, run_sample
from tasks.sample_together import Readings, in_strings, read_notes, run_strings

_SHOWN = 20


def sample(arguments: argparse.Namespace) -> int:
    """Run the fragments, then draw ``--shots`` strings, list the ``--top`` most likely or write the ``--vector``.

    Raises:
        InputError: something given cannot be used.
    """
    if arguments.fragment_shots and not (arguments.top or arguments.vector):
        raise InputError("--fragment-shots: strings are drawn from exact fragments; add --top K or --vector FILE.npz")
    if arguments.vector:
        check_writable(arguments.vector)
    if arguments.fragment_shots:
        arguments.shots = arguments.fragment_shots  # the plan's; those drawn come afterwards
    # Z on every qubit: so that the plan leaves out nothing that a measurement could see.
    with reading():
        problem = read_problem(arguments.circuit, [], None, every_qubit=True)
    options = options_from(arguments, problem)
    draws = None if arguments.top or arguments.vector else arguments.draws
    try:
        plan, found = run_sample(problem, options, Question(draws, arguments.top), make_progress())
    except QompassError as error:
        if arguments.fragment_shots:
            raise InputError(str(error).replace("`shots`", "--fragment-shots")) from error
        raise
    document: dict[str, Any] = {"schema": SCHEMA, "qubits": problem.num_qubits, "plan": plan_document(plan)}
    document["measured"] = None if problem.readout is None else list(problem.readout.bits)
    document["notes"] = notes = notes_of(problem)
    for note in notes:
        say(note)
    names: tuple[str, ...]
    rows: list[tuple[str, ...]]
    if isinstance(found, LikelyOutcomes):
        strings = labels(found.bits, problem.readout)
        document["likely"] = [
            {"bits": bits, "probability": float(probability), "std_error": float(error)}
            for bits, probability, error in zip(strings, found.probabilities, found.std_errors, strict=True)
        ]
        sampled = options.sampled and plan.fragments
        rows = [
            (entry["bits"], f"{entry['probability']:.9g}", f"{entry['std_error']:.2g}" if sampled else "exact")
            for entry in document["likely"]
        ]
        names = ("bits", "probability", "std error")
    elif isinstance(found, Distribution):
        write_vector(arguments.vector, found)
        document["vector"] = str(arguments.vector)
        document["negativity"] = found.negativity
        rows = [(str(arguments.vector), f"{found.nearest.size:,}", f"{found.negativity:.3g}")]
        names = ("written", "probabilities", "negativity")
    else:
        pairs = sorted(
            zip(labels(found.bits, problem.readout), found.counts.tolist(), strict=True),
            key=lambda pair: (-pair[1], pair[0]),
        )
        document["counts"] = dict(pairs)
        rows = [(bits, f"{count:,}") for bits, count in pairs]
        names = ("bits", "count")
    if arguments.json:
        print(json.dumps(flagged_notes(document), indent=2))
        return 0
    print("\n".join([plan_text(document["plan"]), "", table(names, rows[:_SHOWN], right=range(1, len(names)))]))
    if len(rows) > _SHOWN:
        print(f"and {len(rows) - _SHOWN:,} more: --json prints them all")
    return 0


def resume(arguments: argparse.Namespace) -> int:
    """Finish a run of ``QompassSampler``; what is done already is drawn from again, and gives the same strings."""
    path = run_path(arguments.run, arguments.out)
    record = read_record(path)
    options, readings = options_again(record["options"], given_options(arguments)), Readings.again(record["strings"])
    directory = RunDirectory.open(path)
    try:
        with directory:
            problem = directory.problem()
            found = run_strings(problem, options, directory, readings, make_progress(lambda: directory.record))
    except KeyboardInterrupt:
        say(f"interrupted; `qompass resume {shown_path(path)}` goes on from here")
        return INTERRUPTED
    ran = dict.fromkeys(meta["device"] for meta in directory.record["results"].values())
    notes = [*read_notes(directory.record["notes"]), *in_strings(found.noisy_among(ran))]
    for note in notes:
        say(note)
    each = [
        (reading, dict(zip(labels(own.bits, reading.readout), own.counts.tolist(), strict=True)))
        for circuit, drawn in zip(readings.each, found.strings, strict=True)
        for reading, own in zip(circuit, drawn, strict=True)
    ]
    each.sort(key=lambda one: one[0].owner)
    if arguments.json:
        strings = [{"pub": own.owner[0], "set": own.owner[1], "counts": counts} for own, counts in each]
        said = {name: own for name in ("seed", "engine", "timings") if (own := directory.record.get(name)) is not None}
        document = {"strings": strings, "plan": plan_document(found.plan), "run": shown_path(path), **said}
        print(json.dumps(flagged_notes({"schema": SCHEMA, **document, "notes": notes}), indent=2))
        return 0
    rows = [
        (str(own.owner[0]), str(own.owner[1]), bits, f"{count:,}")
        for own, counts in each
        for bits, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_SHOWN]
    ]
    print(
        "\n".join([plan_text(plan_document(found.plan)), "", table(("PUB", "set", "bits", "count"), rows, right=(3,))])
    )
    if any(len(counts) > _SHOWN for _, counts in each):
        print(f"the {_SHOWN} most frequent of each; --json prints them all")
    return 0


def notes_of(problem: Problem) -> list[str]:
    """What the user should know of how the circuit was read, and of what the bits are."""
    changed = read_notes(problem.notes)
    if problem.readout is None:
        return [*changed, "the circuit measures nothing: all its qubits are measured instead, qubit 0 rightmost"]
    unset = problem.readout.bits.count(None)
    return [*changed, f"classical bits that nothing is measured into, {unset} of them, are 0"] if unset else changed


def check_writable(path: Path) -> None:
    """Find out before the run that its result could not be written.

    Raises:
        InputError: the file cannot be written, its folder is missing, or it may be another kind of file.
    """
    if path.is_dir():
        raise InputError(f"--vector {path}: is a directory: name a file that can be written")
    if path.suffix != ".npz":
        raise InputError(f"--vector {path}: arrays are written as .npz: end the name so")
    if not path.parent.is_dir():
        raise InputError(f"--vector {path}: there is no folder {path.parent}: make it, or name another file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"--vector {path}: may not be written: name a file that can be written")


def write_vector(path: Path, whole: Distribution) -> None:
    """Write ``quasi`` and ``nearest``, (2**n,) each, bit k of the index being bit k of the strings.

    Raises:
        InputError: it cannot be written there.
    """
    try:
        with open(path, "wb") as file:
            np.savez(file, quasi=whole.quasi, nearest=whole.nearest)
    except OSError as error:
        raise InputError(f"--vector {path}: {error.strerror}: name a file that can be written") from error
