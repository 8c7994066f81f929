"""The notebooks run from their first cell to their last, as plain Python in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "apps" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    cells = json.loads(path.read_text())["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (tmp_path / "cells.py").write_text(text)
    environment = {**os.environ, "MPLBACKEND": "Agg", "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
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
