"""A pilot as jobs of Slurm: runs are bound to it, it grows and shrinks by jobs, and what is refused leaves nothing."""

from __future__ import annotations

import json
import sys

import pytest

from tasks.pilots import PilotError, grow_pilot, pilot_status, shrink_pilot, start_pilot, stop_pilot
from tasks.slurm import SlurmError
from tests.engines.launching import ROOT, run
from tests.pilots.test_pilots import QOMPASS, wait_until

CIRCUIT = [ROOT / "apps/circuits/vqe40.qasm", "--observable", "Z0 Z1 Z20", "--max-qubits", "16"]
ARGUMENTS = [*CIRCUIT, "--seed", "3", "--shots", "300000", "--cache", "off", "--json"]


@pytest.fixture
def pilots(tmp_path, monkeypatch, slurm):
    monkeypatch.setenv("QOMPASS_PILOTS", str(tmp_path / "pilots"))
    monkeypatch.setenv("PATH", sys.prefix + "/bin", prepend=":")
    yield tmp_path
    for path in (tmp_path / "pilots").glob("*/pilot.json"):
        stop_pilot(path.parent.name)


def nodes(count):
    return wait_until(lambda: len(pilot_status("one").nodes) == count, f"it has not {count} nodes", 120)


def test_runs_on_a_pilot_of_slurm_that_grows_and_shrinks(pilots, slurm):
    alone = run(pilots, *QOMPASS, "run", *ARGUMENTS)
    start_pilot("one", "slurm", 1, 600, units={"CPU": 1})
    nodes(1)
    assert pilot_status("one").status == "running"
    assert grow_pilot("one", 1) == 2
    nodes(2)
    assert len(slurm("squeue", "-h", "-o", "%A").split()) == 2
    done = run(pilots, *QOMPASS, "run", *ARGUMENTS, "--pilot", "one")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["estimates"] == json.loads(alone.stdout)["estimates"]
    with pytest.raises(PilotError, match="keeps one at least"):
        shrink_pilot("one", 2)
    assert shrink_pilot("one", 1) == 1
    nodes(1)
    stop_pilot("one")
    wait_until(lambda: slurm("squeue", "-h") == "", "a job is left")


@pytest.mark.parametrize(
    ("nodes", "extra", "words"),
    [
        (5, [], "partition main has 2 nodes, and 5 are asked for"),
        (1, ["--partition=moon"], "there is no partition moon: `partition` is one of main, compss"),
        (1, ["-pmoon"], "there is no partition moon"),
        (2, ["--partition", "compss"], "partition compss has 1 nodes, and 2 are asked for"),
    ],
)
def test_a_pilot_that_slurm_could_never_start_is_refused_before_it_is_submitted(pilots, slurm, nodes, extra, words):
    """Where it is not told to refuse them (EnforcePartLimits), Slurm queues such jobs for good."""
    with pytest.raises(SlurmError, match=words) as refusal:
        start_pilot("one", "slurm", nodes, 600, extra=extra)
    assert "\n" not in str(refusal.value)
    assert slurm("squeue", "-h") == "" and not list((pilots / "pilots").glob("*/pilot.json"))


def test_more_cores_or_time_than_a_node_has_and_growth_beyond_the_partition_are_refused(pilots, slurm):
    with pytest.raises(SlurmError, match="partition main has 2 cores on a node, and 3 are asked for"):
        start_pilot("one", "slurm", 1, 600, units={"CPU": 3})
    with pytest.raises(SlurmError, match="partition main has 60 minutes, and 61 are asked for"):
        start_pilot("one", "slurm", 1, 3601)
    start_pilot("one", "slurm", 1, 600, units={"CPU": 1}, extra=["--hold"])
    with pytest.raises(SlurmError, match="partition main has 2 nodes, and 3 are asked for"):
        grow_pilot("one", 3)
    assert pilot_status("one").wanted == 1
    assert len(slurm("squeue", "-h", "-o", "%A").split()) == 1
