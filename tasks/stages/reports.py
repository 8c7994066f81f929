"""What a process says of a batch that it has done: `stages/done/<index>.json`, put into the record later."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.runs import RunRecord
from tasks.runs.results import FOLDER, file_name, write
from tasks.stages.batches import FOLDER_OF_STAGES, FORMAT_OF_STAGES, read_versioned

_FOLDER = f"{FOLDER_OF_STAGES}/done"


def write_report(
    run: Path, index: int, record: RunRecord, seconds: float, before: Mapping[str, Any], given_back: str = ""
) -> None:
    """Say that a batch is done.

    Args:
        run: the run's folder.
        index: of the batch.
        record: what this process has to say (``SharedRunDirectory.record``).
        seconds: how long it took.
        before: the results that the record knew before.
        given_back: why its device did not do all of it, "" where it did.

    Raises:
        RunRecordError: it cannot be written.
    """
    (run / _FOLDER).mkdir(exist_ok=True)
    cache = record.get("cache", {})
    document = {
        "schema": FORMAT_OF_STAGES,
        "batch": index,
        "node": socket.gethostname(),
        "process": os.getpid(),
        "engine": record.get("engine", {}),
        "seconds": round(seconds, 6),
        "notes": record["notes"],
        "moves": record.get("moves", []),
        "cache": {name: number for name, number in cache.items() if name != "store"},
        "store": cache.get("store", ""),
        "results": sorted(record["results"].keys() - before.keys()),
        "given_back": given_back,
    }
    write(run, f"{_FOLDER}/{index}.json", json.dumps(document).encode())


def read_report(run: Path, index: int) -> dict[str, Any] | None:
    """What was said of a batch, None where it is not done as far as is seen from here.

    Raises:
        RunRecordError: it is of another version, or damaged.
    """
    path = run / _FOLDER / f"{index}.json"
    try:
        return read_versioned(path, path.read_bytes())
    except FileNotFoundError:
        return None


def unseen(run: Path, report: Mapping[str, Any]) -> list[str]:
    """Results that a report names and that are not seen here (yet)."""
    return [key for key in report["results"] if not (run / FOLDER / file_name(key)).exists()]


def forget_report(run: Path, index: int) -> None:
    """A batch that was done is not: results of it are lost."""
    (run / _FOLDER / f"{index}.json").unlink(missing_ok=True)


def merge_report(record: RunRecord, index: int, report: Mapping[str, Any]) -> None:
    """Put a report into the run's record, once."""
    known = dict(record.get("batches", {}))
    if str(index) in known:
        return
    if report.get("given_back"):
        record.note(f"batch {index} was given back: {report['given_back']}")
    for note in report["notes"]:
        record.note(str(note))
    for move in report["moves"]:
        piece = {name: move[name] for name in move if name not in ("from", "to", "why")}
        record.move(piece, move["from"], move["to"], move["why"])
    if report["cache"]:
        record.count_cache(report["store"], report["cache"])
    record.add_seconds("execute", float(report["seconds"]))
    record.set(batches={**known, str(index): {name: report[name] for name in ("node", "process", "engine", "seconds")}})
