"""The command line: every option of every subcommand, and one-line errors. Imports nothing heavy."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from apps.cli.flags import FLAGS
from apps.cli.terminal import say
from tasks.options import Options, Unfit

DEFAULT_OUT = Path("results/runs")

_FIELDS = {option.name: option for option in dataclasses.fields(Options)}
_HOW = ("max_qubits", "cuts", "seed", "memory_bytes", "target_error", "plan_seconds", "minimise")
_WHERE = ("engine", "scheduler", "resources", "policy", "budget", "mitigation", "cache", "share_meaning")
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
        message = message if len(message) <= 300 else f"{message[:297]}..."
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
    whole, shots, positive = (_converter(_FIELDS[name]) for name in ("max_qubits", "shots", "budget"))
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    run = commands.add_parser("run", help="a circuit and observables in, value and standard error out")
    _add_problem(run)
    _add_plan(run)
    _add_pilot_name(_add_options(run, "where to run", *_WHERE))
    _add_output(run)
    _add_metrics(run)
    run.add_argument("--push-gateway", metavar="HOST:PORT", help="push the metrics there when the run ends")

    _add_optimise(commands.add_parser("optimise", help="QAOA and VQE: lower the energy of a graph or an operator"))

    _add_sweep(commands.add_parser("sweep", help="a table or grid of circuits, observables and parameters"))

    plan = commands.add_parser("plan", help="print the plan without running it")
    _add_problem(plan, needs_observable=False)
    _add_plan(plan)
    _add_options(plan, "where it would run", "resources")
    plan.add_argument("--explain", action="store_true", help="list the other plans that were found, and why this one")
    plan.add_argument("--draw", type=Path, metavar="FILE", help="draw the cut circuit: .svg, .png or .pdf")
    plan.add_argument(
        "--instructions", action="store_true", help="list the instructions that a cuts file names by index"
    )
    _add_json(plan)

    resume = commands.add_parser("resume", help="finish an interrupted run without repeating what is done")
    resume.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    _add_pilot_name(_add_options(resume, "where to run; as it was started, unless said otherwise", *_WHERE))
    _add_output(resume)

    again = commands.add_parser("reconstruct", help="repeat the last stage of a run from its stored fragment results")
    again.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    _add_output(again)

    _add_stages(commands.add_parser("stage", help="one stage of a run whose folder several processes share"))

    _add_cluster(commands.add_parser("cluster", help="a dask scheduler or worker for `run --scheduler`"))

    _add_pilot(commands.add_parser("pilot", help="hold an allocation that runs share"))

    check = commands.add_parser("check", help="compute a run's fragments another way, and say which one disagrees")
    check.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    _add_output(check)

    repeat = commands.add_parser("repeat", help="run a finished run again on what is here, and say how far both agree")
    repeat.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    _add_options(repeat, "where to run; as it was started, unless said otherwise", *_WHERE, "seed")
    _add_output(repeat)

    sample = commands.add_parser("sample", help="bit strings that the circuit's measurements would give")
    sample.add_argument("circuit", type=Path, metavar="CIRCUIT", help="OpenQASM 2, OpenQASM 3 or QPY file")
    _add_options(sample, "how to cut", "max_qubits", "cuts", "seed", "memory_bytes")
    group = sample.add_argument_group("what to show")
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        "--shots",
        dest="draws",
        type=shots,
        default=1024,
        metavar="N",
        help="how many to draw (default 1024)",
    )
    which.add_argument("--top", type=whole, metavar="K", help="list the K most likely ones instead")
    which.add_argument(
        "--vector", type=Path, metavar="FILE.npz", help="write all probabilities instead, of up to 24 bits"
    )
    group.add_argument(
        "--fragment-shots",
        type=shots,
        metavar="N",
        help="with --top or --vector: sample the fragments, N shots in all, which gives errors (default: exact)",
    )
    _add_json(sample)

    runs = commands.add_parser("runs", help="list earlier runs; show or compare them, or remove finished ones")
    runs.add_argument("action", choices=("list", "show", "compare", "clean"))
    runs.add_argument("runs", nargs="*", metavar="RUN", help="show, compare: folders, or names under --out")
    some = runs.add_argument_group("list, clean: which ones")
    some.add_argument("--status", choices=("running", "done", "failed", "interrupted", "unreadable"))
    some.add_argument("--device", metavar="NAME", help="that this device worked for")
    some.add_argument("--older-than", type=positive, metavar="DAYS", help="started so long ago or longer")
    some.add_argument("--newer-than", type=positive, metavar="DAYS", help="started later than that")
    runs.add_argument("--why", action="store_true", help="show: also why it failed, or took as long as it did")
    runs.add_argument("--trace", action="store_true", help="show: a row for each task instead, as trace.csv has them")
    runs.add_argument("--yes", action="store_true", help="clean: remove them, not only say what it would free")
    _add_output(runs)

    watch = commands.add_parser("watch", help="a run in the terminal while it runs, from any node that sees its folder")
    watch.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    _add_metrics(watch)
    watch.add_argument("--once", action="store_true", help="show it as it is now, and leave")
    _add_output(watch)

    report = commands.add_parser("report", help="one HTML page about a run, or about several beside each other")
    report.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, or their names under --out")
    report.add_argument("--to", type=Path, metavar="FILE.html", help="write it here (default: report.html in the run)")
    _add_output(report)

    cache = commands.add_parser("cache", help="what the cache holds; verify, prune, export or import it")
    cache.add_argument("action", choices=("stats", "verify", "prune", "export", "import"))
    cache.add_argument("file", nargs="?", type=Path, metavar="FILE", help="to export to or import from")
    cache.add_argument("--cache", metavar="DIR|URL", help="which one (default: your own)")
    cache.add_argument("--older-than", type=positive, metavar="DAYS", help="prune: also what is older")
    _add_json(cache)

    devices = commands.add_parser("devices", help="list the devices a run could use, and how they are doing")
    devices.add_argument("--resources", type=Path, metavar="FILE.xml", help="COMPSs resources file (or its folder)")
    _add_json(devices)

    calibrate = commands.add_parser("calibrate", help="measure how fast this machine is, for predictions of seconds")
    calibrate.add_argument(
        "--runs", type=Path, nargs="+", metavar="RUN", help="take what these runs took instead of measuring"
    )
    _add_json(calibrate)

    doctor = commands.add_parser("doctor", help="say what this machine has, and how to get what is missing")
    doctor.add_argument("--resources", type=Path, metavar="FILE.xml", help="check this COMPSs resources file too")
    _add_json(doctor)
    return parser


def _add_optimise(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what")
    group.add_argument(
        "hamiltonian",
        metavar="FILE|NAME",
        help='a graph (edge list, networkx JSON, GraphML), an operator ([["ZZIX", 0.5], ...]) or a shipped name',
    )
    group.add_argument("--kind", choices=("maxcut", "ising"), default="maxcut", help="of a graph (default maxcut)")
    group.add_argument("--ansatz", choices=("qaoa", "ry", "hamiltonian"), help="default: what suits the operator")
    group.add_argument("--layers", type=_one_or_more, default=1, metavar="P", help="of the circuit (default 1)")
    group = parser.add_argument_group("how to search")
    group.add_argument("--optimiser", choices=("cobyla", "lbfgsb", "spsa", "qnspsa", "de"),
                       help="default lbfgsb, spsa with shots")  # fmt: skip
    group.add_argument("--iterations", type=_one_or_more, metavar="N", help="at most (default: as the optimiser needs)")
    group.add_argument("--tolerance", type=_converter(_FIELDS["budget"]), default=1e-6, metavar="T",
                       help="of the energy, where to stop (default 1e-6)")  # fmt: skip
    group.add_argument("--population", type=_one_or_more, default=24, metavar="N",
                       help="members of a generation (default 24)")  # fmt: skip
    group.add_argument("--start", type=Path, metavar="FILE.json", help="parameter values to start from")
    group.add_argument("--most-shots", type=_one_or_more_shots, metavar="N",
                       help="shots that an evaluation grows to (default: 16 times --shots)")  # fmt: skip
    group.add_argument("--draws", type=_count_or_none, default=1000, metavar="N",
                       help="bit strings drawn at the end of QAOA (default 1000; 0: none)")  # fmt: skip
    _add_precision(parser)
    _add_options(parser, "where to run", *_WHERE)
    _add_output(parser)


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=Path, metavar="TABLE", help="CSV, or JSON of rows or of a grid")
    parser.add_argument("--to", type=Path, metavar="FILE", help="write the table here, too: .csv or .json")
    _add_precision(parser)
    _add_options(parser, "where to run", *_WHERE)
    _add_output(parser)


def _add_precision(parser: argparse.ArgumentParser) -> None:
    group = _add_options(
        parser, "how to cut and how precisely", "max_qubits", "seed", "memory_bytes", "target_error", "plan_seconds"
    )
    way = group.add_mutually_exclusive_group()
    way.add_argument("--exact", action="store_true", help="no shots, no sampling error (the default)")
    _add_option(way, _FIELDS["shots"])


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    help_ = "serve metrics for Prometheus on this port of the loopback interface (0: a free one, which is said)"
    parser.add_argument("--metrics", type=_port, metavar="PORT", help=help_)


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a port: 0 to 65535")
    return int(text)


def _add_stages(parser: argparse.ArgumentParser) -> None:
    stages = parser.add_subparsers(dest="stage", metavar="plan|execute|reconstruct", required=True, parser_class=Parser)
    whole = _converter(_FIELDS["max_qubits"])
    plan = stages.add_parser("plan", help="make the run's folder and its batches; print those that are open")
    plan.add_argument("run", type=Path, metavar="RUN", help="the run's folder; made where there is none")
    _add_problem(plan, needs_circuit=False)
    _add_plan(plan)
    _add_options(plan, "where to run", *_WHERE)
    execute = stages.add_parser("execute", help="do one batch, or all that are open")
    execute.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    execute.add_argument("--batch", type=_index, metavar="I", help="this one alone")
    execute.add_argument(
        "--give-back",
        action="store_true",
        help="leave what a QPU or GPU fails to do to the next round of batches, instead of doing it here",
    )
    _add_options(
        execute, "where to run; as it was planned, unless said otherwise", "engine", "scheduler", "resources", "cache"
    )
    again = stages.add_parser("reconstruct", help="the estimates, or the batches of a further round of shots")
    again.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    again.add_argument(
        "--wait", type=_seconds, metavar="SECONDS", help="for batches that are not seen to be done (default 60)"
    )
    _add_options(again, "where to run; as it was planned, unless said otherwise", "engine", "scheduler", "resources")
    for stage in (plan, again):
        stage.add_argument(
            "--batches", type=whole, metavar="N", help="so many for each device (default: as many as are worth it)"
        )
    for stage in (plan, execute, again):
        _add_json(stage)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    members = parser.add_subparsers(dest="member", metavar="scheduler|worker", required=True, parser_class=Parser)
    scheduler = members.add_parser("scheduler", help="be the scheduler, until a signal ends it")
    worker = members.add_parser("worker", help="be a worker, until a signal or the scheduler's end")
    for member in (scheduler, worker):
        member.add_argument(
            "--folder",
            type=Path,
            metavar="DIR",
            help="of the cluster, seen by all its nodes (default: $QOMPASS_CLUSTER)",
        )
        member.add_argument(
            "--host", default="", metavar="HOST", help="listen there: loopback or the cluster's network"
        )
    scheduler.add_argument(
        "--port", type=_index, default=0, metavar="N", help="listen there (default: any that is free)"
    )
    worker.add_argument(
        "--units", type=_units, metavar="NAME=N,...", help="what it offers (default: CPU=<the cores it may use>)"
    )
    for member in (scheduler, worker):
        member.add_argument("-v", "--verbose", action="count", default=0, help="say on stderr what is done")


def _units(text: str) -> dict[str, int]:
    found = [word.partition("=") for word in text.split(",")]
    if not all(name and number.isdecimal() and int(number) > 0 for name, _, number in found):
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a list of units: write CPU=4,QPU_A=1")
    return {name: int(number) for name, _, number in found}


def _add_pilot_name(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pilot", metavar="NAME", default=argparse.SUPPRESS, help="execute on this pilot (`qompass pilot start`)"
    )


def _add_pilot(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="start|status|grow|shrink|stop", required=True,
                                    parser_class=Parser)  # fmt: skip
    start = actions.add_parser("start", help="begin to hold an allocation")
    start.add_argument("--target", choices=("local", "slurm"), default="local", help="of what (default local)")
    start.add_argument("--nodes", type=_nodes, default=1, metavar="N", help="how many nodes (default 1)")
    start.add_argument("--walltime", type=duration, default=3600.0, metavar="T",
                       help="how long: 45 (minutes), 1:30:00, 90s or 2h (default 1h)")  # fmt: skip
    start.add_argument("--cpus", type=_one_or_more, metavar="N", help="of each node (default: those it may use)")
    start.add_argument("--resources", type=Path, metavar="FILE.xml",
                       help="COMPSs resources file (or its folder): its QPUs are the pilot's")  # fmt: skip
    start.add_argument("--slurm", action="append", default=[], metavar="OPTION",
                       help="for sbatch, repeatable: --slurm=--partition=main")  # fmt: skip
    grow = actions.add_parser("grow", help="have more nodes, while runs go on")
    grow.add_argument("--resources", type=Path, metavar="FILE.xml",
                      help="COMPSs resources file (or its folder): its QPUs come with the first new node")  # fmt: skip
    actions.add_parser("shrink", help="have fewer nodes, while runs go on")
    status = actions.add_parser("status", help="nodes, devices, runs and what they were busy with")
    actions.add_parser("stop", help="end it; runs on it can be resumed elsewhere")
    for action, one in actions.choices.items():
        if action == "status":
            one.add_argument("name", nargs="?", metavar="NAME", help="of one pilot (default: all)")
        else:
            one.add_argument("name", metavar="NAME", help="of the pilot")
        if action in ("grow", "shrink"):
            one.add_argument("nodes", type=_nodes, metavar="N", help="by how many")
        one.add_argument("-v", "--verbose", action="count", default=0, help="say on stderr what is done")
    status.add_argument("--json", action="store_true", help="one JSON document on stdout")


def duration(text: str) -> float:
    """Seconds from Slurm's ``45`` (minutes), ``45:00``, ``1:30:00`` or from ``90s``, ``30m``, ``2h``."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh])", text) or re.fullmatch(r"((?:\d{1,4}:){0,2}\d{1,6})()", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a time: write 45 (minutes), 1:30:00, 90s or 2h")
    if match[2]:
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
    parts = [int(part) for part in match[1].split(":")]
    hours, minutes, seconds = {1: [0, *parts, 0], 2: [0, *parts], 3: parts}[len(parts)]
    return float(3600 * hours + 60 * minutes + seconds)


def _one_or_more(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**6:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a whole number from 1")
    return int(text)


def _one_or_more_shots(text: str) -> int:
    return int(_converter(_FIELDS["shots"])(text))


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else _one_or_more(text)


def _nodes(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a number of nodes")
    return int(text)


def _index(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not the index of a batch")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not a number of seconds")
    return seconds


def _add_problem(parser: argparse.ArgumentParser, needs_observable: bool = True, needs_circuit: bool = True) -> None:
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


def _add_plan(parser: argparse.ArgumentParser) -> None:
    group = _add_options(parser, "how to cut and how precisely", *_HOW)
    way = group.add_mutually_exclusive_group()
    way.add_argument("--exact", action="store_true", help="no shots, no sampling error (the default)")
    _add_option(way, _FIELDS["shots"])


def _add_options(parser: argparse.ArgumentParser, title: str, *names: str) -> argparse._ArgumentGroup:
    group = parser.add_argument_group(title)
    for name in names:
        _add_option(group, _FIELDS[name])
    return group


def _add_option(group: argparse._ActionsContainer, option: dataclasses.Field[Any]) -> None:
    """The flag of a field of ``Options``; a namespace holds the field only where the flag is given."""
    form, says = option.metadata["form"], option.metadata["says"]
    given: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS, "help": says}
    if option.type == "bool":
        group.add_argument(FLAGS[option.name], action="store_true", **given)
    elif isinstance(form, tuple):
        group.add_argument(FLAGS[option.name], choices=form, **given)
    else:
        group.add_argument(FLAGS[option.name], type=_converter(option), metavar=form, **given)


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of ``Options`` that a command line gives; ``cuts`` is still the name of a file."""
    return {name: getattr(arguments, name) for name in _FIELDS if hasattr(arguments, name)}


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to write")
    group.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help=f"runs go into DIR/<id>/ (default {DEFAULT_OUT})"
    )
    _add_json(group)


def _add_json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, everything else on stderr")
    parser.add_argument(
        "-v", "--verbose", action="count", default=0, help="say on stderr what is done (-vv: all that is logged)"
    )


def memory_size(text: str) -> int:
    """Bytes from ``4GiB``, ``500MB`` or a bare number of bytes."""
    units = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if not match or match[2] not in units or not 1 <= float(match[1]) * units[match[2]] < 2**63:
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not an amount of memory: write 4GiB or 500MB")
    return int(float(match[1]) * units[match[2]])


def _converter(option: dataclasses.Field[Any]) -> Callable[[str], Any]:
    """From text to a value of an option, checked as the option checks it."""
    if option.name == "cuts":  # read once the circuit is known
        return Path
    if option.name == "memory_bytes":
        return memory_size
    kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": float}
    kind = kinds.get(str(option.type).removesuffix(" | None"), str)

    def convert(text: str) -> Any:
        try:
            return option.metadata["check"](kind(text))
        except ValueError:
            wanted = "a whole number" if kind is int else "a positive number"
        except Unfit as unfit:
            wanted = str(unfit)
        raise argparse.ArgumentTypeError(f"'{text:.40}' is not {wanted}")

    return convert
