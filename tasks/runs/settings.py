"""What a loop of evaluations was asked: JSON with a checksum in its run's folder, so that it can be finished later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.runs.record import RunRecordError
from tasks.runs.storage import read_stored


def settings_bytes(document: Mapping[str, Any]) -> bytes:
    """The file's content: the settings and a checksum of them."""
    return json.dumps({"sha256": settings_digest(document), "settings": document}, indent=1).encode()


def stored_settings(path: Path, version: int) -> dict[str, Any]:
    """The settings in a file.

    Args:
        path: the file.
        version: what its ``format`` must be.

    Raises:
        RunRecordError: there are none, they are damaged, or of another version.
    """
    try:
        found = json.loads(read_stored(path))
        document = found["settings"]
        if found["sha256"] != settings_digest(document) or not isinstance(document, dict):
            raise ValueError("its checksum does not fit")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise RunRecordError(f"{path} cannot be used ({why}): the run cannot be resumed; start anew") from error
    if document.get("format") != version:
        raise RunRecordError(f"{path} is of format {document.get('format')}, this version reads {version}: start anew")
    return document


def settings_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of settings, in hexadecimal."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
