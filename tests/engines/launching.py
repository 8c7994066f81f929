"""Start programs on COMPSs the way a user does, for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "launch/local_compss.sh"
needs_runcompss = pytest.mark.uses("COMPSs engine")


def environment() -> dict[str, str]:
    """This process's, with this Python for COMPSs too."""
    return {
        **os.environ,
        "QOMPASS_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }


def on_compss(folder: Path, *command: object, timeout: float = 400) -> subprocess.CompletedProcess[str]:
    """launch/local_compss.sh with these arguments, in ``folder``, its logs there too."""
    return run(folder, "bash", LAUNCHER, "--logs", folder / "logs", *command, timeout=timeout)


def run(folder: Path, *command: object, timeout: float = 400) -> subprocess.CompletedProcess[str]:
    """A command in ``folder``."""
    return subprocess.run(
        list(map(str, command)), env=environment(), cwd=folder, capture_output=True, text=True, timeout=timeout
    )
