"""A loop's evaluations, a line each, appended as they are made; what a crash left half-written is taken away.

Each line begins with a checksum that covers the line before it, too, so a line that is changed, missing or out of place
ends what is believed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.runs.record import RunRecordError
from tasks.runs.storage import plain, read_stored

logger = logging.getLogger(__name__)

JOURNAL_NAME = "journal.jsonl"
JOURNAL_FORMAT = 1
_DIGITS = 32  # of a checksum
_PROMISED = "promised"


class RunJournal:
    """The journal of a run, open to append.

    Args:
        run: the run's folder.
        head: what the loop was asked; a journal of another one is refused.

    Attributes:
        entries: what is in it, the oldest first.
        promised: what was promised since the last entry: of a process that was killed, what it may have paid.

    Raises:
        RunRecordError: it cannot be written, or belongs to another loop or version.
    """

    def __init__(self, run: Path, head: str) -> None:
        self.path = run / JOURNAL_NAME
        found, seals, good, self.promised = _read(self.path)
        begin = {"format": JOURNAL_FORMAT, "head": head}
        if found and found[0] != begin:
            if found[0].get("format") != JOURNAL_FORMAT:
                raise RunRecordError(f"{self.path} was written by another version of Qompass: start anew")
            raise RunRecordError(f"{self.path} belongs to other settings than the run's: start anew")
        self.entries = found[1:]
        self._seal = seals[-1] if seals else ""
        try:
            self._file = open(self.path, "ab")
            self._file.truncate(good)
            if not found:
                self._written(begin)
        except OSError as error:
            raise RunRecordError(f"cannot write {self.path}: {error.strerror}: make it writable") from error

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a line; once this returns, a crash cannot lose it.

        Raises:
            RunRecordError: it cannot be written.
        """
        self.entries.append(self._append(entry))
        self.promised = 0.0

    def promise(self, price: float) -> None:
        """Before devices are asked: what will have been paid for the next entry, at most. The entry says what was.

        Raises:
            RunRecordError: it cannot be written.
        """
        if price != self.promised:
            self._append({_PROMISED: price})
            self.promised = price

    def _append(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._written(entry)
        except OSError as error:
            raise RunRecordError(
                f"cannot write {self.path}: {error.strerror}: mend that, then `qompass resume {self.path.parent}`"
            ) from error

    def _written(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        text = json.dumps(dict(entry), default=plain, separators=(",", ":"))
        self._seal = _seal(self._seal, text)
        self._file.write(f"{self._seal} {text}\n".encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        return json.loads(text)

    def close(self) -> None:
        """Nothing more is added."""
        self._file.close()


def read_journal(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's journal, as far as they can be believed; [] where there is none."""
    return _read(run / JOURNAL_NAME)[0][1:]


def _read(path: Path) -> tuple[list[dict[str, Any]], list[str], int, float]:
    """Entries, the lines' seals, how many bytes they take, and what was promised after the last entry."""
    entries: list[dict[str, Any]] = []
    promised, seals = 0.0, [""]
    good = 0
    try:
        content = read_stored(path)
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise RunRecordError(f"cannot read {path}: {error.strerror}: make it readable") from error
    for line in content.splitlines(keepends=True):
        seal, _, text = line.decode("utf-8", "replace").rstrip("\n").partition(" ")
        if not line.endswith(b"\n") or seal != _seal(seals[-1], text):
            done = max(0, len(entries) - 1)  # the first line says whose journal it is
            logger.warning("%s is damaged after %d evaluations: later ones are made again", path, done)
            break
        entry = json.loads(text)
        if _PROMISED in entry:
            promised = float(entry[_PROMISED])
        else:
            entries.append(entry)
            promised = 0.0
        seals.append(seal)
        good += len(line)
    return entries, seals, good, promised


def _seal(before: str, text: str) -> str:
    return hashlib.sha256(f"{before} {text}".encode()).hexdigest()[:_DIGITS]
