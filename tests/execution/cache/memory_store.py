"""A store in memory, with a hook on claims: what other workers do in the middle of things happens there."""

import time
from collections.abc import Callable, Iterator, Sequence

from tasks.execution.cache.errors import StoreUnavailable


class MemoryStore:
    """Bytes and claims in dictionaries; every call is listed.

    Attributes:
        entries: data by address.
        claims: (token, end) by address.
        calls: names of the methods called.
        on_claim: called with the address before a claim is looked at.
        broken: names of methods that fail.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.entries: dict[bytes, bytes] = {}
        self.claims: dict[bytes, tuple[str, float]] = {}
        self.calls: list[str] = []
        self.on_claim: Callable[[bytes], None] = lambda address: None
        self.broken: set[str] = set()

    @classmethod
    def open_at(cls, place: str, max_bytes: int) -> "MemoryStore":
        """The store of that name."""
        return STORES.setdefault(place, cls())

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.broken:
            raise StoreUnavailable(f"{name} is broken")

    def get(self, key: bytes, *, fresh: bool = False) -> bytes | None:
        self._called("get fresh" if fresh else "get")
        return self.entries.get(key)

    def put(self, key: bytes, parts: Sequence[bytes | memoryview], expires: float) -> None:
        self._called("put")
        self.entries[key] = b"".join(parts)

    def delete(self, key: bytes) -> None:
        self._called("delete")
        self.entries.pop(key, None)

    def claim(self, key: bytes, token: str, lease: float) -> str | None:
        self._called("claim")
        self.on_claim(key)
        held, end = self.claims.get(key, (token, 0.0))
        if held != token and time.time() < end:
            return held
        self.claims[key] = token, time.time() + lease
        return None

    def renew(self, keys: list[bytes], token: str, lease: float) -> None:
        self._called("renew")
        for key in keys:
            if self.claims.get(key, ("", 0.0))[0] == token:
                self.claims[key] = token, time.time() + lease

    def release(self, key: bytes, token: str) -> None:
        self._called("release")
        if self.claims.get(key, ("", 0.0))[0] == token:
            del self.claims[key]

    def keys(self) -> Iterator[bytes]:
        yield from list(self.entries)

    def size(self) -> int:
        return sum(map(len, self.entries.values()))

    def describe(self) -> str:
        return "memory"

    def close(self) -> None:
        self._called("close")


STORES: dict[str, MemoryStore] = {}
