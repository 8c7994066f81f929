"""What a user is told of an MPI rank that fails: the rank's own words, not the last ones of mpirun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tasks import reconstruct
from tasks.errors import DefectError, QompassError
from tasks.reconstruction import mpi
from tasks.runtime.errors import EngineError
from tasks.runtime.ranks import mpirun_path, run_ranks
from tests.engines.launching import ROOT, environment

pytestmark = pytest.mark.skipif(mpirun_path() is None, reason="the mpich wheel is not installed")

# A reconstruction in two ranks that may use hardly any memory, or that have a bug.
PROGRAM = """
import json, sys
from pathlib import Path
from apps.cli.main import main
from tasks import reconstruct
from tests.engines.test_rank_failures import broken_rank

written = reconstruct._written

def cramped(folder, *others):
    index = Path(written(folder, *others)) / "network.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"rank_bytes": 100}))
    return folder

reconstruct._WORTH_RANKS = 1.0
if sys.argv[1] == "memory":
    reconstruct._written = cramped
else:
    reconstruct.reconstruct_in_ranks.function = broken_rank
sys.exit(main(["run", "apps/circuits/vqe40.qasm", "--observable", "Z0 Z1 Z20", "--max-qubits", "16", "--shots", "1000",
               "--cache", "off", "--out", sys.argv[2]]))
"""


def broken_rank(folder: str) -> object:
    """The ranks' own function, in which what comes first has a bug."""
    mpi.network_of = lambda structure: {}["shape"]
    return reconstruct.reconstruct_in_ranks.function(folder)


def waiting(rank: int, kind: str) -> None:
    """A rank of a program in which the others wait for this one."""
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_rank() == rank:
        if kind == "mendable":
            raise QompassError("the file is damaged: make it anew")
        if kind == "system":
            raise MemoryError
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("seven is no\nshape")
    MPI.COMM_WORLD.Barrier()


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_what_the_user_can_mend_is_the_ranks_own_line(rank):
    with pytest.raises(EngineError) as told:
        run_ranks(waiting, [rank, "mendable"], {}, 2)
    assert str(told.value) == "the file is damaged: make it anew"


def test_what_the_system_refuses_a_rank_says_what_to_do():
    with pytest.raises(EngineError, match=r"^the system refuses more: .*raise `ulimit -v`"):
        run_ranks(waiting, [1, "system"], {}, 2)


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_bug_in_a_rank_has_its_traceback(rank):
    with pytest.raises(DefectError) as told:
        run_ranks(waiting, [rank, "bug"], {}, 2)
    first, *others = str(told.value).splitlines()
    assert first == f"MPI rank {rank}: ValueError: seven is no shape"
    assert any('raise ValueError("seven is no' in line for line in others), told.value


def test_a_rank_that_is_killed_says_nothing_and_mpirun_does():
    with pytest.raises(EngineError, match=r"^the MPI task waiting ended with status [1-9]\d*: .+"):
        run_ranks(waiting, [1, "killed"], {}, 2)


@pytest.mark.parametrize("kind", ["memory", "bug"])
def test_a_run_whose_rank_fails_is_one_line_or_a_traceback(tmp_path, kind):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, tmp_path / "run"], cwd=ROOT, capture_output=True, text=True,
        env=environment() | {"QOMPASS_RANKS": "2"},
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert "Abort" not in last and done.stdout == "", done.stderr
    if kind == "memory":
        assert done.returncode == 2 and "memory" in last and "Traceback" not in done.stderr, done.stderr
    else:
        assert done.returncode == 1 and "KeyError: 'shape'" in done.stderr, done.stderr
        assert "in run_rank\n" in done.stderr and "SystemExit" not in done.stderr, "the traceback is the rank's"
