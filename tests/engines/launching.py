"""Start programs on COMPSs the way a user does, for the tests."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from apps.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "launch/local_compss.sh"
needs_runcompss = pytest.mark.uses("COMPSs engine")


def environment() -> dict[str, str]:
    """This process's, with this Python for COMPSs too."""
    return {
        **os.environ,
        "QOMPASS_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }


def on_compss(folder: Path, *command: object, timeout: float = 400) -> subprocess.CompletedProcess[str]:
    """launch/local_compss.sh with these arguments, in ``folder``, its logs there too."""
    return run(folder, "bash", LAUNCHER, "--logs", folder / "logs", *command, timeout=timeout)


def run(folder: Path, *command: object, timeout: float = 400) -> subprocess.CompletedProcess[str]:
    """A command in ``folder``."""
    return subprocess.run(
        list(map(str, command)), env=environment(), cwd=folder, capture_output=True, text=True, timeout=timeout
    )


def document(*command: object) -> dict[str, Any]:
    """The JSON document of a command in this process, whose handlers of signals are put back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main(list(map(str, command))) == 0
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    return dict(json.loads(out.getvalue()))


def member(*arguments: object, **more: str) -> subprocess.Popen[str]:
    """A scheduler or worker of a cluster, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "apps.cli", "cluster", *map(str, arguments)],
        cwd=ROOT, env={**environment(), **more}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(process: subprocess.Popen[str], words: str) -> str:
    """The line in which a process says that it is there."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert words in line, line + (process.stderr.read() if process.poll() is not None else "")
    return line


@contextlib.contextmanager
def running_cluster(folder: Path, *workers: Mapping[str, int]) -> Iterator[list[subprocess.Popen[str]]]:
    """A scheduler and workers with these units; the processes, the scheduler first."""
    processes = [member("scheduler", "--folder", folder)]
    try:
        said(processes[0], "scheduler at")
        for units in workers:
            offer = ",".join(f"{name}={count}" for name, count in units.items())
            processes.append(member("worker", "--folder", folder, "--units", offer))
        for worker in processes[1:]:
            said(worker, "worker at")
        yield processes
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
