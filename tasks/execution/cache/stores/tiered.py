"""LMDB in front of Redis: reads are local once seen, claims and news go through the server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from tasks.execution.cache.errors import StoreUnavailable
from tasks.execution.cache.stores.store import Store


class TieredStore:
    """A near store that fills itself from a far one. When the far one is gone, claims hold on this machine only.

    An entry that was topped up with more shots elsewhere is seen near in its old form until it is read ``fresh``.
    """

    def __init__(self, near: Store, far: Store) -> None:
        self.notes = near.notes
        self._near = near
        self._far = far

    def get(self, key: bytes, *, fresh: bool = False) -> bytes | None:
        """Return the near form; the far one, and keep it near, where there is none or it must be fresh."""
        near = self._near.get(key)
        if near is not None and not fresh:
            return near
        data = self._far.get(key)
        if data is not None and data != near:
            with contextlib.suppress(StoreUnavailable):
                self._near.put(key, [data], 0)
        return data if data is not None else near

    def put(self, key: bytes, parts: Sequence[bytes | memoryview], expires: float) -> None:
        """Store in both; the near one first, so that a lost server loses nothing here."""
        self._near.put(key, parts, expires)
        self._far.put(key, parts, expires)

    def delete(self, key: bytes) -> None:
        """Forget in both."""
        self._near.delete(key)
        self._far.delete(key)

    def claim(self, key: bytes, token: str, lease: float) -> str | None:
        """Claim at the server."""
        return self._far.claim(key, token, lease)

    def renew(self, keys: list[bytes], token: str, lease: float) -> None:
        """Renew at the server."""
        self._far.renew(keys, token, lease)

    def release(self, key: bytes, token: str) -> None:
        """Release at the server."""
        self._far.release(key, token)

    def keys(self) -> Iterator[bytes]:
        """Go through the keys of both."""
        near = set(self._near.keys())
        yield from near
        yield from (key for key in self._far.keys() if key not in near)

    def size(self) -> int:
        """Return the bytes of the near store."""
        return self._near.size()

    def describe(self) -> str:
        """Return what the stores are."""
        return f"{self._near.describe()}, in front of {self._far.describe()}"

    def close(self) -> None:
        """Close both."""
        self._near.close()
        self._far.close()
