"""A run's log read again: its events, and a tidy row for each of its tasks."""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tasks.runs.log import LOG_NAME

TRACE_NAME = "trace.csv"

_STAGES = {
    "_plan": "cut", "fidelities_of": "fidelities", "run_jobs": "execute", "build_tensor": "tensor",
    "build_outputs": "outputs", "shots_and_estimates": "allocate", "contract_network": "reconstruct",
    "_searched_flops": "reconstruct", "_written": "reconstruct", "answer_question": "answer",
}  # fmt: skip
_EXECUTE = "execute"


@dataclass(frozen=True)
class TaskRow:
    """One try of one task; the columns of ``trace.csv``.

    Attributes:
        stage: cut, execute, tensor, allocate, reconstruct, ...
        task: number of an execution in its run, None for other tasks.
        attempt: 0 for the first try.
        fragments: indices of fragments, with blanks between.
        round: of shots; None where it has none.
        batch: first variants of its pieces, by fragment, with blanks between.
        variants: how many it was to run, 0 for whole tensors.
        shots: how many it was to take.
        device: name of the device.
        node: host name.
        submitted: seconds since the run began, by the application's clock; None where that is not known.
        started: seconds since the run began, by the node's clock; None where it has not ended.
        ended: the same.
        wait_s: seconds from submission to start, and in queues of devices.
        seconds: of work; None where it has not ended.
        predicted_s: what the cost model said, None where it was not asked.
        bytes: of its results, in memory.
        cached: how many of its pieces the cache had.
        failure: one word, "" where there was none.
        error: one line, "" where there was none.
    """

    stage: str
    task: int | None = None
    attempt: int = 0
    fragments: str = ""
    round: int | None = None
    batch: str = ""
    variants: int = 0
    shots: int = 0
    device: str = ""
    node: str = ""
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    wait_s: float | None = None
    seconds: float | None = None
    predicted_s: float | None = None
    bytes: int = 0
    cached: int = 0
    failure: str = ""
    error: str = ""


COLUMNS = tuple(field.name for field in fields(TaskRow))


def read_events(run: Path) -> Iterator[dict[str, Any]]:
    """The events in a run's log, oldest first; what is no event, such as a line cut short by a crash, is left out."""
    try:
        with open(run / LOG_NAME, encoding="utf-8", errors="replace") as log:
            for line in log:
                event = parsed(line)
                if event is not None:
                    yield event
    except OSError:
        return


def parsed(line: str) -> dict[str, Any] | None:
    """A line of a run's log as an event, its time in seconds since 1970; None where it is none."""
    try:
        event = json.loads(line)
        event["time"] = datetime.datetime.fromisoformat(event["time"]).timestamp()
        event["event"], event["message"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return dict(event)


def task_rows(events: Iterable[Mapping[str, Any]]) -> list[TaskRow]:
    """A row for each task in a run's events, in the order of submission; those that have not ended, too."""
    rows: list[TaskRow] = []
    running: dict[tuple[int, int], tuple[int, Mapping[str, Any]]] = {}
    zero: float | None = None
    for event in events:
        zero = event["time"] if zero is None else zero
        try:
            if event["event"] in ("begin", "resume"):
                running.clear()  # a process that was killed took its tasks with it
            elif event["event"] == "submit":
                running[event["task"], event["attempt"]] = (len(rows), event)
                rows.append(_submitted(event, zero))
            elif event["event"] == "task":
                place, submit = running.pop((event.get("task"), event["attempt"]), (len(rows), None))  # type: ignore[arg-type]
                rows[place : place + 1] = [_ended(event, submit, zero)]
        except (KeyError, TypeError, ValueError, IndexError):  # an event of another version
            continue
    return rows


def trace_csv(rows: Iterable[TaskRow]) -> str:
    """Rows as the content of ``trace.csv``: a header, then a line a task; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: "" if value is None else value for name, value in vars(row).items()})
    return text.getvalue()


def _submitted(event: Mapping[str, Any], zero: float) -> TaskRow:
    return TaskRow(
        stage=_EXECUTE,
        task=event["task"],
        attempt=event["attempt"],
        device=event["device"],
        submitted=round(event["time"] - zero, 3),
        predicted_s=event["predicted"],
        **_pieces(event["pieces"]),
    )


def _ended(event: Mapping[str, Any], submit: Mapping[str, Any] | None, zero: float) -> TaskRow:
    started = max(0.0, event["began"] - zero)
    wait = None if submit is None else max(0.0, event["began"] - submit["time"]) + event.get("waited", 0.0)
    before = {} if submit is None else vars(_submitted(submit, zero))
    fragment = {} if "fragment" not in event else {"fragments": str(event["fragment"])}
    return TaskRow(
        **{
            **before,
            **fragment,
            "stage": _STAGES.get(event["work"], event["work"]),
            "attempt": event["attempt"],
            "device": event["device"],
            "node": event["node"],
            "started": round(started, 3),
            "ended": round(started + event["seconds"], 3),
            "wait_s": None if wait is None else round(wait, 3),
            "seconds": event["seconds"],
            "bytes": event.get("bytes", 0),
            "cached": event.get("cached", 0),
            "failure": event.get("failure", ""),
            "error": event.get("error", ""),
        }
    )


def _pieces(pieces: list[list[int]]) -> dict[str, Any]:
    rounds = {piece[1] for piece in pieces if piece[3]}
    return {
        "fragments": " ".join(map(str, dict.fromkeys(piece[0] for piece in pieces))),
        "round": max(rounds, default=None),
        "batch": " ".join(f"{piece[0]}:{piece[2]}" for piece in pieces if piece[3]),
        "variants": sum(piece[3] for piece in pieces),
        "shots": sum(piece[4] for piece in pieces),
    }
