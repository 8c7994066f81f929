"""Programs of this folder as operations that COMPSs agents are asked to run (launch/docker/agents.py)."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from unittest import mock

from apps.agent import answer
from tasks.runtime import task


@task()
def program(folder, arguments):
    """Run a program of this folder, named by the first argument, with the others."""
    name, *rest = json.loads(arguments)
    path = Path(__file__).with_name(f"{name}.py")

    def start() -> None:
        with mock.patch.object(sys, "argv", [str(path), *rest]):
            runpy.run_path(str(path), run_name="__main__")

    answer(folder, start)
