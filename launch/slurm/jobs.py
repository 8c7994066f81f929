"""What a job of a run is made of: files in ``RUN/job``, calls of ``sbatch``, and further rounds of array jobs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from tasks.runs.storage import write_atomically
from tasks.slurm import SlurmError

if TYPE_CHECKING:
    from tasks.stages import Standing

ROOT = Path(__file__).resolve().parents[2]
PASSED_ON = ("QOMPASS_LEASES", "QOMPASS_QRMI_CONFIG", "QOMPASS_CACHE_KEY", "XDG_CACHE_HOME", "XDG_STATE_HOME")


def write_job(run: Path, job: dict[str, Any], before: Iterable[str]) -> None:
    """Write what a job needs to know, and the script that ``sbatch`` takes now and whenever it comes again.

    Args:
        run: the run's folder.
        job: plain JSON; see ``enqueue.py``.
        before: lines of shell that the job begins with: modules, scripts of the site.
    """
    folder = run / "job"
    folder.mkdir(mode=0o700, exist_ok=True)
    exports = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    exports |= {"PYTHONPATH": str(ROOT), "QOMPASS_RESOURCES": str(folder / "resources"), "HYDRA_LAUNCHER": "fork"}
    if job["way"] != "compss":
        exports["QOMPASS_RANKS"] = str(job["cores"])  # the ranks of a contraction are processes of one node
    lines = [*before, *(f"export {name}={shlex.quote(value)}" for name, value in exports.items())]
    if job["qpus"]:  # the SPANK plugin has said it already, where there is one
        names, types = (",".join(str(qpu[key]) for qpu in job["qpus"]) for key in ("name", "type"))
        lines.append(f': "${{QRMI_JOB_QPU_RESOURCES:={names}}}" "${{QRMI_JOB_QPU_TYPES:={types}}}"')
        lines.append("export QRMI_JOB_QPU_RESOURCES QRMI_JOB_QPU_TYPES")
    write_atomically(folder / "job.json", json.dumps(job, indent=1).encode())
    write_atomically(folder / "environment.sh", ("\n".join(lines) + "\n").encode())
    script = (
        "#!/bin/bash\n# Written by launch/slurm/enqueue.sh; sbatch takes it again: what is done is kept.\n"
        f". {shlex.quote(str(folder / 'environment.sh'))}\n"
        f'exec {shlex.quote(sys.executable)} {shlex.quote(str(ROOT / "launch/slurm/job.py"))} "$@"\n'
    )
    write_atomically(folder / "job.sh", script.encode())


def read_job(run: Path) -> dict[str, Any]:
    """What ``write_job`` wrote."""
    return dict(json.loads((run / "job/job.json").read_text()))


def write_resources(folder: Path, cores: int, gpus: int, qpus: Sequence[dict[str, Any]]) -> None:
    """The pair of COMPSs files that says what an allocation has, all nodes together, for runs without COMPSs."""
    processors = [processor("CPU", "CPU", cores), *([processor("GPU", "GPU", gpus)] if gpus else [])]
    processors += [qpu_processor(qpu) for qpu in qpus]
    folder.mkdir(parents=True, exist_ok=True)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    project = f"{head}<Project><MasterNode>{''.join(processors)}</MasterNode></Project>\n"
    write_atomically(folder / "project.xml", project.encode())
    write_atomically(folder / "resources.xml", f"{head}<ResourcesList/>\n".encode())


def processor(name: str, kind: str, units: int, words: str = "") -> str:
    """A ``Processor`` element."""
    about = f"<ProcessorProperty><Key>qompass</Key><Value>{words}</Value></ProcessorProperty>" if words else ""
    inside = f"<ComputingUnits>{units}</ComputingUnits><Type>{kind}</Type>{about}"
    return f"<Processor Name={quoteattr(name)}>{inside}</Processor>"


def qpu_processor(qpu: dict[str, Any]) -> str:
    """A QPU, which COMPSs calls OTHER."""
    return processor(qpu["name"], "OTHER", qpu["units"], f"qubits={qpu['qubits']} type={qpu['type']}")


def sbatch(run: Path, job: dict[str, Any], flags: Sequence[str], *arguments: str) -> str:
    """Submit a job of a run and return its id.

    Args:
        run: the run's folder.
        job: what ``write_job`` wrote.
        flags: beside those that every job of the run has.
        arguments: of ``job.py``.

    Raises:
        SlurmError: Slurm does not take it.
    """
    folder = run / "job"
    number = "%A_%a" if job["way"] == "array" else "%j"
    command = [
        "sbatch", "--parsable", f"--job-name=qompass-{run.name}", f"--time={job['minutes']}", "--requeue",
        "--open-mode=append", f"--output={folder}/slurm-{number}.out",
        f"--signal=B:USR1@{job['margin']}", "--ntasks-per-node=1", f"--cpus-per-task={job['cores']}",
        *([f"--partition={job['partition']}"] if job["partition"] else []), *job["flags"], *flags,
        str(folder / "job.sh"), *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SlurmError(f"Slurm does not take the job: {(done.stderr.strip() or 'it said nothing').splitlines()[-1]}")
    return done.stdout.strip().partition(";")[0]


def submit_round(run: Path, job: dict[str, Any], standing: Standing) -> list[str]:
    """An array job for each kind of device of the open batches, and after them the job that reconstructs.

    Returns:
        the ids of the jobs.
    """
    flags = {"cpu": [], "gpu": job["gpu_flags"], "qpu": job["qpu_flags"]}
    ids = []
    for kind, own in flags.items():
        indices = [str(batch.index) for batch in standing.batches if batch.kind == kind]
        if indices:
            ids.append(sbatch(run, job, ["--nodes=1", f"--array={','.join(indices)}", *own], "execute", str(run)))
    after = [f"--dependency=afterany:{':'.join(ids)}"] if ids else []
    return [*ids, sbatch(run, job, ["--nodes=1", *after], "reconstruct", str(run))]
