"""``qompass cache``: what the semantic cache holds, whether it is sound, and how to move or trim it."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from typing import Any

from apps.cli.chosen import checked_cache
from apps.cli.tables import seconds_text
from apps.cli.terminal import SCHEMA
from tasks.errors import InputError
from tasks.execution.cache.entry_store import EntryStore, open_entries
from tasks.execution.cache.errors import CacheError
from tasks.execution.cache.maintenance import export_entries, import_entries, prune, statistics, verify
from tasks.model.sizes import bytes_text

_DAY_S = 86_400.0
_WAYS = {"export": "write", "import": "read"}


def cache(arguments: argparse.Namespace) -> int:
    """Do one thing with the cache; ``verify`` ends with status 2 when it finds unsound entries.

    Raises:
        InputError: there is no such cache, or it cannot be used.
    """
    if arguments.action in ("export", "import") and arguments.file is None:
        raise InputError(f"`qompass cache {arguments.action}` needs a FILE to {_WAYS[arguments.action]}: name it")
    where = checked_cache(arguments.cache)
    if where == "off":
        raise InputError("--cache off: names no cache: name a directory or a URL")
    if arguments.action != "import" and "://" not in where and not (os.path.isdir(where) and os.listdir(where)):
        raise InputError(f"cache {where}: there is none yet: runs make it, or name another with --cache")
    try:
        document = _act(open_entries(where), arguments)
    except (CacheError, OSError) as error:
        raise InputError(f"cache {where}: {error}: name another with --cache") from error
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "cache": where, **document}, indent=2))
    else:
        print(f"Cache {where}")
        for name, value in document.items():
            print(f"  {name.replace('_', ' ')}: {_shown(name, value)}")
    return 2 if arguments.action == "verify" and document["unsound"] else 0


def _act(store: EntryStore, arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.action == "stats":
        return asdict(statistics(store))
    if arguments.action == "verify":
        return {"unsound": verify(store), "of_other_keys": statistics(store).of_other_keys}
    if arguments.action == "prune":
        days = arguments.older_than
        return {"removed": prune(store, older_than=None if days is None else days * _DAY_S)}
    if arguments.action == "export":
        return {"written": export_entries(store, arguments.file)}
    return asdict(import_entries(store, arguments.file))


def _shown(name: str, value: Any) -> str:
    if name == "bytes_used":
        return bytes_text(value)
    if name == "cost":
        return f"{seconds_text(value)} of work, saved each time that all of it is used"
    if name == "unsound" and isinstance(value, dict):
        first = [f"{key[:16]}: {why}" for key, why in list(value.items())[:3]]
        return f"{len(value):,}" + (f" ({'; '.join(first)}); `qompass cache prune` removes them" if value else "")
    if isinstance(value, dict):
        return ", ".join(f"{key}: {count:,}" for key, count in value.items()) or "none"
    return f"{value:,}"
