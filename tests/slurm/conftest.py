"""One Slurm for all tests of this folder; each begins with its queue empty."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.slurm.cluster import Slurm, running_slurm


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them use Slurm, and one worker of pytest-xdist has it."""
    for item in items:
        if item.path.parent == Path(__file__).parent and "slurm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.uses("Slurm"))
            item.add_marker(pytest.mark.xdist_group("slurm"))


@pytest.fixture(scope="session")
def started_slurm():
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        with running_slurm(Path(folder)) as slurm:
            yield slurm


@pytest.fixture
def slurm(started_slurm, monkeypatch) -> Slurm:
    monkeypatch.setenv("SLURM_CONF", started_slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("QOMPASS_CLUSTER_HOST", "127.0.0.1")
    yield started_slurm
    for job in started_slurm("squeue", "-h", "-o", "%A").split():
        started_slurm("scancel", job)
    while started_slurm("squeue", "-h"):
        pass
