"""The charts of a report, from a run's record and the estimates in its log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import rustworkx as rx

from apps.report.style import CUT_COLOUR, DEVICE_COLOURS, UNSEEN_COLOUR, WIDTH, fragment_colours
from apps.report.task_charts import fragment_seconds
from tasks.runs.summary import Summary
from tasks.runs.trace import TaskRow

_MOST_LABELS = 60


def optimisation(entries: Sequence[Mapping[str, Any]]) -> alt.TopLevelMixin | None:
    """Lowest energy of each evaluation of an optimisation with its error bar, and the lowest so far."""
    rows: list[dict[str, Any]] = []
    best = float("inf")
    for entry in entries:
        if entry.get("kind") not in ("values", "slopes"):
            continue
        place = min(range(len(entry["values"])), key=entry["values"].__getitem__)
        energy, error = entry["values"][place], entry["errors"][place]
        best = min(best, energy)
        low, high = energy - error, energy + error
        rows.append({"evaluation": len(rows) + 1, "energy": energy, "low": low, "high": high, "best": best})
    if len(rows) < 2:
        return None
    axis = alt.Axis(tickMinStep=1, format="d")
    base = alt.Chart(alt.Data(values=rows)).encode(x=alt.X("evaluation:Q", title="evaluation", axis=axis))
    scale = alt.Scale(zero=False)
    points = base.mark_circle(size=24, color=DEVICE_COLOURS[0]).encode(
        y=alt.Y("energy:Q", scale=scale), tooltip=["evaluation:Q", "energy:Q"]
    )
    bars = base.mark_rule(color=DEVICE_COLOURS[0]).encode(y=alt.Y("low:Q", scale=scale, title="energy"), y2="high:Q")
    line = base.mark_line(interpolate="step-after", color=CUT_COLOUR).encode(y=alt.Y("best:Q", scale=scale))
    return alt.layer(bars, points, line).properties(width=WIDTH, height=240)


def fragment_graph(plan: Mapping[str, Any]) -> alt.TopLevelMixin | None:
    """Fragments as discs of their width, joined where a cut severed them; None for a single one."""
    fragments = plan["fragments"]
    if len(fragments) < 2:
        return None
    ends: dict[int, list[int]] = {}
    for fragment in fragments:
        for leg in fragment["legs"]:
            ends.setdefault(leg["cut"], []).append(fragment["index"])
    cuts = Counter((min(own[0], own[-1]), max(own[0], own[-1])) for own in ends.values())
    places = _places(len(fragments), list(cuts))
    nodes = [
        {
            "x": float(places[f["index"]][0]), "y": float(places[f["index"]][1]), "name": str(f["index"]),
            "qubits": f["width"], "legs": len(f["legs"]), "variants": f["variants"],
        }
        for f in fragments
    ]  # fmt: skip
    edges = [
        {
            "x": float(places[a][0]), "y": float(places[a][1]), "x2": float(places[b][0]), "y2": float(places[b][1]),
            "cuts": number, "joins": f"{a} and {b}",
        }
        for (a, b), number in cuts.items() if a != b
    ]  # fmt: skip
    scale = alt.Scale(nice=False, zero=False, padding=24)
    x, y = alt.X("x:Q", axis=None, scale=scale), alt.Y("y:Q", axis=None, scale=scale)
    layers: list[alt.Chart] = []
    if edges:
        lines = alt.Chart(alt.Data(values=edges)).mark_rule(color=UNSEEN_COLOUR)
        width = alt.StrokeWidth("cuts:Q", legend=None, scale=alt.Scale(range=[1.5, 7]))
        layers.append(lines.encode(x=x, y=y, x2="x2:Q", y2="y2:Q", strokeWidth=width, tooltip=["joins:N", "cuts:Q"]))
    colour = alt.Color("name:N", legend=None, scale=_fragment_scale(len(fragments)))
    sizes = [120, 900] if len(fragments) <= _MOST_LABELS else [16, 90]
    size = alt.Size("qubits:Q", legend=None, scale=alt.Scale(range=sizes))
    discs = alt.Chart(alt.Data(values=nodes)).mark_circle(opacity=1)
    tips = [alt.Tooltip("name:N", title="fragment"), "qubits:Q", "legs:Q", "variants:Q"]
    layers.append(discs.encode(x=x, y=y, color=colour, size=size, tooltip=tips))
    if len(fragments) <= _MOST_LABELS:
        layers.append(
            alt.Chart(alt.Data(values=nodes)).mark_text(color="white", fontSize=10).encode(x=x, y=y, text="name:N")
        )
    return alt.layer(*layers).properties(width=WIDTH, height=360)


def _places(count: int, joined: Sequence[tuple[int, int]]) -> np.ndarray:
    """(fragment, 2) places: classical scaling of the numbers of steps between fragments, then eased by springs."""
    graph = rx.PyGraph(multigraph=False)
    graph.add_nodes_from(range(count))
    graph.add_edges_from_no_data([(a, b) for a, b in joined if a != b])
    steps = rx.distance_matrix(graph, null_value=float(count))
    centring = np.eye(count) - 1.0 / count
    values, vectors = np.linalg.eigh(-0.5 * centring @ np.square(steps) @ centring)
    flat = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0.0))
    flat /= max(float(np.abs(flat).max()), 1e-9)
    flat += np.random.Generator(np.random.Philox(0)).normal(scale=0.01, size=flat.shape)  # none upon another
    eased = rx.spring_layout(graph, pos={k: tuple(own) for k, own in enumerate(flat)}, num_iter=200, seed=0)
    return np.array([eased[number] for number in range(count)])


def costs(plan: Mapping[str, Any], rows: Sequence[TaskRow]) -> alt.TopLevelMixin | None:
    """Seconds of work of each fragment's executions: a task of several is shared out by their variants."""
    seconds = fragment_seconds(rows)
    if not seconds:
        return None
    values = [
        {
            "fragment": f["index"],
            "seconds": seconds.get(f["index"], 0.0),
            "qubits": f["width"],
            "variants": f["variants"],
        }
        for f in plan["fragments"]
    ]
    return (
        alt.Chart(alt.Data(values=values))
        .mark_bar(color=DEVICE_COLOURS[0])
        .encode(
            x=alt.X("fragment:O", axis=_axis(len(values))),
            y=alt.Y("seconds:Q", axis=alt.Axis(title="seconds of work")),
            tooltip=["fragment:O", "seconds:Q", "qubits:Q", "variants:Q"],
        )
        .properties(width=WIDTH, height=180)
    )


def shots_by_fragment(results: Mapping[str, Mapping[str, Any]]) -> alt.TopLevelMixin | None:
    """Shots of each fragment by round."""
    taken: dict[tuple[int, int], int] = {}
    for result in results.values():
        if "shots" in result:
            place = (int(result["fragment"]), int(result["round"]))
            taken[place] = taken.get(place, 0) + int(result["shots"])
    if not taken:
        return None
    values = [{"fragment": f, "round": r + 1, "shots": shots} for (f, r), shots in sorted(taken.items())]
    return (
        alt.Chart(alt.Data(values=values))
        .mark_bar()
        .encode(
            x=alt.X("fragment:O", axis=_axis(len({v["fragment"] for v in values}))),
            y="shots:Q",
            color=alt.Color("round:O", scale=alt.Scale(range=list(DEVICE_COLOURS))),
            tooltip=["fragment:O", "round:O", "shots:Q"],
        )
        .properties(width=WIDTH, height=180)
    )


def variance_by_fragment(shares: Mapping[str, Sequence[float]]) -> alt.TopLevelMixin | None:
    """Whose shots bring the variance of the observables with the largest errors, the largest first."""
    told = list(shares.items())
    if not told:
        return None
    fragments = len(told[0][1])
    told = told[: max(1, min(len(told), _MOST_LABELS // fragments))]
    values = [
        {"observable": name, "fragment": fragment, "share": share}
        for name, own in told
        for fragment, share in enumerate(own)
    ]
    chart = alt.Chart(alt.Data(values=values)).mark_bar()
    order = [name for name, _ in told]
    colour = alt.Color("observable:N", sort=order, scale=alt.Scale(domain=order, range=list(DEVICE_COLOURS)))
    return chart.encode(
        x=alt.X("fragment:O", axis=_axis(fragments)),
        xOffset=alt.XOffset("observable:N", sort=order),
        y=alt.Y("share:Q", axis=alt.Axis(title="share of the variance", format="%")),
        color=colour,
        tooltip=["observable:N", "fragment:O", alt.Tooltip("share:Q", format=".1%")],
    ).properties(width=WIDTH, height=180)


def convergence(
    estimates: Sequence[tuple[float, Sequence[Mapping[str, Any]]]], most: int = 6
) -> alt.TopLevelMixin | None:
    """Values with their error bars as the rounds went on, of the first observables."""
    if len(estimates) < 2:
        return None
    began = estimates[0][0]
    values = [
        {
            "round": number + 1, "seconds": when - began, "observable": own["observable"], "value": own["value"],
            "low": own["value"] - own["std_error"], "high": own["value"] + own["std_error"],
            "std error": own["std_error"],
        }
        for number, (when, told) in enumerate(estimates)
        for own in told[:6]
    ]  # fmt: skip
    data = alt.Data(values=values)
    x = alt.X("round:O", axis=alt.Axis(title="told after round", labelAngle=0))
    colour = alt.Color("observable:N", scale=alt.Scale(range=list(DEVICE_COLOURS)))
    low = alt.Y("low:Q", title="value", scale=alt.Scale(zero=False))
    return alt.layer(
        alt.Chart(data).mark_errorbar(ticks=alt.MarkConfig(size=10)).encode(x=x, y=low, y2="high:Q", color=colour),
        alt.Chart(data).mark_line(point=True).encode(
            x=x, y="value:Q", color=colour,
            tooltip=["observable:N", "value:Q", "std error:Q"],
        ),
    ).properties(width=WIDTH, height=220)  # fmt: skip


def values_by_run(runs: Sequence[Summary]) -> alt.TopLevelMixin | None:
    """Values with error bars of the first twelve observables, a point a run."""
    values = [
        {
            "observable": own["observable"], "run": run.run, "value": own["value"], "std error": own["std_error"],
            "low": own["value"] - own["std_error"], "high": own["value"] + own["std_error"],
        }
        for run in runs
        for own in run.estimates[:12]
    ]  # fmt: skip
    if not values:
        return None
    data = alt.Data(values=values)
    y, shift = alt.Y("observable:N", sort=None, title=None), alt.YOffset("run:N")
    colour = alt.Color("run:N", scale=alt.Scale(range=list(DEVICE_COLOURS)))
    x = alt.X("low:Q", title="value", scale=alt.Scale(zero=False))
    return alt.layer(
        alt.Chart(data).mark_rule(strokeWidth=2).encode(x=x, x2="high:Q", y=y, yOffset=shift, color=colour),
        alt.Chart(data).mark_point(filled=True, size=50, opacity=1).encode(
            x="value:Q", y=y, yOffset=shift, color=colour, tooltip=["observable:N", "run:N", "value:Q", "std error:Q"]),
    ).properties(width=WIDTH)  # fmt: skip


def stages_by_run(runs: Sequence[Summary], records: Sequence[Mapping[str, Any]]) -> alt.TopLevelMixin | None:
    """Seconds of each stage, a bar a run."""
    values = [
        {"run": run.run, "stage": stage, "seconds": seconds}
        for run, record in zip(runs, records, strict=True)
        for stage, seconds in record["timings"].items()
    ]
    if not values:
        return None
    colour = alt.Color("stage:N", sort=None, scale=alt.Scale(range=list(DEVICE_COLOURS)))
    chart = alt.Chart(alt.Data(values=values)).mark_bar()
    y = alt.Y("run:N", sort=None, title=None, axis=alt.Axis(labelLimit=220))
    tips = ["run:N", "stage:N", "seconds:Q"]
    return chart.encode(x="seconds:Q", y=y, color=colour, tooltip=tips).properties(width=WIDTH)


def _fragment_scale(count: int) -> alt.Scale:
    return alt.Scale(domain=[str(index) for index in range(count)], range=fragment_colours(count))


def _axis(count: int) -> alt.Axis:
    return alt.Axis(title="fragment", labelAngle=0, labels=count <= _MOST_LABELS, ticks=count <= _MOST_LABELS)
