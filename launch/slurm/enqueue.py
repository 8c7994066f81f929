"""Submit a run to Slurm: launch/slurm/enqueue.sh starts this; launch/slurm/README.md says how it is used."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from apps.cli.arguments import build_parser
from apps.cli.flags import flagged
from apps.cli.groups import Parser
from apps.cli.run import asked
from launch.slurm.compss import submit_to_compss
from launch.slurm.jobs import sbatch, submit_round, write_job, write_resources
from tasks.errors import QompassError
from tasks.slurm import JobRequest, SlurmError, check_request, minutes_of, qpu_flags, read_site
from tasks.stages import plan_stage
from tasks.stages.stages import create_run

WAYS = ("compss", "dask", "array")


def arguments_of(given: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """This program's own arguments, and those of ``qompass run``."""
    parser = Parser(
        prog="enqueue.sh",
        usage="launch/slurm/enqueue.sh [OPTIONS] CIRCUIT --observable TEXT ... (as `qompass run`)",
        description="Submit a run to Slurm. What is not listed here goes to `qompass run`.",
    )
    add = parser.add_argument
    add("--with", dest="way", choices=WAYS, help="COMPSs, dask across the nodes, or array jobs over the run's stages "
        "(default: compss where enqueue_compss is on the PATH, else dask)")  # fmt: skip
    add("--nodes", type=int, default=1, metavar="N", help="default 1; of an array job each task has one")
    add("--cpus", type=int, default=0, metavar="N", help="cores of each node (default: all)")
    add("--gpus", type=int, default=0, metavar="N", help="GPUs of each node")
    add("--walltime", required=True, metavar="T", help="minutes, HH:MM:SS or D-HH:MM:SS; a longer run is requeued")
    add("--margin", type=int, default=120, metavar="SECONDS", help="stop so long before the end (default 120)")
    add("--qpu", action="append", default=[], metavar="NAME[=UNITS]", help="a QPU of QRMI's; repeatable")
    add("--qpu-as", choices=("licence", "gres", "spank"), default="", help="how Slurm has it (default: what there is)")
    add("--partition", default="", metavar="NAME")
    add("--sbatch", action="append", default=[], metavar="FLAG", help="a further flag for sbatch; repeatable")
    add("--batches", type=int, metavar="N", help="array jobs: tasks for each device (default: as many as are worth it)")
    add("--folder", type=Path, default=Path("results/runs"), metavar="DIR", help="the run's folder goes there: seen by "
        "all nodes (default results/runs)")  # fmt: skip
    add("--site", type=Path, metavar="FILE", help="of enqueue_compss (--sc_cfg) (default: launch/slurm/site.cfg)")
    add("--module", action="append", default=[], metavar="NAME", help="`module load` in the job; repeatable")
    add("--before", type=Path, metavar="FILE", help="a script that the job sources first")
    add("--dry-run", action="store_true", help="write everything, submit nothing")
    return parser.parse_known_args(given)


def qpus_of(named: Sequence[str]) -> list[dict[str, Any]]:
    """The QPUs that are asked for, as QRMI knows them; one that is away now says its size when the job begins.

    Raises:
        QompassError: QRMI knows no such QPU.
    """
    if not named:
        return []
    from tasks.execution.qpu import list_qpus, qpu_resources

    known = qpu_resources()
    reports = {report.name: report for report in list_qpus([])}
    found = []
    for text in named:
        name, _, units = text.partition("=")
        if name not in known:
            raise SlurmError(
                f"QRMI knows no QPU {name}: it knows {', '.join(known) or 'none; set QOMPASS_QRMI_CONFIG'}"
            )
        if not (units or "1").isdecimal() or len(units) > 7 or int(units or 1) < 1:
            raise SlurmError(f"`--qpu {text}`: the units of a QPU are a whole number: write {name}=1")
        report = reports.get(name)
        device = report.device if report is not None and report.status == "online" else None
        qubits = None if device is None else device.qubits
        found.append({"name": name, "type": known[name].type, "units": int(units or 1), "qubits": qubits})
    return found


def shared_folder(path: Path) -> Path:
    """The folder for the run, if it can be used.

    Raises:
        SlurmError: it cannot be written, is full, or its name is one that COMPSs' scripts take apart.
    """
    path = path.absolute()
    if any(c.isspace() or c in ",:#'\"" for c in str(path)):
        raise SlurmError(
            f"{path}: a blank, comma, colon, quote or # in its name is lost in job scripts: name another one"
        )
    probe = path / f".{secrets.token_hex(4)}.partial"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with open(probe, "wb") as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SlurmError(
            f"{path}: cannot be written: {error.strerror}: name a folder that all nodes can write"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return path


def enqueue(given: Sequence[str]) -> int:
    """Check, write and submit; prints the run's folder and the jobs."""
    options, rest = arguments_of(given)
    way = options.way or ("compss" if shutil.which("enqueue_compss") else "dask")
    if way == "compss" and not shutil.which("enqueue_compss"):
        raise SlurmError(
            "enqueue_compss is not on the PATH: `module load COMPSs`, or leave COMPSs out with `--with dask`"
        )
    arguments = build_parser().parse_args(["run", *rest])
    problem, _, fields = asked(arguments)
    if arguments.out != Path("results/runs"):
        raise SlurmError("`--out` is `--folder` here: name the run's folder by that")
    partitions, licences, spank = read_site()
    minutes = minutes_of(options.walltime)
    if minutes is None or minutes < 1:
        raise SlurmError(f"`--walltime {options.walltime}`: a job has an end: write minutes or HH:MM:SS")
    for name, least in (("nodes", 1), ("cpus", 0), ("gpus", 0), ("batches", 1)):
        if (getattr(options, name) or least) < least or (name == "nodes" and options.nodes < 1):
            raise SlurmError(f"`--{name} {getattr(options, name)}`: is less than {least}: give at least that")
    qpus = qpus_of(options.qpu)
    asked_for = tuple((qpu["name"], qpu["units"]) for qpu in qpus)
    request = JobRequest(options.nodes, options.cpus, minutes, options.partition, options.gpus, asked_for)
    partition = check_request(request, partitions)
    all_flags = qpu_flags(request, partition, licences, spank, options.qpu_as)
    gpu_flags = qpu_flags(JobRequest(1, 1, 1, gpus=options.gpus), partition, licences, False)
    if not 10 <= options.margin < 60 * minutes:
        raise SlurmError(
            f"`--margin {options.margin}` does not fit into {minutes} minutes: give at least 10 s, and less"
        )
    for file in (options.site, options.before):
        if file is not None and not file.is_file():
            raise SlurmError(f"{file}: no such file: name one that is there, or leave it out")
    folder = shared_folder(options.folder)
    run = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    own = "resources" not in vars(arguments)
    job = {
        "way": way, "nodes": options.nodes, "cores": options.cpus or partition.cores, "gpus": options.gpus,
        "qpus": qpus,
        "minutes": minutes, "margin": options.margin, "partition": options.partition, "flags": options.sbatch,
        "whole_flags": [f"--nodes={options.nodes}", *all_flags], "qpu_flags": all_flags, "gpu_flags": gpu_flags,
        "own_resources": own, "batches": options.batches,
        "resume": ["--resources", str(run / "job/resources")] if own else [],
    }  # fmt: skip
    before = [f"module load {shlex.quote(name)} || exit 1" for name in options.module]
    before += [f". {shlex.quote(str(options.before.absolute()))}"] if options.before else []
    if own and way == "array":
        if any(qpu["qubits"] is None for qpu in qpus):
            raise SlurmError(
                "a QPU that is away cannot be planned for: submit it with `--with dask`, which waits for it"
            )
        fields["options"]["resources"] = str(run / "job/resources")
    create_run(run, fields, problem)
    write_job(run, job, before)
    if way == "array":
        write_resources(run / "job/resources", job["cores"], job["gpus"], qpus)
        from tasks.options import options_again

        standing = plan_stage(run, options_again(fields["options"], {}), most=options.batches, told=say)
        ids = [] if options.dry_run else submit_round(run, job, standing)
    elif way == "compss":
        ids = submit_to_compss(run, job, options.site, dry_run=options.dry_run)
    else:
        ids = [] if options.dry_run else [sbatch(run, job, job["whole_flags"], "whole", str(run))]
    print(f"Run: {run}")
    print(f"Jobs: {', '.join(ids) if ids else 'none'}; the result will be in {run / 'job/output.json'}")
    return 0


def say(text: str) -> None:
    """One line on standard error."""
    print(f"enqueue.sh: {flagged(text)}", file=sys.stderr)


def main() -> int:
    """Submit, or say in one line why not."""
    try:
        return enqueue(sys.argv[1:])
    except QompassError as error:
        say(str(error))
        return 2
    except (OSError, subprocess.SubprocessError) as error:
        say(f"{error}: nothing was submitted")
        return 2


if __name__ == "__main__":
    sys.exit(main())
