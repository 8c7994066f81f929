"""The arguments of commands that have commands of their own: stage, cluster, pilot."""

from __future__ import annotations

import argparse
from pathlib import Path

from apps.cli.flags import FIELDS, add_options, converter
from apps.cli.groups import WHERE, Parser, add_json, add_plan, add_problem
from apps.cli.values import duration, index, nodes, one_or_more, seconds, units


def add_stages(parser: argparse.ArgumentParser) -> None:
    """Of ``qompass stage``."""
    stages = parser.add_subparsers(dest="stage", metavar="plan|execute|reconstruct", required=True, parser_class=Parser)
    whole = converter(FIELDS["max_qubits"])
    plan = stages.add_parser("plan", help="make the run's folder and its batches; print those that are open")
    plan.add_argument("run", type=Path, metavar="RUN", help="the run's folder; made where there is none")
    add_problem(plan, needs_circuit=False)
    add_plan(plan)
    add_options(plan, "where to run", *WHERE)
    execute = stages.add_parser("execute", help="do one batch, or all that are open")
    execute.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    execute.add_argument("--batch", type=index, metavar="I", help="this one alone")
    execute.add_argument(
        "--give-back",
        action="store_true",
        help="leave what a QPU or GPU fails to do to the next round of batches, instead of doing it here",
    )
    add_options(
        execute, "where to run; as it was planned, unless said otherwise", "engine", "scheduler", "resources", "cache"
    )
    again = stages.add_parser("reconstruct", help="the estimates, or the batches of a further round of shots")
    again.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    again.add_argument(
        "--wait", type=seconds, metavar="SECONDS", help="for batches that are not seen to be done (default 60)"
    )
    add_options(again, "where to run; as it was planned, unless said otherwise", "engine", "scheduler", "resources")
    for stage in (plan, again):
        stage.add_argument(
            "--batches", type=whole, metavar="N", help="so many for each device (default: as many as are worth it)"
        )
    for stage in (plan, execute, again):
        add_json(stage)


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Of ``qompass cluster``."""
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
        "--port", type=index, default=0, metavar="N", help="listen there (default: any that is free)"
    )
    worker.add_argument(
        "--units", type=units, metavar="NAME=N,...", help="what it offers (default: CPU=<the cores it may use>)"
    )
    for member in (scheduler, worker):
        member.add_argument("-v", "--verbose", action="count", default=0, help="say on stderr what is done")


def add_pilot(parser: argparse.ArgumentParser) -> None:
    """Of ``qompass pilot``."""
    actions = parser.add_subparsers(dest="action", metavar="start|status|grow|shrink|stop", required=True,
                                    parser_class=Parser)  # fmt: skip
    start = actions.add_parser("start", help="begin to hold an allocation")
    start.add_argument("--target", choices=("local", "slurm"), default="local", help="of what (default local)")
    start.add_argument("--nodes", type=nodes, default=1, metavar="N", help="how many nodes (default 1)")
    start.add_argument("--walltime", type=duration, default=3600.0, metavar="T",
                       help="how long: 45 (minutes), 1:30:00, 90s or 2h (default 1h)")  # fmt: skip
    start.add_argument("--cpus", type=one_or_more, metavar="N", help="of each node (default: those it may use)")
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
            one.add_argument("nodes", type=nodes, metavar="N", help="by how many")
        one.add_argument("-v", "--verbose", action="count", default=0, help="say on stderr what is done")
    status.add_argument("--json", action="store_true", help="one JSON document on stdout")
