"""What the command line calls the options and arguments that messages name by their fields."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from tasks.options import Options

FLAGS = {option.name: f"--{option.name.replace('_', '-')}" for option in dataclasses.fields(Options)} | {
    "memory_bytes": "--memory",
    "most_shots": "--most-shots",
    **{
        name: f"--{name}"
        for name in (
            "draw",
            "exact",
            "explain",
            "instructions",
            "observable",
            "observables",
            "out",
            "top",
            "vector",
            "pilot",
            "nodes",
            "walltime",
            "target",
            "ansatz",
            "start",
            "optimiser",
            "population",
        )
    },
}


def flagged(text: str) -> str:
    """The text with a flag in place of each field between backticks."""
    return re.sub(r"`(\w+)`", lambda match: FLAGS.get(match[1], match[0]), text)


def flagged_notes(document: Any) -> Any:
    """A JSON document with flags in its notes."""
    if isinstance(document, dict):
        return {
            name: [flagged(note) for note in value] if name == "notes" else flagged_notes(value)
            for name, value in document.items()
        }
    return [flagged_notes(entry) for entry in document] if isinstance(document, list) else document
