"""What the command line calls the fields of ``Options`` and other names in messages, and how it reads them."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps.cli.values import memory_size, whole_number
from tasks.options import Options, Unfit

FIELDS = {option.name: option for option in dataclasses.fields(Options)}
FLAGS = {name: f"--{name.replace('_', '-')}" for name in FIELDS} | {
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
            "layers",
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


def add_options(parser: argparse.ArgumentParser, title: str, *names: str) -> argparse._ArgumentGroup:
    """A group with the flags of these fields of ``Options``."""
    group = parser.add_argument_group(title)
    for name in names:
        add_option(group, FIELDS[name])
    return group


def add_option(group: argparse._ActionsContainer, option: dataclasses.Field[Any]) -> None:
    """The flag of a field of ``Options``; a namespace holds the field only where the flag is given."""
    form, says = option.metadata["form"], option.metadata["says"]
    given: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS, "help": says}
    if option.type == "bool":
        group.add_argument(FLAGS[option.name], action="store_true", **given)
    elif isinstance(form, tuple):
        group.add_argument(FLAGS[option.name], choices=form, **given)
    else:
        group.add_argument(FLAGS[option.name], type=converter(option), metavar=form, **given)


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of ``Options`` that a command line gives; ``cuts`` is still the name of a file."""
    return {name: getattr(arguments, name) for name in FIELDS if hasattr(arguments, name)}


def converter(option: dataclasses.Field[Any]) -> Callable[[str], Any]:
    """From text to a value of an option, checked as the option checks it."""
    if option.name == "cuts":  # read once the circuit is known
        return Path
    if option.name == "memory_bytes":
        return memory_size
    kinds: dict[str, Callable[[str], Any]] = {"int": whole_number, "float": float}
    kind = kinds.get(str(option.type).removesuffix(" | None"), str)

    def convert(text: str) -> Any:
        try:
            return option.metadata["check"](kind(text))
        except ValueError:
            wanted = "a whole number" if kind is whole_number else "a positive number"
        except Unfit as unfit:
            wanted = str(unfit)
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not {wanted}")

    return convert
