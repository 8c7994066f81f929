"""Runs beside each other: in what they differ, and what each says of the same observables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot, inf
from typing import Any

from tasks.runs.summary import Summary

_EXACT = 1e-9  # values of exact runs that differ by no more are the same


@dataclass(frozen=True)
class ValueComparison:
    """What several runs say of one observable.

    Attributes:
        observable: its name.
        estimates: of each run, None where it says nothing.
        difference: the largest one to the first run, None where there is none to compare.
        pull: that difference in standard errors; infinite where both are exact and differ.
    """

    observable: str
    estimates: tuple[Mapping[str, Any] | None, ...]
    difference: float | None
    pull: float | None


def compared_values(runs: Sequence[Summary]) -> list[ValueComparison]:
    """Every observable of any of the runs, in the order in which they name them."""
    names = dict.fromkeys(own["observable"] for run in runs for own in run.estimates)
    return [_compared(name, runs) for name in names]


def differing(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In which options, inputs, software and engine a run's record differs from another's."""
    options, others = first.get("options") or {}, other.get("options") or {}
    names = [name for name in sorted({*options, *others} - {"memory_bytes"}) if options.get(name) != others.get(name)]
    given, theirs = first["inputs"], other["inputs"]
    for name in ("circuit", "observables", "cuts", "resources"):
        if given.get(name, {}).get("sha256") != theirs.get(name, {}).get("sha256"):
            names.append(name)
    if (first.get("problem") or {}).get("names") != (other.get("problem") or {}).get("names"):
        names.append("observables")
    versions, newer = first.get("versions") or {}, other.get("versions") or {}
    names += [name for name in sorted({*versions, *newer}) if versions.get(name) != newer.get(name)]
    if (first.get("engine") or {}).get("name") != (other.get("engine") or {}).get("name"):
        names.append("engine")
    return list(dict.fromkeys(names))


def _compared(name: str, runs: Sequence[Summary]) -> ValueComparison:
    own = tuple(next((e for e in run.estimates if e["observable"] == name), None) for run in runs)
    first, found = own[0], []
    for other in own[1:]:
        if first is not None and other is not None:
            difference = abs(other["value"] - first["value"])
            error = hypot(first["std_error"], other["std_error"])
            found.append((difference / error if error else inf if difference > _EXACT else 0.0, difference))
    pull, difference = max(found, default=(None, None))
    return ValueComparison(name, own, difference, pull)
