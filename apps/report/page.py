"""``qompass report``: one HTML file about a run, or about several; no network, no script needed to read it."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from apps.cli.tables import seconds_text, value_and_error, value_text
from apps.report import charts, task_charts
from apps.report.command import command_again
from apps.report.drawing import drawing, problem_layout, rendered
from tasks.cutting.cuts import cuts_from
from tasks.errors import InputError, QompassError
from tasks.inputs.files import read_bytes
from tasks.model.sizes import bytes_text
from tasks.runs import RunRecordError, read_record, stored_problem
from tasks.runs.comparison import compared_values, differing
from tasks.runs.journal import read_journal
from tasks.runs.live import LiveRun
from tasks.runs.summary import UNREADABLE, Summary, device_uses, engine_files, reasons, summary_of
from tasks.runs.trace import read_events, task_rows

# Colours that only the static pictures have, replaced by the page's own, which follow light and dark.
_TEXT, _GRID = "#010203", "#040506"
_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": _GRID},
    "axis": {"labelColor": _TEXT, "titleColor": _TEXT, "domainColor": _GRID, "tickColor": _GRID, "gridColor": _GRID},
    "legend": {"labelColor": _TEXT, "titleColor": _TEXT},
}
# What a run that has not come so far has none of.
_ABSENT = dict.fromkeys(
    (
        "plan", "notes", "moves", "cache", "devices", "tasks", "engine", "versions", "inputs", "seed", "timings",
        "optimum", "sweep",
    )
)  # fmt: skip
_ROWS = 200


@dataclass(frozen=True)
class Figure:
    """A chart on the page.

    Attributes:
        name: of its element.
        caption: what it shows, one or two sentences.
        svg: as a picture, for paper and for readers without scripts.
        spec: as Vega-Lite, for everybody else.
        wide: whether it may be wider than the page and is scrolled.
    """

    name: str
    caption: str
    svg: Markup
    spec: str
    wide: bool = False


def report(paths: Sequence[Path]) -> str:
    """The page about one run, or about several beside each other.

    A run that is in progress, failed, damaged or of another version gives a page that says so.

    Raises:
        QompassError: what pictures need is not installed.
    """
    template = "run.html.j2" if len(paths) == 1 else "comparison.html.j2"
    content = _run_page(paths[0]) if len(paths) == 1 else _comparison_page(paths)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": seconds_text, "bytes": bytes_text, "pair": _pair, "cell": _cell, "count": _count}
    return environment.get_template(template).render(**content, script=_script(content["figures"].values()))


def _count(found: Collection[Any], one: str) -> str:
    return f"{len(found)} {one}{'' if len(found) == 1 else 's'}"


def _run_page(path: Path) -> dict[str, Any]:
    try:
        record = read_record(path)
    except RunRecordError as error:
        return {
            "run": Summary(path, path.name, UNREADABLE, error=str(error)), "record": _ABSENT, "why": [], "uses": {},
            "figures": {}, "command": "", "rows": [], "fragments": [], "engine_files": [], "calibrated": {},
            "worst": "", "table": None,
        }  # fmt: skip
    rows, run = task_rows(read_events(path)), summary_of(path, record)
    live = LiveRun(path)
    live.read()
    pauses = [(begin - live.began, end - live.began) for begin, end in live.pauses] if live.began is not None else []
    plan = record.get("plan")
    seconds = task_charts.fragment_seconds(rows)
    made: list[tuple[str, str, alt.TopLevelMixin | None, bool]] = []
    if plan:
        made += [
            ("circuit", "The circuit, a row a qubit. Colours are fragments; what is severed is red; what no observable "
             "can see is grey.", _circuit(path, record), True),
            ("graph", "Fragments, larger where they have more qubits, and lines where cuts join them, thicker for more "
             "cuts.", charts.fragment_graph(plan), False),
            ("costs", "Seconds of work that each fragment's executions took.", charts.costs(plan, rows), False),
        ]  # fmt: skip
    made += [
        ("timeline", "Every task, a bar a task, by device. The thin part before a bar is the wait since its "
         "submission; a red frame is a failure." + (" At a dashed line another process went on with the run; the time "
         "between is left out." if pauses else ""), task_charts.timeline(rows, pauses), False),
        ("shots", "Shots that each fragment took, by round.", charts.shots_by_fragment(record["results"]), False),
        ("variance", "Whose shots bring the variance of the estimates with the largest errors.",
         charts.variance_by_fragment(record.get("variance_shares") or {}), False),
        ("convergence", "Estimates with their error bars (one standard error) as the rounds went on.",
         charts.convergence(live.estimates), False),
        ("optimisation", "Energy of each evaluation with its error bar (one standard error); red: the lowest so far.",
         charts.optimisation(read_journal(path)), False),
        ("predictions", "Seconds of executions, measured against predicted; on the line both are equal.",
         task_charts.predictions(rows), False),
    ]  # fmt: skip
    figures = {name: _figure(name, caption, chart, wide) for name, caption, chart, wide in made if chart is not None}
    worst, shares = next(iter((record.get("variance_shares") or {}).items()), ("", None))  # of the largest error
    fragments = [
        {
            **f,
            "seconds": seconds.get(f["index"], 0.0),
            "shots": _shots(record, f["index"]),
            "share": shares[f["index"]] if shares else None,
        }
        for f in (plan or {}).get("fragments", ())
    ]
    why = [reason for reason in reasons(path, record) if reason not in record["notes"]]
    return {
        "run": run, "record": {**_ABSENT, **record}, "figures": figures, "rows": rows, "fragments": fragments,
        "why": why, "uses": device_uses(rows), "command": command_again(record), "engine_files": engine_files(record),
        "worst": worst, "table": _table(path, record),
        "calibrated": {name: own for name, own in (record.get("devices") or {}).items() if "errors" in own},
    }  # fmt: skip


def _comparison_page(paths: Sequence[Path]) -> dict[str, Any]:
    found = [(summary_of(path, record), record) for path, record in ((path, read_record(path)) for path in paths)]
    runs, first = [run for run, _ in found], found[0][1]
    values = compared_values(runs)
    made = (
        (
            "values",
            "Each observable's value with its error bar (one standard error), by run.",
            charts.values_by_run(runs),
        ),
        ("stages", "Seconds of each stage, by run.", charts.stages_by_run(runs, [record for _, record in found])),
    )
    return {
        "runs": runs,
        "records": [{**_ABSENT, **record} for _, record in found],
        "values": values,
        "differs": [", ".join(differing(first, record)) or "nothing" for _, record in found],
        "figures": {name: _figure(name, caption, chart, False) for name, caption, chart in made if chart is not None},
    }


def _table(path: Path, record: Any) -> list[list[str]] | None:
    """The first rows of a sweep's table, its head among them; None where it is not as the sweep wrote it."""
    try:
        content = read_bytes(path / "table.csv", "a table")
    except InputError:
        return None
    if hashlib.sha256(content).hexdigest() != (record.get("table") or {}).get("sha256"):
        return None
    return list(itertools.islice(csv.reader(io.StringIO(content.decode())), 1 + _ROWS))


def _circuit(path: Path, record: Any) -> alt.TopLevelMixin | None:
    try:
        problem = stored_problem(path, record)
        return drawing(problem_layout(problem, cuts_from(record["plan"]["cuts"])))
    except QompassError:  # its files are damaged: what is in the record is shown all the same
        return None


def _figure(name: str, caption: str, chart: alt.TopLevelMixin, wide: bool) -> Figure:
    spec = {**chart.to_dict(), "config": _CONFIG, "autosize": {"type": "pad"}}
    svg = rendered(spec, "svg").decode()
    svg = svg.replace(_TEXT, "var(--text)").replace(_GRID, "var(--line)")
    svg = re.sub(r"<svg ", f'<svg role="img" aria-label="{Markup.escape(caption)}" ', svg, count=1)
    return Figure(name, caption, Markup(svg), _in_script(spec), wide)


def _in_script(document: Any) -> str:
    """JSON that no text in it can end the script element of."""
    return Markup(json.dumps(document).replace("<", "\\u003c").replace("&", "\\u0026"))


def _script(figures: Any) -> str:
    """The plotting library, in one piece, where there is anything to plot."""
    if not list(figures):
        return ""
    import vl_convert

    return Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script"))


def _shots(record: Any, fragment: int) -> int:
    return sum(int(r.get("shots", 0)) for r in record["results"].values() if r.get("fragment") == fragment)


def _pair(estimate: Any) -> tuple[str, str]:
    return value_and_error(estimate["value"], estimate["std_error"])


def _cell(estimate: Any) -> str:
    return value_text(estimate["value"], estimate["std_error"])
