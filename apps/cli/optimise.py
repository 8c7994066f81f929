"""``qompass optimise``: QAOA and VQE on circuits cut as far as needed; and ``qompass resume`` of such a run."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from apps.cli.chosen import options_of_loop
from apps.cli.flags import given_options
from apps.cli.interruption import INTERRUPTED, reading
from apps.cli.paths import run_path, shown_path
from apps.cli.tables import seconds_text, value_and_error
from apps.cli.terminal import SCHEMA, say, shown
from apps.variational.ansatz import suited
from apps.variational.energies import find_hamiltonian
from apps.variational.loop import State
from apps.variational.optimisers import OPTIMISERS
from apps.variational.program import begin, optimise, reopen
from apps.variational.settings import Settings, most_shots
from tasks.errors import InputError
from tasks.inputs.files import read_json
from tasks.inputs.observables import real
from tasks.runs import RunDirectory, RunRecordError, read_record

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
_MEMBERS = 24  # of a generation, as the help says
_SHOWN = 12  # parameters in the table at the end


def run(arguments: argparse.Namespace) -> int:
    """Optimise what a file or a name states; the run's folder is made once it is known to be good.

    Raises:
        InputError: something given cannot be used.
    """
    options = options_of_loop(arguments)
    with reading():
        hamiltonian = find_hamiltonian(arguments.hamiltonian, arguments.kind)
        start = None if arguments.start is None else read_start(arguments.start)
    optimiser = arguments.optimiser or ("spsa" if options.sampled else "lbfgsb")
    if arguments.population is not None and optimiser != "de":
        raise InputError(f"--population: {optimiser} has no members: give --optimiser de, or leave it out")
    iterations = arguments.iterations or OPTIMISERS[optimiser].iterations
    settings = Settings(
        hamiltonian, arguments.ansatz or suited(hamiltonian), arguments.layers, optimiser, iterations,
        arguments.tolerance, arguments.population or _MEMBERS, start, most_shots(options, arguments.most_shots),
        arguments.draws, options,
    )  # fmt: skip
    path = Path(arguments.hamiltonian)
    files = {"hamiltonian": path, "start": arguments.start, "resources": options.resources}
    inputs = {
        name: {"path": str(file), "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}
        for name, file in files.items()
        if file is not None and Path(file).is_file()
    }
    return _finish(begin(settings, arguments.out, inputs), settings, arguments.json)


def resume(arguments: argparse.Namespace) -> int:
    """Finish an optimisation along the path it had taken; a finished one is only shown again.

    Raises:
        RunRecordError: the run cannot be used.
    """
    path = run_path(arguments.run, arguments.out)
    record = read_record(path)
    if record["status"] == "done" and "optimum" in record:
        try:
            _report(path.resolve(), dict(record), arguments.json)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunRecordError(f"{path} says of no usable optimum ({error!r}): start anew") from error
        return 0
    directory, settings = reopen(path, given_options(arguments))
    return _finish(directory, settings, arguments.json)


def read_start(path: Path) -> tuple[float, ...]:
    """Parameter values from a JSON list, or from the ``parameters`` of a document that ``optimise --json`` printed.

    Raises:
        InputError: it is neither.
    """
    document = read_json(path, "file of parameter values")
    if isinstance(document, dict):
        document = document.get("parameters", document)
    values = list(document.values()) if isinstance(document, dict) else document
    if not isinstance(values, list) or not values:
        raise InputError(f"{path}: is not a list of parameter values: write [0.1, 0.2, ...]", field="start")
    return tuple(real(value, f"{path}: value {number}") for number, value in enumerate(values))


def _finish(directory: RunDirectory, settings: Settings, as_json: bool) -> int:
    try:
        with directory, _shown_live(settings) as told:
            optimise(directory, settings, told)
    except KeyboardInterrupt:
        say(f"interrupted; `qompass resume {shown_path(directory.path)}` goes on from here")
        return INTERRUPTED
    _report(directory.path, dict(directory.record), as_json)
    return 0


def _report(path: Path, record: dict[str, Any], as_json: bool) -> None:
    optimum = record["optimum"]
    if as_json:
        notes = {name: record[name] for name in ("seed", "timings", "notes") if name in record}
        print(json.dumps({"schema": SCHEMA, **optimum, "run": shown_path(path), **notes}, indent=2))
        return
    energy, error = value_and_error(optimum["energy"], optimum["std_error"])
    lines = [f"energy      {energy} {'(exact path)' if error == 'exact' else f'± {error}'}"]
    if optimum["exact"] is not None:
        lines.append(
            f"lowest      {optimum['exact']:.10g} is known, {optimum['energy'] - optimum['exact']:.2e} below this"
        )
    if optimum["bits"]:
        lines.append(f"best string {optimum['bits']}, energy {optimum['bits_energy']:.10g}")
    shots = f", {optimum['shots']:,} shots" if optimum["shots"] else ""
    shots += f", {optimum['price']:.4g} paid" if optimum.get("price") else ""
    lines.append(f"evaluations {optimum['evaluations']:,} of {optimum['circuits']:,} sets of parameter values{shots}")
    lines.append(f"ended       {optimum['why']}")
    values = list(optimum["parameters"].items())
    lines += [f"{name:<11} {value:.8g}" for name, value in values[:_SHOWN]]
    if len(values) > _SHOWN:
        lines.append(f"and {len(values) - _SHOWN} more in {shown_path(path / 'record.json')}")
    print("\n".join([*lines, "", f"Run: {shown_path(path)} (search {seconds_text(record['timings']['search'])})"]))


@contextlib.contextmanager
def _shown_live(settings: Settings) -> Iterator[Callable[[State], None]]:
    """Convergence as it goes on, on a terminal; silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda state: None
        return
    began = time.monotonic()
    with Live(console=Console(stderr=True), auto_refresh=False) as live:
        last = 0.0

        def told(state: State) -> None:
            nonlocal last
            if time.monotonic() - last > 0.1 or state.evaluations == 1:
                last = time.monotonic()
                live.update(view(state, settings, last - began), refresh=True)
            kept.append(state)
            del kept[:-1]

        kept: list[State] = []
        yield told
        if kept:
            live.update(view(kept[-1], settings, time.monotonic() - began), refresh=True)


def view(state: State, settings: Settings, seconds: float) -> RenderableType:
    """An optimisation as it is now."""
    own = settings.hamiltonian
    head = Text.assemble((f"{settings.optimiser}", "bold"), f" on {shown(own.name)}, {own.num_qubits} qubits, ",
                         f"{settings.ansatz} of {settings.layers} layers  {seconds_text(seconds)}")  # fmt: skip
    grid = Table.grid(padding=(0, 2))
    rate = (state.evaluations - state.replayed) / seconds if seconds > 0 else 0.0
    grid.add_row("evaluations", f"{state.evaluations:,}", f"{rate:.3g} a second")
    if state.energies:
        energy, error = value_and_error(state.energies[-1], state.errors[-1])
        grid.add_row("energy now", energy, "" if error == "exact" else f"± {error}")
    if math.isfinite(state.best):
        known = "" if own.exact is None else f"{state.best - own.exact:.2e} above the lowest"
        grid.add_row("lowest so far", f"{state.best:.10g}", known)
    if state.shots:
        grid.add_row("shots", f"{state.shots:,}", f"x{2 ** state.levels[-1]} an evaluation" if state.levels else "")
    return Group(head, grid, Text(sparkline(state.energies), style="cyan"))


def sparkline(energies: Sequence[float], width: int = _WIDTH) -> str:
    """Energies as a row of bars, the lowest of each stretch."""
    if len(energies) < 2:
        return ""
    stretch = max(1, math.ceil(len(energies) / width))
    lows = [min(energies[start : start + stretch]) for start in range(0, len(energies), stretch)]
    low, high = min(lows), max(lows)
    places = [0.0 if high == low else (energy - low) / (high - low) for energy in lows]
    return "".join(_BARS[round(place * (len(_BARS) - 1))] for place in places)
