"""What ``enqueue_compss`` needs for a run, and the call of it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from launch.slurm.jobs import ROOT
from tasks.runs.storage import write_atomically
from tasks.slurm import SlurmError

_PROGRAM = ROOT / "launch/compss_main.py"


def submit_to_compss(run: Path, job: dict[str, Any], site: Path | None, *, dry_run: bool = False) -> list[str]:
    """Write the files of a COMPSs job into ``RUN/job`` and submit it; its id, none for a dry run.

    Raises:
        SlurmError: enqueue_compss or Slurm does not take it.
    """
    folder = run / "job"
    (folder / "work").mkdir(exist_ok=True)
    # The program and its arguments: enqueue_compss takes arguments apart at blanks.
    program = [str(ROOT / "apps/cli/__main__.py"), "resume", str(run), "--json", *job["resume"]]
    write_atomically(folder / "arguments", "".join(f"{word}\0" for word in program).encode())
    write_atomically(folder / "compss.sh", _begin(folder, run).encode())
    command = _command(run, job, (site or ROOT / "launch/slurm/site.cfg").absolute())
    write_atomically(folder / "enqueue_compss.sh", f"#!/bin/sh\nexec {shlex.join(command)}\n".encode())
    if dry_run:
        return []
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=folder)
    found = re.search(r"Submitted batch job (\d+)", done.stdout)
    if done.returncode or not found:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()][-1:] or ["it said nothing"]
        raise SlurmError(
            f"enqueue_compss does not take the job: {said[0]} ({folder / 'enqueue_compss.sh'} is the call)"
        )
    return [found[1]]


def _command(run: Path, job: dict[str, Any], site: Path) -> list[str]:
    folder, cores = run / "job", job["cores"]
    # What waits for a QPU or GPU keeps no core idle: COMPSs executes as many tasks at once as it is told here.
    at_once = cores + job["gpus"] + sum(qpu["units"] for qpu in job["qpus"])
    whole = [flag for flag in job["whole_flags"] if not flag.startswith("--nodes")]
    flags = [*whole, *job["flags"], "--requeue", "--open-mode=append"]
    return [
        "enqueue_compss", f"--sc_cfg={site}", f"--job_name=qompass-{run.name}", f"--exec_time={job['minutes']}",
        *([f"--queue={job['partition']}"] if job["partition"] else []),
        f"--num_nodes={job['nodes']}", f"--cpus_per_node={cores}", f"--worker_in_master_cpus={cores}",
        f"--gpus_per_node={job['gpus']}", "--fpgas_per_node=0", f"--max_tasks_per_node={at_once}",
        "--cpu_affinity=disabled", *(f"--extra_submit_flag={flag.replace(' ', '#')}" for flag in flags),
        f"--job_execution_dir={folder}", f"--master_working_dir={folder}", f"--worker_working_dir={folder / 'work'}",
        f"--log_dir={folder / 'logs'}", "--log_level=info", f"--pre_env_script={folder / 'compss.sh'}",
        f"--env_script={folder / 'environment.sh'}",
        f"--prolog={sys.executable},{ROOT / 'launch/slurm/add_qpus.py'},{run}", "--jvm_master_opts=-Xrs",
        "--lang=python", f"--python_interpreter={sys.executable}", f"--pythonpath={ROOT}", str(_PROGRAM),
    ]  # fmt: skip


def _begin(folder: Path, run: Path) -> str:
    """What the job does before COMPSs starts, again too."""
    quoted = shlex.quote(str(folder))
    watch = shlex.join([sys.executable, str(ROOT / "launch/slurm/job.py"), "watch", str(run)])
    path = shlex.quote(os.path.dirname(sys.executable))
    return (
        f". {quoted}/environment.sh\n"
        f"export PATH={path}:$PATH QOMPASS_STATE={quoted} QOMPASS_STDOUT={quoted}/output.json\n"
        f"rm -f {quoted}/status {quoted}/pid {quoted}/cancelled\n"
        f"mkdir -p {quoted}/logs {quoted}/work\n"
        # COMPSs does not begin where the logs of this job's earlier allocation are.
        f"logs={quoted}/logs/.COMPSs/$SLURM_JOB_ID\n"
        '[ ! -e "$logs" ] || mv "$logs" "$logs-$(date +%s)"\n'
        f"{watch} >>{quoted}/watch.out 2>&1 &\n"
        # What has ended the program requeues the job, which must not end before.
        f"trap '[ ! -e {quoted}/cancelled ] || wait '$! EXIT\n"
    )
