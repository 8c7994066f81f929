"""A cut circuit as a picture: gates and wires in the colour of their fragment, cuts in red."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from apps.extras import EXTRA_MISSING
from apps.report.layout import NO_FRAGMENT, CircuitLayout, GateMark, circuit_layout
from apps.report.style import CUT_COLOUR, UNSEEN_COLOUR, fragment_colours
from tasks.cutting.cuts import Cut
from tasks.cutting.lightcone import light_cone
from tasks.errors import QompassError
from tasks.model.problem import Problem

MOST_GATES_WITH_NAMES = 1500
"""Above that, and above 40 qubits or 120 layers, a map of space and time is drawn: wires and two-qubit gates only."""

FORMATS = ("svg", "png", "pdf")
_MOST_LINES = 6000  # between qubits, in a map
_CELL, _MAP_CELL = 22, 6
_LEAST_ADDRESS_SPACE = 100 << 30  # reserved, not used
_UNSEEN = "none"
_TIPS = ["gate:N", "instruction:Q", "qubits:N", "fragment:N"]


def problem_layout(problem: Problem, cuts: Sequence[Cut]) -> CircuitLayout:
    """The layout of a problem's circuit under the cuts of its plan."""
    seen = light_cone(problem.circuit, np.asarray(problem.terms.support.any(axis=0)))
    return circuit_layout(problem.circuit, cuts, seen)


def drawing(layout: CircuitLayout) -> alt.TopLevelMixin:
    """A circuit with its cuts; every mark says what it is when it is pointed at."""
    named = layout.num_qubits <= 40 and layout.layers <= 120 and len(layout.gates) <= MOST_GATES_WITH_NAMES
    cell = _CELL if named else max(2, min(_MAP_CELL, 4000 // max(layout.layers, 1)))
    height = (_CELL if named else max(5, min(14, 1400 // max(layout.num_qubits, 1)))) * layout.num_qubits
    x = alt.X("x:Q", axis=alt.Axis(title="layer", grid=False, tickMinStep=1), scale=_scale(-1, layout.layers))
    y = alt.Y("y:Q", axis=alt.Axis(title="qubit", grid=False, tickMinStep=1),
              scale=_scale(-0.7, layout.num_qubits - 0.3, reverse=True))  # fmt: skip
    layers = [_wires(layout, x, y, 2.5 if named else 3.5), *_lines(layout, x, y, named)]
    layers += [*(_ends(layout, x, y) if named else []), *_wire_cuts(layout, x, y)]
    return alt.layer(*layers).properties(width=max(160, cell * (layout.layers + 1)), height=max(60, height))


def check_format(path: Path) -> str:
    """The one of ``FORMATS`` that a file's name ends in.

    Raises:
        QompassError: it ends in none of them.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise QompassError(f"{path}: a picture is written as {endings}: end the name so", field="draw")
    return kind


def write_drawing(problem: Problem, cuts: Sequence[Cut], path: Path) -> None:
    """Write a picture of a problem's circuit and its cuts; the name's ending says as what.

    Raises:
        QompassError: it is none of ``FORMATS``, or cannot be written.
    """
    kind = check_format(path)
    content = rendered(drawing(problem_layout(problem, cuts)).to_dict(), kind)
    try:
        path.write_bytes(content)
    except OSError as error:
        raise QompassError(f"cannot write {path}: {error.strerror}", field="draw") from error


def rendered(spec: dict[str, Any], kind: str) -> bytes:
    """A chart, as Vega-Lite, as an SVG, PNG or PDF file's content; nothing is fetched for it.

    Raises:
        QompassError: the extra `report` is not installed.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise QompassError(EXTRA_MISSING) from error
    check_address_space()
    if kind == "svg":
        return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])).encode()
    if kind == "png":
        return bytes(vl_convert.vegalite_to_png(spec, scale=2, allowed_base_urls=[]))
    return bytes(vl_convert.vegalite_to_pdf(spec, allowed_base_urls=[]))


def check_address_space() -> None:
    """Refuse a limit under which the renderer's engine would end the process without a word.

    Raises:
        QompassError: there is one.
    """
    if sys.platform == "win32":
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit not in (resource.RLIM_INFINITY, -1) and limit < _LEAST_ADDRESS_SPACE:
        raise QompassError(
            f"`ulimit -v` allows {limit >> 30} GiB of address space, and the renderer of pictures reserves "
            f"{_LEAST_ADDRESS_SPACE >> 30} GiB: raise it (ulimit -v unlimited)"
        )


def _scale(low: float, high: float, reverse: bool = False) -> alt.Scale:
    return alt.Scale(domain=[low, high], nice=False, zero=False, reverse=reverse)


def _colour(layout: CircuitLayout) -> alt.Color:
    shown = sorted({part.fragment for part in layout.wires} - {NO_FRAGMENT})
    scale = alt.Scale(domain=[*map(str, shown), _UNSEEN], range=[*fragment_colours(len(shown)), UNSEEN_COLOUR])
    legend = alt.Legend(title="fragment", columns=2, symbolLimit=24) if 1 < len(shown) <= 24 else None
    return alt.Color("fragment:N", legend=legend, scale=scale)


def _number(fragment: int) -> str:
    return _UNSEEN if fragment == NO_FRAGMENT else str(fragment)


def _wires(layout: CircuitLayout, x: alt.X, y: alt.Y, thick: float) -> alt.Chart:
    rows = [
        {
            "x": part.first - (0.5 if part.first == 0 else 0),
            "x2": part.last - (0.5 if part.last == layout.layers else 0),
            "y": part.qubit,
            "fragment": _number(part.fragment),
            "what": f"qubit {part.qubit}",
        }
        for part in layout.wires
    ]
    chart = alt.Chart(alt.Data(values=rows)).mark_rule(strokeWidth=thick)
    return chart.encode(x=x, x2="x2:Q", y=y, color=_colour(layout), tooltip=["what:N", "fragment:N"])


def _lines(layout: CircuitLayout, x: alt.X, y: alt.Y, named: bool) -> list[alt.Chart]:
    """Two-qubit gates: whole ones in their fragment's colour, severed ones dashed and red."""
    whole = [_line(gate) for gate in layout.gates if len(gate.qubits) == 2 and not gate.cut]
    cut = [_line(gate) for gate in layout.gates if gate.cut]
    charts = []
    if 0 < len(whole) <= _MOST_LINES:
        mark = alt.Chart(alt.Data(values=whole)).mark_rule(strokeWidth=2 if named else 1)
        charts.append(mark.encode(x=x, y=y, y2="y2:Q", color=_colour(layout), tooltip=_TIPS))
    if cut:
        mark = alt.Chart(alt.Data(values=cut)).mark_rule(strokeWidth=3, strokeDash=[4, 2], color=CUT_COLOUR)
        charts.append(mark.encode(x=x, y=y, y2="y2:Q", tooltip=_TIPS))
    return charts


def _line(gate: GateMark) -> dict[str, object]:
    low, high = sorted(gate.qubits)
    return {"x": gate.layer, "y": low, "y2": high, **_said(gate), "fragment": _number(gate.fragments[0])}


def _said(gate: GateMark) -> dict[str, object]:
    told = f"{gate.name}({gate.parameters})" if gate.parameters else gate.name
    state = " (severed)" if gate.cut else "" if gate.seen else " (no observable sees it)"
    return {"gate": told + state, "instruction": gate.instruction, "qubits": ", ".join(map(str, gate.qubits))}


def _ends(layout: CircuitLayout, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """A box with its name on the last qubit of each gate, a dot on the first of two."""
    ends = [
        {
            "x": gate.layer,
            "y": qubit,
            "name": gate.name[:4] if place == len(gate.qubits) - 1 else "",
            "fragment": _number(own),
            **_said(gate),
        }
        for gate in layout.gates
        for place, (qubit, own) in enumerate(zip(gate.qubits, gate.fragments, strict=True))
    ]
    charts = []
    for mark, rows in (("circle", [e for e in ends if not e["name"]]), ("square", [e for e in ends if e["name"]])):
        if rows:
            size = 60 if mark == "circle" else 250
            chart = alt.Chart(alt.Data(values=rows)).mark_point(shape=mark, size=size, filled=True, opacity=1)
            charts.append(chart.encode(x=x, y=y, color=_colour(layout), tooltip=_TIPS))
    if charts:
        names = alt.Chart(alt.Data(values=[e for e in ends if e["name"]])).mark_text(fontSize=8, color="white")
        charts.append(names.encode(x=x, y=y, text="name:N"))
    return charts


def _wire_cuts(layout: CircuitLayout, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    rows = [{"x": layer, "y": qubit, "what": f"wire of qubit {qubit}, severed"} for qubit, layer in layout.wire_cuts]
    if not rows:
        return []
    mark = alt.Chart(alt.Data(values=rows)).mark_point(
        shape="cross", angle=45, size=130, filled=True, color=CUT_COLOUR, opacity=1
    )
    return [mark.encode(x=x, y=y, tooltip=["what:N"])]
