"""A pilot as jobs of Slurm: runs are bound to it, it grows and shrinks by jobs, and what is refused leaves nothing."""

from __future__ import annotations

import json
import sys

import pytest

from tasks.pilots import PilotError, grow_pilot, pilot_status, shrink_pilot, start_pilot, stop_pilot
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
    assert slurm("squeue", "-h") == ""


def test_more_nodes_than_there_are_and_unknown_partitions_are_refused(pilots, slurm):
    for extra, count, words in (([], 5, "node"), (["--partition=moon"], 1, "partition")):
        with pytest.raises(PilotError, match="Slurm refused") as refusal:
            start_pilot("one", "slurm", count, 600, extra=extra)
        assert words in str(refusal.value).lower()
    assert slurm("squeue", "-h") == "" and not list((pilots / "pilots").glob("*/pilot.json"))
