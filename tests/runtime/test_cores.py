"""Cores that are lent: to whoever computes alone all of them, to as many as there are cores one each."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tasks.runtime import cores
from tasks.runtime.cores import Cores


@pytest.fixture(autouse=True)
def four_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "usable_cores", lambda: 4)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def lent(held: Cores) -> int:
    with held.lent() as number:
        return number


def test_work_alone_uses_every_core_that_it_may():
    with Cores(4) as alone:
        assert lent(alone) == 4
        assert lent(alone) == 4, "what was lent is given back"
    for most in (1, 2, 3):
        with Cores(most) as held:
            assert lent(held) == most
    with Cores(100) as held:
        assert lent(held) == 4


def test_work_beside_others_leaves_them_a_core_each():
    with Cores(4) as first, Cores(4) as second, Cores(4) as third:
        assert [lent(one) for one in (first, second, third)] == [2, 2, 2]
        with Cores(4) as fourth, Cores(4) as fifth:
            assert [lent(one) for one in (first, fourth, fifth)] == [1, 1, 1]
        with first.lent() as most, second.lent() as none_left:
            assert (most, none_left) == (2, 1)
    with Cores(4) as first, first.lent() as all_of_them, Cores(4) as late:
        assert all_of_them == 4 and lent(late) == 1, "it computes, though nothing is free yet"


def test_a_core_is_free_again_when_its_holder_is_killed(tmp_path):
    program = (
        "import tempfile, sys, time; from tasks.runtime import cores\n"
        "cores.usable_cores = lambda: 4\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "with cores.Cores(4) as held, held.lent() as number: print(number, flush=True); time.sleep(60)\n"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "4\n"
        with Cores(4) as held:
            assert lent(held) == 1
            holder.kill()
            holder.wait()
            assert lent(held) == 4


def test_a_folder_of_somebody_else_lends_nothing(tmp_path):
    folder = tmp_path / f"qompass-cores-{os.geteuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with Cores(4) as held:
        assert lent(held) == 1
