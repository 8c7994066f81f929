"""``qompass report``: one self-contained HTML page about a run, or about several beside each other."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from apps.cli.paths import run_path
from apps.cli.terminal import SCHEMA
from apps.extras import EXTRA_MISSING
from tasks.errors import QompassError
from tasks.runs import RunRecordError


def report(arguments: argparse.Namespace) -> int:
    """Write the page and say where.

    Raises:
        RunRecordError: a folder is no run.
        QompassError: the extra `report` is not installed, or the file cannot be written.
    """
    try:
        from apps.report.page import report as page
    except ModuleNotFoundError as error:
        raise QompassError(f"{EXTRA_MISSING} ({error.name} is missing)") from error
    paths = [run_path(name, arguments.out).resolve() for name in arguments.runs]
    for path in paths:
        if not (path / "record.json").exists():
            raise RunRecordError(f"{path} is not a run: name a folder that `qompass run` made")
    target: Path = arguments.to or (paths[0] if len(paths) == 1 else Path.cwd()) / "report.html"
    content = page(paths)
    try:
        target.write_text(content, encoding="utf-8")
    except OSError as error:
        raise QompassError(f"cannot write {target}: {error.strerror}: name another file with --to") from error
    print(json.dumps({"schema": SCHEMA, "report": str(target)}) if arguments.json else str(target))
    return 0
