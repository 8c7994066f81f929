"""``qompass watch``: a run in the terminal while it runs, from its folder alone."""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from apps.cli.paths import run_path
from apps.cli.tables import seconds_text, value_and_error
from apps.cli.terminal import SCHEMA, say, shown
from tasks.runs import read_record
from tasks.runs.live import LiveRun

_LOOK_S = 0.25
_BARS = "▁▂▃▄▅▆▇█"


def watch(arguments: argparse.Namespace) -> int:
    """Show a run until it ends; one that has ended, or ``--once``, is shown once."""
    path = run_path(arguments.run, arguments.out).resolve()
    record = read_record(path)  # refuses what is no run
    run = LiveRun(path)
    run.read()
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, **document(run, path)}, indent=2))
        return 0
    if arguments.metrics is not None:
        from apps.metrics import serve

        say(f"metrics: http://127.0.0.1:{serve(path, arguments.metrics).server_port}/metrics")
    console = Console(file=sys.__stdout__, highlight=False)  # sys.stdout is held until the command ends
    if arguments.metrics is not None and not console.is_terminal and not arguments.once:
        while read_record(path)["status"] == "running":  # a scraper watches, and nobody else
            time.sleep(_LOOK_S)
        return 0
    if arguments.once or not console.is_terminal or record["status"] != "running":
        run.status = record["status"]
        plain = Console(file=io.StringIO(), width=console.width)
        plain.print(view(run, path, time.time()))
        print(plain.file.getvalue(), end="")  # type: ignore[attr-defined]
        return 0
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            run.read()
            status = read_record(path)["status"]
            run.status = status if status != "running" else run.status
            live.update(view(run, path, time.time()), refresh=True)
            if run.status != "running":
                return 0
            time.sleep(_LOOK_S)


def view(run: LiveRun, path: Path, now: float) -> RenderableType:
    """A run as it is now."""
    record = read_record(path)
    elapsed = run.worked(now if run.status == "running" else (run.latest or now))
    problem = record.get("problem") or {}
    head = Text.assemble(
        ("Run ", "bold"), (record["run"], "bold"), "  ", (run.status, _COLOURS.get(run.status, "yellow")), "  ",
        seconds_text(elapsed), _left(run, now), f"  {problem.get('qubits', '?')} qubits",
    )  # fmt: skip
    parts: list[RenderableType] = [head, _stages(run)]
    if run.devices:
        parts.append(_devices(run, record, elapsed))
    if run.estimates:
        parts.append(_estimates(run))
    parts += [Text(shown(line), style="dim", overflow="ellipsis", no_wrap=True) for line in run.said]
    return Group(*parts)


_COLOURS = {"running": "cyan", "done": "green", "failed": "red", "interrupted": "yellow"}


def _left(run: LiveRun, now: float) -> str:
    """Time left of the stage in work, if it goes on as it did."""
    stage = run.stages[-1] if run.stages else None
    if run.status != "running" or stage is None or stage.done or not 0 < stage.steps < stage.total:
        return ""
    elapsed = now - stage.began
    return f"  about {seconds_text(elapsed * (stage.total - stage.steps) / stage.steps)} left in this stage"


def _stages(run: LiveRun) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    for stage in run.stages:
        colour = "green" if stage.done else "cyan"
        bar = ProgressBar(total=max(stage.total, 1), completed=stage.steps, width=30, complete_style=colour)
        grid.add_row(f"{stage.name:<18}", bar, f"{stage.steps:,.0f}/{stage.total:,.0f}")
    return grid


def _devices(run: LiveRun, record: Mapping[str, Any], elapsed: float) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for name in ("device", "in work", "done", "failed", "shots", "busy"):
        table.add_column(name, justify="left" if name == "device" else "right")
    known = record.get("devices") or {}
    for name, queue in run.devices.items():
        units = known.get(name, {}).get("units", 1)
        busy = min(1.0, queue.seconds / (elapsed * units)) if elapsed > 0 else 0.0
        failed = Text(str(queue.failed), style="red" if queue.failed else "")
        numbers = (str(len(queue.running)), str(queue.done), failed, f"{queue.shots:,}", f"{busy:.0%}")
        table.add_row(Text(shown(name)), *numbers)
    return table


def _estimates(run: LiveRun) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for name in ("observable", "value", "std error", "error by round"):
        table.add_column(name)
    history: dict[str, list[float]] = {}
    for _, told in run.estimates:
        for own in told:
            history.setdefault(own["observable"], []).append(own["std_error"])
    for own in run.estimates[-1][1][:8]:
        value, error = value_and_error(own["value"], own["std_error"])
        table.add_row(Text(shown(own["observable"][:40])), value, error, _sparkline(history[own["observable"]]))
    return table


def _sparkline(errors: list[float]) -> str:
    known = [error for error in errors if error > 0 and math.isfinite(error)]
    if len(known) < 2:
        return ""
    low, high = math.log(min(known)), math.log(max(known))
    places = [0.0 if high == low else (math.log(error) - low) / (high - low) for error in known]
    bars = "".join(_BARS[round(place * (len(_BARS) - 1))] for place in places)
    return f"{bars}  {known[0]:.2g} to {known[-1]:.2g}"


def document(run: LiveRun, path: Path) -> dict[str, Any]:
    """What ``watch --json`` prints."""
    return {
        "run": path.name,
        "status": read_record(path)["status"],
        "stages": [vars(stage) for stage in run.stages],
        "devices": {name: {**vars(queue), "running": sorted(queue.running)} for name, queue in run.devices.items()},
        "estimates": run.estimates[-1][1] if run.estimates else [],
    }
