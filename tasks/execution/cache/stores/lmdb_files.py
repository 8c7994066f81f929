"""The files of an LMDB store: in a folder of the user's own, and set aside when they are damaged.

LMDB maps its file into memory. A page that is missing then ends the process (SIGBUS), and one that is garbage may. So
before it is mapped the file's size is compared with what its own meta pages say (``mdb.c``: page header, then magic,
version, address, map size, two tree roots, last page, transaction), and every process says in a file of its own while
it is inside the store. A file that is too short, or in which a process died, is read through by a child process first.
"""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from tasks.execution.cache.stores import lmdb_examination
from tasks.execution.cache.stores.holder import start_time
from tasks.runtime.file_lock import lock
from tasks.runtime.private_folder import NO_OTHER_WRITER, PrivateFolder

DAMAGE = (
    lmdb.BadTxnError,
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)
"""What LMDB raises where its files are not sound."""

_DATA, _LOCK = "data.mdb", "lock.mdb"
_META = struct.Struct("<16xQ16xI92xQQ")  # magic and format, page size, last page, transaction
_MAGIC = 0xBEEFC0DE + (1 << 32)
_EXAMINATION_SECONDS = 300.0


@dataclass
class Files:
    """An open environment and its databases.

    Attributes:
        env: the environment. LMDB allows a process only one per folder, so stores share it.
        entries: data by key.
        claims: claims by key.
        ages: nothing by time of storing and key.
        stamps: time of storing by key.
        inside: says while this process is inside.
        inode: of the data file.
        note: what the user has to know of how it was opened, "" for nothing.
        users: how many stores of this process use it.
    """

    env: lmdb.Environment
    entries: Any
    claims: Any
    ages: Any
    stamps: Any
    inside: Inside
    inode: int
    note: str
    users: int = 0


class Inside:
    """One byte in a file that outlives this process: whether it is inside the store, in any thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"inside.{os.getpid()}.{start_time(os.getpid())}"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._threads = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                os.pwrite(self._file, b"1", 0)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                os.pwrite(self._file, b"0", 0)

    def close(self) -> None:
        """Take the file away: this process no longer uses the store."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def open_files(folder: Path, map_size: int) -> Files:
    """Open the environment in a folder; what is damaged is set aside, and a new one begun.

    Args:
        folder: made with mode 0700 if it is missing.
        map_size: bytes of address space.

    Raises:
        PrivateFolderError: the folder is another user's, or others may write to it.
        lmdb.Error, OSError: it cannot be opened.
    """
    folder = own_folder(folder)
    with _opening(folder):
        note = ""
        if _died_inside(folder) or _short(folder / _DATA):
            why = _examined(folder, map_size)
            note = _moved(folder, why) if why else ""
        inside = Inside(folder)
        try:
            with inside:
                try:
                    env, databases = _open(folder, map_size)
                except DAMAGE as error:
                    note = _moved(folder, str(error))
                    env, databases = _open(folder, map_size)
                env.reader_check()  # readers that were killed would keep their pages from being used again
        except BaseException:
            inside.close()
            raise
        return Files(env, *databases, inside, (folder / _DATA).stat().st_ino, note)


def set_aside(folder: Path, inode: int, why: str) -> str:
    """Set the files that a process found damaged aside, unless another process did; returns a note for the user."""
    with _opening(folder):
        with suppress(OSError):
            if (folder / _DATA).stat().st_ino == inode:
                return _moved(folder, why)
    return f"the cache in {folder} was damaged ({why}) and is begun anew"


def own_folder(folder: Path) -> Path:
    """Make sure that a folder, or what the user's own link leads to, is the user's own; others may at most read it.

    Raises:
        PrivateFolderError: it is not.
    """
    with suppress(FileNotFoundError):
        if folder.is_symlink() and folder.lstat().st_uid == os.geteuid():
            folder = folder.resolve()
    with PrivateFolder(folder, NO_OTHER_WRITER):
        return folder.resolve()


def _open(folder: Path, map_size: int) -> tuple[lmdb.Environment, tuple[Any, Any, Any, Any]]:
    # sync=False: a crash of the machine may lose the last entries; what it damages is found and set aside
    env = lmdb.open(str(folder), map_size=map_size, max_dbs=4, max_readers=1024, sync=False, mode=0o600)
    return env, (env.open_db(b"entries"), env.open_db(b"claims"), env.open_db(b"ages"), env.open_db(b"stamps"))


@contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """Let one process at a time open the store or set it aside."""
    file = os.open(folder / "opening.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        lock(file)
        yield
    finally:
        os.close(file)


def _moved(folder: Path, why: str) -> str:
    aside = folder / f"damaged-{_DATA}"
    (folder / _DATA).replace(aside)
    (folder / _LOCK).unlink(missing_ok=True)  # whoever has the old files open keeps the old lock
    return f"the cache in {folder} was damaged ({why}): it is set aside as {aside.name}, and a new one is begun"


def _examined(folder: Path, map_size: int) -> str:
    """Say what is wrong with a store, or "": read through by a child process, which may die of it."""
    packages = Path(lmdb.__file__).parents[1]
    command = [sys.executable, "-I", lmdb_examination.__file__, str(folder), str(map_size), str(packages)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_EXAMINATION_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"reading it takes more than {_EXAMINATION_SECONDS:g} s"
    if done.returncode < 0:
        return f"reading it ends in {signal.Signals(-done.returncode).name}"
    return "" if not done.returncode else done.stdout or f"reading it fails: {done.stderr.strip()[-200:]}"


def _short(data: Path) -> bool:
    """Say whether a data file lacks pages that its latest meta page knows of, or has no sound meta pages."""
    try:
        with data.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                return False  # LMDB begins a new one
            head = file.read(_META.size)
            _, page, *_ = _META.unpack(head.ljust(_META.size, b"\0"))
            if page not in (1 << k for k in range(8, 17)):
                return True
            file.seek(page)
            metas = [_META.unpack(part.ljust(_META.size, b"\0")) for part in (head, file.read(_META.size))]
    except FileNotFoundError:
        return False
    if any(magic != _MAGIC for magic, *_ in metas):
        return True
    _, _, last, _ = max(metas, key=lambda meta: meta[3])
    return size < (last + 1) * page


def _died_inside(folder: Path) -> bool:
    """Say whether a process that no longer lives was inside the store to the last."""
    died = False
    for path in folder.glob("inside.*.*"):
        pid, _, began = path.name.removeprefix("inside.").partition(".")
        if pid.isdecimal() and start_time(int(pid)) != began:
            with suppress(FileNotFoundError):  # it took its file away as it ended, after the folder was listed
                died = path.read_bytes() == b"1" or died
                path.unlink()
    return died
