"""``qompass sweep``: a table or grid of problems in, a tidy table out; and ``qompass resume`` of such a run."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apps.cli.chosen import options_of_loop
from apps.cli.flags import given_options
from apps.cli.interruption import INTERRUPTED, reading
from apps.cli.paths import run_path, shown_path
from apps.cli.tables import seconds_text
from apps.cli.terminal import SCHEMA, say
from apps.sweep.groups import Group, Reader, grouped
from apps.sweep.program import TABLE_NAME, begin, csv_text, read_sweep, sweep, table_rows
from apps.sweep.table import Row, read_table
from tasks.errors import InputError, QompassError
from tasks.options import Options, options_again, options_document
from tasks.runs import RunDirectory, RunRecordError, read_record
from tasks.runs.results import write
from tasks.runs.settings import settings_digest

_SAID = 5  # broken rows
USER_ERROR = 2


def run(arguments: argparse.Namespace) -> int:
    """Run every row of a table that can be run; the others are reported.

    Raises:
        InputError: the table cannot be read, no row of it can be run, or ``--to`` cannot be used.
    """
    options = options_of_loop(arguments)
    if arguments.to is not None and arguments.to.suffix.lower() not in (".csv", ".json"):
        raise InputError(f"--to {arguments.to}: a table is written as .csv or .json: end the name so")
    if arguments.to is not None and arguments.to.exists() and arguments.to.samefile(arguments.table):
        raise InputError(f"--to {arguments.to}: is the table itself, which would be lost: name another file")
    with reading():
        rows, reader, groups, broken = _read(arguments.table)
    if not groups:
        first = min(broken)
        raise InputError(f"{arguments.table}: no row can be run; row {first}: {broken[first]}")
    document = options_document(options)
    directory = begin(arguments.table, rows, groups, options, document, reader.digests, arguments.out)
    return _finish(directory, rows, groups, broken, options, arguments)


def resume(arguments: argparse.Namespace) -> int:
    """Run the rows of a sweep that have no value yet.

    Raises:
        RunRecordError: the run cannot be used, or a circuit has changed.
    """
    path = run_path(arguments.run, arguments.out)
    settings = read_sweep(path)
    rows, reader, groups, broken = _read(Path(settings["file"]))
    changed = [name for name, digest in reader.digests.items() if settings["circuits"].get(name) != digest]
    if changed:
        raise RunRecordError(f"{changed[0]} has changed since {path} was begun: start anew, or bring it back")
    options = options_again(settings["options"], given_options(arguments))
    return _finish(RunDirectory.open(path), rows, groups, broken, options, arguments)


def _read(file: Path) -> tuple[list[Row], Reader, list[Group], dict[int, str]]:
    rows = read_table(file)
    reader = Reader(file.resolve().parent)
    groups, broken = grouped(rows, reader)
    return rows, reader, groups, broken


def _finish(
    directory: RunDirectory, rows: Sequence[Row], groups: Sequence[Group], broken: Mapping[int, str], options: Options,
    arguments: argparse.Namespace,
) -> int:  # fmt: skip
    head = settings_digest(read_sweep(directory.path))
    try:
        with directory, _bar(len(rows) - len(broken)) as told:
            good, bad = sweep(directory, groups, broken, options, head, told)
            table = list(table_rows(rows, broken, directory.path))
            content = csv_text(table).encode()
            write(directory.path, TABLE_NAME, content)
            counts = {"rows": len(rows), "values": good, "broken": bad, "groups": len(groups)}
            directory.finish("done", sweep=counts, table={"sha256": hashlib.sha256(content).hexdigest()})
    except KeyboardInterrupt:
        say(f"interrupted; `qompass resume {shown_path(directory.path)}` goes on from here")
        return INTERRUPTED
    failed = [row for row in table if row["error"]]
    for row in failed[:_SAID]:
        say(f"row {row['row']}: {row['error']}")
    if len(failed) > _SAID:
        say(f"and {len(failed) - _SAID:,} more rows that could not be run: see their `error`")
    to = getattr(arguments, "to", None)
    if to is not None:
        _copy(to, table)
    record = read_record(directory.path)
    summary = {**record["sweep"], "table": shown_path(to or directory.path / TABLE_NAME)}
    status = 0 if summary["values"] else USER_ERROR
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, **summary, "run": shown_path(directory.path), "table_rows": table}))
        return status
    plans = f"{summary['groups']:,} plan{'' if summary['groups'] == 1 else 's'}"
    print(f"{summary['values']:,} of {summary['rows']:,} rows have a value, from {plans}")
    print(f"Table: {summary['table']}")
    print(f"Run: {shown_path(directory.path)} (sweep {seconds_text(record['timings']['sweep'])})")
    return status


def _copy(to: Path, table: Sequence[Mapping[str, Any]]) -> None:
    text = json.dumps(list(table), indent=0) if to.suffix.lower() == ".json" else csv_text(table)
    try:
        to.write_text(text)
    except OSError as error:
        raise QompassError(f"cannot write {to}: {error.strerror}: the table is in the run's folder, too") from error


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from apps.cli.progress import BarProgress

    with BarProgress().stage("sweep", total) as stage:
        before = 0

        def told(done: int) -> None:
            nonlocal before
            stage.advance(done - before)
            before = done

        yield told
