"""What a job does on the nodes of its allocation: ``job.py whole|execute|reconstruct|worker|watch RUN``.

whole       the run, on the nodes of the allocation (several: a dask scheduler and a worker on each)
execute     the batch of an array job's task
reconstruct the estimates, or the array jobs of a further round
worker      a dask worker of ``whole``, started by srun
watch       beside COMPSs' own master: ends the program in time

A job that Slurm is about to end (SIGUSR1, or SIGTERM) interrupts its work, which keeps what is measured, and requeues
itself; where two allocations have brought nothing it gives up.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from launch.slurm.jobs import read_job, sbatch, submit_round, write_resources
from tasks.errors import QompassError
from tasks.runs.storage import write_atomically
from tasks.runtime.dask_cluster import serve_worker
from tasks.runtime.interpreter import python_command, python_environment
from tasks.slurm import SlurmError, ask_slurm, minutes_of

_QPU_AGAIN_MINUTES = 5  # a job whose QPU is away comes again so much later
_MOST_FRUITLESS = 2
INTERRUPTED = 130  # the status of a command of Qompass that has kept what it had and can be resumed
_ENDED_S = 30.0  # for the processes of a cluster


class Ending:
    """Passes on, once, that the allocation ends."""

    def __init__(self) -> None:
        self.near = False
        self.child: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._take)
        say(f"job {job_id()} begins {sys.argv[1]} on {os.environ.get('SLURM_JOB_NODELIST', 'this machine')}")

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self.near:
            os.write(2, b"the allocation ends soon: what runs is interrupted and keeps what it has\n")
        self.near = True
        if self.child is not None:
            self.child.send_signal(signal.SIGTERM)

    def run(self, command: Sequence[str], output: Path | None = None) -> int:
        """Run a command to its end, with its standard output in a file that appears when it went well.

        Returns:
            its status; ``INTERRUPTED`` where it ended because the allocation does.
        """
        partial = None if output is None else output.with_name(f".{output.name}.partial")
        with contextlib.ExitStack() as stack:
            stream = sys.stderr.buffer if partial is None else stack.enter_context(open(partial, "wb"))
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, env=python_environment())
            if self.near:
                self.child.send_signal(signal.SIGTERM)
            status = self.child.wait()
            self.child = None
        if partial is not None and status == 0 and output is not None:
            partial.replace(output)
        if self.near and status == -signal.SIGTERM:  # the signal came before it knew what to do about it
            return INTERRUPTED
        return status


def qompass(*arguments: str) -> list[str]:
    """The command line of Qompass from this checkout."""
    return python_command("from apps.cli.main import main; sys.exit(main())", *arguments)


def say(text: str) -> None:
    """One line into the job's own output."""
    print(f"{time.strftime('%H:%M:%S')} qompass job: {text}", file=sys.stderr, flush=True)


def job_id() -> str:
    """What Slurm calls this job; a task of an array by both of its numbers."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def results_of(run: Path) -> int:
    """How much of a run is done: what grows with every result."""
    return len([*run.glob("fragments/[!.]*.npz"), *run.glob("round-*.npz"), *run.glob("stages/done/*.json")])


def come_again(run: Path, before: int) -> int:
    """Requeue this job, unless it gets nowhere."""
    note = run / "job" / f"fruitless-{job_id()}"
    fruitless = 0 if results_of(run) > before else int(note.read_text() if note.exists() else 0) + 1
    note.write_text(str(fruitless))
    if fruitless >= _MOST_FRUITLESS:
        say(f"{fruitless} allocations have brought no result: submit {run} again with more walltime")
        return 2
    say(f"the allocation ends: job {job_id()} is requeued, and goes on from what is in {run}")
    try:
        ask_slurm("scontrol", "requeue", job_id())
        time.sleep(120)  # until Slurm ends this process
    except SlurmError as error:
        say(f"{error}; it is submitted anew")
        with contextlib.suppress(KeyError):
            say(f"job {sbatch(run, read_job(run), read_job(run)['whole_flags'], *sys.argv[1:])}")
    return INTERRUPTED


def whole(run: Path) -> int:
    """The run as one job."""
    job, ending, before = read_job(run), Ending(), results_of(run)
    if not devices_ready(run, job):
        return 0
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    command = ["resume", str(run), "--json", *job["resume"]]
    with contextlib.ExitStack() as stack:
        if nodes > 1:
            folder = run / "job/cluster"
            stack.enter_context(cluster(run, folder, nodes, job))
            command += ["--scheduler", str(folder)]
        status = ending.run(qompass(*command), run / "job/output.json")
    if status == INTERRUPTED and ending.near:
        return come_again(run, before)
    return status


@contextlib.contextmanager
def cluster(run: Path, folder: Path, nodes: int, job: dict[str, Any]) -> Any:
    """A scheduler here and a worker on each node, as long as the block lasts."""
    host = os.environ.get("QOMPASS_CLUSTER_HOST") or socket.gethostname()
    environment = python_environment()
    (folder / "cluster.json").unlink(missing_ok=True)  # of an allocation that was killed
    scheduler = subprocess.Popen(
        qompass("cluster", "scheduler", "--folder", str(folder), "--host", host), env=environment
    )
    step = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={job['cores']}",
            "--kill-on-bad-exit=0", sys.executable, __file__, "worker", str(run)]  # fmt: skip
    workers = None
    try:
        while not (folder / "cluster.json").exists():
            if scheduler.poll() is not None:
                raise SlurmError("the scheduler of the allocation did not start: its reason is above")
            time.sleep(0.1)
        workers = subprocess.Popen(step, stdin=subprocess.DEVNULL, env=environment)
        yield
    finally:
        scheduler.terminate()  # the workers end with it
        for process in (scheduler, *([workers] if workers is not None else [])):
            try:
                process.wait(_ENDED_S)
            except subprocess.TimeoutExpired:
                process.kill()


def worker(run: Path) -> int:
    """A worker of the allocation's cluster; the QPUs, which every node reaches, are offered by the first node's."""
    job = read_job(run)
    units = {"CPU": job["cores"]} | ({"GPU": job["gpus"]} if job["gpus"] else {})
    if os.environ.get("SLURM_NODEID", "0") == "0":
        units |= {qpu["name"]: qpu["units"] for qpu in job["qpus"]}
    serve_worker(str(run / "job/cluster"), units, told=say)
    return 0


def execute(run: Path) -> int:
    """The batch that the task of an array job stands for."""
    ending, before = Ending(), results_of(run)
    status = ending.run(qompass("stage", "execute", str(run), "--batch", os.environ["SLURM_ARRAY_TASK_ID"]))
    return come_again(run, before) if status == INTERRUPTED and ending.near else status


def reconstruct(run: Path) -> int:
    """Estimates; or further array jobs, for a further round or for batches that failed."""
    from tasks.stages import standing_of  # which reads the resources: not before they are written

    job, ending, before = read_job(run), Ending(), results_of(run)
    batches = [] if job["batches"] is None else ["--batches", str(job["batches"])]
    said = run / "job/standing.json"  # what is said of a run that goes on is no result
    status = ending.run(qompass("stage", "reconstruct", str(run), "--json", *batches), said)
    if status == INTERRUPTED and ending.near:
        return come_again(run, before)
    standing = standing_of(run)
    if standing.next == "done":
        if status == 0:
            said.replace(run / "job/output.json")
        return status
    note = run / "job/rounds.json"
    last = json.loads(note.read_text()) if note.exists() else [-1, 0]
    tried = last[1] + 1 if last[0] == results_of(run) else 0
    write_atomically(note, json.dumps([results_of(run), tried]).encode())
    if standing.next != "execute" or tried >= _MOST_FRUITLESS:
        say(f"the run does not get on: `qompass stage execute {run}` says why")
        return status or 2
    say(f"round {standing.round_index}: jobs {', '.join(submit_round(run, job, standing))}")
    return 0


def devices_ready(run: Path, job: dict[str, Any]) -> bool:
    """Write what devices the allocation has; where a QPU is away the job comes again later."""
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if job["qpus"]:
        from tasks.execution.qpu import list_qpus

        reports = {report.name: report for report in list_qpus([])}
        for qpu in job["qpus"]:
            report = reports.get(qpu["name"])
            status = "not known to this job" if report is None else report.status
            if status != "online":
                again = sbatch(
                    run, job, [*job["whole_flags"], f"--begin=now+{_QPU_AGAIN_MINUTES}minutes"], *sys.argv[1:]
                )
                say(f"{qpu['name']} is {status}: job {again} tries again in {_QPU_AGAIN_MINUTES} minutes")
                return False
            assert report is not None and report.device is not None
            qpu["qubits"] = report.device.qubits
    if job["own_resources"]:
        write_resources(run / "job/resources", nodes * job["cores"], nodes * job["gpus"], job["qpus"])
    return True


def watch(run: Path) -> int:
    """Beside COMPSs, which hears no signal: interrupt the program when the time is nearly over, then requeue the job.

    Slurm's own signal would reach COMPSs' workers, too, and end them.
    """
    job, state, before = read_job(run), run / "job", results_of(run)
    left = ask_slurm("squeue", "-h", "-j", job_id(), "-o", "%L").strip()
    if minutes_of(left) is None:
        return 0
    time.sleep(max(0.0, seconds_of(left) - job["margin"]))
    (state / "cancelled").touch()
    with contextlib.suppress(OSError, ValueError):
        os.kill(int((state / "pid").read_text()), signal.SIGINT)
    deadline = time.monotonic() + job["margin"] / 2
    while not (state / "status").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    return come_again(run, before)


def seconds_of(text: str) -> float:
    """Seconds of the time that ``squeue`` says is left."""
    days, _, clock = text.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part)
    return seconds + 86400 * int(days or 0)


def main() -> int:
    """Do what the first argument says for the run that the second one names."""
    doing = {"whole": whole, "execute": execute, "reconstruct": reconstruct, "worker": worker, "watch": watch}
    try:
        return doing[sys.argv[1]](Path(sys.argv[2]))
    except QompassError as error:
        say(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
