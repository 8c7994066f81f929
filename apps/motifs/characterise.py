"""A machine characterised by its motifs: throughput, overhead, scaling and utilisation, as tables and as one page."""

from __future__ import annotations

import csv
import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apps.motifs.couplings import MOTIFS, Ran, Size
from tasks.errors import QompassError
from tasks.runtime import engine, engine_info

SUMMARY_NAME = "motifs.csv"
PAGE_NAME = "motifs.svg"


@dataclass(frozen=True)
class Characterised:
    """A motif on an engine with so many units.

    Attributes:
        motif: its name.
        engine: its name.
        device: class of the devices that worked.
        units: computing units.
        tasks: that ran.
        seconds: from the first to the last.
        work: seconds inside of tasks.
        throughput: tasks a second.
        overhead: seconds of units beside the work, a task.
        utilisation: work over the units' seconds.
        scaling: throughput over that with one unit.
    """

    motif: str
    engine: str
    device: str
    units: int
    tasks: int
    seconds: float
    work: float
    throughput: float
    overhead: float
    utilisation: float
    scaling: float


def characterise(
    names: Sequence[str], sizes: dict[str, tuple[int, int, int, int]], units: Sequence[int], engine_name: str,
    seed: int, to: Path, told: Callable[[str], None], scheduler: str | None = None,
) -> list[Characterised]:  # fmt: skip
    """Run motifs with each number of units, and write their tables.

    Args:
        names: of motifs.
        sizes: qubits, depth, entries and length of each.
        units: computing units to try, the fewest first.
        engine_name: "auto", "embedded" or "compss".
        seed: of all angles.
        to: the folder for tables.
        told: called with a line before each motif.
        scheduler: a pilot's or cluster's folder, whose workers execute the tasks.

    Raises:
        QompassError: a motif cannot be run here.
    """
    found: list[Characterised] = []
    single: dict[str, float] = {}
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QompassError(f"cannot write {to}: {error.strerror}: name another folder with --to") from error
    for number in units:
        with engine(engine_name, units={"CPU": number}, scheduler=scheduler):
            info = engine_info()
            for name in names:
                told(f"{name}, {number} unit{'s' * (number > 1)}")
                motif = MOTIFS[name]
                size = Size(*sizes[name], seed, number)
                motif.run(Size(*_least(sizes[name]), seed, number))  # what is loaded once is loaded then
                began = time.perf_counter()
                ran = motif.run(size)
                seconds = time.perf_counter() - began
                busy = ran.work / (number * seconds)
                rate = ran.tasks / seconds
                beside = max(0.0, number * seconds - ran.work) / ran.tasks
                first = single.setdefault(name, rate)
                found.append(Characterised(name, info.name, "CPU", number, ran.tasks, seconds, ran.work, rate, beside,
                                           min(1.0, busy), rate / first))  # fmt: skip
                _append(to / f"{name}.csv", _row(ran, seconds, size, info.name))
    _write(to / SUMMARY_NAME, [asdict(one) for one in found])
    return found


def _least(size: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return (min(size[0], 4), 1, min(size[2], 4), 1)


def _row(ran: Ran, seconds: float, size: Size, engine_name: str) -> dict[str, Any]:
    """The mini-app's columns, else what there is of them for a coupling; who ran it, last."""
    now = datetime.datetime.now().strftime("%Y-%m-%dT%H:%M:%S")
    own = ran.row or {"num_qubits": size.qubits, "n_entries": size.entries, "circuit_depth": size.depth,
                      "length": size.length, "compute_time_sec": seconds}  # fmt: skip
    return {"timestamp": now, **own, "cluster_info": f"{engine_name}, {size.units} units"}


def _append(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def page(found: Sequence[Characterised]) -> Any:
    """Throughput, overhead, utilisation and scaling of every motif, a panel each.

    Raises:
        QompassError: what pictures need is not installed.
    """
    try:
        import altair as alt
    except ModuleNotFoundError as error:
        from apps.report.style import EXTRA_MISSING

        raise QompassError(f"{EXTRA_MISSING} ({error.name} is missing)") from error
    values = [{**asdict(one), "on": f"{one.engine}, {one.device}, {one.units}"} for one in found]
    order = list(dict.fromkeys(one.motif for one in found))
    panels = []
    tens = [10.0**power for power in range(-4, 6)]
    for name, title, scale, ticks in (
        ("throughput", "tasks a second", alt.Scale(type="log"), tens),
        ("overhead", "seconds beside the work, a task", alt.Scale(type="symlog", constant=1e-4), [0.0, *tens]),
        ("utilisation", "work over the units' time", alt.Scale(domain=[0, 1]), None),
        ("scaling", "throughput over that of the fewest units", alt.Scale(type="linear"), None),
    ):
        axis = alt.Axis() if ticks is None else alt.Axis(values=ticks, format="~g")
        panels.append(
            alt.Chart(alt.Data(values=values), title=title)
            .mark_point(filled=True, size=70)
            .encode(
                x=alt.X(f"{name}:Q", scale=scale, title=None, axis=axis),
                y=alt.Y("motif:N", sort=order, title=None, axis=alt.Axis(grid=True)),
                color=alt.Color("on:N", title="engine, device, units"),
                tooltip=["motif:N", "on:N", f"{name}:Q"],
            )
            .properties(width=300, height=22 * len(order))
        )
    return alt.vconcat(alt.hconcat(panels[0], panels[1]), alt.hconcat(panels[2], panels[3]))
