"""Pilots as Slurm jobs: one job holds the scheduler and the first nodes, each growth is a job of workers."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Mapping, Sequence

from tasks.pilots.pilot import Pilot
from tasks.pilots.worker import FIRST
from tasks.runtime.interpreter import python_command, python_environment
from tasks.slurm import JobRequest, SlurmError, ask_slurm, check_request, read_partitions

_WORKER = "import sys; from tasks.pilots.worker import serve_ready_worker as serve; serve(sys.argv[1], sys.argv[2:])"
_ENDED = {
    "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "PREEMPTED",
}  # fmt: skip
_SIGNAL_S = 30  # before the end of the time a job is told of it


def submit(pilot: Pilot, nodes: int, keep: str, extra: Sequence[str] = ()) -> int:
    """Submit the job that holds a pilot; its number.

    Raises:
        SlurmError: it can never run, Slurm refuses it, or does not answer.
    """
    return _sbatch(pilot, nodes, python_command(keep, pilot.name), extra)


def submit_workers(pilot: Pilot, nodes: int, shared: Mapping[str, int]) -> int:
    """Submit a job of workers for a pilot that lives, with units that the first offers besides; its number.

    Raises as ``submit``.
    """
    offer = [f"{name}={count}" for name, count in pilot.units.items()]
    offer += [f"{FIRST}{name}={count}" for name, count in shared.items()]
    worker = ["srun", "--ntasks-per-node=1", *python_command(_WORKER, str(pilot.folder), *offer)]
    return _sbatch(pilot, nodes, worker, pilot.extra)


def states(jobs: Sequence[int]) -> dict[int, str]:
    """The states of those jobs that have not ended, by number.

    Raises:
        SlurmError: Slurm does not answer.
    """
    if not jobs:
        return {}
    asked = ["squeue", "--noheader", "--format=%i %T", f"--jobs={','.join(map(str, jobs))}"]
    pairs = (line.split() for line in _of_jobs(*asked).splitlines())
    return {int(job): state for job, state in pairs if state not in _ENDED}


def cancel_jobs(jobs: Sequence[int]) -> None:
    """End jobs; their processes hear SIGTERM first.

    Raises:
        SlurmError: Slurm does not answer.
    """
    if jobs:
        _of_jobs("scancel", *map(str, jobs))


def _sbatch(pilot: Pilot, nodes: int, command: Sequence[str], extra: Sequence[str]) -> int:
    minutes, seconds = divmod(round(pilot.walltime_s), 60)
    variables = {
        name: value for name, value in python_environment().items() if name.startswith(("QOMPASS_", "QRMI_", "PYTHON"))
    }
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    exports += "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK\n"  # srun gives a step one core otherwise
    script = f"#!/bin/bash\n{exports}cd /\nexec {shlex.join(command)}\n"
    asked = [
        "sbatch", "--parsable", f"--job-name=qompass-pilot-{pilot.name}", f"--nodes={nodes}",
        "--ntasks-per-node=1", f"--cpus-per-task={_cores(pilot, nodes, extra)}", f"--time={minutes}:{seconds:02}",
        f"--output={pilot.folder / 'log'}", "--open-mode=append", "--no-requeue", f"--signal=B:TERM@{_SIGNAL_S}",
    ]  # fmt: skip
    said = ask_slurm(*asked, *extra, script=script)
    return int(said.strip().split(";")[0])


def _cores(pilot: Pilot, nodes: int, extra: Sequence[str]) -> int:
    """Cores of each node of a job, all where the pilot does not say; what Slurm would queue for good is refused here.

    Raises:
        SlurmError: no partition that is asked for has so much.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*["-p", "--partition"], default="")
    names = parser.parse_known_args(extra)[0].partition.split(",")  # Slurm takes the first that is free
    partitions, refusals = read_partitions(), []
    for name in names:
        request = JobRequest(nodes, pilot.units.get("CPU", 0), math.ceil(pilot.walltime_s / 60), name)
        try:
            found = check_request(request, partitions)
            return request.cores or found.cores
        except SlurmError as error:
            refusals.append(error)
    raise refusals[0]


def _of_jobs(*command: str) -> str:
    try:
        return ask_slurm(*command)
    except SlurmError as error:
        if "Invalid job id" in str(error):  # it has long ended
            return ""
        raise
