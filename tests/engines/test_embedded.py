"""What only the embedded engine promises: its errors, children that end with it, and one engine at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.errors import DefectError
from tasks.runtime import EngineError, Reason, device_tasks, engine, isolated, start_engine, stop_engine, task, wait_on
from tasks.runtime.dask_local import LocalEngine
from tests.engines import work
from tests.engines.launching import ROOT, environment

pytestmark = [pytest.mark.uses("embedded engine"), pytest.mark.xdist_group("embedded")]


def test_a_task_needs_an_engine():
    with pytest.raises(EngineError, match="no engine runs"):
        work.plus(1, 2)
    with pytest.raises(EngineError, match="no engine runs"):
        wait_on(3)


def test_wrong_uses_are_said_when_they_are_made():
    with pytest.raises(EngineError, match="no engine is called"):
        start_engine("slurm")
    with pytest.raises(EngineError, match=r"launch/local_compss\.sh"):
        start_engine("compss")
    with pytest.raises(EngineError, match="at least one"), engine(units={"QPU_A": 0}):
        pass
    with pytest.raises(EngineError, match="return a new value"):
        task(values="INOUT")
    with pytest.raises(EngineError, match="too like another's"):
        device_tasks(work.hold, [work.Bound(name, "CPU", name, 1) for name in ("a-b", "a_b")], {}, returns=1)
    with engine(units={"CPU": 1}):
        with pytest.raises(EngineError, match="runs already"):
            start_engine()
        with pytest.raises(EngineError, match="QPU_A, and there are 0"):
            work.HOLD["qpu-a"](0.0)
        with pytest.raises(EngineError, match="what=COLLECTION_IN"):
            work.do([work.plus(1, 1)], None, None, 0)
        with pytest.raises(DefectError, match="LookupError: no such thing as this"):
            wait_on(work.raises("this"))
        assert wait_on(work.plus(1, 1)).value == 2


def test_work_that_no_process_can_import_is_refused():
    with pytest.raises(EngineError, match="top level of a module"):
        isolated(lambda: 1)


def test_work_that_is_wrong_is_refused_for_good():
    outcome = isolated(work.refused, "rename it")
    assert (outcome.failure.reason, outcome.failure.message) == (Reason.REFUSED, "rename it")


PROGRAM = """
import sys, time
from tasks.runtime import engine, limits
from tests.engines import work
with engine("embedded", units={"CPU": 2}):
    tasks = [work.do("time", 300, limits(), 0) for _ in range(2)]
    time.sleep(float(sys.argv[1]))
    sys.stdout.write("up\\n"); sys.stdout.flush()
    time.sleep(300)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_children_end_with_their_program(number):
    command = [sys.executable, "-c", PROGRAM, "1"]
    program = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    program.stdout.readline()
    children = _children(program.pid)
    assert len(children) >= 2
    program.send_signal(number)
    program.wait(timeout=60)
    deadline = time.monotonic() + 30
    while (left := [pid for pid in children if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def _children(pid):
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(status.parent.name))
    return found


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_stopping_twice_is_stopping_once():
    stop_engine()
    with engine(units={"CPU": 1}):
        assert wait_on(work.plus(2, 2)).value == 4
    stop_engine()
    left = [Path(f"/proc/{pid}/cmdline").read_text() for pid in _children(os.getpid())]
    assert not [command for command in left if "tasks.runtime.child" in command]


def test_a_machine_too_busy_to_see_its_engine_end_is_no_failure(monkeypatch):
    from distributed.client import Client

    own, closed = LocalEngine({"CPU": 1}), Client.close

    def late(client, *arguments, **named):
        closed(client, *arguments, **named)
        raise TimeoutError("timed out after 5 s.")

    monkeypatch.setattr(Client, "close", late)
    folder = Path(own._folder.name)
    assert folder.is_dir()
    own.close()
    assert not folder.exists() and own._cluster.status.name == "closed"
