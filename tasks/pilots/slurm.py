"""Pilots as Slurm jobs: one job holds the scheduler and the first nodes, each growth is a job of workers."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tasks.pilots.errors import PilotError
from tasks.pilots.pilot import Pilot
from tasks.runtime.interpreter import python_command, python_environment

_ROOT = Path(__file__).resolve().parents[2]
_WORKER = (
    "import sys; from tasks.runtime.dask_cluster import serve_worker; from tasks.runtime.machine import usable_cores; "
    "offer = [w.partition('=') for w in sys.argv[2:]]; "
    "serve_worker(sys.argv[1], dict((n, int(c)) for n, _, c in offer) or dict(CPU=usable_cores()), told=print)"
)
_SIGNAL_S = 30  # before the end of the time a job is told of it


def submit(pilot: Pilot, nodes: int, keep: str, extra: Sequence[str] = ()) -> int:
    """Submit the job that holds a pilot; its number.

    Raises:
        PilotError: Slurm refuses it, or does not answer.
    """
    return _sbatch(pilot, nodes, python_command(keep, pilot.name), extra)


def submit_workers(pilot: Pilot, nodes: int) -> int:
    """Submit a job of workers for a pilot that lives; its number. Raises as ``submit``."""
    offer = [f"{name}={count}" for name, count in pilot.units.items()]
    worker = ["srun", "--ntasks-per-node=1", *python_command(_WORKER, str(pilot.folder), *offer)]
    return _sbatch(pilot, nodes, worker, pilot.extra)


def states(jobs: Sequence[int]) -> dict[int, str]:
    """The states of those jobs that have not ended, by number.

    Raises:
        PilotError: Slurm does not answer.
    """
    if not jobs:
        return {}
    asked = ["squeue", "--noheader", "--format=%i %T", f"--jobs={','.join(map(str, jobs))}"]
    found = _slurm(asked, may_fail=True)
    pairs = (line.split() for line in found.splitlines())
    return {int(job): state for job, state in pairs if state not in ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT")}


def cancel_jobs(jobs: Sequence[int]) -> None:
    """End jobs; their processes hear SIGTERM first.

    Raises:
        PilotError: Slurm does not answer.
    """
    if jobs:
        _slurm(["scancel", *map(str, jobs)], may_fail=True)


def _sbatch(pilot: Pilot, nodes: int, command: Sequence[str], extra: Sequence[str]) -> int:
    minutes, seconds = divmod(round(pilot.walltime_s), 60)
    variables = {
        name: value for name, value in python_environment().items() if name.startswith(("QOMPASS_", "QRMI_", "PYTHON"))
    }
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    script = f"#!/bin/bash\n{exports}cd /\nexec {shlex.join(command)}\n"
    asked = [
        "sbatch", "--parsable", f"--job-name=qompass-pilot-{pilot.name}",
        f"--nodes={nodes}", f"--time={minutes}:{seconds:02}",
        f"--output={pilot.folder / 'log'}", "--open-mode=append", "--no-requeue", f"--signal=B:TERM@{_SIGNAL_S}",
    ]  # fmt: skip
    said = _slurm([*asked, *extra], script=script)
    return int(said.strip().split(";")[0])


def _slurm(command: Sequence[str], script: str | None = None, may_fail: bool = False) -> str:
    try:
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise PilotError(
            f"{command[0]} is not on the PATH: start the pilot where Slurm is, or on `target` local"
        ) from None
    except subprocess.TimeoutExpired:
        raise PilotError(f"Slurm does not answer ({command[0]}): is its controller up?") from None
    if done.returncode and not (may_fail and "Invalid job id" in done.stderr):  # of one that has long ended
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise PilotError(f"Slurm refused ({command[0]}): {said.removeprefix(command[0]).removeprefix(': error: ')}")
    return done.stdout
