"""What every store can do.

Stores hold bytes under 32-byte keys and *claims*: who is executing a key now. They raise only
:class:`StoreUnavailable`; what to do then is the cache's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

LONGEST_LEASE = 60.0
"""Seconds that a claim lasts at most without being renewed; one that says it lasts longer is no claim."""


class Store(Protocol):
    """Bytes under keys, and claims on keys.

    Attributes:
        notes: sentences for the user about what became of the store, until someone takes them away.
    """

    notes: list[str]

    def get(self, key: bytes, *, fresh: bool = False) -> bytes | None:
        """Return what is stored, or None; ``fresh`` asks past a copy that may be old."""

    def put(self, key: bytes, parts: Sequence[bytes | memoryview], expires: float) -> None:
        """Store bytes, given in parts, replacing; ``expires`` in seconds since the epoch, 0 for never."""

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
