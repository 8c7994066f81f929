"""The process that holds an allocation: a scheduler and as many workers as are wanted, until the time is over.

Started by ``tasks.pilots.start`` on this machine, or by a Slurm job on its first node.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from tasks.pilots.pilot import Pilot, read_pilot
from tasks.runtime.cluster_folder import CLUSTER_FILE
from tasks.runtime.file_lock import try_lock
from tasks.runtime.interpreter import python_command, python_environment
from tasks.runtime.machine import usable_cores
from tasks.runtime.private_folder import PrivateFolder

LOCK = "keeper"
START_S = 60.0
_LOOK_S = 0.1
_LEAVE_S = 25.0  # a worker gives away what only it has, a scheduler takes leave of its clients
_MOST_DEATHS = 5  # of workers within a minute: then something is wrong with them

_MEMBER = "import sys; from tasks.runtime.child import end_with_parent; end_with_parent(int(sys.argv.pop(1))); "
_SCHEDULER = (
    _MEMBER + "from pathlib import Path; from tasks.runtime.dask_cluster import serve_scheduler; "
    "serve_scheduler(Path(sys.argv[1]), host=sys.argv[2], told=print)"
)
_WORKER = _MEMBER + "from tasks.pilots.worker import serve_ready_worker as serve; serve(sys.argv[1], sys.argv[2:])"


class Keeper:
    """Keeps what a pilot wants.

    Args:
        pilot: whose.
        hosts: nodes of a Slurm allocation, [] for this machine.
    """

    def __init__(self, pilot: Pilot, hosts: Sequence[str] = ()) -> None:
        self._pilot, self._hosts = pilot, list(hosts)
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._workers: dict[int, subprocess.Popen[bytes]] = {}  # by the number of the node
        self._leaving: list[subprocess.Popen[bytes]] = []
        self._deaths: list[float] = []
        self._told_to_end = ""

    def keep(self) -> None:
        """Hold the allocation until it ends; its state then says why."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        began = time.time()
        end = time.monotonic() + self._pilot.walltime_s - (_LEAVE_S if self._hosts else 0.0)
        self._pilot.say(status="starting", why="", began=began, pid=os.getpid(), workers=[], restarts=0)
        why = ""
        try:
            self._start_scheduler()
            while not (why := self._why_to_end(end)):
                self._reconcile()
                time.sleep(_LOOK_S)
        finally:
            self._end()
            self._pilot.say(status="ended", why=why or "its keeper failed", workers=[])

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._told_to_end = f"it was told to end ({signal.Signals(number).name})"

    def _why_to_end(self, end: float) -> str:
        if self._told_to_end:
            return self._told_to_end
        if self._scheduler is not None and self._scheduler.poll() is not None:
            return f"its scheduler ended (status {self._scheduler.returncode})"
        if time.monotonic() >= end:
            return f"its time of {self._pilot.walltime_s:g} s is over"
        if self._pilot.wanted()["stop"]:
            return "it was stopped"
        if len([moment for moment in self._deaths if moment > time.monotonic() - 60.0]) > _MOST_DEATHS:
            return f"more than {_MOST_DEATHS} workers died within a minute: see {self._pilot.folder}/log"
        return ""

    def _start_scheduler(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._pilot.folder / CLUSTER_FILE).unlink()  # of an earlier pilot
        host = (os.environ.get("QOMPASS_CLUSTER_HOST") or socket.gethostname()) if self._hosts else "127.0.0.1"
        self._scheduler = self._spawn(python_command(_SCHEDULER, str(os.getpid()), str(self._pilot.folder), host))
        deadline = time.monotonic() + START_S
        while not (self._pilot.folder / CLUSTER_FILE).exists():
            if self._scheduler.poll() is not None or time.monotonic() > deadline or self._told_to_end:
                return  # the loop says why
            time.sleep(_LOOK_S / 2)

    def _reconcile(self) -> None:
        """Start the workers that are missing, send away those that are too many, replace those that died."""
        wanted = len(self._hosts) or int(self._pilot.wanted()["nodes"])
        changed = False
        for number, worker in list(self._workers.items()):
            if worker.poll() is not None:
                del self._workers[number]
                self._deaths.append(time.monotonic())
                self._pilot.say(restarts=int(self._pilot.state().get("restarts", 0)) + 1)
                changed = True
        for number in [number for number in self._workers if number >= wanted]:
            worker = self._workers.pop(number)
            worker.send_signal(signal.SIGTERM)
            self._leaving.append(worker)
            changed = True
        for number in range(wanted):
            if number not in self._workers:
                self._workers[number] = self._spawn(self._worker_command(number))
                changed = True
        self._leaving = [worker for worker in self._leaving if worker.poll() is None]
        if changed or self._pilot.state().get("status") == "starting":
            workers = [{"node": number, "pid": worker.pid} for number, worker in sorted(self._workers.items())]
            self._pilot.say(status="running", workers=workers)

    def _worker_command(self, number: int) -> list[str]:
        units = dict(self._pilot.units) or {"CPU": usable_cores()}
        if number == 0:
            units |= self._pilot.shared
        units |= self._pilot.wanted()["brought"].get(str(number), {})
        offer = [f"{name}={count}" for name, count in units.items()]
        if not self._hosts:
            return python_command(_WORKER, str(os.getpid()), str(self._pilot.folder), *offer)
        command = python_command(_WORKER, "0", str(self._pilot.folder), *offer)  # srun ends with us, and ends it
        return ["srun", "--nodes=1", "--ntasks=1", f"--nodelist={self._hosts[number]}", "--overlap", *command]

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        environment = python_environment() | {"PYTHONUNBUFFERED": "1"}
        with (self._pilot.folder / "log").open("ab") as log:
            # A session of its own: Ctrl-C in the terminal where the pilot was started is not for it.
            return subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _end(self) -> None:
        """The workers first, so that they can give away what they have; then the scheduler; nobody outlives this."""
        members = [*self._workers.values(), *self._leaving]
        for worker in members:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.SIGTERM)
        if self._scheduler is not None:
            self._scheduler.terminate()
            members.append(self._scheduler)
        deadline = time.monotonic() + _LEAVE_S
        for member in members:
            with contextlib.suppress(subprocess.TimeoutExpired):
                member.wait(max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(member.pid, signal.SIGKILL)  # its children too
            member.wait()


def _nodes_of_job() -> list[str]:
    named = os.environ.get("SLURM_JOB_NODELIST", "")
    if not named:
        return []
    done = subprocess.run(["scontrol", "show", "hostnames", named], capture_output=True, text=True, check=True)
    return done.stdout.split()


def main(name: str) -> int:
    """Keep the pilot of this name; 3 where somebody does already."""
    pilot = read_pilot(name)
    with PrivateFolder(pilot.folder) as private:
        descriptor = private.open(LOCK, os.O_RDWR | os.O_CREAT)
        if not try_lock(descriptor, of_process=True):
            return 3
        Keeper(pilot, _nodes_of_job() if pilot.target == "slurm" else []).keep()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
