"""LMDB in a directory: the default store, embedded, shared by the processes of one machine."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb

from tasks.execution.cache.errors import StoreUnavailable
from tasks.execution.cache.stores.holder import alive, identity
from tasks.execution.cache.stores.lmdb_files import DAMAGE, Files, open_files, set_aside
from tasks.execution.cache.stores.store import LONGEST_LEASE
from tasks.runtime.private_folder import PrivateFolderError

logger = logging.getLogger(__name__)

_AGE = struct.Struct(">d")
_PLACE = struct.Struct(">I")
_PAGE = 1 << 12
_BLOCK = (1 << 20) - 16  # with a page's header it is a whole number of pages; twice the size takes no less time
_EVICT_SHARE = 4  # a quarter of the entries, oldest first, make room when the bound is reached
_SLACK = 4 << 20  # map beyond the bound, so that evicting itself never lacks pages


_OPEN: dict[tuple[int, Path], Files] = {}
_OPEN_LOCK = threading.RLock()


def _share(directory: Path, max_bytes: int) -> Files:
    """Open a directory's files, or share those that this process has open."""
    name = (os.getpid(), directory.resolve())
    files = _OPEN.get(name)
    if files is None:
        files = _OPEN[name] = open_files(directory, max_bytes + max_bytes // 4 + _SLACK)
    files.users += 1
    return files


def _let_go(directory: Path, files: Files) -> None:
    files.users -= 1
    if files.users == 0:
        files.env.close()
        files.inside.close()
        _OPEN.pop((os.getpid(), directory.resolve()), None)


class LmdbStore:
    """A store in a directory. Keep it on a local disk: LMDB's locks do not work over network file systems.

    Args:
        directory: made if missing, for its owner only; refused where it is another user's or others may write to it.
        max_bytes: size bound; the oldest entries are evicted when it is reached.

    Raises:
        StoreUnavailable: the directory cannot be made or opened.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.notes: list[str] = []
        self._directory = directory
        self._max_bytes = max_bytes
        self._files: Files | None = None
        self._pid = 0
        with self._inside("open"):
            pass

    @classmethod
    def open_at(cls, place: str, max_bytes: int) -> LmdbStore:
        """Open the store in a directory."""
        return cls(Path(place), max_bytes)

    def get(self, key: bytes, *, fresh: bool = False) -> bytes | None:
        """Return what is stored, or None."""
        with self._inside("read") as files, files.env.begin(db=files.entries, buffers=True) as txn:
            last = txn.get(key)
            if last is None:
                return None
            blocks: list[memoryview] = []
            while (block := txn.get(key + _PLACE.pack(len(blocks)))) is not None:
                blocks.append(block)
            return b"".join((*blocks, last))

    def put(self, key: bytes, parts: Sequence[bytes | memoryview], expires: float) -> None:
        """Store, replacing; makes room by evicting the oldest entries.

        What is large is written in blocks, a transaction each: LMDB copies what a transaction writes to memory of its
        own first, and new memory costs more than the copy. The last block, without which there is no entry, goes last.
        """
        *first, last = _blocks(parts)
        stamp, more = _AGE.pack(time.time()), sum(len(block) + _PAGE for block in first)
        with self._inside("write") as files:
            with files.env.begin(write=True) as txn:
                _forget(files, txn, key)
                txn.put(stamp + key, b"", db=files.ages)
                txn.put(key, stamp, db=files.stamps)
                if not first:
                    txn.put(key, last, db=files.entries)
                full = _size(files, txn) + more > self._max_bytes
            if full:
                _evict(files, max(0, self._max_bytes - more))
            for place, block in enumerate((*first, last) if first else ()):
                name = key + _PLACE.pack(place) if place < len(first) else key
                with files.env.begin(write=True) as txn:
                    if txn.get(key, db=files.stamps) != stamp:
                        return  # evicted meanwhile, or another writes it
                    txn.put(name, block, db=files.entries)

    def delete(self, key: bytes) -> None:
        """Forget a key."""
        with self._inside("write") as files, files.env.begin(write=True) as txn:
            _forget(files, txn, key)

    def claim(self, key: bytes, token: str, lease: float) -> str | None:
        """Take the right to execute a key, else return the holder's token; one that died here loses it at once."""
        with self._inside("write") as files, files.env.begin(write=True, db=files.claims) as txn:
            held, now = _read_claim(txn.get(key)), time.time()
            if held is not None and held["token"] != token and alive(held["holder"]):
                if now < held["until"] <= now + LONGEST_LEASE:
                    return str(held["token"])
            txn.put(key, json.dumps({"token": token, "until": now + lease, "holder": identity()}).encode())
            return None

    def renew(self, keys: list[bytes], token: str, lease: float) -> None:
        """Extend the claims that still are the token's."""
        with self._inside("write") as files, files.env.begin(write=True, db=files.claims) as txn:
            for key in keys:
                held = _read_claim(txn.get(key))
                if held is not None and held["token"] == token:
                    until = time.time() + lease
                    txn.put(key, json.dumps({"token": token, "until": until, "holder": identity()}).encode())

    def release(self, key: bytes, token: str) -> None:
        """Give a claim up if it still is the token's."""
        with self._inside("write") as files, files.env.begin(write=True, db=files.claims) as txn:
            held = _read_claim(txn.get(key))
            if held is not None and held["token"] == token:
                txn.delete(key)

    def keys(self) -> Iterator[bytes]:
        """Go through all keys that hold something."""
        with self._inside("read") as files, files.env.begin(db=files.stamps) as txn:
            found = [bytes(key) for key in txn.cursor().iternext(keys=True, values=False)]
        yield from found

    def size(self) -> int:
        """Return the bytes in use."""
        with self._inside("read") as files, files.env.begin() as txn:
            return _size(files, txn)

    def describe(self) -> str:
        """Return what the store is."""
        return f"LMDB in {self._directory}"

    def close(self) -> None:
        """Close the files, if nobody else in this process uses them."""
        with _OPEN_LOCK:
            if self._files is not None and self._pid == os.getpid():
                _let_go(self._directory, self._files)
            self._files = None

    @contextlib.contextmanager
    def _inside(self, what: str) -> Iterator[Files]:
        """Be inside the files; what goes wrong there is StoreUnavailable, and damaged files are set aside."""
        try:
            files = self._open()
            with files.inside:
                yield files
        except DAMAGE as error:
            self._give_up(error)
            raise StoreUnavailable(f"cannot {what} the cache in {self._directory}: {error}") from error
        except (lmdb.Error, OSError, ValueError, KeyError, PrivateFolderError) as error:
            raise StoreUnavailable(f"cannot {what} the cache in {self._directory}: {error}") from error

    def _open(self) -> Files:
        """Return this process's files: LMDB handles must not cross a fork."""
        with _OPEN_LOCK:
            if self._files is None or self._pid != os.getpid():
                self._files = _share(self._directory, self._max_bytes)
                self._pid = os.getpid()
                if self._files.note:
                    self._tell(self._files.note)
                    self._files.note = ""
            return self._files

    def _give_up(self, error: lmdb.Error) -> None:
        """Set files that LMDB finds damaged aside; the next use of the store opens new ones."""
        with _OPEN_LOCK:
            files, self._files = self._files, None
            name = (os.getpid(), self._directory.resolve())
            if files is not None and _OPEN.get(name) is files:  # other threads may be inside: it is not closed
                del _OPEN[name]
                self._tell(set_aside(self._directory, files.inode, str(error)))

    def _tell(self, note: str) -> None:
        logger.warning("%s", note)
        self.notes.append(note)


def _forget(files: Files, txn: lmdb.Transaction, key: bytes) -> None:
    stamp = txn.get(key, db=files.stamps)
    if stamp is not None:
        txn.delete(bytes(stamp) + key, db=files.ages)
        txn.delete(key, db=files.stamps)
    txn.delete(key, db=files.entries)
    place = 0
    while txn.delete(key + _PLACE.pack(place), db=files.entries):
        place += 1


def _blocks(parts: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    if sum(map(len, parts)) <= _BLOCK:
        return [b"".join(parts)]
    return [part[start : start + _BLOCK] for part in parts for start in range(0, len(part), _BLOCK)]


def _evict(files: Files, most: int) -> None:
    """Forget the oldest entries, a quarter of them at a time, until no more than ``most`` bytes are in use."""
    with files.env.begin(write=True) as txn:
        while _size(files, txn) > most and (total := txn.stat(files.ages)["entries"]):
            ages = txn.cursor(db=files.ages).iternext(keys=True, values=False)
            oldest = [bytes(age) for age, _ in zip(ages, range(max(1, total // _EVICT_SHARE)), strict=False)]
            for age in oldest:
                _forget(files, txn, age[_AGE.size :])


def _size(files: Files, txn: lmdb.Transaction) -> int:
    stats = [txn.stat(db) for db in (files.entries, files.claims, files.ages, files.stamps)]
    pages = sum(own["branch_pages"] + own["leaf_pages"] + own["overflow_pages"] for own in stats)
    return int(pages * stats[0]["psize"])


def _read_claim(data: bytes | None) -> dict[str, Any] | None:
    """Return a claim, or None where there is none or it cannot be read."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if data is not None:
            claim = json.loads(bytes(data))
            return {"token": claim["token"], "until": float(claim["until"]), "holder": list(claim["holder"])}
    return None
