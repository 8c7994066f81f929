"""Redis by URL: one store for many machines. TLS with rediss://; the password may come from the environment."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import redis

from tasks.execution.cache.errors import StoreUnavailable
from tasks.execution.cache.stores.store import LONGEST_LEASE

PASSWORD_VARIABLE = "QOMPASS_REDIS_PASSWORD"
_TIMEOUT = 5.0  # seconds for one command; a server that takes longer is slower than running the circuit
_IF_MINE = "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end "
# A claim without an end, or with one further away than any lease, was not made by a store like this one.
_CLAIM = """
if not redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
    local left = redis.call('pttl', KEYS[1])
    if left >= 0 and left <= tonumber(ARGV[3]) then return redis.call('get', KEYS[1]) end
    redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return false
"""
_RENEW = _IF_MINE + "return redis.call('pexpire', KEYS[1], ARGV[2])"
_RELEASE = _IF_MINE + "return redis.call('del', KEYS[1])"


class RedisStore:
    """A store on a Redis server. Its size bound is the server's ``maxmemory`` and eviction policy.

    Args:
        url: ``redis://host:port/db``, ``rediss://`` for TLS, or ``unix://path``.
        prefix: put before every key, so that several programs can share a server.

    Raises:
        StoreUnavailable: the URL is not understood.
    """

    def __init__(self, url: str, prefix: str = "qompass:") -> None:
        self.notes: list[str] = []
        self._url = url
        self._entry = prefix.encode() + b"e:"
        self._claim = prefix.encode() + b"c:"
        self._lock = threading.Lock()
        self._client: Any = None
        self._pid = 0
        self._connect()

    @classmethod
    def open_at(cls, place: str, max_bytes: int) -> RedisStore:
        """Open the store at a URL; its size bound is the server's own."""
        del max_bytes
        return cls(place)

    def get(self, key: bytes, *, fresh: bool = False) -> bytes | None:
        """Return what is stored, or None."""
        with self._failures():
            data: bytes | None = self._connect().get(self._entry + key)
            return data

    def put(self, key: bytes, parts: Sequence[bytes | memoryview], expires: float) -> None:
        """Store, replacing."""
        milliseconds = max(1, int((expires - time.time()) * 1000)) if expires else None
        with self._failures():
            self._connect().set(self._entry + key, b"".join(parts), px=milliseconds)

    def delete(self, key: bytes) -> None:
        """Forget a key."""
        with self._failures():
            self._connect().delete(self._entry + key)

    def claim(self, key: bytes, token: str, lease: float) -> str | None:
        """Take the right to execute a key, which ends by itself after the lease; else return the holder's token."""
        with self._failures():
            times = int(lease * 1000), int(LONGEST_LEASE * 1000)
            holder: bytes | None = self._connect().eval(_CLAIM, 1, self._claim + key, token, *times)
        return None if holder is None else holder.decode(errors="replace")

    def renew(self, keys: list[bytes], token: str, lease: float) -> None:
        """Extend the claims that still are the token's."""
        with self._failures():
            pipe = self._connect().pipeline(transaction=False)
            for key in keys:
                pipe.eval(_RENEW, 1, self._claim + key, token, int(lease * 1000))
            pipe.execute()

    def release(self, key: bytes, token: str) -> None:
        """Give a claim up if it still is the token's."""
        with self._failures():
            self._connect().eval(_RELEASE, 1, self._claim + key, token)

    def keys(self) -> Iterator[bytes]:
        """Go through all keys that hold something."""
        with self._failures():
            found = [key[len(self._entry) :] for key in self._connect().scan_iter(match=self._entry + b"*", count=1000)]
        yield from found

    def size(self) -> int:
        """Return the bytes of all entries."""
        with self._failures():
            client = self._connect()
            return sum(int(client.strlen(self._entry + key)) for key in self.keys())

    def describe(self) -> str:
        """Return host, port and database, never the password."""
        parts = urlsplit(self._url)
        return f"Redis at {parts.hostname or parts.path}" + (f":{parts.port}" if parts.port else "")

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                options: dict[str, Any] = {"socket_timeout": _TIMEOUT, "socket_connect_timeout": _TIMEOUT}
                password = os.environ.get(PASSWORD_VARIABLE)
                if password and not urlsplit(self._url).password:
                    options["password"] = password
                with self._failures():
                    self._client = redis.Redis.from_url(self._url, **options)
                self._pid = os.getpid()
            return self._client

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError, ValueError) as error:
            raise StoreUnavailable(f"cache, {self.describe()}: {error}") from error
