"""Tables and grids from files: a row is a circuit file, an observable and values of parameters."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import InputError
from tasks.inputs.files import read_bytes, read_json, text_of

MAX_ROWS = 1_000_000
_RESERVED = ("value", "std_error", "shots", "error")


@dataclass(frozen=True)
class Row:
    """A problem of a sweep.

    Attributes:
        number: of the row, from 0.
        circuit: its file, as it is written.
        observable: as on the command line.
        parameters: by name, as text or numbers.
    """

    number: int
    circuit: str
    observable: str
    parameters: Mapping[str, Any]


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV table, of a JSON list of rows, or of the grid that a JSON document states.

    A row has ``circuit``, ``observable``, and a column for each parameter. A grid has ``circuits``, ``observables`` and
    ``parameters``, lists (or ``{"from": 0, "to": 1, "steps": 11}``) of which every combination is a row, the last
    parameter changing soonest.

    Raises:
        InputError: the file is of no such form; what is wrong with one row alone is left to that row.
    """
    if path.suffix.lower() == ".csv":
        rows = list(_of_csv(path))
    else:
        document = read_json(path, "table of a sweep (CSV or JSON)")
        rows = list(_of_grid(path, document) if isinstance(document, dict) else _of_list(path, document))
    if not rows:
        raise InputError(f"{path}: has no rows: give a circuit and an observable in each")
    return rows


def _of_csv(path: Path) -> Iterator[Row]:
    text = text_of(path, read_bytes(path, "table of a sweep"), "CSV")
    reader = csv.DictReader(io.StringIO(text))
    try:
        names = list(reader.fieldnames or ())
        _check_names(path, names)
        for number, given in enumerate(reader):
            extra = given.pop(None, None)
            if extra or None in given.values():
                given = {**given, "": "wrong number of cells"}
            yield _row(path, number, given)
    except csv.Error as error:
        raise InputError(f"{path}, line {max(1, reader.line_num)}: not valid CSV: {error}: correct the file") from error


def _of_list(path: Path, document: Any) -> Iterator[Row]:
    if not isinstance(document, list):
        raise InputError(f'{path}: is neither a list of rows nor a grid: write [{{"circuit": ..., "observable": ...}}]')
    for number, given in enumerate(document):
        yield _row(path, number, given if isinstance(given, dict) else {"": "a row is no object"})


def _of_grid(path: Path, document: Mapping[str, Any]) -> Iterator[Row]:
    unknown = sorted(set(document) - {"circuits", "observables", "parameters"})
    if unknown:
        raise InputError(f"{path}: '{unknown[0]:.40}' is no part of a grid: it has circuits, observables, parameters")
    parameters = document.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InputError(f'{path}: parameters are an object of lists: write {{"theta": [0, 0.5]}}')
    _check_names(path, ["circuit", "observable", *parameters])
    axes = [_axis(path, name, document.get(name)) for name in ("circuits", "observables")]
    axes += [_axis(path, name, values) for name, values in parameters.items()]
    total = math.prod(map(len, axes))
    if total > MAX_ROWS:
        raise InputError(f"{path}: the grid has {total:,} rows: Qompass takes up to {MAX_ROWS:,}")
    for number, (circuit, observable, *values) in enumerate(itertools.product(*axes)):
        yield Row(number, str(circuit), str(observable), dict(zip(parameters, values, strict=True)))


def _axis(path: Path, name: str, given: Any) -> Sequence[Any]:
    if isinstance(given, list) and given:
        return given
    if isinstance(given, dict) and set(given) == {"from", "to", "steps"}:
        numbers = [given[key] for key in ("from", "to", "steps")]
        steps = numbers.pop()
        ends = [number_of(n, name) for n in numbers]
        if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= MAX_ROWS:
            raise InputError(
                f"{path}: steps of '{name:.40}': '{steps!s:.40}' is not a whole number from 1 to {MAX_ROWS:,}"
            )
        between = np.linspace(ends[0], ends[1], steps)[1:-1].tolist()
        return [ends[0], *(float(f"{value:.15g}") for value in between), *ends[1:]][:steps]  # 0.3, not what adds up
    form = 'a list of one or more, or {"from": 0, "to": 1, "steps": 11}'
    raise InputError(f"{path}: '{name:.40}' of a grid is {form}: correct the file")


def _check_names(path: Path, names: Sequence[str]) -> None:
    for wanted in ("circuit", "observable"):
        if wanted not in names:
            raise InputError(f"{path}: has no column '{wanted}': a row has a circuit, an observable and parameters")
    for name in names:
        if names.count(name) > 1 or name in _RESERVED:
            raise InputError(
                f"{path}: column '{name:.40}' is given twice, or is one of those that are added: rename it"
            )


def _row(path: Path, number: int, given: Mapping[str, Any]) -> Row:
    if number >= MAX_ROWS:
        raise InputError(f"{path}: has more than {MAX_ROWS:,} rows: split it")
    rest = {
        name: value for name, value in given.items() if name not in ("circuit", "observable") and value not in ("",)
    }
    return Row(number, str(given.get("circuit") or ""), str(given.get("observable") or ""), rest)


def number_of(value: Any, name: str) -> float:
    """A parameter's value.

    Raises:
        InputError: it is no finite number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise InputError(f"parameter '{name:.40}': '{value!s:.40}' is not a finite number")
    return number
