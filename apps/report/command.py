"""The command line that asks a run's question again, from its record."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from apps.cli.flags import FLAGS
from tasks.options import Options


def command_again(record: Mapping[str, Any]) -> str:
    """``qompass run ...`` with the files and options of a run; "" where it was not started by it."""
    given = record["inputs"]
    if not record.get("options") or "circuit" not in given:
        return ""
    words = ["qompass", "run", given["circuit"]["path"]]
    for text in record.get("asked", {}).get("observable", ()):
        words += ["--observable", text]
    for name in ("observables", "cuts", "resources"):
        if name in given:
            words += [f"--{name}", given[name]["path"]]
    for option in dataclasses.fields(Options):
        value = record["options"].get(option.name)
        if option.name in ("cuts", "resources", "memory_bytes", "cache") or value in (None, option.default):
            continue
        words += [FLAGS[option.name]] if value is True else [FLAGS[option.name], str(value)]
    return shlex.join(words)
