"""A Slurm of the tests' own: munged, slurmctld and three slurmd on loopback, in folders of their own, ended by id."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

NODES = ("n1", "n2", "localhost")  # two for jobs across nodes; a name that can be looked up for COMPSs
_CONFIGURATION = """
ClusterName=qompass
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=10
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=qpu
Licenses=QPU_A:1
KillWait=5
SlurmdTimeout=10
OverTimeLimit=0
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2,batch_sched_delay=0,requeue_delay=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000 Gres=qpu:QPU_B:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[3]} CPUs=2 RealMemory=4000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 State=UP
PartitionName=compss Nodes=localhost MaxTime=60 State=UP
"""


class Slurm:
    """Its daemons, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str) -> None:
        """Start a daemon in the foreground of its own process, which does not outlive the tests."""
        with open(self.folder / f"{name}.out", "wb") as output:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, env=self.environment,
                start_new_session=True,
            )  # fmt: skip

    def start_node(self, name: str) -> None:
        """Start a node's slurmd."""
        self.start(name, "slurmd", "-D", "-N", name, "-f", str(self.folder / "slurm.conf"))

    def end(self, name: str) -> None:
        """Kill a daemon."""
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def lose(self, node: str) -> None:
        """A node is gone with all that runs on it, before it could say a word. No other node may run anything."""
        self.end(node)
        steps = steps_of(self.folder)
        first = [one for one in steps if Path(f"/proc/{one}/cmdline").read_bytes().startswith(b"slurmstepd")]
        for process in [*first, *steps]:  # what would report the end of the others goes first
            if process not in {daemon.pid for daemon in self.daemons.values()}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, 9)

    def __call__(self, *command: str, timeout: float = 60) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def states(self, job: str) -> list[str]:
        """States of a job, and of the tasks of an array."""
        shown = self("scontrol", "show", "job", "-o", job)
        return [word.removeprefix("JobState=") for word in shown.split() if word.startswith("JobState=")]

    def wait(self, job: str, *states: str, seconds: float = 240) -> None:
        """Wait until a job, and all tasks of an array, are in one of the states."""
        deadline = time.monotonic() + seconds
        while not (found := set(self.states(job))) <= set(states):
            ended = found <= {"COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"}  # and comes to no other state
            assert not ended and time.monotonic() < deadline, self("scontrol", "show", "job", job)
            time.sleep(0.2)


@contextlib.contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """A cluster, as long as the block lasts."""
    slurm = Slurm(folder)
    for name in ("state", "munge", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    (folder / "munge").chmod(0o755)
    key = folder / "munge/key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    user = os.environ.get("USER") or subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    text = _CONFIGURATION.format(folder=folder, host=socket.gethostname(), ports=_free_ports(4), user=user)
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text("NodeName=n1 Name=qpu Type=QPU_B Count=2\n")
    try:
        slurm.start("munged", "munged", "--force", "-F", f"--key-file={key}", f"--socket={folder}/munge/socket",
                    f"--pid-file={folder}/munge/pid", f"--log-file={folder}/munge/log",
                    f"--seed-file={folder}/munge/seed")  # fmt: skip
        _until(lambda: (folder / "munge/socket").exists(), slurm)
        slurm.start("slurmctld", "slurmctld", "-D", "-c", "-f", str(folder / "slurm.conf"))
        for node in NODES:
            slurm.start_node(node)
        _until(lambda: _idle(slurm) == set(NODES), slurm)
        yield slurm
    finally:
        if "slurmctld" in slurm.daemons:
            subprocess.run(["scancel", f"--user={user}"], env=slurm.environment)
            time.sleep(1)
        steps = steps_of(folder)
        for name in list(slurm.daemons):
            slurm.end(name)
        for step in steps:
            with contextlib.suppress(ProcessLookupError):
                os.kill(step, 9)


def _idle(slurm: Slurm) -> set[str]:
    done = subprocess.run(["sinfo", "-h", "-N", "-o", "%N %T"], env=slurm.environment, capture_output=True, text=True)
    return {name for name, state in (line.split() for line in done.stdout.splitlines()) if state == "idle"}


def steps_of(folder: Path) -> list[int]:
    """Processes of jobs that are left: those that have this cluster's configuration in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"SLURM_CONF={folder}/slurm.conf".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return [process for process in found if process != os.getpid()]


def _until(true: object, slurm: Slurm, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        for name, daemon in slurm.daemons.items():
            assert daemon.poll() is None, (slurm.folder / f"{name}.out").read_text()
        assert time.monotonic() < deadline, subprocess.run(["sinfo", "-N"], env=slurm.environment, capture_output=True)
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
