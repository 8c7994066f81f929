"""Results in a run's folder, one file each: written by whichever process made them, read by whoever resumes the run."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.runs.journal import read_journal
from tasks.runs.record import RunRecordError
from tasks.runs.storage import Stored, pack, read_stored, unpack, write_atomically
from tasks.runs.temporary import is_temporary

logger = logging.getLogger(__name__)

FOLDER = "fragments"


def store_result(run: Path, key: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> str:
    """Keep a completed result in a run's folder; once this returns, a crash cannot lose it. Any process may.

    Args:
        run: the run's folder.
        key: names the result within the run.
        arrays: by name; numbers and booleans only.
        meta: plain JSON values: which device produced it, how long it took.

    Returns:
        SHA-256 of the file, in hexadecimal: the record holds it as ``sha256`` beside ``meta``.

    Raises:
        RunRecordError: it cannot be written (the disk is full, say).
    """
    content = pack(arrays, {**meta, "key": key})
    write(run, f"{FOLDER}/{file_name(key)}", content)
    return hashlib.sha256(content).hexdigest()


def read_result(path: Path) -> tuple[str, Stored] | None:
    """The key of a stored result and what it holds; a damaged one is reported and counts as none.

    ``sha256`` in its metadata is that of the file as it is.
    """
    try:
        content = read_stored(path)
        stored = unpack(content)
        key = stored.meta.pop("key")
        if path.name != file_name(key):
            raise ValueError("it belongs to another result")
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile, NumPy and json each have their own for damaged bytes
        logger.warning("%s is damaged (%s): it is computed again", path, error)
        return None
    stored.meta["sha256"] = hashlib.sha256(content).hexdigest()
    return key, stored


def stored_result(run: Path, key: str) -> Stored | None:
    """What a run's folder holds under a key, None where there is nothing or it is damaged."""
    found = read_result(run / FOLDER / file_name(key))
    return found[1] if found is not None and found[0] == key else None


def write(run: Path, name: str, content: bytes) -> None:
    """Write a file of a run's folder, whole or not at all.

    Raises:
        RunRecordError: it cannot be written.
    """
    try:
        write_atomically(run / name, content, durable=not is_temporary(run))
    except OSError as error:
        raise RunRecordError(f"cannot write {run / name}: {error.strerror}: {_what_to_do(run)}") from error


def _what_to_do(run: Path) -> str:
    if is_temporary(run):
        return "mend that, or set TMPDIR to another folder"
    return f"mend that, then `qompass resume {run}`" if has_results(run) else "mend that, or name another folder"


def has_results(run: Path) -> bool:
    """Whether there is anything of a run that is worth its folder."""
    return any((run / FOLDER).glob("[!.]*.npz")) or bool(read_journal(run))


def file_name(key: str) -> str:
    """A name every file system takes; the digest keeps keys apart that differ in other characters."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", key)[:60].lstrip(".")
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"
