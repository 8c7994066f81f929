"""The engine contract: the same checks on the embedded engine and, where runcompss is on the PATH, on COMPSs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.runtime import engine
from tests.engines.contract import CHECKS, UNITS
from tests.engines.launching import needs_runcompss, on_compss

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def embedded_engine():
    with engine("embedded", units=UNITS):
        yield


@pytest.fixture(scope="module")
def compss_results(tmp_path_factory):
    """All checks in one runcompss, which takes seconds to start."""
    folder = tmp_path_factory.mktemp("compss")
    done = on_compss(folder, "--resources", HERE / "resources", HERE / "run_contract.py")
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.uses("embedded engine")
@pytest.mark.xdist_group("embedded")
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_embedded(check, embedded_engine):
    check()


@needs_runcompss
@pytest.mark.xdist_group("runcompss")  # so that one worker of pytest-xdist has the fixture
@pytest.mark.parametrize("name", CHECKS)
def test_compss(name, compss_results):
    assert compss_results["engine"] == "compss"
    failure = compss_results["checks"][name]["failure"]
    assert not failure, failure
