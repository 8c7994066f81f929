"""Locks on open files, in one place: the system ends them with their holder, whatever ends it. Local disks only.

A lock belongs to the open file, and so to the children that inherit it; one ``of_process`` belongs to this process
alone, and is lost as soon as it closes the file by any other descriptor.
"""

from __future__ import annotations

import fcntl


def lock(descriptor: int) -> None:
    """Wait for an open file's lock."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def try_lock(descriptor: int, *, shared: bool = False, of_process: bool = False) -> bool:
    """Take an open file's lock if nobody has it.

    Args:
        descriptor: of the file, open for writing.
        shared: with others who do so too.
        of_process: for this process alone (a POSIX record lock).
    """
    take = fcntl.lockf if of_process else fcntl.flock
    try:
        take(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock(descriptor: int) -> None:
    """Let go of an open file's lock."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
