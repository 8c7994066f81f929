"""The command line: every option of every subcommand, and one-line errors. Imports nothing heavy."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from apps.cli.terminal import say

DEFAULT_OUT = Path("results/runs")
MAX_SHOTS = 10**10

_EPILOG = """exit status: 0 all went well; 2 something you gave cannot be used (one line says what);
130 interrupted (`qompass resume RUN` goes on); 1 a defect of Qompass."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and that takes ``--observable -0.5*Z0`` as it is meant."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Join a value that begins with a minus sign to its option: argparse takes it for an option otherwise."""
        given = list(sys.argv[1:] if args is None else args)
        for index in range(len(given) - 1, 0, -1):
            if given[index - 1] == "--observable" and re.match(r"-[^-]", given[index]):
                given[index - 1 : index + 1] = [f"--observable={given[index]}"]
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong on one line and exit with status 2."""
        say(f"{message}: see {self.prog} --help")
        self.exit(2)


def build_parser() -> Parser:
    """The parser of the ``qompass`` command."""
    parser = Parser(
        prog="qompass",
        description="Expectation values of quantum circuits too wide for one device, by circuit cutting.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    run = commands.add_parser("run", help="a circuit and observables in, value and standard error out")
    _add_problem(run)
    _add_plan(run)
    _add_engine(run)
    _add_output(run)

    plan = commands.add_parser("plan", help="print the plan without running it")
    _add_problem(plan, needs_observable=False)
    _add_plan(plan)
    plan.set_defaults(engine="auto", resources=None, policy="balanced", budget=None, cache="off", mitigation="none",
                      share_meaning=False)  # fmt: skip
    plan.add_argument(
        "--instructions", action="store_true", help="list the instructions that a cuts file names by index"
    )
    _add_json(plan)

    resume = commands.add_parser("resume", help="finish an interrupted run without repeating what is done")
    resume.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    _add_engine(resume)
    # As the run was started, unless said otherwise.
    resume.set_defaults(engine=None, resources=None, policy=None, budget=None, cache=None, mitigation=None,
                        share_meaning=None)  # fmt: skip
    _add_output(resume)

    again = commands.add_parser("reconstruct", help="repeat the last stage of a run from its stored fragment results")
    again.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    again.set_defaults(engine=None, resources=None, policy=None, budget=None, cache=None, mitigation=None,
                        share_meaning=None)  # fmt: skip
    _add_output(again)

    sample = commands.add_parser("sample", help="bit strings that the circuit's measurements would give")
    sample.add_argument("circuit", type=Path, metavar="CIRCUIT", help="OpenQASM 2, OpenQASM 3 or QPY file")
    sample.add_argument("--max-qubits", type=_positive, metavar="N", help="widest fragment; cuts are searched for")
    sample.add_argument("--cuts", type=Path, metavar="FILE.json", help="cut here instead of searching")
    which = sample.add_mutually_exclusive_group()
    which.add_argument("--shots", type=_shots, metavar="N", help="how many to draw (default 1024)")
    which.add_argument("--top", type=_positive, metavar="K", help="list the K most likely ones instead")
    which.add_argument(
        "--vector", type=Path, metavar="FILE.npz", help="write all probabilities instead, of up to 24 qubits"
    )
    sample.add_argument(
        "--fragment-shots",
        type=_shots,
        metavar="N",
        help="with --top or --vector: sample the fragments, N shots in all, which gives errors (default: exact)",
    )
    sample.add_argument("--seed", type=_seed, default=0, metavar="N", help="same seed, same draws (default 0)")
    sample.add_argument("--memory", type=memory_size, metavar="SIZE", help="refuse plans that need more, e.g. 4GiB")
    sample.set_defaults(
        engine="auto", resources=None, policy="balanced", budget=None, cache="off", mitigation="none",
        share_meaning=False, target_error=None,
    )  # fmt: skip
    _add_json(sample)

    cache = commands.add_parser("cache", help="what the cache holds; verify, prune, export or import it")
    cache.add_argument("action", choices=("stats", "verify", "prune", "export", "import"))
    cache.add_argument("file", nargs="?", type=Path, metavar="FILE", help="to export to or import from")
    cache.add_argument("--cache", metavar="DIR|URL", help="which one (default: your own)")
    cache.add_argument("--older-than", type=_positive_number, metavar="DAYS", help="prune: also what is older")
    _add_json(cache)

    devices = commands.add_parser("devices", help="list the devices a run could use, and how they are doing")
    devices.add_argument("--resources", type=Path, metavar="FILE.xml", help="COMPSs resources file (or its folder)")
    _add_json(devices)

    doctor = commands.add_parser("doctor", help="say what this machine has, and how to get what is missing")
    doctor.add_argument("--resources", type=Path, metavar="FILE.xml", help="check this COMPSs resources file too")
    _add_json(doctor)
    return parser


def _add_problem(parser: argparse.ArgumentParser, needs_observable: bool = True) -> None:
    group = parser.add_argument_group("what")
    group.add_argument("circuit", type=Path, metavar="CIRCUIT", help="OpenQASM 2, OpenQASM 3 or QPY file")
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


def _add_plan(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to cut and how precisely")
    group.add_argument("--max-qubits", type=_positive, metavar="N", help="widest fragment; cuts are searched for")
    group.add_argument("--cuts", type=Path, metavar="FILE.json", help="cut here instead of searching")
    way = group.add_mutually_exclusive_group()
    way.add_argument("--exact", action="store_true", help="no shots, no sampling error (the default)")
    way.add_argument("--shots", type=_shots, metavar="N", help="shots in total, over all fragments and variants")
    group.add_argument("--seed", type=_seed, default=0, metavar="N", help="same seed, same result (default 0)")
    group.add_argument(
        "--memory",
        type=memory_size,
        metavar="SIZE",
        help="refuse plans that need more, e.g. 4GiB (default: what is free)",
    )
    group.add_argument(
        "--target-error", type=_positive_number, metavar="E", help="standard error wanted of every observable"
    )


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where to run")
    group.add_argument(
        "--engine", choices=("auto", "embedded", "compss"), default="auto", help="default auto: COMPSs under runcompss"
    )
    group.add_argument(
        "--resources", type=Path, metavar="FILE.xml", help="COMPSs resources file (or its folder): the devices"
    )
    group.add_argument("--policy", default="balanced", metavar="NAME", help="decides which device runs what")
    group.add_argument("--budget", type=_positive_number, metavar="PRICE", help="spend no more than this on devices")
    group.add_argument(
        "--mitigation",
        choices=("none", "readout", "readout+zne"),
        default="readout",
        help="what is done against the errors of QPUs (default readout)",
    )
    group.add_argument("--cache", metavar="DIR|URL|off", help="where results of circuits are kept for later runs")
    group.add_argument(
        "--share-meaning",
        action="store_true",
        help="on QPUs, also use stored counts of circuits that are equal only without noise",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to write")
    group.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help=f"runs go into DIR/<id>/ (default {DEFAULT_OUT})"
    )
    _add_json(group)


def _add_json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, everything else on stderr")


def memory_size(text: str) -> int:
    """Bytes from ``4GiB``, ``500MB`` or a bare number of bytes."""
    units = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if not match or match[2] not in units or not 1 <= float(match[1]) * units[match[2]] < 2**63:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not an amount of memory: write 4GiB or 500MB")
    return int(float(match[1]) * units[match[2]])


def _whole(text: str, least: int, most: int, advice: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not {advice}")
    return value


def _positive(text: str) -> int:
    return _whole(text, 1, 10**6, "a whole number of at least 1")


def _seed(text: str) -> int:
    return _whole(text, 0, 2**63 - 1, "a whole number from 0 to 2**63 - 1")


def _shots(text: str) -> int:
    return _whole(text, 1, MAX_SHOTS, f"a number of shots from 1 to {MAX_SHOTS:,}")


def _positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a positive number")
    return value
