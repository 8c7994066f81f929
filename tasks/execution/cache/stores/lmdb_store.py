"""LMDB in a directory: the default store, embedded, shared by the processes of one machine."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from tasks.execution.cache.errors import StoreUnavailable

_AGE = struct.Struct(">d")
_EVICT_SHARE = 4  # a quarter of the entries, oldest first, make room when the bound is reached
_SLACK = 4 << 20  # map beyond the bound, so that evicting itself never lacks pages


@dataclass
class _Files:
    """One open environment. LMDB allows a process only one per directory, so stores share it."""

    env: lmdb.Environment
    entries: Any
    claims: Any
    ages: Any
    stamps: Any
    name: tuple[int, str]
    users: int


_OPEN: dict[tuple[int, str], _Files] = {}
_OPEN_LOCK = threading.RLock()


def _share(directory: Path, max_bytes: int) -> _Files:
    directory.mkdir(parents=True, exist_ok=True)
    name = (os.getpid(), str(directory.resolve()))
    files = _OPEN.get(name)
    if files is None:
        # sync=False: a crash of the machine may lose the last entries, never damage old ones (their checksums tell)
        size = max_bytes + max_bytes // 4 + _SLACK
        env = lmdb.open(str(directory), map_size=size, max_dbs=4, max_readers=1024, sync=False)
        env.reader_check()  # readers that were killed would keep their pages from being used again
        entries, claims, ages, stamps = (env.open_db(db) for db in (b"entries", b"claims", b"ages", b"stamps"))
        files = _Files(env, entries, claims, ages, stamps, name, 0)
        _OPEN[name] = files
    files.users += 1
    return files


def _let_go(files: _Files) -> None:
    files.users -= 1
    if files.users == 0:
        files.env.close()
        _OPEN.pop(files.name, None)


class LmdbStore:
    """A store in a directory. Keep it on a local disk: LMDB's locks do not work over network file systems.

    Args:
        directory: made if missing.
        max_bytes: size bound; the oldest entries are evicted when it is reached.

    Raises:
        StoreUnavailable: the directory cannot be made or opened.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._files: _Files | None = None
        self._pid = 0
        self._open()

    def get(self, key: bytes, *, fresh: bool = False) -> bytes | None:
        """Return what is stored, or None."""
        with self._failures("read"), self._open().begin(db=self._entries) as txn:
            data = txn.get(key)
            return None if data is None else bytes(data)

    def put(self, key: bytes, data: bytes, expires: float) -> None:
        """Store, replacing; makes room by evicting the oldest entries."""
        with self._failures("write"):
            with self._open().begin(write=True) as txn:
                self._forget(txn, key)
                stamp = _AGE.pack(time.time())
                txn.put(key, data, db=self._entries)
                txn.put(stamp + key, b"", db=self._ages)
                txn.put(key, stamp, db=self._stamps)
            if self.size() > self._max_bytes:
                self._evict()

    def delete(self, key: bytes) -> None:
        """Forget a key."""
        with self._failures("write"), self._open().begin(write=True) as txn:
            self._forget(txn, key)

    def claim(self, key: bytes, token: str, lease: float) -> bool:
        """Take the right to execute a key; a holder that died on this machine loses it at once."""
        with self._failures("write"), self._open().begin(write=True, db=self._claims) as txn:
            held = _read_claim(txn.get(key))
            if held is not None and held["token"] != token and held["until"] > time.time() and _alive(held["holder"]):
                return False
            txn.put(key, json.dumps({"token": token, "until": time.time() + lease, "holder": _identity()}).encode())
            return True

    def renew(self, keys: list[bytes], token: str, lease: float) -> None:
        """Extend the claims that still are the token's."""
        with self._failures("write"), self._open().begin(write=True, db=self._claims) as txn:
            for key in keys:
                held = _read_claim(txn.get(key))
                if held is not None and held["token"] == token:
                    until = time.time() + lease
                    txn.put(key, json.dumps({"token": token, "until": until, "holder": _identity()}).encode())

    def release(self, key: bytes, token: str) -> None:
        """Give a claim up if it still is the token's."""
        with self._failures("write"), self._open().begin(write=True, db=self._claims) as txn:
            held = _read_claim(txn.get(key))
            if held is not None and held["token"] == token:
                txn.delete(key)

    def keys(self) -> Iterator[bytes]:
        """Go through all keys that hold something."""
        with self._failures("read"), self._open().begin(db=self._entries) as txn:
            found = [bytes(key) for key in txn.cursor().iternext(keys=True, values=False)]
        yield from found

    def size(self) -> int:
        """Return the bytes in use."""
        with self._failures("read"):
            env = self._open()
            pages = 0
            with env.begin() as txn:
                for db in (self._entries, self._claims, self._ages, self._stamps):
                    stat = txn.stat(db)
                    pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            return int(pages * env.stat()["psize"])

    def describe(self) -> str:
        """Return what the store is."""
        return f"LMDB in {self._directory}"

    def close(self) -> None:
        """Close the files, if nobody else in this process uses them."""
        with _OPEN_LOCK:
            if self._files is not None and self._pid == os.getpid():
                _let_go(self._files)
            self._files = None

    def _open(self) -> lmdb.Environment:
        """Return this process's environment: LMDB handles must not cross a fork."""
        with _OPEN_LOCK:
            if self._files is None or self._pid != os.getpid():
                with self._failures("open"):
                    self._files = _share(self._directory, self._max_bytes)
                self._pid = os.getpid()
                self._entries, self._claims = self._files.entries, self._files.claims
                self._ages, self._stamps = self._files.ages, self._files.stamps
            return self._files.env

    def _forget(self, txn: lmdb.Transaction, key: bytes) -> None:
        stamp = txn.get(key, db=self._stamps)
        if stamp is not None:
            txn.delete(bytes(stamp) + key, db=self._ages)
            txn.delete(key, db=self._stamps)
        txn.delete(key, db=self._entries)

    def _evict(self) -> None:
        with self._open().begin(write=True) as txn:
            total = txn.stat(self._ages)["entries"]
            ages = txn.cursor(db=self._ages).iternext(keys=True, values=False)
            oldest = [bytes(age) for age, _ in zip(ages, range(max(1, total // _EVICT_SHARE)), strict=False)]
            for age in oldest:
                self._forget(txn, age[_AGE.size :])

    @contextlib.contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        try:
            yield
        except (lmdb.Error, OSError, ValueError, KeyError) as error:
            raise StoreUnavailable(f"cannot {what} the cache in {self._directory}: {error}") from error


def _read_claim(data: bytes | None) -> dict[str, Any] | None:
    """Return a claim, or None where there is none or it cannot be read."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if data is not None:
            claim = json.loads(bytes(data))
            return {"token": claim["token"], "until": float(claim["until"]), "holder": list(claim["holder"])}
    return None


def _identity() -> list[object]:
    """Name this process so that another on the same machine can see whether it lives."""
    return [_machine(), os.getpid(), _started(os.getpid())]


def _machine() -> str:
    """Name the set of processes that can see each other: a boot and a process namespace."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    return ""


def _started(pid: int) -> str:
    """Return the start time of a living process; empty if there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _alive(holder: list[object]) -> bool:
    machine, pid, started = holder
    if not machine or machine != _machine():
        return True  # on another machine: only its lease can tell
    return _started(int(str(pid))) == started
