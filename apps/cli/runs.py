"""``qompass runs``: list, show, compare and clean what earlier commands left in their folders."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apps.cli.paths import run_path
from apps.cli.tables import estimates_table, fitting, seconds_text, stages_text, table, value_and_error, value_text
from apps.cli.terminal import SCHEMA, say
from tasks.model.problem import Estimate
from tasks.model.sizes import bytes_text
from tasks.runs import RunDirectory, RunRecordError, read_record
from tasks.runs.comparison import ValueComparison, compared_values, differing
from tasks.runs.summary import UNREADABLE, Summary, device_uses, engine_files, reasons, summaries, summary_of
from tasks.runs.trace import read_events, task_rows, trace_csv

_LISTED = ("run", "status", "question", "value", "std error", "devices", "shots", "price", "time", "age")


def runs(arguments: argparse.Namespace) -> int:
    """One of the actions."""
    actions = {"list": _list, "show": _show, "compare": _compare, "clean": _clean}
    return actions[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> int:
    found = _chosen(arguments)
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "runs": [_document(own) for own in found]}, indent=2))
        return 0
    if not found:
        say(f"no such runs in {arguments.out}")
        return 0
    names: Sequence[str] = _LISTED
    rows: Sequence[Sequence[str]] = [_row(own) for own in found]
    if sys.__stdout__ is not None and sys.__stdout__.isatty():  # sys.stdout is held until the command ends
        width = shutil.get_terminal_size().columns
        names, rows = fitting(names, rows, width, shorten="question", drop=("price", "devices", "shots", "time", "age"))
    numbers = ("shots", "price", "time")
    print(table(names, rows, right=[names.index(name) for name in numbers if name in names]))
    return 0


def _chosen(arguments: argparse.Namespace) -> list[Summary]:
    """The runs that are named, or all, as far as the options want them."""
    found = list(summaries(arguments.out))
    named = {run_path(name, arguments.out).resolve(): name for name in arguments.runs}
    for path in named.keys() - {own.path.resolve() for own in found}:
        raise RunRecordError(f"{named[path]} is no run in {arguments.out}: name one that `qompass runs list` shows")
    return [own for own in found if _wanted(own, arguments) and (not named or own.path.resolve() in named)]


def _wanted(own: Summary, arguments: argparse.Namespace) -> bool:
    return (
        arguments.status in (None, own.status)
        and (arguments.device is None or arguments.device in own.devices)
        and (arguments.newer_than is None or _days(own) <= arguments.newer_than)
        and (arguments.older_than is None or _days(own) >= arguments.older_than)
    )


def _row(own: Summary) -> tuple[str, ...]:
    value, error = ("", "")
    if own.estimates:
        value, error = value_and_error(own.estimates[0]["value"], own.estimates[0]["std_error"])
    question = own.question if len(own.question) <= 44 else f"{own.question[:43]}…"
    price, shots = "" if own.price is None else f"{own.price:.4g}", f"{own.shots:,}" if own.shots else ""
    return (
        own.run, own.status, question, value, error, " ".join(own.devices), shots, price,
        seconds_text(own.seconds) if own.seconds else "", age_text(own),
    )  # fmt: skip


def _show(arguments: argparse.Namespace) -> int:
    path = _one(arguments).resolve()
    record = read_record(path)
    own, rows = summary_of(path, record), task_rows(read_events(path))
    if arguments.trace:
        print(trace_csv(rows), end="")
        return 0
    why = reasons(path, record)
    uses = device_uses(rows)
    if arguments.json:
        devices = {name: vars(use) for name, use in uses.items()}
        files = [str(path) for path in engine_files(record)]
        document = {**_document(own), "timings": record["timings"], "uses": devices, "why": why, "engine_files": files}
        print(json.dumps({"schema": SCHEMA, "run": document}, indent=2))
        return 0
    lines = [
        f"Run {own.run} is {own.status}, started {age_text(own)}: {own.question}",
        f"      {path}, {bytes_text(own.bytes)}",
        f"      {_options_text(record.get('options') or {}, record.get('engine') or {})}",
        "",
    ]
    if own.estimates:
        lines += [estimates_table(Estimate(**e) for e in own.estimates), ""]
    if uses:
        names = ("device", "tasks", "failed", "from the cache", "shots", "work", "waited")
        shown = [
            (name, str(u.tasks), str(sum(u.failures.values())), str(u.cached), f"{u.shots:,}", seconds_text(u.seconds),
             seconds_text(u.waited))
            for name, u in uses.items()
        ]  # fmt: skip
        lines += [table(names, shown, right=range(1, 7)), ""]
    if arguments.why or own.status != "done":
        lines += ["Why:", *(f"* {reason}" for reason in why or ["nothing unusual was seen"]), ""]
    lines += [f"Engine's file: {path}" for path in engine_files(record)]
    print("\n".join([*lines, f"Stages: {stages_text(record) or 'none has ended'}"]))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    if len(arguments.runs) < 2:
        raise RunRecordError("`qompass runs compare` needs two runs or more: name their folders", field="runs")
    found = []
    for name in arguments.runs:
        path = run_path(name, arguments.out).resolve()
        found.append((summary_of(path, record := read_record(path)), record))
    first = found[0][1]
    rows = []
    for own, record in found:
        plan = record.get("plan") or {}
        cuts = plan.get("cuts", {"gates": (), "wires": ()})
        differs = ", ".join(differing(first, record)) or "nothing"
        number = str(len(cuts["gates"]) + len(cuts["wires"]))
        fragments = str(len(plan.get("fragments", ())))
        rows.append((own.run, own.status, differs, number, fragments, f"{own.shots:,}", seconds_text(own.seconds)))
    if arguments.json:
        document = [{**_document(own), "options": record.get("options")} for own, record in found]
        print(json.dumps({"schema": SCHEMA, "runs": document}, indent=2))
        return 0
    heads = ("run", "status", "differs in", "cuts", "fragments", "shots", "time")
    print(table(heads, rows, right=range(3, 7)))
    print()
    values = [
        (one.observable, *(_text_of(e) for e in one.estimates), _difference_text(one))
        for one in compared_values([own for own, _ in found])
    ]
    print(table(("observable", *(own.run for own, _ in found), "largest difference"), values))
    return 0


def _text_of(estimate: Mapping[str, Any] | None) -> str:
    return "-" if estimate is None else value_text(estimate["value"], estimate["std_error"])


def _difference_text(one: ValueComparison) -> str:
    if one.difference is None or one.pull is None:
        return ""
    return f"{one.difference:.2g}" + (f", {one.pull:.1f} standard errors" if 0 < one.pull < math.inf else "")


def _clean(arguments: argparse.Namespace) -> int:
    found = [own for own in _chosen(arguments) if own.finished]
    size = sum(own.bytes for own in found)
    if not arguments.yes:
        if arguments.json:
            print(
                json.dumps({"schema": SCHEMA, "would_free": size, "runs": [str(own.path) for own in found]}, indent=2)
            )
        else:
            for own in found:
                print(f"{own.path}  {bytes_text(own.bytes)}")
            print(f"{len(found)} finished runs, {bytes_text(size)}; --yes removes them. Unfinished ones are kept.")
        return 0
    freed, removed = 0, []
    for own in found:
        try:
            with RunDirectory.open(own.path):  # nobody else's, and nobody works on it
                pass
            shutil.rmtree(own.path)
        except RunRecordError as error:
            say(str(error))
            continue
        except OSError as error:  # a link among others
            say(f"cannot remove {own.path}: {error.strerror or error}")
            continue
        freed += own.bytes
        removed.append(str(own.path))
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "freed": freed, "runs": removed}, indent=2))
    else:
        print(f"{len(removed)} runs removed, {bytes_text(freed)} freed")
    return 0


def _one(arguments: argparse.Namespace) -> Path:
    if len(arguments.runs) != 1:
        raise RunRecordError(f"`qompass runs show` needs one run, not {len(arguments.runs)}", field="runs")
    return run_path(arguments.runs[0], arguments.out)


def _document(own: Summary) -> dict[str, Any]:
    created = None if own.created is None else own.created.isoformat()
    return {**vars(own), "path": str(own.path), "created": created, "devices": list(own.devices)}


def _options_text(options: dict[str, Any], engine: dict[str, Any]) -> str:
    named = ("max_qubits", "shots", "target_error", "seed", "policy", "mitigation")
    told = [f"{name} {options[name]}" for name in named if options.get(name) is not None]
    return ", ".join([f"engine {engine.get('name', 'not started')}", *told])


def _days(own: Summary) -> float:
    if own.created is None:
        return float("inf") if own.status == UNREADABLE else 0.0
    return (datetime.datetime.now().astimezone() - own.created).total_seconds() / 86_400


def age_text(own: Summary) -> str:
    """How long ago a run was started."""
    if own.created is None:
        return ""
    seconds = _days(own) * 86_400
    for size, word in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word} ago"
    return f"{max(seconds, 0):.0f} s ago"
