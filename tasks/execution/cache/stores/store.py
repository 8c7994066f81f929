"""What every store can do, and how one is opened: a directory is LMDB, a URL is Redis, both is one before the other.

Stores hold bytes under 32-byte keys and *claims*: who is executing a key now. They raise only
:class:`StoreUnavailable`; what to do then is the cache's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from tasks.errors import InputError
from tasks.execution.cache.errors import StoreUnavailable

LONGEST_LEASE = 60.0
"""Seconds that a claim lasts at most without being renewed; one that says it lasts longer is no claim."""

_REDIS = re.compile(r"rediss?://|unix://")


class Store(Protocol):
    """Bytes under keys, and claims on keys.

    Attributes:
        notes: sentences for the user about what became of the store, until someone takes them away.
    """

    notes: list[str]

    def get(self, key: bytes, *, fresh: bool = False) -> bytes | None:
        """Return what is stored, or None; ``fresh`` asks past a copy that may be old."""

    def put(self, key: bytes, data: bytes, expires: float) -> None:
        """Store, replacing; ``expires`` in seconds since the epoch, 0 for never."""

    def delete(self, key: bytes) -> None:
        """Forget a key."""

    def claim(self, key: bytes, token: str, lease: float) -> str | None:
        """Take the right to execute a key for ``lease`` seconds; else return the token of the living holder."""

    def renew(self, keys: list[bytes], token: str, lease: float) -> None:
        """Extend the claims that still are the token's."""

    def release(self, key: bytes, token: str) -> None:
        """Give a claim up if it still is the token's."""

    def keys(self) -> Iterator[bytes]:
        """Go through all keys that hold something."""

    def size(self) -> int:
        """Return the bytes in use."""

    def describe(self) -> str:
        """Return what the store is, without secrets."""

    def close(self) -> None:
        """Let go of files and connections."""


def check_place(where: str) -> None:
    """Make sure that a place may stand in arguments, records and process lists, and that its URL can be read.

    Raises:
        InputError: it names a password, or is not a URL where it looks like one.
    """
    for part in where.split(","):
        try:
            url = urlsplit(part)
            url.port  # noqa: B018  (reading it is the check)
        except ValueError as error:
            how = "give a directory, a redis:// or rediss:// URL, or off"
            raise InputError(f"--cache: not a URL ({error}): {how}") from None
        if url.password or "password" in parse_qs(url.query):
            raise InputError("--cache: leave the password out of the URL and put it into QOMPASS_REDIS_PASSWORD")


def open_store(where: str, *, max_bytes: int = 1 << 30) -> Store:
    """Open a store.

    Args:
        where: a directory (LMDB), ``redis://`` or ``rediss://`` (TLS) URL, or ``DIRECTORY,URL`` for LMDB in front of
            Redis. A password may be left out of the URL and given in QOMPASS_REDIS_PASSWORD.
        max_bytes: size bound of an LMDB directory; the oldest entries make room.

    Raises:
        StoreUnavailable: the directory cannot be written, or the URL is not understood.
    """
    directory, comma, url = where.rpartition(",")
    if comma and _REDIS.match(url):
        return _tiered(Path(directory), url, max_bytes)
    if _REDIS.match(where):
        return _redis(where)
    if "://" in where:
        raise StoreUnavailable(f"cache {where!r}: give a directory, a redis:// or rediss:// URL, or off")
    return _lmdb(Path(where), max_bytes)


def _lmdb(directory: Path, max_bytes: int) -> Store:
    try:
        from tasks.execution.cache.stores.lmdb_store import LmdbStore
    except ImportError as error:
        raise StoreUnavailable(f"a cache in a directory needs the package lmdb ({error}): pip install lmdb") from error
    return LmdbStore(directory, max_bytes)


def _redis(url: str) -> Store:
    try:
        from tasks.execution.cache.stores.redis_store import RedisStore
    except ImportError as error:
        raise StoreUnavailable(f"a cache by URL needs the package redis ({error}): pip install redis") from error
    return RedisStore(url)


def _tiered(directory: Path, url: str, max_bytes: int) -> Store:
    from tasks.execution.cache.stores.tiered_store import TieredStore

    return TieredStore(_lmdb(directory, max_bytes), _redis(url))
