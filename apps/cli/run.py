"""``qompass run`` and ``qompass resume``: a circuit and observables in, value and standard error out."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apps.cli.chosen import options_from
from apps.cli.flags import flagged_notes, given_options
from apps.cli.interruption import reading
from apps.cli.paths import run_path, shown_path
from apps.cli.progress import make_progress
from apps.cli.tables import estimates_table, plan_text, seconds_text
from apps.cli.terminal import SCHEMA, say
from resources_xml import pair_of, read_devices
from tasks import workflow
from tasks.errors import QompassError
from tasks.execution.cache.stores.registry import check_place
from tasks.inputs.validation import read_problem
from tasks.model.problem import Estimate, Problem
from tasks.options import Options, options_again, options_document
from tasks.runs import RunDirectory, RunRecordError, read_record
from tasks.runs.naming import is_name


def run(arguments: argparse.Namespace) -> int:
    """Run a circuit file; the run's folder is made once its inputs are known to be good."""
    problem, options, fields = asked(arguments)
    with observed(RunDirectory.create(arguments.out, fields, problem), arguments) as directory:
        return _finish(directory, problem, options, arguments.json)


@contextlib.contextmanager
def observed(directory: RunDirectory, arguments: argparse.Namespace) -> Iterator[RunDirectory]:
    """A run whose metrics are served, and pushed when it ends, where that is asked for; neither ever stops it."""
    server = None
    if arguments.metrics is not None or arguments.push_gateway:
        from apps import metrics
    try:
        if arguments.metrics is not None:
            server = metrics.serve(directory.path, arguments.metrics)
            say(f"metrics: http://127.0.0.1:{server.server_port}/metrics")
    except QompassError as error:
        say(str(error))
    try:
        yield directory
    finally:
        try:
            if arguments.push_gateway and directory.path.exists():
                metrics.push(directory.path, arguments.push_gateway)
        except QompassError as error:
            say(str(error))
        if server is not None:
            server.shutdown()


def asked(arguments: argparse.Namespace) -> tuple[Problem, Options, dict[str, Any]]:
    """The problem and options that a command line gives, and what the run's record says of them.

    Raises:
        QompassError: one cannot be used.
    """
    given = given_options(arguments)
    if "resources" in given:
        arguments.resources = given["resources"] = pair_of(given["resources"])[1]
    with reading():
        problem = read_problem(arguments.circuit, arguments.observable, arguments.observables)
    options = options_from(arguments, problem)
    if options.resources is not None:
        read_devices(options.resources)  # refuse a file that would stop the run later, before anything is started
    fields = {
        "seed": options.seed,
        "shots": options.shots,
        "memory": given.get("memory_bytes"),
        "asked": {"observable": arguments.observable},
        "options": options_document(options),
        "inputs": {
            name: {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for name, path in (
                ("circuit", arguments.circuit),
                ("observables", arguments.observables),
                ("cuts", given.get("cuts")),
                ("resources", given.get("resources")),
            )
            if path is not None
        },
    }
    return problem, options, fields


def resume(arguments: argparse.Namespace) -> int:
    """Finish a run from what it has stored; a finished one is only shown again."""
    path = run_path(arguments.run, arguments.out)
    job = is_name(path.resolve().name) and not (path / "record.json").exists()
    if job and (parts := sorted(path.glob("*/record.json"))):
        return _resume_job([part.parent for part in parts], arguments)
    record = read_record(path)
    if record.get("program") == "optimise":
        from apps.cli.optimise import resume as resume_optimisation

        return resume_optimisation(arguments)
    if record.get("program") == "sweep":
        from apps.cli.sweep import resume as resume_sweep

        return resume_sweep(arguments)
    if record.get("program") == "sample":
        from apps.cli.sample import resume as resume_sample

        return resume_sample(arguments)
    if record["status"] == "done" and {"estimates", "plan"} <= record.keys():
        report(path.resolve(), record, arguments.json)
        return 0
    return reconstruct(arguments)


def _resume_job(runs: Sequence[Path], arguments: argparse.Namespace) -> int:
    """Finish all runs of a primitive's job; its JSON document is of what each of them alone prints."""
    documents = []
    for run in runs:
        one = argparse.Namespace(**{**vars(arguments), "run": str(run)})
        with contextlib.redirect_stdout(io.StringIO() if arguments.json else sys.stdout) as printed:
            status = resume(one)
        if status != 0:
            return status
        documents.append(printed.getvalue() if isinstance(printed, io.StringIO) else "")
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "runs": [json.loads(text) for text in documents]}, indent=2))
    return 0


def reconstruct(arguments: argparse.Namespace) -> int:
    """Go through a run again with its stored fragment results: what is missing among them is run, the rest is not."""
    directory, problem, options = opened(arguments)
    return _finish(directory, problem, options, arguments.json)


def opened(arguments: argparse.Namespace) -> tuple[RunDirectory, Problem, Options]:
    """The folder of the run that the arguments name, held; its problem, and its options for this machine.

    Raises:
        RunRecordError: it is none, or was not started by `qompass run`.
    """
    path = run_path(arguments.run, arguments.out)
    options = options_of_run(path, read_record(path), arguments)
    directory = RunDirectory.open(path)
    try:
        return directory, directory.problem(), options
    except BaseException:
        directory.close()
        raise


def options_of_run(path: Path, record: Mapping[str, Any], arguments: argparse.Namespace) -> Options:
    """A run's options for this machine, but for those that a command line gives.

    Raises:
        RunRecordError: it was not started by `qompass run`.
    """
    if "options" not in record:
        raise RunRecordError(f"{path}: was not started by `qompass run`: call the program that started it again")
    if record.get("program") == "sample":
        raise RunRecordError(f"{path}: draws strings, it has no estimates: `qompass resume` finishes it and shows them")
    given = given_options(arguments)
    check_place(given.get("cache", ""))
    allowed = {} if record.get("memory") is None else {"memory_bytes": record["memory"]}
    return options_again(record["options"], {**allowed, **given})


def _finish(directory: RunDirectory, problem: Problem, options: Options, as_json: bool) -> int:
    for note in problem.notes:
        say(note)
    try:
        with directory:
            result = workflow.run(problem, options, directory, make_progress(lambda: directory.record))
    except KeyboardInterrupt:
        say(f"interrupted; `qompass resume {shown_path(directory.path)}` goes on from here")
        return 130
    for note in result.record["notes"][len(problem.notes) :]:  # of devices, and of what was not reached
        say(note)
    report(directory.path, result.record, as_json)
    return 0


def report(path: Path, record: Mapping[str, Any], as_json: bool) -> None:
    """Print what a finished run has found."""
    if as_json:
        print(json.dumps(flagged_notes(run_document(path, record)), indent=2))
        return
    estimates = [Estimate(**estimate) for estimate in record["estimates"]]
    print("\n".join([plan_text(record["plan"]), "", estimates_table(estimates), ""]))
    stages = ", ".join(f"{name} {seconds_text(seconds)}" for name, seconds in record["timings"].items())
    print(f"Run: {shown_path(path)} ({stages})")


def run_document(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run --json`` and ``resume --json`` print; apps/README.md describes it."""
    return {
        "schema": SCHEMA,
        "estimates": record["estimates"],
        "plan": record["plan"],
        "run": shown_path(path),
        **{name: record[name] for name in ("seed", "shots", "engine", "timings", "notes") if name in record},
    }
