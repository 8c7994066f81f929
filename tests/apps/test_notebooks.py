"""The notebooks run from their first cell to their last, as plain Python in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "apps" / "notebooks"
ROOT = FOLDER.parents[1]
NEEDS = {"qpus": "QPU emulator", "compss": "COMPSs engine"}
NOTEBOOKS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.uses(NEEDS[path.stem])] if path.stem in NEEDS else [])
    for path in sorted(FOLDER.glob("*.ipynb"))
]


@pytest.fixture
def environment(tmp_path):
    """A notebook's variables: what it starts lies in this test's folder, and is ended with it."""
    made = {**os.environ, "MPLBACKEND": "Agg", "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    made |= {"PYTHON": sys.executable, "QOMPASS_VENV": sys.prefix}
    yield made
    subprocess.run([ROOT / "launch" / "qpu_emulator", "stop"], env=made, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_a_notebook_runs(path, tmp_path, environment):
    cells = json.loads(path.read_text())["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (tmp_path / "cells.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "cells.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_notebooks_are_stored_small_and_with_their_outputs():
    for path in FOLDER.glob("*.ipynb"):
        document = json.loads(path.read_text())
        assert path.stat().st_size < 60_000, path
        code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
        assert any(cell["outputs"] for cell in code), f"{path} was never run"
        assert not any(output["output_type"] == "error" for cell in code for output in cell["outputs"]), path
