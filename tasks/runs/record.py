"""A run's own folder: its record, the inputs it was given, and every fragment result as soon as it is complete.

Layout of ``results/runs/<id>/``::

    record.json         what was asked, with what, how it went and what came out; always whole
    circuit.qpy         the problem's circuit
    observables.npz     the problem's Pauli terms, with names and notes
    fragments/*.npz     one completed result each, with its checksum inside; plain NumPy files, never a pickle
    lock                held by the one process that works on the run

Everything is written beside its final name, flushed to disk and then renamed, so a process killed at any moment leaves
either the old file or the new one.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import secrets
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from tasks.errors import QompassError, is_defect
from tasks.model.problem import Problem
from tasks.runs.problem_files import pack_problem, unpack_problem
from tasks.runs.storage import Stored, pack, plain, unpack, write_atomically

logger = logging.getLogger(__name__)

SCHEMA = 1
PACKAGES = ("qompass", "qiskit", "qiskit-aer", "qiskit-addon-cutting", "numpy", "scipy", "distributed", "cotengra")

_held: set[Path] = set()  # record locks belong to the process, so two threads of one need this


class RunRecordError(QompassError):
    """A run's folder cannot be made, read or written, or another process works on it."""


class RunDirectory:
    """The folder of one run, held by this process until the ``with`` block ends.

    Leaving the block settles the record's status: ``done`` when all went well, ``interrupted`` on Ctrl-C, ``failed``
    otherwise; a run that fails before its first result was stored leaves no folder behind, unless a defect of Qompass
    was the reason: then its traceback is in the folder.
    """

    def __init__(self, path: Path, record: dict[str, Any], lock: IO[str]) -> None:
        """Use :meth:`create` or :meth:`open`."""
        self.path = path
        self.record = record
        self._lock = lock
        self._settled = False
        self._resumed = False
        self._was_done = False  # then what fails now takes nothing from it

    @classmethod
    def create(cls, parent: Path, fields: Mapping[str, Any], problem: Problem) -> RunDirectory:
        """A new run in ``parent``, with its inputs stored and ``fields`` (options, seed, ...) in its record.

        Raises:
            RunRecordError: ``parent`` cannot be written.
        """
        now = _now()
        run = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        path = Path(parent) / run
        try:
            path.mkdir(parents=True)
            (path / "fragments").mkdir()
            directory = cls(path.resolve(), {}, _locked(path.resolve()))
        except OSError as error:
            raise RunRecordError(
                f"cannot write runs into {parent}: {error.strerror}: name a writable folder with --out"
            ) from error
        try:
            digests = directory._store_problem(problem)
            always = {
                "schema": SCHEMA,
                "run": run,
                "status": "running",
                "created": now.isoformat(timespec="seconds"),
                "versions": versions(),
                "notes": list(problem.notes),
                "timings": {},
                "results": {},
            }
            directory.update(**always | {**fields, "inputs": {**fields.get("inputs", {}), "stored": digests}})
        except BaseException:
            directory.discard()
            raise
        directory._note()
        return directory

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run, to be resumed.

        Raises:
            RunRecordError: there is no such run, its record is damaged, or another process works on it.
        """
        path = Path(path).resolve()
        record = read_record(path)
        try:
            lock = _locked(path)
        except OSError as error:
            raise RunRecordError(f"cannot write {path}: {error.strerror}: make the run's folder writable") from error
        directory = cls(path, record, lock)
        directory._resumed = True
        directory._settled = directory._was_done = record["status"] == "done"
        if not directory._settled:
            directory.update(status="running", resumed=_now().isoformat(timespec="seconds"), error=None)
        directory._note()
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
            elif not self._resumed and not any((self.path / "fragments").glob("[!.]*.npz")):
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
        """The problem of this run, as stored.

        Raises:
            RunRecordError: its files are missing or not what was stored.
        """
        stored = self.record["inputs"]["stored"]
        try:
            content = {name: (self.path / name).read_bytes() for name in stored}
        except OSError as error:
            raise RunRecordError(
                f"{error.filename}: {error.strerror}: the run cannot be resumed; start anew"
            ) from error
        for name, data in content.items():
            if hashlib.sha256(data).hexdigest() != stored[name]:
                raise RunRecordError(
                    f"{self.path / name}: is not what the run stored: it cannot be resumed; start anew"
                )
        return unpack_problem(content)

    def update(self, **fields: Any) -> None:
        """Set fields of the record and write it.

        Raises:
            RunRecordError: it cannot be written.
        """
        self.record.update(fields, updated=_now().isoformat(timespec="seconds"))
        text = json.dumps(self.record, indent=1, default=plain)
        self._write("record.json", text.encode())

    @contextlib.contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add the seconds spent in the block to the record's ``timings[stage]``; an exception counts too."""
        began = time.perf_counter()
        try:
            yield
        finally:
            timings = self.record.setdefault("timings", {})
            timings[stage] = round(timings.get(stage, 0.0) + time.perf_counter() - began, 6)

    def store(self, key: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Keep a completed result; once this returns, a crash cannot lose it.

        Args:
            key: names the result within the run.
            arrays: by name; numbers and booleans only.
            meta: plain JSON values: which device produced it, how long it took.

        Raises:
            RunRecordError: it cannot be written (the disk is full, say).
        """
        store_result(self.path, key, arrays, meta)
        self.note_result(key, meta)

    def note_result(self, key: str, meta: Mapping[str, Any]) -> None:
        """Say in the record what is known of a result that a task has stored itself (`store_result`)."""
        self.record.setdefault("results", {})[key] = json.loads(json.dumps(dict(meta), default=plain))

    def load(self, key: str) -> Stored | None:
        """A result stored under this key, or None when there is none; a damaged one is reported and counts as none."""
        path = self.path / "fragments" / _file_name(key)
        try:
            stored = unpack(path.read_bytes())
        except FileNotFoundError:
            return None
        except Exception as error:  # zipfile, NumPy and json each have their own for damaged bytes
            logger.warning("%s is damaged (%s): it is computed again", path, error)
            return None
        if stored.meta.pop("key", None) != key:
            logger.warning("%s belongs to another result: it is computed again", path)
            return None
        self.record.setdefault("results", {})[key] = stored.meta
        return stored

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """Every result that is there, with its key; damaged ones are reported and left out."""
        for path in sorted((self.path / "fragments").glob("*.npz")):
            try:
                found = unpack(path.read_bytes())
                key = found.meta.pop("key")
            except Exception as error:  # zipfile, NumPy and json each have their own for damaged bytes
                logger.warning("%s is damaged (%s): it is computed again", path, error)
                continue
            self.record.setdefault("results", {})[key] = found.meta
            yield key, found

    def store_round(self, number: int, digest: str, shots: Mapping[int, np.ndarray]) -> None:
        """Keep what a round of shots is to take: a resumed run must ask for the same, whatever prices are then.

        Args:
            number: of the round.
            digest: of everything asked for in the rounds before.
            shots: (half, variant) by fragment.
        """
        arrays = {str(fragment): counts for fragment, counts in shots.items()}
        self._write(f"round-{number}.npz", pack(arrays, {"digest": digest}))

    def load_round(self, number: int, digest: str) -> dict[int, np.ndarray] | None:
        """What :meth:`store_round` kept after the same rounds, or None."""
        path = self.path / f"round-{number}.npz"
        try:
            stored = unpack(path.read_bytes())
        except FileNotFoundError:
            return None
        except Exception as error:  # as in load
            logger.warning("%s is damaged (%s): it is computed again", path, error)
            return None
        return {int(name): array for name, array in stored.arrays.items()} if stored.meta["digest"] == digest else None

    def finish(self, status: str, **fields: Any) -> None:
        """Write the final status (``done``, ``interrupted`` or ``failed``) and fields such as estimates."""
        self._settled = True
        self.update(status=status, **fields)

    def discard(self) -> None:
        """Remove the run altogether and let go of the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Let go of the lock; the status stays as it is."""
        _held.discard(self.path)
        self._lock.close()

    def _write(self, name: str, content: bytes) -> None:
        _write(self.path, name, content)

    def _store_problem(self, problem: Problem) -> dict[str, str]:
        content = pack_problem(problem)
        for name, data in content.items():
            self._write(name, data)
        return {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}


def read_record(path: Path) -> dict[str, Any]:
    """The record of a run; one whose process died without a word reads as ``interrupted``.

    Raises:
        RunRecordError: there is none, or it is damaged.
    """
    path = Path(path).resolve()
    try:
        record = json.loads((path / "record.json").read_bytes())
        if record["schema"] != SCHEMA:
            raise RunRecordError(
                f"{path}: written by another version of Qompass (schema {record['schema']}): start anew"
            )
        if record["status"] == "running" and not _is_locked(path):
            record["status"] = "interrupted"
    except OSError as error:
        raise RunRecordError(f"{path} is not a run: {error.strerror}: name a folder that `qompass run` made") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunRecordError(
            f"{path / 'record.json'} is damaged ({error}): the run cannot be read; start anew"
        ) from error
    return dict(record)


def store_result(run: Path, key: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Keep a completed result in a run's folder; once this returns, a crash cannot lose it. Any process may.

    Args:
        run: the run's folder.
        key: names the result within the run.
        arrays: by name; numbers and booleans only.
        meta: plain JSON values: which device produced it, how long it took.

    Raises:
        RunRecordError: it cannot be written (the disk is full, say).
    """
    _write(run, f"fragments/{_file_name(key)}", pack(arrays, {**meta, "key": key}))


def _write(run: Path, name: str, content: bytes) -> None:
    try:
        write_atomically(run / name, content)
    except OSError as error:
        raise RunRecordError(
            f"cannot write {run / name}: {error.strerror}: mend that, then `qompass resume {run}`"
        ) from error


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _file_name(key: str) -> str:
    """A name every file system takes; the digest keeps keys apart that differ in other characters."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", key)[:60].lstrip(".")
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"


def _locked(path: Path) -> IO[str]:
    """The run's lock file, held.

    A record lock, not flock: children that outlive a killed parent do not keep it. It is lost as soon as this process
    closes any other handle of the file, hence the look at ``_held`` before opening it.
    """
    taken = f"another process works on {path}: wait for it, or end it first"
    if path in _held:
        raise RunRecordError(taken)
    lock = open(path / "lock", "a")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        lock.close()
        raise RunRecordError(taken) from error
    except OSError as error:  # a file system without locks
        logger.warning("%s cannot be locked (%s): do not resume it twice at once", path, error.strerror)
    _held.add(path)
    return lock


def _is_locked(path: Path) -> bool:
    if path in _held:
        return True
    try:
        with open(path / "lock", "a") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return (path / "lock").exists()
    return False


def _now() -> datetime.datetime:
    return datetime.datetime.now().astimezone()
