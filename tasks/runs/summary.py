"""Runs seen from outside: what was asked, what came of it, who worked for it, and why it was slow or failed."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.runs.directory import read_record
from tasks.runs.record import RunRecord, RunRecordError
from tasks.runs.trace import TaskRow, read_events, task_rows

UNREADABLE = "unreadable"
"""Status of a folder whose record cannot be believed."""


@dataclass(frozen=True)
class Summary:
    """A run in a few words.

    Attributes:
        path: its folder.
        run: its id.
        status: running, done, failed, interrupted or unreadable.
        question: circuit and observables.
        estimates: as in its record; empty while there are none.
        devices: names of those that worked for it.
        shots: that were taken.
        price: of what was paid; None where no device has one.
        created: when it was started; None where that is not known.
        seconds: of all stages together.
        bytes: of its folder on disk.
        error: why it failed, one line.
    """

    path: Path
    run: str
    status: str
    question: str = ""
    estimates: Sequence[Mapping[str, Any]] = ()
    devices: tuple[str, ...] = ()
    shots: int = 0
    price: float | None = None
    created: datetime.datetime | None = None
    seconds: float = 0.0
    bytes: int = 0
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.status == "done"


@dataclass(frozen=True)
class DeviceUse:
    """What a device did in a run.

    Attributes:
        tasks: that it ended well.
        failures: reasons of those that failed, with how often.
        seconds: of work.
        waited: seconds from submission to start and in queues, over all its tasks.
        shots: that it was to take.
        cached: pieces that the cache had.
    """

    tasks: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    waited: float = 0.0
    shots: int = 0
    cached: int = 0


def summaries(parent: Path) -> Iterator[Summary]:
    """All runs below a folder, oldest first.

    Raises:
        RunRecordError: the folder cannot be read.
    """
    if not parent.exists():
        return
    try:
        folders = sorted(path for path in parent.iterdir() if (path / "record.json").exists())
    except OSError as error:
        raise RunRecordError(
            f"{parent}: {error.strerror}: name the folder that runs are in with `out`", field="out"
        ) from error
    for path in folders:
        try:
            record = read_record(path)
        except RunRecordError as error:
            yield Summary(path, path.name, UNREADABLE, bytes=_size(path), error=str(error))
        else:
            yield summary_of(path, record)


def engine_files(record: Mapping[str, Any]) -> list[Path]:
    """The graph and the traces that the engine has written of a run (``-g``, ``-t`` of runcompss), if they are here."""
    logs = (record.get("engine") or {}).get("logs")
    if not logs:
        return []
    return [*Path(logs).glob("monitor/complete_graph.*"), *sorted(Path(logs).glob("trace/*.prv"))]


def summary_of(path: Path, record: RunRecord) -> Summary:
    """A run, from its record."""
    results = record["results"].values()
    return Summary(
        path,
        record["run"],
        record["status"],
        _question(record),
        record.get("estimates") or (),
        tuple(sorted({str(result["device"]) for result in results if "device" in result})),
        sum(int(result.get("shots", 0)) for result in results),
        record.get("price"),
        _time(record["created"]),
        sum(record["timings"].values()),
        _size(path),
        record.get("error") or "",
    )


def device_uses(rows: Sequence[TaskRow]) -> dict[str, DeviceUse]:
    """What each device did in the executions of a run's trace."""
    own: dict[str, list[TaskRow]] = defaultdict(list)
    for row in rows:
        if row.stage == "execute":
            own[row.device].append(row)
    return {
        name: DeviceUse(
            sum(row.seconds is not None and not row.failure and not row.error for row in its),
            dict(Counter(row.failure or "in part" for row in its if row.failure or row.error)),
            sum(row.seconds or 0.0 for row in its),
            sum(row.wait_s or 0.0 for row in its),
            sum(row.shots for row in its),
            sum(row.cached for row in its),
        )
        for name, its in sorted(own.items())
    }


def reasons(path: Path, record: RunRecord) -> list[str]:
    """Why a run failed or took as long as it did: sentences, the most telling first."""
    rows = task_rows(read_events(path))
    uses = device_uses(rows)
    return [
        *_of_failure(path, record, rows),
        *(
            f"{name} failed {sum(use.failures.values())} of {len([r for r in rows if r.device == name])} tasks"
            f" ({', '.join(f'{why} {n}' for why, n in sorted(use.failures.items()))})"
            for name, use in uses.items()
            if use.failures
        ),
        *(f"{move['from']} to {move['to']}: {move['why']}" for move in (record.get("moves") or ())[:5]),
        *_of_time(record, rows, uses),
        *record["notes"],
    ]


def _of_failure(path: Path, record: RunRecord, rows: Sequence[TaskRow]) -> Iterator[str]:
    if record["status"] == "done":
        return
    if record.get("error"):
        yield f"it failed: {record['error']}"
    elif record["status"] == "interrupted":
        yield f"its process was interrupted or killed; `qompass resume {path}` goes on from here"
    elif record["status"] == "running":
        yield "it is running: `qompass watch` shows how far it is"
    if (path / "traceback.txt").exists():
        yield f"a defect of Qompass: its traceback is in {path / 'traceback.txt'}"
    last = next((row for row in reversed(rows) if row.error), None)
    if last is not None and last.error not in (record.get("error") or ""):
        tried = f"try {last.attempt} of {_fragments(last)} on {last.device}"
        yield f"the last task that failed was {tried}: {last.error}"
    left = [row for row in rows if row.seconds is None]
    if left:
        yield f"{len(left)} tasks had not ended, on {', '.join(sorted({row.device for row in left}))}"


def _of_time(record: RunRecord, rows: Sequence[TaskRow], uses: Mapping[str, DeviceUse]) -> Iterator[str]:
    total = sum(record["timings"].values())
    if not total:
        return
    stage, seconds = max(record["timings"].items(), key=lambda pair: pair[1])
    yield f"{stage} took {seconds:.3g} s of {total:.3g} s"
    for name, use in uses.items():
        if use.waited > max(1.0, use.seconds):
            yield f"tasks on {name} waited {use.waited:.3g} s in all for {use.seconds:.3g} s of work"
    share = (record.get("tasks") or {}).get("overhead_share")
    if share is not None and share > 0.3 and total > 5:
        yield f"{share:.0%} of the time of all units went into starting processes, waiting and overhead of tasks"
    known = [row for row in rows if row.predicted_s and row.seconds and not row.cached]
    predicted, measured = sum(row.predicted_s or 0.0 for row in known), sum(row.seconds or 0.0 for row in known)
    if known and not 0.5 < measured / predicted < 2 and measured > 5:
        yield f"executions took {measured:.3g} s where {predicted:.3g} s were predicted"
    slowest = max((row for row in rows if row.seconds), key=lambda row: row.seconds or 0.0, default=None)
    if slowest is not None and (slowest.seconds or 0.0) > 0.3 * total > 1.5:
        yield (
            f"one task, {slowest.stage}{slowest.fragments and f' of {_fragments(slowest)}'}"
            f"{slowest.device and f' on {slowest.device}'}, took {slowest.seconds:.3g} s"
        )


def _fragments(row: TaskRow) -> str:
    return f"fragment{'s' if ' ' in row.fragments else ''} {row.fragments}"


def _question(record: RunRecord) -> str:
    asked, inputs = record.get("asked") or {}, record["inputs"]
    if record.get("program") == "sweep" and "table" in inputs:
        return f"{Path(inputs['table']['path']).name}: {asked.get('rows', 0):,} rows"
    if record.get("program") == "optimise" and record.get("problem"):
        qubits = record["problem"]["qubits"]
        return f"{asked.get('hamiltonian')} ({qubits} qubits): lowest energy, {asked.get('optimiser')}"
    given = record["inputs"].get("circuit", {})
    circuit = Path(given["path"]).name if isinstance(given, dict) and "path" in given else "a circuit"
    problem = record.get("problem")
    if not problem:
        return circuit
    more = problem["observables"] - len(problem["names"][:2])
    shown = ", ".join(problem["names"][:2]) + (f" and {more} more" if more else "")
    return f"{circuit} ({problem['qubits']} qubits): {shown}"


def _time(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text).astimezone()
    except ValueError:
        return None


def _size(path: Path) -> int:
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.lstat().st_size
        except OSError:  # a running process has just renamed it
            continue
    return total
