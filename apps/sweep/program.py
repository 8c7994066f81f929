"""A sweep as a run: rows in groups that share a plan, each group's sets at once, every result in the run's journal."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from apps.sweep.groups import Group
from apps.sweep.table import Row
from resources_xml import units_of
from tasks.errors import QompassError
from tasks.evaluate import Evaluator
from tasks.execution.run_devices import run_devices
from tasks.inputs.files import read_bytes
from tasks.options import Options
from tasks.runs import RunDirectory, RunRecordError
from tasks.runs.journal import RunJournal, read_journal
from tasks.runs.results import write
from tasks.runs.settings import settings_bytes, stored_settings
from tasks.runtime import shared_engine

PROGRAM = "sweep"
SETTINGS_NAME = "sweep.json"
TABLE_NAME = "table.csv"
_FORMAT = 2
_TOGETHER = 256  # rows between two lines of the journal
RESULTS = ("value", "std_error", "shots", "error")


def begin(file: Path, rows: Sequence[Row], groups: Sequence[Group], options: Options, document: Mapping[str, Any],
          digests: Mapping[str, str], out: Path) -> RunDirectory:  # fmt: skip
    """A new run's folder with all that it takes to finish it.

    Args:
        file: the table.
        rows: of the table.
        groups: of the rows.
        options: how to run.
        document: of the options.
        digests: of the circuits' files, by name.
        out: where runs go.

    Raises:
        InputError: no row can be run.
    """
    problem = Evaluator(groups[0].circuit, [groups[0].observable], options).problem(groups[0].angles[0])
    table = read_bytes(file, "table of a sweep")
    fields = {
        "program": PROGRAM, "seed": options.seed, "shots": options.shots, "memory": None,
        "inputs": {"table": {"path": str(file), "sha256": hashlib.sha256(table).hexdigest()}},
        "asked": {"observable": [], "rows": len(rows)},
    }  # fmt: skip
    directory = RunDirectory.create(out, fields, problem)
    settings = {
        "format": _FORMAT, "file": str(file.resolve()), "sha256": hashlib.sha256(table).hexdigest(),
        "circuits": dict(digests), "options": {name: own for name, own in document.items() if name != "memory_bytes"},
    }  # fmt: skip
    try:
        write(directory.path, SETTINGS_NAME, settings_bytes(settings))
    except BaseException:
        directory.discard()
        raise
    return directory


def read_sweep(path: Path) -> dict[str, Any]:
    """What a sweep's folder says of it.

    Raises:
        RunRecordError: it cannot be used, or the table is no longer the one that was begun.
        InputError: the table cannot be read.
    """
    settings = stored_settings(path / SETTINGS_NAME, _FORMAT)
    table = Path(settings["file"])
    now = hashlib.sha256(read_bytes(table, "table of a sweep")).hexdigest()
    if now != settings["sha256"]:
        raise RunRecordError(f"{table} has changed since {path} was begun: start anew, or bring it back")
    return settings


def sweep(
    directory: RunDirectory,
    groups: Sequence[Group],
    broken: Mapping[int, str],
    options: Options,
    head: str,
    told: Callable[[int], None],
) -> tuple[int, int]:
    """Run what the journal does not have.

    Args:
        directory: of the run.
        groups: of rows that can be read.
        broken: what is wrong with the others.
        options: how to run.
        head: says what was asked, for the journal.
        told: called with how many rows are done.

    Returns:
        how many rows have a value, and how many have not.
    """
    journal = RunJournal(directory.path, head)
    if journal.promised:  # by a process that was killed
        journal.append({"rows": [], "values": [], "std_errors": [], "shots": [], "errors": [],
                        "price": journal.promised})  # fmt: skip
    done = {number for entry in journal.entries for number in entry["rows"]}
    bad = dict(broken)
    bad.update({n: e for entry in journal.entries for n, e in zip(entry["rows"], entry["errors"], strict=True) if e})
    told(len(done))
    paid = sum(entry.get("price", 0.0) for entry in journal.entries)
    waiting = sum(len(group.rows) for group in groups) - len(done)
    units, run = units_of(run_devices(options.resources, {})), str(directory.record["run"])
    try:
        with (
            directory.timing("sweep"),
            shared_engine(options.engine, units=units, scheduler=options.scheduler, run=run),
        ):
            for group in groups:
                evaluator = Evaluator(group.circuit, [group.observable], options)
                for rows, angles in _parts(group):
                    if set(rows) <= done:
                        continue
                    budget = _part_of(options.budget, paid, len(rows) / max(1, waiting))
                    entry = _evaluated(evaluator, rows, angles, budget, journal.promise)
                    paid, waiting = paid + entry["price"], waiting - len(rows)
                    journal.append(entry)
                    bad.update({n: e for n, e in zip(rows, entry["errors"], strict=True) if e})
                    done.update(rows)
                    told(len(done))
    finally:
        journal.close()
    return len(done | bad.keys()) - len(bad), len(bad)


def _parts(group: Group) -> Iterator[tuple[list[int], np.ndarray]]:
    for start in range(0, len(group.rows), _TOGETHER):
        yield group.rows[start : start + _TOGETHER], np.array(group.angles[start : start + _TOGETHER])


def _part_of(budget: float | None, paid: float, part: float) -> float | None:
    """What of a sweep's budget a part of the rows that are left may spend; next to nothing where all is spent."""
    return None if budget is None else max((budget - paid) * min(part, 1.0), 1e-12)


def _evaluated(
    evaluator: Evaluator,
    rows: list[int],
    angles: np.ndarray,
    budget: float | None,
    promised: Callable[[float], object],
) -> dict[str, Any]:
    """Results of a part; where it fails as a whole each row is tried for itself, so that one takes no other along."""
    prices: list[float] = []
    try:
        ready = evaluator.prepared()
        if ready is not None:
            ready.forget()  # the same numbers whatever came before
        options = replace(evaluator.options, budget=budget)
        points = angles.reshape(len(rows), -1)
        found = evaluator.evaluate(points, options=options, paid=prices.append, promised=promised)
        values, errors = found.values[:, 0].tolist(), found.std_errors[:, 0].tolist()
        each = found.shots // len(rows)
        return {"rows": rows, "values": values, "std_errors": errors, "shots": [each] * len(rows),
                "errors": [""] * len(rows), "price": found.price}  # fmt: skip
    except QompassError as error:
        if len(rows) == 1:
            return {"rows": rows, "values": [None], "std_errors": [None], "shots": [0], "errors": [str(error)],
                    "price": sum(prices)}  # fmt: skip
    parts, paid = list[dict[str, Any]](), sum(prices)
    for k, row in enumerate(rows):
        own = _part_of(budget, paid, 1 / (len(rows) - k))
        parts.append(_evaluated(evaluator, [row], angles[k : k + 1], own, partial(_with_others, promised, paid)))
        paid += parts[-1]["price"]
    joined = {name: [part[name][0] for part in parts] for name in parts[0] if name != "price"}
    return {**joined, "price": paid}


def _with_others(promised: Callable[[float], object], paid: float, own: float) -> None:
    promised(paid + own)


def table_rows(rows: Sequence[Row], broken: Mapping[int, str], run: Path) -> Iterator[dict[str, Any]]:
    """The tidy table: what was asked in each row, and what came of it."""
    found: dict[int, tuple[Any, ...]] = {number: (None, None, 0, error) for number, error in broken.items()}
    for entry in read_journal(run):
        columns = (entry[name] for name in ("values", "std_errors", "shots", "errors"))
        found.update(zip(entry["rows"], zip(*columns, strict=True), strict=True))
    names = list(dict.fromkeys(name for row in rows for name in row.parameters if name))
    for row in rows:
        asked = {"row": row.number, "circuit": row.circuit, "observable": row.observable}
        parameters = {name: row.parameters.get(name) for name in names}
        yield {**asked, **parameters, **dict(zip(RESULTS, found.get(row.number, (None, None, 0, "")), strict=True))}


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
