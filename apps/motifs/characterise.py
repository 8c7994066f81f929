"""A machine characterised by its motifs: throughput, overhead, scaling and utilisation, as tables and as one page."""

from __future__ import annotations

import csv
import datetime
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from apps.motifs.couplings import MOTIFS
from apps.motifs.mini_apps import MINI_APP_COLUMNS
from apps.motifs.size import Ran, Size
from scheduler_policies import Device, Kind
from tasks.errors import QompassError
from tasks.runtime import engine, engine_info, under_compss, units_now

SUMMARY_NAME = "motifs.csv"
PAGE_NAME = "motifs.svg"


@dataclass(frozen=True)
class Characterised:
    """A motif on an engine with so many units.

    Attributes:
        motif: its name.
        engine: its name.
        device: "CPU", or "QPU" and its name.
        units: computing units.
        tasks: that ran.
        seconds: from the first to the last.
        work: seconds inside of tasks; of a QPU, those for which a unit of it was held.
        throughput: tasks a second.
        overhead: seconds of units beside the work, a task.
        utilisation: work over the units' seconds.
        scaling: throughput over that with the fewest units of the device.
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


@dataclass(frozen=True)
class Where:
    """What executes the tasks.

    Attributes:
        engine: "auto", "embedded" or "compss".
        scheduler: a pilot's or cluster's folder, whose workers execute them.
        label: what the tables call the engine; "" for its own name.
        devices: of the resources file, if any: its QPUs execute circuits in rows of their own.
        sizes: as those of ``characterise``, of the motifs that run on QPUs.
        shots: of a circuit on a QPU.
    """

    engine: str = "auto"
    scheduler: str | None = None
    label: str = ""
    devices: tuple[Device, ...] = ()
    sizes: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    shots: int = 1000


def characterise(
    names: Sequence[str], sizes: dict[str, tuple[int, int, int, int]], units: Sequence[int], where: Where, seed: int,
    to: Path, told: Callable[[str], None],
) -> list[Characterised]:  # fmt: skip
    """Run motifs with each number of units, and write their tables.

    Args:
        names: of motifs.
        sizes: qubits, depth, entries and length of each.
        units: of CPUs to try, the fewest first; where COMPSs or a cluster says the units, that number alone is taken.
        where: the engine and the QPUs; of each QPU one unit and all are tried.
        seed: of all angles.
        to: the folder for tables.
        told: called with a line before each motif.

    Raises:
        QompassError: a motif cannot be run here.
    """
    found: list[Characterised] = []
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QompassError(f"cannot write {to}: {error.strerror}: name another folder with --to") from error
    given = under_compss() or where.scheduler is not None
    places: list[tuple[Device | None, int]] = [(None, number) for number in (units[-1:] if given else units)]
    for qpu in where.devices:
        if qpu.kind is Kind.QPU:
            places += [(qpu, number) for number in sorted({qpu.units if given else 1, qpu.units})]
    first: dict[tuple[str, str], float] = {}
    for device, number in places:
        own = [name for name in names if device is None or name in where.sizes]
        own = [name for name in own if not (MOTIFS[name].alone and (device, number) != places[0])]
        size_of = sizes if device is None else where.sizes
        asked = {"CPU": number} if device is None else {"CPU": 1, device.processor: number * device.computing_units}
        with engine(where.engine, units=asked, scheduler=where.scheduler):
            if given and device is None:
                number = _given_units(where)
            for name in own:
                taken = 1 if MOTIFS[name].alone else number
                one = _characterised(name, Size(*size_of[name], seed, taken, device, where.shots), where, to, told)
                rate = first.setdefault((name, one.device), one.throughput)
                found.append(replace(one, scaling=one.throughput / rate))
    _write(to / SUMMARY_NAME, [asdict(one) for one in found])
    return found


def _given_units(where: Where) -> int:
    """Units of CPUs that COMPSs' resources file or a cluster's workers have."""
    if under_compss():
        return sum(device.units for device in where.devices if device.kind is Kind.CPU)
    return units_now()["CPU"]


def _characterised(name: str, size: Size, where: Where, to: Path, told: Callable[[str], None]) -> Characterised:
    device = "CPU" if size.device is None else f"QPU {size.device.name}"
    if size.device is not None and size.device.qubits is not None:
        size = replace(size, qubits=min(size.qubits, size.device.qubits))
    number = size.units
    executed = f"{number} unit{'s' * (number > 1)} of {device}"
    told(f"{name}, {executed}")
    MOTIFS[name].run(replace(size, entries=min(size.entries, 4), length=1))  # what is loaded or planned once is then
    began = time.perf_counter()
    ran = MOTIFS[name].run(size)
    seconds = time.perf_counter() - began
    label = where.label or engine_info().name
    _append(to / f"{name}.csv", _row(name, ran, seconds, size, f"{label}, {executed}"))
    beside = max(0.0, number * seconds - ran.work) / ran.tasks
    used = min(1.0, ran.work / (number * seconds))
    rate = ran.tasks / seconds
    return Characterised(name, label, device, number, ran.tasks, seconds, ran.work, rate, beside, used, 1.0)


def _row(name: str, ran: Ran, seconds: float, size: Size, executed: str) -> dict[str, Any]:
    """The mini-app's columns in its order, empty where there is nothing of the kind here, then what it has none for."""
    now = datetime.datetime.now().strftime("%Y-%m-%dT%H:%M:%S")
    own = ran.row or {"num_qubits": size.qubits, "n_entries": size.entries, "circuit_depth": size.depth,
                      "length": size.length, "compute_time_sec": seconds}  # fmt: skip
    known = {"timestamp": now, **own, "cluster_info": executed}
    return {column: known.get(column, "") for column in MINI_APP_COLUMNS.get(name, "").split()} | known


def _append(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a table.

    Raises:
        QompassError: there is one with other columns.
    """
    new = not path.exists()
    with open(path, "a+", newline="") as file:
        file.seek(0)
        if not new and next(csv.reader(file), []) != list(row):
            raise QompassError(f"{path}: has other columns: name another folder with --to")
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
        from apps.extras import EXTRA_MISSING

        raise QompassError(f"{EXTRA_MISSING} ({error.name} is missing)") from error
    values = [{**asdict(one), "on": f"{one.engine}, {one.device}"} for one in found]
    order = [name for name in MOTIFS if any(one.motif == name for one in found)]
    tried = Counter((one.motif, one.engine, one.device) for one in found)
    scaled = [own for own in values if tried[own["motif"], own["engine"], own["device"]] > 1]
    tens = [10.0**power for power in range(-4, 6)]
    panels = []
    for name, says, scale, ticks in (
        ("throughput", "tasks a second; more is better", alt.Scale(type="log"), tens),
        ("overhead", "seconds of units beside the work, a task; less is better",
         alt.Scale(type="symlog", constant=1e-4), [0.0, *tens]),
        ("utilisation", "work inside of tasks over the units' time; 1 is best", alt.Scale(domain=[0, 1]), None),
        ("scaling", "throughput over that with the fewest units; as many as units is best", alt.Scale(), None),
    ):  # fmt: skip
        if name == "scaling" and not scaled:
            continue  # one number of units is all that was tried, or, on COMPSs, that there is
        axis = alt.Axis() if ticks is None else alt.Axis(values=ticks, format=".6~g")
        panels.append(
            alt.Chart(alt.Data(values=scaled if name == "scaling" else values))
            .mark_point(filled=True, size=70, opacity=0.9)
            .encode(
                x=alt.X(f"{name}:Q", scale=scale, title=None, axis=axis),
                y=alt.Y("motif:N", sort=order, title=None, axis=alt.Axis(grid=True)),
                color=alt.Color("on:N", title="engine, device", scale=alt.Scale(scheme="tableau10")),
                shape=alt.Shape("units:O", title="units"),
                tooltip=["motif:N", "on:N", "units:Q", f"{name}:Q"],
            )
            .properties(width=300, height=22 * len(order), title=alt.TitleParams(name.capitalize(), subtitle=says))
        )
    about = [f"{name}: {MOTIFS[name].about}" for name in order]
    title = alt.TitleParams("Execution motifs: how tasks are coupled", subtitle=about, anchor="start", offset=16)
    rows = [alt.hconcat(*panels[first : first + 2]) for first in range(0, len(panels), 2)]
    return alt.vconcat(*rows).properties(title=title)
