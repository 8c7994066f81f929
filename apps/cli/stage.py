"""``qompass stage plan|execute|reconstruct``: one stage of a run's folder that several processes share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from apps.cli.flags import flagged_notes
from apps.cli.groups import WHERE
from apps.cli.paths import shown_path
from apps.cli.progress import make_progress
from apps.cli.run import asked, options_of_run, report, run_document
from apps.cli.tables import plan_text, seconds_text, table
from apps.cli.terminal import SCHEMA, say
from tasks.errors import InputError
from tasks.model.problem import Problem
from tasks.options import Options, options_document
from tasks.runs import RunRecord, read_record, stored_problem
from tasks.stages import Standing, execute_stage, plan_stage, reconstruct_stage
from tasks.stages.stages import create_run


def stage(arguments: argparse.Namespace) -> int:
    """Run one stage and say where the run stands then."""
    doing = {"plan": _plan, "execute": _execute, "reconstruct": _reconstruct}[arguments.stage]
    try:
        standing = doing(arguments)
    except KeyboardInterrupt:
        say(f"interrupted; the same command goes on from here, as does `qompass resume {arguments.run}`")
        return 130
    _show(standing, arguments)
    return 0


def _plan(arguments: argparse.Namespace) -> Standing:
    path: Path = arguments.run
    if arguments.circuit is not None:
        problem, options, fields = asked(arguments)
        if create_run(path, fields, problem):
            for note in problem.notes:
                say(note)
        else:
            _check_same(path, fields, problem)
    elif arguments.observable or arguments.observables:
        raise InputError("an observable needs a circuit: write `qompass stage plan RUN CIRCUIT`", field="observable")
    record = read_record(path)
    options = options_of_run(path, record, arguments)
    _check_options(path, record, options)
    return plan_stage(path, options, most=arguments.batches, progress=make_progress(), told=say)


def _check_same(path: Path, fields: dict[str, Any], problem: Problem) -> None:
    """A folder that is there already is that of the same request, else it is not touched."""
    record = read_record(path)
    there = {**record["inputs"], "stored": None}, {**record.get("options", {}), "memory_bytes": None}
    asked_for = {**fields["inputs"], "stored": None}, {**fields["options"], "memory_bytes": None}
    files = [{name: entry["sha256"] for name, entry in one.items() if entry} for one, _ in (there, asked_for)]
    same = files[0] == files[1] and there[1] == asked_for[1]
    if same:  # observables in text are in no file, and a circuit may include others
        stored = stored_problem(path, record)
        same = stored.names == problem.names and stored.circuit == problem.circuit
    if not same:
        raise InputError(f"{path}: holds another run: name another folder, or leave out what is to be run")


def _check_options(path: Path, record: RunRecord, options: Options) -> None:
    """What decides the values was said when the run was made; where it goes on may be said anew."""
    begun, now = record["options"], options_document(options)
    for name in begun.keys() - {*WHERE, "memory_bytes"}:
        if now.get(name) != begun[name]:
            raise InputError(f"`{name}`: {path} was made with {begun[name]}: leave it out, or name another folder")


def _execute(arguments: argparse.Namespace) -> Standing:
    options = options_of_run(arguments.run, read_record(arguments.run), arguments)
    return execute_stage(
        arguments.run, options, arguments.batch, give_back=arguments.give_back, progress=make_progress(), told=say
    )


def _reconstruct(arguments: argparse.Namespace) -> Standing:
    options = options_of_run(arguments.run, read_record(arguments.run), arguments)
    wait = {} if arguments.wait is None else {"wait_s": arguments.wait}
    return reconstruct_stage(arguments.run, options, most=arguments.batches, progress=make_progress(), told=say, **wait)


def _show(standing: Standing, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(flagged_notes(standing_document(standing)), indent=2))
        return
    if standing.next == "done":
        if arguments.stage == "execute":
            print(f"Run: {shown_path(standing.run)} is done")
        else:
            report(standing.run, standing.record, False)
        return
    if arguments.stage == "plan":
        print(plan_text(standing.record["plan"]) + "\n")
    if standing.next == "reconstruct":
        print(f"All batches of round {standing.round_index} are done: qompass stage reconstruct {arguments.run}")
        return
    rows = [
        (str(b.index), b.device, b.kind, seconds_text(b.seconds), ", ".join(map(str, b.fragments)))
        for b in standing.batches
    ]
    print(f"Open batches of round {standing.round_index}: qompass stage execute {arguments.run} --batch I\n")
    print(table(("batch", "device", "kind", "predicted", "fragments"), rows, right=(0, 3)))


def standing_document(standing: Standing) -> dict[str, Any]:
    """What ``qompass stage --json`` prints; apps/README.md describes it."""
    by_kind: dict[str, list[int]] = {}
    for batch in standing.batches:
        by_kind.setdefault(batch.kind, []).append(batch.index)
    done = run_document(standing.run, standing.record) if standing.next == "done" else {}
    return {
        "schema": SCHEMA,
        "run": shown_path(standing.run),
        "next": standing.next,
        "round": standing.round_index,
        "batches": [
            {name: value for name, value in batch.document().items() if name != "parts"}
            | {"fragments": batch.fragments}
            for batch in standing.batches
        ],
        "by_kind": by_kind,
        "network_flops": standing.record.get("contraction_flops", 0.0),
        **done,
    }
