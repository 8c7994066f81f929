"""Leases of one node: a ticket is a file that its owner keeps locked, so that it dies with its owner."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

from tasks.execution.leases.lease import Lease, LeaseError, Leases


class FileLeases(Leases):
    """Tickets as locked files in a folder.

    Args:
        folder: on a disk of this node; made if it is missing, for its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise LeaseError(
                f"leases: cannot make {folder}: {error.strerror}; name another in QOMPASS_LEASES"
            ) from None

    def take(self, device: str, units: int) -> Lease:
        """Take a ticket; see ``Leases.take``."""
        queue = self._queue(device)
        try:
            queue.mkdir(exist_ok=True, mode=0o700)
            return _FileLease(queue, units)
        except OSError as error:
            raise LeaseError(f"device {device}: cannot keep a lease in {queue}: {error.strerror}") from None

    def wanted(self, device: str) -> int:
        """See ``Leases.wanted``."""
        return sum(_alive(path) for path in self._queue(device).glob("*.ticket"))

    def _queue(self, device: str) -> Path:
        digest = hashlib.sha256(device.encode()).hexdigest()[:8]
        readable = "".join(letter if letter.isalnum() else "_" for letter in device)[:60]
        return self._folder / f"{readable}-{digest}"


class _FileLease(Lease):
    """A file named by its number, locked from before it can be seen until its owner ends or gives it back."""

    def __init__(self, queue: Path, units: int) -> None:
        self._queue, self._units = queue, units
        self._held = False
        counter = os.open(queue / "counter", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(counter, fcntl.LOCK_EX)
            self._number = int(os.pread(counter, 32, 0).strip() or b"0") + 1
            self._path = queue / f"{self._number:020d}.ticket"
            unseen = self._path.with_suffix(".new")
            self._descriptor = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            # Locked before it has its name: a ticket seen unlocked would be taken for a dead one.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            unseen.rename(self._path)
            os.pwrite(counter, b"%20d" % self._number, 0)
        finally:
            os.close(counter)

    def granted(self) -> bool:
        """Whether fewer than ``units`` living tickets are before this one."""
        if self._held:
            return True
        if self._descriptor < 0:
            return False
        before = 0
        for path in sorted(self._queue.glob("*.ticket")):
            if int(path.stem) >= self._number:
                break
            before += _alive(path)
        self._held = before < self._units
        return self._held

    def check(self) -> None:
        """A lease of this kind ends only with its process."""

    def release(self) -> None:
        """Give the ticket back."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor, self._held = -1, False


def _alive(path: Path) -> bool:
    """Whether a ticket's owner lives; the ticket of a dead one is removed."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
