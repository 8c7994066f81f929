"""``qompass repeat``: runs a finished run again on what is here, and says how far both agree."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import hypot
from pathlib import Path
from typing import Any

from apps.cli.paths import run_path, shown_path
from apps.cli.progress import make_progress
from apps.cli.run import options_of_run
from apps.cli.tables import table, value_text
from apps.cli.terminal import SCHEMA, say
from tasks import workflow
from tasks.cutting.cuts import cuts_from
from tasks.options import Options, options_document
from tasks.runs import RunDirectory, RunRecordError, read_record, stored_problem

USER_ERROR = 2
_ROUNDING = 1e-9
_MOST_PULL = 4.0  # standard errors: chance goes beyond that once in 16,000 observables


def repeat(arguments: argparse.Namespace) -> int:
    """Run it again with the same cuts, options and seed, without the cache; status 2 where the answers disagree.

    Raises:
        RunRecordError: it has no answer to compare with.
    """
    path = run_path(arguments.run, arguments.out).resolve()
    record = read_record(path)
    if record["status"] != "done" or not record.get("estimates") or not record.get("plan"):
        raise RunRecordError(f"{path} is {record['status']}: there is nothing to compare with until it is done")
    problem, options = stored_problem(path, record), _options(path, record, arguments)
    inputs = {name: own for name, own in record["inputs"].items() if name != "stored"}
    fields = {
        "seed": options.seed, "shots": options.shots, "memory": record.get("memory"), "asked": record.get("asked"),
        "options": options_document(options), "inputs": inputs, "repeats": record["run"],
    }  # fmt: skip
    with RunDirectory.create(arguments.out, fields, problem) as directory:
        made = workflow.run(problem, options, directory, make_progress(lambda: directory.record))
    verdict = compared(record["estimates"], [vars(own) for own in made.estimates])
    if arguments.json:
        document = {"run": shown_path(directory.path), "repeats": record["run"], "verdict": verdict}
        print(json.dumps({"schema": SCHEMA, **document, "estimates": made.record["estimates"]}, indent=2))
    else:
        rows = [
            (own["observable"], *(value_text(e["value"], e["std_error"]) for e in (own, vars(again))))
            for own, again in zip(record["estimates"], made.estimates, strict=True)
        ]
        print(table(("observable", record["run"], directory.path.name), rows))
        print(f"\nThe answers {_WORDS[verdict]}.\nRun: {shown_path(directory.path)}")
    if verdict == "differ":
        say("the answers differ: `qompass check` says which fragment of a run is wrong, `qompass runs compare` what "
            "software and options differ")  # fmt: skip
        return USER_ERROR
    return 0


_WORDS = {
    "identical": "are the same, bit for bit",
    "equal": f"are the same to {_ROUNDING:g}",
    "within errors": f"agree within {_MOST_PULL:g} standard errors",
    "differ": "DISAGREE",
}


def compared(first: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]) -> str:
    """How far two lists of estimates agree: "identical", "equal", "within errors" or "differ"."""
    pairs = list(zip(first, again, strict=True))
    if all(a["value"] == b["value"] and a["std_error"] == b["std_error"] for a, b in pairs):
        return "identical"
    differences = [
        (abs(a["value"] - b["value"]), abs(a["std_error"] - b["std_error"]), hypot(a["std_error"], b["std_error"]))
        for a, b in pairs
    ]
    if all(max(value, error) <= _ROUNDING for value, error, _ in differences):
        return "equal"
    if all(value <= max(_MOST_PULL * both, _ROUNDING) for value, _, both in differences):
        return "within errors"
    return "differ"


def _options(path: Path, record: Mapping[str, Any], arguments: argparse.Namespace) -> Options:
    options = replace(options_of_run(path, record, arguments), cuts=cuts_from(record["plan"]["cuts"]))
    if not hasattr(arguments, "cache"):  # what is found there was not run again
        options = replace(options, cache="off")
    if options.resources is not None and not Path(options.resources).exists():
        say(f"{options.resources} is not here: the devices are this machine's")
        options = replace(options, resources=None)
    return options
