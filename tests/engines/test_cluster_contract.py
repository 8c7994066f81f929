"""The engine contract on a scheduler and two workers in processes of their own."""

from __future__ import annotations

import pytest

from tasks.runtime import engine
from tests.engines.contract import CHECKS, UNITS
from tests.engines.launching import running_cluster

pytestmark = [pytest.mark.uses("embedded engine"), pytest.mark.xdist_group("cluster")]


@pytest.fixture(scope="module")
def cluster_engine(tmp_path_factory):
    """Workers that together have the units of the contract."""
    folder = tmp_path_factory.mktemp("cluster") / "cluster"
    with (
        running_cluster(folder, {"CPU": 1, "QPU_A": 1}, {"CPU": 1, "QPU_B": 2}),
        engine("embedded", scheduler=str(folder)) as info,
    ):
        assert info.units == UNITS
        yield


LONG = ("a_thousand_small_tasks", "reconstruction_in_ranks")  # the embedded engine is asked them each time


@pytest.mark.parametrize(
    "check", [pytest.param(own, id=name, marks=[pytest.mark.slow] * (name in LONG)) for name, own in CHECKS.items()]
)
def test_cluster(check, cluster_engine):
    check()
