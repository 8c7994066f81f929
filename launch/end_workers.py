"""End what COMPSs left running on this machine, and remove what it left lying: standard library only.

usage: end_workers.py ID SINCE [FOLDER...]

ID is in the command line of every process of a run (its working folders are named after it). They are killed, and so
are their children. Removed are the folders of sockets (``pymp-*`` of Python's multiprocessing) that were made since
then and nobody listens in, and the FOLDERs, working folders of the run. local_compss.sh starts it, over ssh for nodes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

_PROC = Path("/proc")
_UNIX = _PROC / "net/unix"
_MOST_SECONDS = 5.0


def main(word: str, since: float, folders: list[str]) -> None:
    """End the run's processes and remove its folders."""
    deadline = time.monotonic() + _MOST_SECONDS
    while (found := with_children(processes_of(word))) and time.monotonic() < deadline:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)  # and look again: one that was just starting another
    for folder in [*dead_sockets(since), *map(Path, folders)]:
        shutil.rmtree(folder, ignore_errors=True)


def processes_of(word: str) -> set[int]:
    """Processes of this user with the word in their command line: not this one, nor those that started it."""
    mine = set()
    pid = os.getpid()
    while pid > 1:
        mine.add(pid)
        pid = parent(pid)
    found = set()
    for folder in _PROC.glob("[0-9]*"):
        try:
            if folder.stat().st_uid == os.getuid() and word.encode() in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except OSError:
            continue
    return found - mine


def with_children(pids: set[int]) -> set[int]:
    """These processes and all that descend from them."""
    parents = {int(folder.name): parent(int(folder.name)) for folder in _PROC.glob("[0-9]*")}
    found = set(pids)
    while more := {pid for pid, above in parents.items() if above in found} - found:
        found |= more
    return found - {os.getpid()}


def dead_sockets(since: float) -> list[Path]:
    """The ``pymp-*`` folders made since then in which only sockets are left that nobody listens to any more."""
    listening = {words[7] for words in (line.split(maxsplit=7) for line in _UNIX.read_text().splitlines()) if words[7:]}
    found = []
    places = {Path(tempfile.gettempdir()), Path("/tmp")}  # the master's, and that of workers started over ssh
    for folder in (folder for place in places for folder in place.glob("pymp-*")):
        try:
            entries, about = list(folder.iterdir()), folder.lstat()
        except OSError:
            continue
        ours = about.st_uid == os.getuid() and about.st_mtime >= since
        if ours and entries and all(entry.is_socket() and str(entry) not in listening for entry in entries):
            found.append(folder)
    return found


def parent(pid: int) -> int:
    """The process that started it, 0 where it has ended."""
    try:
        return int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
