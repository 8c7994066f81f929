"""The charts of a report that show tasks, from the rows of a run's trace."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from apps.report.style import CUT_COLOUR, DEVICE_COLOURS, UNSEEN_COLOUR, WIDTH
from tasks.runs.trace import TaskRow

MOST_TASKS = 3000
"""Tasks that a timeline shows; of more it shows the longest."""


def timeline(rows: Sequence[TaskRow], pauses: Sequence[tuple[float, float]] = ()) -> alt.TopLevelMixin | None:
    """Tasks as bars, a lane each that is free, by device; before each what it waited, lighter.

    Args:
        rows: the tasks.
        pauses: (from, to) between the processes of a resumed run, seconds since it began: left out, a dashed line each.
    """
    ended = sorted((row for row in rows if row.started is not None), key=lambda row: row.started or 0.0)
    if not ended:
        return None
    if len(ended) > MOST_TASKS:
        longest = sorted(ended, key=lambda row: -(row.seconds or 0.0))[:MOST_TASKS]
        ended = sorted(longest, key=lambda row: row.started or 0.0)
    free: dict[str, list[float]] = {}
    values = []

    def shown(when: float) -> float:
        return when - sum(min(when, end) - begin for begin, end in pauses if begin < when)

    for row in ended:
        device = row.device if row.stage == "execute" else "other tasks"
        lanes = free.setdefault(device, [])
        start, end = shown(row.started or 0.0), shown(row.ended or 0.0)
        lane = next((i for i, until in enumerate(lanes) if until <= start + 1e-3), len(lanes))
        lanes[lane : lane + 1] = [end]
        values.append(
            {
                "device": device, "lane": f"{device} {lane + 1}", "from": start, "to": end, "stage": row.stage,
                "submitted": shown(row.submitted) if row.submitted is not None else start, "seconds": row.seconds,
                "wait": row.wait_s, "fragments": row.fragments, "shots": row.shots, "node": row.node,
                "attempt": row.attempt, "outcome": row.failure or row.error or "done",
            }
        )  # fmt: skip
    order = [f"{device} {lane + 1}" for device, lanes in free.items() for lane in range(len(lanes))]
    y = alt.Y("lane:N", sort=order, axis=alt.Axis(title=None, labelLimit=160))
    x = alt.X(
        "from:Q", axis=alt.Axis(title="seconds of the run's processes" if pauses else "seconds since the run began")
    )
    failed = alt.datum.outcome != "done"
    stages = list(dict.fromkeys(row.stage for row in ended))
    scale = alt.Scale(domain=stages, range=list(DEVICE_COLOURS)[: len(stages)])
    colour = alt.Color("stage:N", scale=scale, legend=alt.Legend(symbolOpacity=1, symbolStrokeWidth=0))
    tips = ["stage:N", "device:N", "node:N", "fragments:N", "attempt:Q", "shots:Q", "seconds:Q", "wait:Q", "outcome:N"]
    data = alt.Data(values=values)
    height = max(60, 18 * len(order))
    begins = alt.Data(values=[{"at": at} for at in sorted({shown(begin) for begin, _ in pauses})])
    resumed = [alt.Chart(begins).mark_rule(color=UNSEEN_COLOUR, strokeDash=[4, 3]).encode(x="at:Q")] if pauses else []
    return alt.layer(
        *resumed,
        alt.Chart(data).mark_bar(opacity=0.25, height=4).encode(
            x=alt.X("submitted:Q"), x2="from:Q", y=y, color=colour),
        alt.Chart(data).mark_bar(height=12).encode(
            x=x, x2="to:Q", y=y, color=colour, tooltip=tips,
            stroke=alt.condition(failed, alt.value(CUT_COLOUR), alt.value(None)), strokeWidth=alt.value(2),
        ),
    ).properties(width=WIDTH, height=height)  # fmt: skip


def predictions(rows: Sequence[TaskRow]) -> alt.TopLevelMixin | None:
    """Measured against predicted seconds of executions, on the line where both agree."""
    known = [
        (row.predicted_s, row.seconds, row)
        for row in rows
        if row.stage == "execute" and row.predicted_s and row.seconds and not row.cached and not row.failure
    ][:MOST_TASKS]
    if len(known) < 2:
        return None
    values = [
        {"predicted": predicted, "measured": measured, "device": row.device, "fragments": row.fragments}
        for predicted, measured, row in known
    ]
    low = min(min(predicted, measured) for predicted, measured, _ in known)
    high = max(max(predicted, measured) for predicted, measured, _ in known)
    scale = alt.Scale(type="log", domain=[low / 1.3, high * 1.3], nice=False)
    x = alt.X("predicted:Q", scale=scale, axis=alt.Axis(title="predicted seconds", tickCount=4))
    y = alt.Y("measured:Q", scale=scale, axis=alt.Axis(title="measured seconds", tickCount=4))
    line = [{"predicted": low / 1.3, "measured": low / 1.3}, {"predicted": high * 1.3, "measured": high * 1.3}]
    return alt.layer(
        alt.Chart(alt.Data(values=line)).mark_line(color=UNSEEN_COLOUR, strokeDash=[4, 3]).encode(x=x, y=y),
        alt.Chart(alt.Data(values=values)).mark_circle(size=40, opacity=0.8, color=DEVICE_COLOURS[0]).encode(
            x=x, y=y, tooltip=["fragments:N", "device:N", "predicted:Q", "measured:Q"]),
    ).properties(width=340, height=280)  # fmt: skip


def fragment_seconds(rows: Sequence[TaskRow]) -> dict[int, float]:
    """Seconds of work of each fragment's executions; a task that ran several is shared out evenly."""
    found: dict[int, float] = {}
    for row in rows:
        if row.stage == "execute" and row.seconds:
            own = [int(text) for text in row.fragments.split()]
            for fragment in own:
                found[fragment] = found.get(fragment, 0.0) + row.seconds / len(own)
    return found
