"""Pilots where Slurm is away: one line, status 2, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.engines.launching import environment
from tests.pilots.test_pilots import QOMPASS, pilots

__all__ = ["pilots"]
START = [*QOMPASS, "pilot", "start", "one", "--target", "slurm", "--nodes", "2", "--walltime", "5"]


def start(folder, **variables):
    return subprocess.run(START, env=environment() | variables, cwd=folder, capture_output=True, text=True, timeout=100)


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="sbatch is not on the PATH")
def test_a_controller_that_is_down_at_submission_is_one_line(pilots):
    (pilots / "slurm.conf").write_text(
        "ClusterName=none\nSlurmctldHost=localhost\nSlurmctldPort=1\nAuthType=auth/none\nCredType=cred/none\n"
        "MessageTimeout=2\nNodeName=localhost CPUs=2\nPartitionName=main Nodes=ALL Default=YES\n"
    )
    done = start(pilots, SLURM_CONF=str(pilots / "slurm.conf"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "Slurm does not take `sinfo" in done.stderr and "controller" in done.stderr
    assert not list((pilots / "pilots").glob("*/pilot.json"))


def test_a_machine_without_slurm_is_one_line(pilots):
    done = start(pilots, PATH=os.pathsep.join(["/nowhere"]))
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "sinfo is not on the PATH: submit from a node of the cluster" in done.stderr
    assert not list((pilots / "pilots").glob("*/pilot.json"))
