"""The parser, and the groups of arguments that several commands share."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from apps.cli.flags import FIELDS, add_option, add_options
from apps.cli.terminal import say
from apps.cli.values import port

DEFAULT_OUT = Path("results/runs")

HOW = ("max_qubits", "cuts", "seed", "memory_bytes", "target_error", "plan_seconds", "minimise")
WHERE = ("engine", "scheduler", "resources", "policy", "budget", "mitigation", "cache", "share_meaning")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and that takes what argparse takes for something else.

    That is ``--observable -0.5*Z0``, and positional arguments that need not be there after options.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Join a value that begins with a minus sign to its option: argparse takes it for an option otherwise."""
        given = list(sys.argv[1:] if args is None else args)
        for place in range(len(given) - 1, 0, -1):
            if given[place - 1] == "--observable" and re.match(r"-[^-]", given[place]):
                given[place - 1 : place + 1] = [f"--observable={given[place]}"]
        for text in given:
            if text.startswith("--") and text.endswith("=--"):  # argparse makes a list without elements of it
                self.error(f"argument {text[:-3]}: '--' is no value")
        found, left = super().parse_known_args(given, namespace)
        return found, self._late(found, left)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Have the command that was named refuse what it does not know, with the option that may be meant."""
        found, left = self.parse_known_args(args, namespace)
        if left:
            parser = self._of(getattr(found, "command", None))
            known = [name for action in parser._actions for name in action.option_strings]
            near = difflib.get_close_matches(left[0].partition("=")[0], known, n=1, cutoff=0.8)
            meant = f" (is {near[0]} meant?)" if near else ""
            parser.error(f"unrecognized arguments: {' '.join(left)}{meant}")
        return found

    def _of(self, command: str | None) -> argparse.ArgumentParser:
        """The parser of a command; this one where there is none."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and command in action.choices:
                one: argparse.ArgumentParser = action.choices[command]
                return one
        return self

    def _late(self, found: argparse.Namespace, left: list[str]) -> list[str]:
        """What is left of words after options, which argparse gives to no positional that may be without any."""
        last = next((action for action in reversed(self._actions) if not action.option_strings), None)
        if last is None or last.nargs not in ("?", "*") or any(word.startswith("-") for word in left):
            return left
        known = getattr(found, last.dest)
        taken = len(left) if last.nargs == "*" else int(known is None)
        words = [(last.type or str)(word) for word in left[:taken]]  # type: ignore[operator]
        if words:
            setattr(found, last.dest, [*known, *words] if last.nargs == "*" else words[0])
        return left[taken:]

    def error(self, message: str) -> NoReturn:
        """Say what is wrong on one line and exit with status 2."""
        message = message if len(message) <= 300 else f"{message[:297]}..."
        say(f"{message}: see {self.prog} --help")
        self.exit(2)


def add_problem(parser: argparse.ArgumentParser, needs_observable: bool = True, needs_circuit: bool = True) -> None:
    """What to run: a circuit and observables."""
    group = parser.add_argument_group("what")
    group.add_argument(
        "circuit",
        type=Path,
        metavar="CIRCUIT",
        nargs=None if needs_circuit else "?",
        help="OpenQASM 2, OpenQASM 3 or QPY file",
    )
    some = "" if needs_observable else "; without any, Z on every qubit"
    group.add_argument(
        "--observable",
        action="append",
        default=[],
        metavar="TEXT",
        help=f"ZZIX, 'Z0 Z3' or '0.5*Z0 Z3 - 1.2*X1 + 0.1'; repeatable{some}",
    )
    group.add_argument(
        "--observables",
        type=Path,
        metavar="FILE.json",
        help='[["ZZIX", 0.5], ...] or {"name": [["ZZIX", 0.5], ...], ...}',
    )


def add_plan(parser: argparse.ArgumentParser) -> None:
    """How to cut it and how precisely."""
    group = add_options(parser, "how to cut and how precisely", *HOW)
    way = group.add_mutually_exclusive_group()
    way.add_argument("--exact", action="store_true", help="no shots, no sampling error (the default)")
    add_option(way, FIELDS["shots"])


def add_output(parser: argparse.ArgumentParser) -> None:
    """Where its folder is, and what is printed."""
    group = parser.add_argument_group("what to write")
    group.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help=f"runs go into DIR/<id>/ (default {DEFAULT_OUT})"
    )
    add_json(group)


def add_json(parser: argparse._ActionsContainer) -> None:
    """What is printed, and how much is said on stderr."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, everything else on stderr")
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="say on stderr what is done (-vv: all that is logged)"
    )


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Metrics for Prometheus."""
    help_ = "serve metrics for Prometheus on this port of the loopback interface (0: a free one, which is said)"
    parser.add_argument("--metrics", type=port, metavar="PORT", help=help_)
