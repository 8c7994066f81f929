"""Files that lie where the user stands are never executed: by children, ranks, the emulator, doctor, launch/qompass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.runtime import isolated, ranks
from tasks.runtime.children import end_children
from tasks.runtime.interpreter import python_command, python_environment

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("pickle", "json", "random", "tasks", "apps", "numpy", "mpi4py", "qrmi", "sitecustomize", "usercustomize")


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A current folder with modules that leave a mark when executed, on Python's path as `python -m` puts it."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'a').write('{name}\\n')\n")
    for name in ("tasks", "launch"):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "tasks.py", tmp_path / name / "__init__.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", str(ROOT)]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    end_children()
    yield tmp_path
    end_children()
    assert not (tmp_path / "sprung").exists(), (tmp_path / "sprung").read_text()


def test_a_child_does_not_execute_them(trap):
    outcome = isolated(os.getcwd)
    assert outcome.value == str(trap), outcome


def test_a_child_does_not_execute_them_on_python_3_10(trap):
    """There nothing but our first statement keeps the current folder out: PYTHONSAFEPATH is unknown."""
    environment = {name: value for name, value in python_environment().items() if name != "PYTHONSAFEPATH"}
    command = python_command("import random, pickle, numpy; from tasks.runtime import child; print(child.__file__)")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{ROOT / 'tasks/runtime/child.py'}\n", done.stderr


@pytest.mark.uses("MPI")
def test_ranks_of_mpi_do_not_execute_them(trap):
    assert ranks.run_ranks(os.getcwd, [], {}, 2) == [str(trap)] * 2


@pytest.mark.uses("QPU emulator")
def test_the_emulator_does_not_execute_them(trap, monkeypatch):
    monkeypatch.setenv("PYTHON", sys.executable)
    folder = trap / "emulator"
    start = subprocess.run(
        [ROOT / "launch" / "qpu_emulator", "start", "--folder", folder], capture_output=True, text=True, timeout=120
    )
    stop = subprocess.run([ROOT / "launch" / "qpu_emulator", "stop", "--folder", folder], timeout=60)
    assert (start.returncode, stop.returncode) == (0, 0), start.stderr


@pytest.mark.parametrize("arguments", [["doctor"], ["plan", "ghz.qasm", "--max-qubits", "6"]], ids=["doctor", "plan"])
def test_the_command_does_not_execute_them(trap, arguments, ready_venv):
    shutil.copy(ROOT / "apps" / "circuits" / "ghz12.qasm", trap / "ghz.qasm")
    command = [ROOT / "launch" / "qompass", *arguments]
    environment = {**os.environ, "QOMPASS_VENV": str(ready_venv)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
