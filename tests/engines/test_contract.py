"""The engine contract: the same checks on the embedded engine and, where runcompss is on the PATH, on COMPSs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.runtime import engine
from tests.engines.contract import CHECKS, UNITS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
needs_runcompss = pytest.mark.skipif(shutil.which("runcompss") is None, reason="runcompss is not on the PATH")


@pytest.fixture(scope="module")
def embedded_engine():
    with engine("embedded", units=UNITS):
        yield


@pytest.fixture(scope="module")
def compss_results(tmp_path_factory):
    """All checks in one runcompss, which takes seconds to start."""
    logs = tmp_path_factory.mktemp("compss")
    launcher = [ROOT / "launch/local_compss.sh", "--resources", HERE / "resources", "--logs", logs]
    done = subprocess.run(
        [*launcher, HERE / "run_contract.py"],
        env=_environment(),
        cwd=logs,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "QOMPASS_PYTHON": sys.executable}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_embedded(check, embedded_engine):
    check()


@needs_runcompss
@pytest.mark.parametrize("name", CHECKS)
def test_compss(name, compss_results):
    assert compss_results["engine"] == "compss"
    failure = compss_results["checks"][name]["failure"]
    assert not failure, failure
