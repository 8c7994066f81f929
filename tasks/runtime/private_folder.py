"""Folders that Qompass shares between processes, or whose names can be guessed: the user's own, and no links in them.

In a folder such as ``/tmp`` anybody can make the folder that somebody else is about to use, or a link in its place.
So a folder is opened once, never through a link; the open folder is asked whose it is and who may use it; and its
files are reached relative to it, again never through links. What is not ours is refused: nothing is mended, since
nobody knows what is in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from fnmatch import fnmatch
from pathlib import Path

from tasks.errors import QompassError

NOBODY_ELSE = 0o077  # neither read nor written by others
NO_OTHER_WRITER = 0o022  # others may read


class PrivateFolderError(QompassError):
    """A folder or a file in it is not the user's own."""


class PrivateFolder:
    """An open folder that belongs to this process's user; a context manager that closes it.

    Args:
        path: the folder; made with mode 0700 if it is missing, as are those above it with the usual mode.
        forbidden: permission bits that it must not have.
        within: an open folder that ``path`` is relative to; ``folder`` gives it.

    Raises:
        PrivateFolderError: it cannot be made or opened, is a link or no folder, belongs to another user, or others may
            do in it what ``forbidden`` says.
    """

    def __init__(self, path: Path, forbidden: int = NOBODY_ELSE, *, within: PrivateFolder | None = None) -> None:
        self.path: Path = path if within is None else within.path / path
        self._forbidden = forbidden
        above = None if within is None else within._descriptor
        try:
            if within is None:
                path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # what is there is looked at below
                os.mkdir(path, 0o700, dir_fd=above)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor: int = os.open(path, flags, dir_fd=above)
        except OSError as error:
            raise PrivateFolderError(f"{self.path}: {_why_not(error)}") from None
        try:
            _check(self.path, os.fstat(self._descriptor), forbidden)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PrivateFolder:
        """The folder itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """Close it, where nobody did."""
        if hasattr(self, "_descriptor"):
            self.close()

    def close(self) -> None:
        """Let go of the folder. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def open(self, name: str, flags: int) -> int:
        """Descriptor of a file in the folder; one that is made has mode 0600.

        Raises:
            PrivateFolderError: it is a link, no regular file, or another user's.
            OSError: as ``os.open``, among them FileNotFoundError and FileExistsError.
        """
        # Not blocking: a pipe in the place of a file must not stop us before it can be looked at.
        safe = flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(name, safe, 0o600, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise PrivateFolderError(f"{self.path / name}: is a link; remove it") from None
            raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            os.close(descriptor)
            raise PrivateFolderError(f"{self.path / name}: is not a regular file of yours; remove it")
        return descriptor

    def folder(self, name: str) -> PrivateFolder:
        """A folder in this one, made if it is missing; raises as ``PrivateFolder``."""
        return PrivateFolder(Path(name), self._forbidden, within=self)

    def read(self, name: str) -> bytes:
        """Content of a file; raises as ``open``."""
        with os.fdopen(self.open(name, os.O_RDONLY), "rb") as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a file, whole and on disk when this returns; raises as ``open``."""
        partial = self._partial(name, content)
        try:
            self.rename(partial, name)
        except BaseException:
            self.remove(partial)
            raise
        os.fsync(self._descriptor)

    def create(self, name: str, content: bytes) -> None:
        """Make a file, whole and on disk when this returns, unless there is one already; raises as ``open``."""
        partial = self._partial(name, content)
        try:
            os.link(partial, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except FileExistsError:
            pass  # another process was sooner: its file stays
        finally:
            self.remove(partial)
        os.fsync(self._descriptor)

    def _partial(self, name: str, content: bytes) -> str:
        """Make a file on disk under a name that nobody looks for, to be given its own name next."""
        partial = f".{name}.{secrets.token_hex(4)}.partial"
        try:
            with os.fdopen(self.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.remove(partial)
            raise
        return partial

    def names(self, pattern: str) -> list[str]:
        """Names of the files that fit a shell pattern, sorted."""
        return sorted(name for name in os.listdir(self._descriptor) if fnmatch(name, pattern))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of whatever has it."""
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        try:
            os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True


def check_private(path: Path, forbidden: int = NOBODY_ELSE) -> Path:
    """Make a folder if it is missing and make sure that it is the user's own, for code that needs paths.

    Args:
        path: the folder.
        forbidden: permission bits that it must not have.

    Returns:
        the same path.

    Raises:
        PrivateFolderError: as ``PrivateFolder``.
    """
    with PrivateFolder(path, forbidden):
        return path


def _check(path: Path, status: os.stat_result, forbidden: int) -> None:
    if status.st_uid != os.geteuid():
        raise PrivateFolderError(f"{path}: belongs to another user (uid {status.st_uid}); name a folder of your own")
    if stat.S_IMODE(status.st_mode) & forbidden:
        what = "use" if forbidden & 0o055 else "write to"
        raise PrivateFolderError(
            f"{path}: others may {what} it (mode {stat.S_IMODE(status.st_mode):04o}); look at what is in it, then "
            f"chmod 700 {path}"
        )


def _why_not(error: OSError) -> str:
    if error.errno in {errno.ELOOP, errno.ENOTDIR} and error.filename is not None:
        return "is a link or no folder; name a folder of your own"
    return f"cannot be used: {error.strerror}; name a folder of your own"
