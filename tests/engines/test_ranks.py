"""The number of MPI ranks is the resources', or the user's, and changes no bit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tasks import reconstruct
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.errors import MemoryLimitError
from tasks.runtime.ranks import mpirun_path
from tests.engines.launching import ROOT, environment
from tests.reconstruction.networks import random_structure

PROGRAM = """
import sys
import numpy as np
from tasks import reconstruct
from tasks.workflow import estimate
from tests.oracles import brickwork

reconstruct._WORTH_RANKS = 1.0
found = estimate(brickwork(10, 4, np.random.default_rng(3)), ["Z0 Z9", "X3 + 0.5*Z4 Z5"], max_qubits=5, shots=50_000,
                 seed=4, cache="off")
print(reconstruct.RANKS, *(number.hex() for one in found for number in (one.value, one.std_error)))
"""


def declared(**variables: str) -> str:
    """(ranks, ranks on each node) as a program with these variables has them."""
    program = "from tasks import reconstruct; print(reconstruct.RANKS, reconstruct._RANKS_ON_NODE)"
    command = [sys.executable, "-c", program]
    return subprocess.check_output(command, env=environment() | variables, cwd=ROOT, text=True).strip()


def test_ranks_are_the_units_of_all_nodes_or_what_the_user_says(tmp_path):
    assert declared(QOMPASS_RANKS="3") == "3 3"
    processor = "<Processor Name='CPU'><ComputingUnits>4</ComputingUnits><Type>CPU</Type></Processor>"
    nodes = "".join(f"<ComputeNode Name='{name}'>{processor}</ComputeNode>" for name in ("one", "two"))
    projects = "".join(
        f"<ComputeNode Name='{name}'><InstallDir>/opt</InstallDir><WorkingDir>/tmp</WorkingDir></ComputeNode>"
        for name in ("one", "two")
    )
    (tmp_path / "resources.xml").write_text(f"<ResourcesList>{nodes}</ResourcesList>")
    (tmp_path / "project.xml").write_text(f"<Project><MasterNode/>{projects}</Project>")
    assert declared(QOMPASS_RESOURCES=str(tmp_path), QOMPASS_RANKS="") == "8 4"
    assert declared(QOMPASS_RESOURCES=str(tmp_path), QOMPASS_RANKS="5") == "6 3", "as many on each node"


def test_no_ranks_are_used_where_they_are_not_wanted(monkeypatch):
    monkeypatch.setattr(reconstruct, "mpirun_path", lambda: "/usr/bin/mpirun")
    monkeypatch.delenv("QOMPASS_RANKS", raising=False)
    assert reconstruct.worth_ranks(1e12) and not reconstruct.worth_ranks(1e6)
    monkeypatch.setenv("QOMPASS_RANKS", "0")
    assert not reconstruct.worth_ranks(1e12)


@pytest.mark.slow
def test_four_ranks_give_the_bits_of_two():
    if mpirun_path() is None:
        pytest.skip("the mpich wheel is not installed")
    found = {}
    for ranks in ("2", "4"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment() | {"QOMPASS_RANKS": ranks, "OMP_NUM_THREADS": "1"},
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said, *found[ranks] = done.stdout.split()
        assert said == ranks
    assert found["2"] == found["4"]


def test_what_does_not_fit_a_ranks_share_of_the_memory_is_contracted_in_one_process(monkeypatch):
    monkeypatch.setattr(reconstruct, "worth_ranks", lambda flops: True)
    monkeypatch.setattr(reconstruct, "RANKS", 2)
    ring = [(one, (one + step) % 6) for one in range(6) for step in (1, 2)]
    structure = random_structure(ring, 6, np.random.default_rng(5), factors=4, terms=60, observables=20)
    with pytest.raises(MemoryLimitError) as refusal:
        schedule(structure, network_of(structure), memory_bytes=1000)
    least = refusal.value.least_bytes
    assert reconstruct._searched(structure, None)[0] > 0
    assert reconstruct._searched(structure, 2 * least - 2)[0] == 0


def test_what_takes_more_work_in_slices_than_ranks_share_is_contracted_in_one_process(monkeypatch):
    monkeypatch.setattr(reconstruct, "worth_ranks", lambda flops: True)
    ring = [(one, (one + step) % 6) for one in range(6) for step in (1, 2)]
    structure = random_structure(ring, 6, np.random.default_rng(5), factors=4, terms=60, observables=20)
    whole = schedule(structure, network_of(structure)).cost
    share = whole.peak_bytes - 1
    sliced = schedule(structure, network_of(structure), memory_bytes=share).cost
    for ranks in (2, 8, 64):
        monkeypatch.setattr(reconstruct, "RANKS", ranks)
        assert reconstruct._searched(structure, ranks * whole.peak_bytes)[0] == whole.flops
        worth = sliced.flops <= ranks * whole.flops
        assert (reconstruct._searched(structure, ranks * share)[0] > 0) == worth, f"{sliced.flops / whole.flops} times"
