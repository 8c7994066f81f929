"""The engine contract: the same checks on the embedded engine and, where runcompss is on the PATH, on COMPSs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.runtime import engine
from tests.engines.contract import CHECKS, UNITS
from tests.engines.launching import needs_runcompss, on_compss, running_cluster

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


@pytest.fixture(scope="module")
def cluster_engine(tmp_path_factory):
    """A scheduler and two workers in processes of their own, which together have the units."""
    folder = tmp_path_factory.mktemp("cluster") / "cluster"
    with running_cluster(folder, {"CPU": 1, "QPU_A": 1}, {"CPU": 1, "QPU_B": 2}):
        with engine("embedded", scheduler=str(folder)) as info:
            assert info.units == UNITS
            yield


@pytest.mark.uses("embedded engine")
@pytest.mark.xdist_group("cluster")
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_cluster(check, cluster_engine):
    check()


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
