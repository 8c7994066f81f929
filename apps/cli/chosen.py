"""The options that a command line chooses."""

from __future__ import annotations

import argparse
from typing import Any

from apps.cli.flags import given_options
from resources_xml import pair_of, read_devices
from tasks.errors import InputError
from tasks.inputs.validation import read_cuts
from tasks.model.problem import Problem
from tasks.options import Options, default_cache, options_of


def options_from(arguments: argparse.Namespace, problem: Problem) -> Options:
    """The options of a command line.

    Raises:
        InputError: the cuts file does not fit the problem, or the options contradict each other.
    """
    given = _given(arguments)
    if "cuts" in given:
        given["cuts"] = read_cuts(given["cuts"], problem.circuit)
    return options_of(given)


def options_of_loop(arguments: argparse.Namespace) -> Options:
    """The options of a command line whose problems come later: those of an optimisation, of a sweep.

    Raises:
        InputError: the options contradict each other.
        QompassError: the resources file would stop a run later.
    """
    given = _given(arguments)
    if "resources" in given:
        given["resources"] = pair_of(given["resources"])[1]
        read_devices(given["resources"])
    return options_of(given)


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    given = given_options(arguments)
    if getattr(arguments, "exact", False) and "target_error" in given:
        raise InputError("`exact` has no error to aim at: leave out `exact` or `target_error`", field="target_error")
    if "cache" in given:
        given["cache"] = checked_cache(given["cache"])
    return given


def checked_cache(where: str | None) -> str:
    """The cache that ``--cache`` names, else the user's own.

    Raises:
        InputError: it holds a password, which arguments, records and process lists would show.
    """
    from tasks.execution.cache.stores.registry import check_place  # only where a cache is named

    check_place(where or "")
    return where or default_cache()
