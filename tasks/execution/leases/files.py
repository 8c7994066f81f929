"""Leases of one node: a ticket is a file that its owner keeps locked, so that it dies with its owner."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tasks.execution.leases.lease import Lease, LeaseError, Leases
from tasks.runtime.file_lock import lock, try_lock
from tasks.runtime.private_folder import PrivateFolder, PrivateFolderError


class FileLeases(Leases):
    """Tickets as locked files in a folder.

    Args:
        folder: on a disk of this node; made if it is missing, for its owner only.

    Raises:
        LeaseError: it cannot be made, or others may use it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._folder = PrivateFolder(folder)
        except PrivateFolderError as error:
            raise LeaseError(f"leases: {error} (QOMPASS_LEASES says where)") from None

    def take(self, device: str, units: int) -> Lease:
        """Take a ticket; see ``Leases.take``.

        Raises:
            LeaseError: the folder of tickets cannot be used.
        """
        try:
            return _FileLease(self._folder.folder(_queue(device)), units)
        except (OSError, ValueError, PrivateFolderError) as error:
            raise LeaseError(f"device {device}: cannot keep a lease in {self._folder.path}: {error}") from None

    def wanted(self, device: str) -> int:
        """See ``Leases.wanted``."""
        if not self._folder.has(_queue(device)):
            return 0
        with self._folder.folder(_queue(device)) as queue:
            return sum(_alive(queue, name) for name in queue.names("*.ticket"))


def _queue(device: str) -> str:
    digest = hashlib.sha256(device.encode()).hexdigest()[:8]
    readable = "".join(letter if letter.isalnum() else "_" for letter in device)[:60]
    return f"{readable}-{digest}"


class _FileLease(Lease):
    """A file named by its number, locked from before it can be seen until its owner ends or gives it back."""

    def __init__(self, queue: PrivateFolder, units: int) -> None:
        self._queue, self._units = queue, units
        self._held = False
        counter = queue.open("counter", os.O_RDWR | os.O_CREAT)
        try:
            lock(counter)
            self._number = int(os.pread(counter, 32, 0).strip() or b"0") + 1
            self._name = f"{self._number:020d}.ticket"
            unseen = f"{self._number:020d}.new"
            queue.remove(unseen)  # of a process that died at this point
            self._descriptor = queue.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            # Locked before it has its name: a ticket seen unlocked would be taken for a dead one.
            lock(self._descriptor)
            queue.rename(unseen, self._name)
            os.pwrite(counter, b"%20d" % self._number, 0)
        finally:
            os.close(counter)

    def granted(self) -> bool:
        """Whether fewer than ``units`` living tickets are before this one."""
        if self._held:
            return True
        if self._descriptor < 0:
            return False
        before = sum(_alive(self._queue, name) for name in self._queue.names("*.ticket") if name < self._name)
        self._held = before < self._units
        return self._held

    def check(self) -> None:
        """A lease of this kind ends only with its process."""

    def release(self) -> None:
        """Give the ticket back."""
        if self._descriptor >= 0:
            self._queue.remove(self._name)
            os.close(self._descriptor)
            self._descriptor, self._held = -1, False
            self._queue.close()


def _alive(queue: PrivateFolder, name: str) -> bool:
    """Whether a ticket's owner lives; the ticket of a dead one is removed."""
    try:
        descriptor = queue.open(name, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        if not try_lock(descriptor):
            return True
        queue.remove(name)
    finally:
        os.close(descriptor)
    return False
