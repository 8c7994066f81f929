"""``qompass run`` and ``qompass resume``: a circuit and observables in, value and standard error out."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apps.cli.progress import make_progress
from apps.cli.tables import estimates_table, plan_text, seconds_text
from apps.cli.terminal import say
from resources_xml import pair_of, read_devices
from tasks import workflow
from tasks.cutting.cuts import cuts_document, cuts_from
from tasks.errors import InputError
from tasks.execution.cache.stores.registry import check_place
from tasks.inputs.validation import read_cuts, read_problem
from tasks.model.problem import Estimate, Problem
from tasks.options import Options, default_cache
from tasks.runs import RunDirectory, RunRecordError, read_record
from tasks.runtime.machine import free_memory

SCHEMA = 1


def run(arguments: argparse.Namespace) -> int:
    """Run a circuit file; the run's folder is made once its inputs are known to be good."""
    if arguments.resources is not None:
        arguments.resources = pair_of(arguments.resources)[1]
    problem = read_problem(arguments.circuit, arguments.observable, arguments.observables)
    options = options_from(arguments, problem)
    if options.resources is not None:
        read_devices(options.resources)  # refuse a file that would stop the run later, before anything is started
    fields = {
        "seed": options.seed,
        "shots": options.shots,
        "memory": arguments.memory,
        "options": options_document(options),
        "inputs": {
            name: {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for name, path in (
                ("circuit", arguments.circuit),
                ("observables", arguments.observables),
                ("cuts", arguments.cuts),
                ("resources", arguments.resources),
            )
            if path is not None
        },
    }
    return _finish(RunDirectory.create(arguments.out, fields, problem), problem, options, arguments.json)


def resume(arguments: argparse.Namespace) -> int:
    """Finish a run from what it has stored; a finished one is only shown again."""
    path = _run_path(arguments)
    record = read_record(path)
    if record["status"] == "done" and {"estimates", "plan"} <= record.keys():
        _report(path.resolve(), record, arguments.json)
        return 0
    return reconstruct(arguments)


def reconstruct(arguments: argparse.Namespace) -> int:
    """Go through a run again with its stored fragment results: what is missing among them is run, the rest is not."""
    path = _run_path(arguments)
    record = read_record(path)
    if "options" not in record:
        raise RunRecordError(f"{path}: was not started by `qompass run`: call the program that started it again")
    options = _options_again(record["options"], record.get("memory"), arguments)
    directory = RunDirectory.open(path)
    try:
        problem = directory.problem()
    except BaseException:
        directory.close()
        raise
    return _finish(directory, problem, options, arguments.json)


def _run_path(arguments: argparse.Namespace) -> Path:
    path = Path(arguments.run)
    return path if path.exists() else Path(arguments.out / arguments.run)


def options_from(arguments: argparse.Namespace, problem: Problem) -> Options:
    """The options of a command line.

    Raises:
        InputError: the cuts file does not fit the problem, or the options contradict each other.
    """
    if getattr(arguments, "exact", False) and arguments.target_error is not None:
        raise InputError("--exact has no error to aim at: leave out --exact or --target-error")
    return Options(
        max_qubits=arguments.max_qubits,
        cuts=read_cuts(arguments.cuts, problem.circuit) if arguments.cuts else None,
        shots=arguments.shots,
        seed=arguments.seed,
        memory_bytes=arguments.memory or free_memory(),
        target_error=arguments.target_error,
        engine=arguments.engine,
        resources=arguments.resources,
        policy=arguments.policy,
        budget=arguments.budget,
        cache=checked_cache(arguments.cache),
        mitigation=arguments.mitigation,
        share_meaning=arguments.share_meaning,
    )


def options_document(options: Options) -> dict[str, Any]:
    """Options as JSON values, for the record."""
    document = dict(vars(options))
    document["cuts"] = None if options.cuts is None else cuts_document(options.cuts)
    document["resources"] = None if options.resources is None else str(options.resources.resolve())
    return document


def _options_again(document: Mapping[str, Any], memory: int | None, arguments: argparse.Namespace) -> Options:
    """The options of an interrupted run, on the engine and devices that are to finish it.

    ``memory`` is what the user allowed; without a word of theirs it is what is free now.
    """
    again = {field: document[field] for field in Options.__dataclass_fields__ if field in document}
    again["cuts"] = None if document.get("cuts") is None else cuts_from(document["cuts"])
    again["resources"] = None if document.get("resources") is None else Path(document["resources"])
    again["memory_bytes"] = memory or free_memory()
    for field in ("engine", "resources", "policy", "budget", "cache", "mitigation", "share_meaning"):
        if getattr(arguments, field) is not None:
            again[field] = getattr(arguments, field)
    return Options(**again)


def checked_cache(where: str | None) -> str:
    """The cache that ``--cache`` names, else the user's own.

    Raises:
        InputError: it holds a password, which arguments, records and process lists would show.
    """
    check_place(where or "")
    return where or default_cache()


def _finish(directory: RunDirectory, problem: Problem, options: Options, as_json: bool) -> int:
    for note in problem.notes:
        say(note)
    try:
        with directory:
            result = workflow.run(problem, options, directory, make_progress())
    except KeyboardInterrupt:
        say(f"interrupted; `qompass resume {_shown(directory.path)}` goes on from here")
        return 130
    for note in result.record["notes"][len(problem.notes) :]:  # of devices, and of what was not reached
        say(note)
    _report(directory.path, result.record, as_json)
    return 0


def _report(path: Path, record: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(run_document(path, record), indent=2))
        return
    estimates = [Estimate(**estimate) for estimate in record["estimates"]]
    print("\n".join([plan_text(record["plan"]), "", estimates_table(estimates), ""]))
    stages = ", ".join(f"{name} {seconds_text(seconds)}" for name, seconds in record["timings"].items())
    print(f"Run: {_shown(path)} ({stages})")


def run_document(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run --json`` and ``resume --json`` print; apps/README.md describes it."""
    return {
        "schema": SCHEMA,
        "estimates": record["estimates"],
        "plan": record["plan"],
        "run": _shown(path),
        **{name: record[name] for name in ("seed", "shots", "engine", "timings", "notes") if name in record},
    }


def _shown(path: Path) -> str:
    """Relative to where the user stands, if it is below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
