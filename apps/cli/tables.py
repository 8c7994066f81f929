"""Plans and estimates as text for people."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.model.problem import Estimate
from tasks.model.sizes import bytes_text

_SHOWN_FRAGMENTS = 40
_LEAST = 20  # characters of a text that is cut to make room


def estimates_table(estimates: Iterable[Estimate]) -> str:
    """One line for each observable: value, plus or minus, standard error."""
    rows = [(_shortened(e.observable, 48), *value_and_error(e.value, e.std_error)) for e in estimates]
    return table(("observable", "value", "std error"), rows)


def value_and_error(value: float, std_error: float) -> tuple[str, str]:
    """The error with two significant digits and the value to the same decimal; an exact value with twelve digits."""
    if std_error == 0:
        if abs(value) < 1e-13:
            return "0", "exact"  # what rounding leaves of a zero
        return f"{value:.12f}".rstrip("0").rstrip(".") if 1e-4 < abs(value) < 1e6 else f"{value:.12g}", "exact"
    if not math.isfinite(std_error):
        return f"{value:.6g}", str(std_error)
    decimals = 1 - math.floor(math.log10(std_error))
    if not -3 <= decimals <= 9:
        return f"{value:.6e}", f"{std_error:.1e}"
    return f"{value:.{max(decimals, 0)}f}", f"{std_error:.{max(decimals, 0)}f}"


def value_text(value: float, std_error: float) -> str:
    """A value with its error in one cell."""
    value_, error = value_and_error(value, std_error)
    return f"{value_} ({error})" if std_error == 0 else f"{value_} ± {error}"


def plan_text(plan: Mapping[str, Any]) -> str:
    """A plan document in words and one table."""
    cuts, fragments = plan["cuts"], plan["fragments"]
    widest = max((fragment["width"] for fragment in fragments), default=0)
    beyond = plan["sampling_overhead"] >= sys.float_info.max  # as a plan has it that no float holds
    overhead = "above 1e308" if beyond else f"{plan['sampling_overhead']:,.4g}"
    lines = [
        f"Plan: {_count(len(fragments), 'fragment')} of at most {_count(widest, 'qubit')},"
        f" {_count(len(cuts['gates']), 'gate cut')}, {_count(len(cuts['wires']), 'wire cut')}",
        f"      sampling overhead {overhead}, {_count(plan['variants'], 'distinct variant')},"
        f" at most {bytes_text(plan['predicted_bytes'])} of memory",
    ]
    if cuts["gates"]:
        gates = [_gate(entry) for entry in cuts["gates"]]
        lines.append(f"      gates cut: instructions {_listed(gates)}")
        if any(isinstance(entry, Mapping) and entry.get("with") for entry in cuts["gates"]):
            lines.append("      note: gates joined by + are severed as one cut")
    if cuts["wires"]:
        wires = [f"qubit {wire['qubit']} before {wire['instruction']}" for wire in cuts["wires"]]
        lines.append(f"      wires cut: {_listed(wires)}")
    lent = max((fragment.get("lent", 0) for fragment in fragments), default=0)
    if lent:
        more = f"{_count(lent, 'qubit')} more on a device that cannot reset in mid-circuit"
        lines.append(f"      note: a fragment with copies of qubits that share a cut needs {more}")
    lines += [f"      note: {note}" for note in plan["notes"]]
    rows = [
        (
            str(index),
            str(fragment["width"]),
            str(fragment["depth"]),
            str(fragment["two_qubit_gates"]),
            str(len(fragment["legs"])),
            f"{fragment['variants']:,}",
            bytes_text(fragment["exact_bytes"]),
        )
        for index, fragment in enumerate(fragments[:_SHOWN_FRAGMENTS])
    ]
    names = ("fragment", "qubits", "depth", "2-qubit gates", "legs", "variants", "memory (exact)")
    left_out = len(fragments) - len(rows)
    rest = [f"and {_count(left_out, 'fragment')} more"] if left_out else []
    return "\n".join([*lines, "", table(names, rows, right=range(1, 7)), *rest])


def _gate(entry: Any) -> Any:
    """A gate cut of a plan document: its instructions, those severed as one joined by +, and its kind if named."""
    if not isinstance(entry, Mapping):
        return entry
    own = "+".join(str(i) for i in (entry["instruction"], *entry.get("with", ())))
    return f"{own} ({entry['kind']})" if entry.get("kind") else own


def table(names: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Columns under their names; the first is left-aligned, and so are the others unless in ``right``."""
    right = set(right)
    widths = [max(len(row[column]) for row in [names, *rows]) for column in range(len(names))]
    lines = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [names, ["-" * width for width in widths], *rows]
    ]
    return "\n".join(lines)


def fitting(
    names: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, shorten: str, drop: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Columns whose table is no wider than ``width`` characters, if that can be had without touching the others.

    Args:
        names: of the columns.
        rows: their cells.
        width: in characters.
        shorten: a column whose cells may be cut to 20 characters; before a column is left out, too.
        drop: columns that may be left out, the least wanted first.
    """
    kept = list(range(len(names)))

    def excess() -> int:
        return sum(2 + max(len(row[column]) for row in [names, *rows]) for column in kept) - 2 - width

    place = names.index(shorten)
    longest = max(len(row[place]) for row in rows)
    for name in drop:
        if excess() > max(0, longest - _LEAST):
            kept.remove(names.index(name))
    over = excess()
    if over > 0:
        most = max(_LEAST, longest - over)
        rows = [[*row[:place], _shortened(row[place], most), *row[place + 1 :]] for row in rows]
    return [names[column] for column in kept], [[row[column] for column in kept] for row in rows]


def stages_text(record: Mapping[str, Any]) -> str:
    """What each stage of a run took, beside what was predicted of it."""
    predicted = ((record["plan"] or {}).get("predicted") or {}).get("seconds", {}) if "plan" in record else {}
    texts = []
    for name, seconds in record["timings"].items():
        known = f" (predicted {seconds_text(predicted[name])})" if name in predicted and name != "cut" else ""
        texts.append(f"{name} {seconds_text(seconds)}{known}")
    return ", ".join(texts)


def seconds_text(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 0.95:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _listed(items: Sequence[object], most: int = 12) -> str:
    shown = ", ".join(map(str, items[:most]))
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
