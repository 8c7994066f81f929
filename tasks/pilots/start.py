"""Start, resize, stop and look at pilots, whatever they run on."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tasks.pilots import slurm
from tasks.pilots.accounts import PilotStatus, read_accounts
from tasks.pilots.errors import PilotError
from tasks.pilots.keeper import LOCK, START_S
from tasks.pilots.pilot import MOST_NODES, Pilot, names_of_pilots, pilot_folder, read_pilot
from tasks.runtime.cluster_folder import CLUSTER_FILE, prepare_folder
from tasks.runtime.file_lock import try_lock
from tasks.runtime.interpreter import python_command, python_environment
from tasks.runtime.private_folder import PrivateFolder, PrivateFolderError
from tasks.slurm import SlurmError

TARGETS = ("local", "slurm")
KEEP = "import sys; from tasks.pilots.keeper import main; sys.exit(main(sys.argv[1]))"
_FILES = ("pilot.json", "wanted.json", "state.json", CLUSTER_FILE, "key.pem", "certificate.pem", "log")
_STARTING = "starting"
_STOP_S = 60.0
_LOOK_S = 0.05


def start_pilot(
    name: str,
    target: str,
    nodes: int,
    walltime_s: float,
    *,
    units: Mapping[str, int] | None = None,
    shared: Mapping[str, int] | None = None,
    resources: Path | None = None,
    extra: Sequence[str] = (),
    wait_s: float = START_S,
) -> Pilot:
    """Start a pilot, and wait until its scheduler takes runs, or its job is in Slurm's queue.

    Args:
        name: of the pilot.
        target: "local" or "slurm".
        nodes: how many; on this machine each is a worker process.
        walltime_s: how long it lives.
        units: computing units of each processor of a node, None for its cores.
        shared: units that the first node offers besides: QPUs.
        resources: resources file that its runs use by default.
        extra: options for ``sbatch``.
        wait_s: how long to wait for the scheduler.

    Raises:
        PilotError: one of this name lives already, sizes make no sense, or it did not start.
    """
    if target not in TARGETS:
        raise PilotError(f"`target` {target} is none: choose {' or '.join(TARGETS)}")
    check_size(nodes)
    if not 1 <= walltime_s < math.inf:
        raise PilotError(f"`walltime` {walltime_s:g} s is too short: give a second at least")
    folder = pilot_folder(name)
    try:
        with PrivateFolder(folder) as private, _starting(private, name):
            if (folder / "pilot.json").exists() and is_alive(read_pilot(name)):
                raise PilotError(
                    f"pilot {name} lives already: `qompass pilot stop {name}` ends it, or choose another name"
                )
            for left in _FILES:
                private.remove(left)  # of one that has ended; a key is not used twice
            prepare_folder(folder)
            file = "" if resources is None else str(resources.absolute())
            pilot = Pilot(name, folder, target, nodes, dict(units or {}), dict(shared or {}), float(walltime_s), file,
                          time.time(), tuple(extra))  # fmt: skip
            pilot.write()
            if target == "slurm":
                try:
                    pilot.want(jobs=[[slurm.submit(pilot, nodes, KEEP, extra), nodes]])
                except SlurmError:
                    private.remove("pilot.json")  # there is none
                    raise
                return pilot
            keeper = subprocess.Popen(
                python_command(KEEP, name), env=python_environment(), cwd="/", stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=_log(folder), start_new_session=True,
            )  # fmt: skip
            _wait_for_scheduler(pilot, keeper, wait_s)
            return pilot
    except PrivateFolderError as error:
        raise PilotError(str(error)) from None


def check_size(nodes: int) -> int:
    """A number of nodes that makes sense.

    Raises:
        PilotError: it does not.
    """
    if not 1 <= nodes <= MOST_NODES:
        raise PilotError(f"`nodes` {nodes} makes no sense: give 1 to {MOST_NODES:,}")
    return nodes


def is_alive(pilot: Pilot) -> bool:
    """Whether somebody keeps a pilot, or will when Slurm lets them."""
    if pilot.target == "slurm":
        return bool(slurm.states([job for job, _ in pilot.wanted()["jobs"]]))
    with PrivateFolder(pilot.folder) as private:
        descriptor = private.open(LOCK, os.O_RDWR | os.O_CREAT)
        try:
            return not try_lock(descriptor, of_process=True)
        finally:
            os.close(descriptor)


def grow_pilot(name: str, nodes: int, shared: Mapping[str, int] | None = None) -> int:
    """Have more nodes; runs that are under way get them too. Returns how many are wanted now.

    Args:
        name: of the pilot.
        nodes: how many more.
        shared: units that the first of them offers besides: QPUs; runs that are under way use them from their next
            round of shots on.

    Raises:
        PilotError: it does not live, or would be too large.
    """
    pilot = _living(name)
    check_size(nodes)
    before = int(pilot.wanted()["nodes"])
    wanted = check_size(before + nodes)
    brought = pilot.wanted()["brought"] | ({str(before): dict(shared)} if shared else {})
    if pilot.target == "slurm":
        job = slurm.submit_workers(pilot, nodes, shared or {})
        pilot.want(nodes=wanted, brought=brought, jobs=[*pilot.wanted()["jobs"], [job, nodes]])
    else:
        pilot.want(nodes=wanted, brought=brought)
    return wanted


def shrink_pilot(name: str, nodes: int) -> int:
    """Have fewer nodes: what those that leave have is given to the others first. Returns how many are wanted now.

    Raises:
        PilotError: it does not live, would have none left, or under Slurm its jobs do not come in this number.
    """
    pilot = _living(name)
    check_size(nodes)
    before = int(pilot.wanted()["nodes"])
    if nodes >= before:
        raise PilotError(f"pilot {name} has {before} nodes and keeps one at least: `qompass pilot stop {name}` ends it")
    devices = [n for first, units in pilot.wanted()["brought"].items() if int(first) >= before - nodes for n in units]
    if devices:
        raise PilotError(
            f"pilot {name} has {', '.join(devices)} by a node that would leave, and runs may have tasks for it: "
            f"`qompass pilot stop {name}` ends it"
        )
    if pilot.target == "slurm":
        jobs = pilot.wanted()["jobs"]
        gone: list[list[int]] = []
        while len(jobs) > 1 and sum(count for _, count in gone) < nodes:
            gone.append(jobs.pop())
        if sum(count for _, count in gone) != nodes:
            raise PilotError(
                f"pilot {name} grew by whole jobs and shrinks by them, the last first: its jobs have "
                f"{', '.join(str(count) for _, count in pilot.wanted()['jobs'])} nodes, and the first one holds it"
            )
        slurm.cancel_jobs([job for job, _ in gone])
        pilot.want(nodes=before - nodes, jobs=jobs)
    else:
        pilot.want(nodes=before - nodes)
    return before - nodes


def stop_pilot(name: str) -> None:
    """End a pilot and forget it; one that has ended by itself is only forgotten. Runs on it can be resumed.

    Raises:
        PilotError: there is none, or it does not end.
    """
    pilot = read_pilot(name)
    pilot.want(stop=True)
    if pilot.target == "slurm":
        slurm.cancel_jobs([job for job, _ in pilot.wanted()["jobs"]])
    deadline = time.monotonic() + _STOP_S
    while is_alive(pilot):
        if time.monotonic() > deadline:
            raise PilotError(f"pilot {name} did not end within {_STOP_S:g} s: see {pilot.folder / 'log'}")
        time.sleep(_LOOK_S)
    with PrivateFolder(pilot.folder) as private:
        for entry in (
            "pilot.json",
            "wanted.json",
            "state.json",
            CLUSTER_FILE,
            "key.pem",
            "certificate.pem",
            "log",
            LOCK,
        ):
            private.remove(entry)
    with contextlib.suppress(OSError):  # what somebody else put there stays
        pilot.folder.rmdir()


def pilot_status(name: str, *, ask: bool = True) -> PilotStatus:
    """How a pilot is doing.

    Args:
        name: of the pilot.
        ask: its scheduler, too, for nodes, runs and devices; without it the folder says all there is.

    Raises:
        PilotError: there is none.
    """
    pilot = read_pilot(name)
    state, living = pilot.state(), is_alive(pilot)
    status = str(state.get("status", "queued"))
    why = str(state.get("why", ""))
    if not living and status != "ended":
        status, why = "ended", why or "its keeper is gone: killed, or its machine was restarted"
    return read_accounts(pilot, status if living else "ended", why, ask)


def all_pilots() -> list[PilotStatus]:
    """How every pilot is doing that has a folder."""
    return [pilot_status(name) for name in names_of_pilots()]


def _living(name: str) -> Pilot:
    pilot = read_pilot(name)
    if not is_alive(pilot) or pilot.state().get("status") == "ended":  # its keeper may be about to leave
        raise PilotError(f"pilot {name} has ended: `qompass pilot stop {name}` clears it away, then start another")
    return pilot


def _wait_for_scheduler(pilot: Pilot, keeper: subprocess.Popen[bytes], wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not (pilot.folder / CLUSTER_FILE).exists() or pilot.state().get("status") != "running":
        if keeper.poll() is not None or time.monotonic() > deadline:
            if keeper.poll() is None:
                keeper.terminate()
            said = (pilot.folder / "log").read_text(errors="replace").strip().splitlines()
            raise PilotError(f"pilot {pilot.name} did not start: {said[-1] if said else 'its keeper said nothing'}")
        time.sleep(_LOOK_S)


def _log(folder: Path) -> int:
    return os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def _starting(private: PrivateFolder, name: str) -> Iterator[None]:
    """Alone while a pilot of this name is being started."""
    descriptor = private.open(_STARTING, os.O_RDWR | os.O_CREAT)
    try:
        if not try_lock(descriptor):
            raise PilotError(f"pilot {name} is being started by another process: wait for it, or choose another name")
        yield
        private.remove(_STARTING)
    finally:
        os.close(descriptor)
