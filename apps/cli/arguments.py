"""The command line: every option of every subcommand. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from apps.cli.flags import FIELDS, add_option, add_options, converter
from apps.cli.groups import WHERE, Parser, add_json, add_metrics, add_output, add_plan, add_problem
from apps.cli.subcommands import add_cluster, add_pilot, add_stages
from apps.cli.values import count, one_or_more

_EPILOG = """exit status: 0 all went well; 2 something you gave cannot be used (one line says what);
130 interrupted (`qompass resume RUN` goes on); 1 a defect of Qompass."""


def build_parser() -> Parser:
    """The parser of the ``qompass`` command."""
    parser = Parser(
        prog="qompass",
        description="Expectation values of quantum circuits too wide for one device, by circuit cutting.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole, shots, positive = (converter(FIELDS[name]) for name in ("max_qubits", "shots", "budget"))
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    run = commands.add_parser("run", help="a circuit and observables in, value and standard error out")
    add_problem(run)
    add_plan(run)
    _add_pilot_name(add_options(run, "where to run", *WHERE))
    add_output(run)
    add_metrics(run)
    run.add_argument("--push-gateway", metavar="HOST:PORT", help="push the metrics there when the run ends")

    _add_optimise(commands.add_parser("optimise", help="QAOA and VQE: lower the energy of a graph or an operator"))

    _add_sweep(commands.add_parser("sweep", help="a table or grid of circuits, observables and parameters"))

    _add_motif(commands.add_parser("motif", help="characterise this machine by the field's execution motifs"))

    plan = commands.add_parser("plan", help="print the plan without running it")
    add_problem(plan, needs_observable=False)
    add_plan(plan)
    add_options(plan, "where it would run", "resources")
    plan.add_argument("--explain", action="store_true", help="list the other plans that were found, and why this one")
    plan.add_argument("--draw", type=Path, metavar="FILE", help="draw the cut circuit: .svg, .png or .pdf")
    plan.add_argument(
        "--instructions", action="store_true", help="list the instructions that a cuts file names by index"
    )
    add_json(plan)

    resume = commands.add_parser("resume", help="finish an interrupted run without repeating what is done")
    resume.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    _add_pilot_name(add_options(resume, "where to run; as it was started, unless said otherwise", *WHERE))
    add_output(resume)

    again = commands.add_parser("reconstruct", help="repeat the last stage of a run from its stored fragment results")
    again.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    add_output(again)

    add_stages(commands.add_parser("stage", help="one stage of a run whose folder several processes share"))

    add_cluster(commands.add_parser("cluster", help="a dask scheduler or worker for `run --scheduler`"))

    add_pilot(commands.add_parser("pilot", help="hold an allocation that runs share"))

    check = commands.add_parser("check", help="compute a run's fragments another way, and say which one disagrees")
    check.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    add_output(check)

    repeat = commands.add_parser("repeat", help="run a finished run again on what is here, and say how far both agree")
    repeat.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    add_options(repeat, "where to run; as it was started, unless said otherwise", *WHERE, "seed")
    add_output(repeat)

    sample = commands.add_parser("sample", help="bit strings that the circuit's measurements would give")
    sample.add_argument("circuit", type=Path, metavar="CIRCUIT", help="OpenQASM 2, OpenQASM 3 or QPY file")
    add_options(sample, "how to cut", "max_qubits", "cuts", "seed", "memory_bytes")
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
    add_json(sample)

    runs = commands.add_parser("runs", help="list earlier runs; show or compare them, or remove finished ones")
    runs.add_argument("action", choices=("list", "show", "compare", "clean"), metavar="list|show|compare|clean")
    runs.add_argument(
        "runs", nargs="*", default=[], metavar="RUN", help="folders or names under --out; list, clean: all"
    )
    some = runs.add_argument_group("list, clean: which ones")
    some.add_argument("--status", choices=("running", "done", "failed", "interrupted", "unreadable"))
    some.add_argument("--device", metavar="NAME", help="that this device worked for")
    some.add_argument("--older-than", type=positive, metavar="DAYS", help="started so long ago or longer")
    some.add_argument("--newer-than", type=positive, metavar="DAYS", help="started later than that")
    runs.add_argument("--why", action="store_true", help="show: also why it failed, or took as long as it did")
    runs.add_argument("--trace", action="store_true", help="show: a row for each task instead, as trace.csv has them")
    runs.add_argument("--yes", action="store_true", help="clean: remove them, not only say what it would free")
    add_output(runs)

    watch = commands.add_parser("watch", help="a run in the terminal while it runs, from any node that sees its folder")
    watch.add_argument("run", metavar="RUN", help="the run's folder, or its name under --out")
    add_metrics(watch)
    watch.add_argument("--once", action="store_true", help="show it as it is now, and leave")
    add_output(watch)

    report = commands.add_parser("report", help="one HTML page about a run, or about several beside each other")
    report.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, or their names under --out")
    report.add_argument("--to", type=Path, metavar="FILE.html", help="write it here (default: report.html in the run)")
    add_output(report)

    cache = commands.add_parser("cache", help="what the cache holds; verify, prune, export or import it")
    kinds = ("stats", "verify", "prune", "export", "import")
    cache.add_argument("action", choices=kinds, metavar="|".join(kinds))
    cache.add_argument("file", nargs="?", type=Path, metavar="FILE", help="to export to or import from")
    cache.add_argument("--cache", metavar="DIR|URL", help="which one (default: your own)")
    cache.add_argument("--older-than", type=positive, metavar="DAYS", help="prune: also what is older")
    add_json(cache)

    devices = commands.add_parser("devices", help="list the devices a run could use, and how they are doing")
    devices.add_argument("--resources", type=Path, metavar="FILE.xml", help="COMPSs resources file (or its folder)")
    add_json(devices)

    calibrate = commands.add_parser("calibrate", help="measure how fast this machine is, for predictions of seconds")
    calibrate.add_argument(
        "--runs", type=Path, nargs="+", metavar="RUN", help="take what these runs took instead of measuring"
    )
    calibrate.add_argument("--force", action="store_true", help="write what was measured on a busy machine too")
    add_json(calibrate)

    doctor = commands.add_parser("doctor", help="say what this machine has, and how to get what is missing")
    doctor.add_argument("--resources", type=Path, metavar="FILE.xml", help="check this COMPSs resources file too")
    add_json(doctor)
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
    group.add_argument("--layers", type=one_or_more, default=1, metavar="P", help="of the circuit (default 1)")
    group = parser.add_argument_group("how to search")
    group.add_argument("--optimiser", choices=("cobyla", "lbfgsb", "spsa", "qnspsa", "de"),
                       help="default lbfgsb, spsa with shots")  # fmt: skip
    group.add_argument("--iterations", type=one_or_more, metavar="N", help="at most (default: as the optimiser needs)")
    group.add_argument("--tolerance", type=converter(FIELDS["budget"]), default=1e-6, metavar="T",
                       help="of the energy, where to stop (default 1e-6)")  # fmt: skip
    group.add_argument("--population", type=one_or_more, metavar="N",
                       help="members of a generation (default 24)")  # fmt: skip
    group.add_argument("--start", type=Path, metavar="FILE.json", help="parameter values to start from")
    group.add_argument("--most-shots", type=converter(FIELDS["shots"]), metavar="N",
                       help="with --shots: those that an evaluation grows to (default: 16 times as many)")  # fmt: skip
    group.add_argument("--draws", type=count, default=1000, metavar="N",
                       help="bit strings drawn at the end of QAOA (default 1000; 0: none)")  # fmt: skip
    _add_precision(parser)
    add_options(parser, "where to run", *WHERE)
    add_output(parser)


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=Path, metavar="TABLE", help="CSV, or JSON of rows or of a grid")
    parser.add_argument("--to", type=Path, metavar="FILE", help="write the table here, too: .csv or .json")
    _add_precision(parser)
    add_options(parser, "where to run", *WHERE)
    add_output(parser)


def _add_motif(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME",
                        help="all, circuit-execution, chain, fan-in, variational-loop, loop-ensemble, pipeline,"
                             " circuit-cutting, distributed-state-vector, qml-compression, qml-training or"
                             " qml-classifier")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="sizes that take minutes in all")
    says = {"qubits": "of a circuit", "depth": "layers of a circuit", "entries": "circuits, samples, chains or loops"}
    for name, text in {**says, "length": "of chains, loops and pipelines"}.items():
        parser.add_argument(f"--{name}", type=one_or_more, metavar="N", help=text)
    parser.add_argument("--units", type=one_or_more, nargs="+", metavar="N", help="to try (default: 1 and all cores)")
    parser.add_argument("--to", type=Path, default=Path("results/motifs"), metavar="DIR",
                        help="tables and page go there (default results/motifs)")  # fmt: skip
    parser.add_argument("--seed", type=converter(FIELDS["seed"]), default=0, metavar="N", help="of all angles")
    parser.add_argument("--shots", type=converter(FIELDS["shots"]), default=1000, metavar="N",
                        help="of a circuit on a QPU of --resources (default 1000)")  # fmt: skip
    _add_pilot_name(add_options(parser, "where to run", "engine", "resources", "scheduler"))
    add_json(parser)


def _add_precision(parser: argparse.ArgumentParser) -> None:
    group = add_options(
        parser, "how to cut and how precisely", "max_qubits", "seed", "memory_bytes", "target_error", "plan_seconds"
    )
    way = group.add_mutually_exclusive_group()
    way.add_argument("--exact", action="store_true", help="no shots, no sampling error (the default)")
    add_option(way, FIELDS["shots"])


def _add_pilot_name(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pilot", metavar="NAME", default=argparse.SUPPRESS, help="execute on this pilot (`qompass pilot start`)"
    )
