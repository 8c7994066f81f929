"""The options that a command line chooses."""

from __future__ import annotations

import argparse

from apps.cli.flags import given_options
from tasks.errors import InputError
from tasks.inputs.validation import read_cuts
from tasks.model.problem import Problem
from tasks.options import Options, default_cache, options_of


def options_from(arguments: argparse.Namespace, problem: Problem) -> Options:
    """The options of a command line.

    Raises:
        InputError: the cuts file does not fit the problem, or the options contradict each other.
    """
    given = given_options(arguments)
    if getattr(arguments, "exact", False) and "target_error" in given:
        raise InputError("`exact` has no error to aim at: leave out `exact` or `target_error`", field="target_error")
    if "cuts" in given:
        given["cuts"] = read_cuts(given["cuts"], problem.circuit)
    if "cache" in given:
        given["cache"] = checked_cache(given["cache"])
    return options_of(given)


def checked_cache(where: str | None) -> str:
    """The cache that ``--cache`` names, else the user's own.

    Raises:
        InputError: it holds a password, which arguments, records and process lists would show.
    """
    from tasks.execution.cache.stores.registry import check_place  # only where a cache is named

    check_place(where or "")
    return where or default_cache()
