"""Benchmarks stay in step with the rooms: what they import is there. (They are run by hand.)"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_architecture import LEVEL

ROOMS = {room.split(".")[0] for room in LEVEL}


@pytest.mark.parametrize("path", sorted((ROOT / "results/benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_of_the_rooms_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ROOMS:
            module = import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    import_module(f"{node.module}.{alias.name}")
