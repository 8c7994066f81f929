"""A run's own folder: its record, the inputs it was given, and every fragment result as soon as it is complete.

tasks/runs/README.md says what is in it. Everything is written beside its final name, flushed to disk and then renamed,
so a process killed at any moment leaves either the old file or the new one.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import logging
import os
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tasks.errors import is_defect
from tasks.model.problem import Problem
from tasks.runs.claims import CLAIMS_OF_BATCHES, Claims
from tasks.runs.crate import CRATE_NAME, CRATE_VARIABLE, WORKFLOW_NAME, crate_document
from tasks.runs.lock import RunLock, is_locked
from tasks.runs.log import RunLog
from tasks.runs.naming import new_name
from tasks.runs.problem_files import pack_problem, unpack_problem
from tasks.runs.record import RunRecord, RunRecordError
from tasks.runs.results import FOLDER, has_results, write
from tasks.runs.run_results import RunResults
from tasks.runs.storage import read_stored
from tasks.runs.temporary import is_temporary
from tasks.runs.trace import TRACE_NAME, read_events, task_rows, trace_csv
from tasks.runtime.versions import versions

logger = logging.getLogger(__name__)


_NAMED = 20  # observables, in the record; their file has all


class RunDirectory:
    """The folder of one run, held by this process until the ``with`` block ends.

    Leaving the block settles the record's status: ``done`` when all went well, ``interrupted`` on Ctrl-C, ``failed``
    otherwise; a run that fails before its first result was stored leaves no folder behind, unless a defect of Qompass
    was the reason: then its traceback is in the folder.
    """

    def __init__(self, path: Path, record: RunRecord, lock: RunLock) -> None:
        """Use :meth:`create` or :meth:`open`."""
        self.path = path
        self.record = record
        self.results = RunResults(path, record)
        self._lock = lock
        self._settled = False
        self._resumed = False
        self._was_done = False  # then what fails now takes nothing from it
        self._log = RunLog(path)

    @classmethod
    def create(cls, parent: Path, fields: Mapping[str, Any], problem: Problem) -> RunDirectory:
        """A new run in ``parent``, with its inputs stored and ``fields`` (options, seed, ...) in its record.

        Raises:
            RunRecordError: ``parent`` cannot be written.
        """
        now = _now()
        run = new_name(now)
        path = Path(parent).absolute() / run
        try:
            path.mkdir(parents=True)
            path = path.resolve()
            (path / FOLDER).mkdir()
            lock = RunLock(path)
        except OSError as error:
            raise RunRecordError(
                f"cannot write runs into {parent}: {error.strerror}: name a writable folder with `out`", field="out"
            ) from error
        always = {
            "run": run,
            "status": "running",
            "created": now.isoformat(timespec="seconds"),
            "versions": versions(),
            "notes": list(problem.notes),
            "problem": {
                "qubits": problem.num_qubits,
                "observables": len(problem.names),
                "names": list(problem.names[:_NAMED]),
            },
        }
        directory = cls(path, RunRecord(always), lock)
        try:
            digests = directory._store_problem(problem)
            directory.update(**{**fields, "inputs": {**fields.get("inputs", {}), "stored": digests}})
        except BaseException:
            directory.discard()
            raise
        directory._note()
        directory.event(
            "begin", f"run {run} begins", **{key: fields[key] for key in ("options", "seed") if key in fields}
        )
        return directory

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run, to be resumed; what a killed process left half-written in it is removed.

        Raises:
            RunRecordError: there is no such run, it is not the user's, its record is damaged, or another process works
                on it or on a part of it.
        """
        path = Path(path).resolve()
        record = read_record(path)
        worker = Claims(path / CLAIMS_OF_BATCHES).any_owner()
        if worker is not None:
            raise RunRecordError(f"{worker} works on a part of {path}: wait for it, or end it first")
        owner = path.stat().st_uid
        if owner != os.geteuid() and os.geteuid() != 0:
            raise RunRecordError(f"{path}: belongs to another user (uid {owner}): copy it to a folder of your own")
        try:
            lock = RunLock(path)
            try:
                (path / FOLDER).mkdir(exist_ok=True)
                _remove_unfinished(path)
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise RunRecordError(f"cannot write {path}: {error.strerror}: make the run's folder writable") from error
        directory, status = cls(path, record, lock), record["status"]
        directory._resumed = True
        directory._settled = directory._was_done = record["status"] == "done"
        if not directory._settled:
            directory.update(status="running", resumed=_now().isoformat(timespec="seconds"), error=None)
        directory._note()
        directory.event("resume", f"run {record['run']}, {status} before, goes on", status=status)
        return directory

    def _note(self) -> None:
        # A launcher that restarts a run whose program died learns here which run that is.
        note = os.environ.get("QOMPASS_RUN_NOTE")
        if note:
            with contextlib.suppress(OSError):
                Path(note).write_text(str(self.path))

    def __enter__(self) -> RunDirectory:
        """Nothing more: the lock is held since :meth:`create` or :meth:`open`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Settle the status and let go of the lock."""
        try:
            if kind is None:
                if not self._settled:
                    self.finish("done")
            elif self._was_done:
                pass
            elif issubclass(kind, KeyboardInterrupt):
                self.finish("interrupted")
            elif error is not None and is_defect(error):
                self._keep_traceback(error)
                self.finish("failed", error=f"{kind.__name__}: {str(error).partition(chr(10))[0]}")
            elif not self._resumed and not has_results(self.path):
                self.discard()
            else:
                self.finish("failed", error=f"{kind.__name__}: {error}")
        finally:
            self.close()

    def _keep_traceback(self, error: BaseException) -> None:
        path = self.path / "traceback.txt"
        with contextlib.suppress(OSError):
            path.write_text("".join(traceback.format_exception(error)))
            logger.error("this is a defect of Qompass; its traceback is in %s", path)

    def problem(self) -> Problem:
        """The problem of this run, as stored; see ``stored_problem``."""
        return stored_problem(self.path, self.record)

    def update(self, **fields: Any) -> None:
        """Set fields of the record and write it.

        Raises:
            RunRecordError: it cannot be written.
        """
        self.record.set(**fields, updated=_now().isoformat(timespec="seconds"))
        write(self.path, "record.json", self.record.to_bytes())

    @contextlib.contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add the seconds spent in the block to the record's ``timings[stage]``; an exception counts too."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self.record.add_seconds(stage, seconds)
            self.event("timing", f"{stage} took {seconds:.3f} s", stage=stage, seconds=round(seconds, 6))

    def event(self, name: str, message: str, **fields: Any) -> None:
        """Append an event to the run's log, which is all that whoever watches the run can see of it while it runs.

        Args:
            name: the kind of event; tasks/runs/README.md lists them.
            message: one line for people.
            fields: plain JSON, NumPy numbers or paths.
        """
        self._log.event(name, message, fields)

    def finish(self, status: str, **fields: Any) -> None:
        """Write the final status (``done``, ``interrupted`` or ``failed``) and fields such as estimates."""
        self._settled = True
        self.update(status=status, **fields)
        said = {name: fields[name] for name in ("error", "estimates") if name in fields}
        took = sum(self.record["timings"].values())
        self.event("end", f"run {self.record['run']} is {status} after {took:.3g} s", status=status, **said)
        if is_temporary(self.path):  # about to be removed: nobody reads a trace of it
            return
        rows = task_rows(read_events(self.path))
        with contextlib.suppress(RunRecordError, OSError):  # a full disk takes nothing from the run
            write(self.path, TRACE_NAME, trace_csv(rows).encode())
            if "options" in self.record and os.environ.get(CRATE_VARIABLE) != "off":
                write(self.path, WORKFLOW_NAME, (Path(__file__).parents[1] / "workflow.py").read_bytes())
                write(
                    self.path, CRATE_NAME, json.dumps(crate_document(self.path, self.record, rows), indent=1).encode()
                )

    def discard(self) -> None:
        """Remove the run altogether and let go of the lock."""
        self._log.close()
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Let go of the lock and the log; the status stays as it is."""
        self._log.close()
        self._lock.release()

    def _store_problem(self, problem: Problem) -> dict[str, str]:
        content = pack_problem(problem)
        for name, data in content.items():
            write(self.path, name, data)
        return {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}


def stored_problem(path: Path, record: RunRecord) -> Problem:
    """The problem of a run, as stored.

    Raises:
        RunRecordError: its files are missing or not what was stored.
    """
    stored = record["inputs"]["stored"]
    try:
        content = {name: read_stored(path / name) for name in stored}
    except OSError as error:
        raise RunRecordError(f"{error.filename}: {error.strerror}: the run cannot be resumed; start anew") from error
    for name, data in content.items():
        if hashlib.sha256(data).hexdigest() != stored[name]:
            raise RunRecordError(f"{path / name}: is not what the run stored: it cannot be resumed; start anew")
    return unpack_problem(content)


def read_record(path: Path) -> RunRecord:
    """The record of a run; one whose process died without a word reads as ``interrupted``.

    Raises:
        RunRecordError: there is none, or it is damaged.
    """
    path = Path(path).resolve()
    try:
        content = read_stored(path / "record.json")
    except OSError as error:
        raise RunRecordError(f"{path} is not a run: {error.strerror}: name a folder that `qompass run` made") from error
    try:
        record = RunRecord.from_bytes(content)
    except RunRecordError as error:
        raise RunRecordError(f"{path / 'record.json'} {error}") from error
    if record["status"] == "running" and not is_locked(path):
        record.set(status="interrupted")
    return record


def _remove_unfinished(run: Path) -> None:
    for path in [*run.glob(".*.partial"), *(run / FOLDER).glob(".*.partial")]:
        path.unlink(missing_ok=True)
    for path in [run / "network", *run.glob("tasks-*")]:  # of a reconstruction in ranks; marks of tasks
        shutil.rmtree(path, ignore_errors=True)


def _now() -> datetime.datetime:
    return datetime.datetime.now().astimezone()
