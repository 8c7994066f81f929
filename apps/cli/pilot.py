"""``qompass pilot``: hold an allocation for runs that come and go, resize it, look at it, end it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from apps.cli.tables import table
from apps.cli.terminal import SCHEMA, say
from resources_xml import pair_of, units_of
from scheduler_policies import Kind
from tasks.errors import InputError
from tasks.execution.run_devices import run_devices
from tasks.pilots import PilotError, PilotStatus, grow_pilot, pilot_status, shrink_pilot, start_pilot, stop_pilot
from tasks.pilots.start import all_pilots

_AHEAD = 2  # tasks of a QPU that may be in work for each of its units: one holds its lease, the next is made ready


def pilot(arguments: argparse.Namespace) -> int:
    """Do what the command line says."""
    name = arguments.name
    match arguments.action:
        case "start":
            _start(arguments)
        case "grow":
            count = grow_pilot(name, arguments.nodes, _qpus_of(arguments.resources))
            say(f"pilot {name} has {count} nodes now, or will have when they are there")
        case "shrink":
            count = shrink_pilot(name, arguments.nodes)
            say(f"pilot {name} keeps {count} node{'s' if count > 1 else ''}")
        case "stop":
            stop_pilot(name)
            say(f"pilot {name} has ended")
        case _:
            return _status(arguments)
    return 0


def bind_to_pilot(arguments: argparse.Namespace) -> None:
    """Have a command executed on the pilot that its arguments name, on that one's devices unless they say others.

    Raises:
        InputError: they name a cluster too.
        PilotError: there is no such pilot, or it has ended.
    """
    if hasattr(arguments, "scheduler"):
        raise InputError("a pilot has a cluster of its own: leave out `scheduler` or `pilot`", field="pilot")
    status = pilot_status(arguments.pilot, ask=False)  # the run connects in a moment
    if status.status != "running":
        why = f" ({status.why})" if status.why else ""
        raise PilotError(f"pilot {arguments.pilot} takes no runs: it is {status.status}{why}")
    arguments.scheduler = str(status.pilot.folder)
    if status.pilot.resources and not hasattr(arguments, "resources"):
        arguments.resources = Path(status.pilot.resources)


def _start(arguments: argparse.Namespace) -> None:
    units: dict[str, int] = {} if arguments.cpus is None else {"CPU": arguments.cpus}
    shared: dict[str, int] = {}
    resources = None
    if arguments.resources is not None:
        resources = pair_of(arguments.resources)[1]
        devices = run_devices(resources)
        shared = {name: _AHEAD * count for name, count in units_of(d for d in devices if d.kind is Kind.QPU).items()}
        units = units or units_of(d for d in devices if d.kind is Kind.CPU)
    begun = start_pilot(
        arguments.name, arguments.target, arguments.nodes, arguments.walltime,
        units=units, shared=shared, resources=resources, extra=arguments.slurm,
    )  # fmt: skip
    if begun.target == "slurm":
        job = begun.wanted()["jobs"][0][0]
        say(f"pilot {begun.name} is job {job} of Slurm; `qompass pilot status {begun.name}` says when it runs")
    else:
        say(f"pilot {begun.name} takes runs: qompass run ... --pilot {begun.name}")


def _qpus_of(resources: Path | None) -> dict[str, int]:
    """Units of the QPUs that a resources file declares."""
    if resources is None:
        return {}
    return units_of(device for device in run_devices(pair_of(resources)[1]) if device.kind is Kind.QPU)


def _status(arguments: argparse.Namespace) -> int:
    found = [pilot_status(arguments.name)] if arguments.name else all_pilots()
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "pilots": [status.document() for status in found]}, indent=2))
        return 0
    if not found:
        say("there are no pilots: `qompass pilot start` starts one")
        return 0
    print("\n\n".join(_text(status) for status in found))
    return 0


def _text(status: PilotStatus) -> str:
    left = "" if status.seconds_left is None else f", {_clock(status.seconds_left)} left"
    why = f": {status.why}" if status.why else ""
    lines = [f"Pilot {status.pilot.name} ({status.pilot.target}): {status.status}{why}{left}"]
    if status.status == "ended":
        return lines[0]
    replaced = f"; {status.restarts} died and were replaced" if status.restarts else ""
    lines.append(f"{len(status.nodes)} of {status.wanted} nodes{replaced}")
    if status.nodes:
        lines += ["", table(("node", "units", "tasks in work"), [_node(node) for node in status.nodes])]
        devices = [(n, str(d["units"]), f"{d['busy_share']:.0%}") for n, d in sorted(status.devices.items())]
        lines += ["", table(("device", "units", "busy share"), devices)]
    if status.runs:
        rows = [_run(run) for run in status.runs]
        lines += ["", table(("run", "state", "tasks done", "waiting", "busy"), rows)]
    return "\n".join(lines)


def _node(node: dict[str, Any] | Any) -> tuple[str, ...]:
    units = ", ".join(f"{name}={count}" for name, count in sorted(node["units"].items()))
    return str(node["name"]).rpartition("//")[2], units, str(node["busy"])


def _run(run: dict[str, Any] | Any) -> tuple[str, ...]:
    state = "here" if run["here"] else "gone"
    return str(run["run"]), state, str(run["tasks"]), str(run["waiting"]), f"{run['busy_s']:.1f} s"


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
