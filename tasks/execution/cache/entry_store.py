"""Entries in a store of bytes, sealed as they go in and checked as they come out; claims that only key holders make."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence

from tasks.execution.cache.entry import Entry, decode, encode
from tasks.execution.cache.errors import CorruptEntry
from tasks.execution.cache.seal import Seal, open_seal
from tasks.execution.cache.stores.registry import open_store
from tasks.execution.cache.stores.store import Store

MOST_BYTES = 128 << 20
"""Of an entry that is stored: an eighth of a folder's usual bound, a quarter of what Redis takes in one value."""
OLDEST_CLAIM = 3600.0
"""Seconds after which a claim is no longer waited for, however often it is renewed."""


class EntryStore:
    """What the cache reads and writes: entries by the digest of their key, and claims on digests.

    Args:
        store: where the bytes are.
        seal: of the user, or of all who share the store.
    """

    def __init__(self, store: Store, seal: Seal) -> None:
        self.store = store
        self._seal = seal

    def get(self, digest: bytes, *, fresh: bool = False) -> Entry | None:
        """Return the entry, or None where there is none.

        Raises:
            CorruptEntry: what is stored was not made by a holder of the key, or is not of this digest.
            StoreUnavailable: the store cannot be read.
        """
        data = self.store.get(self._seal.address(digest), fresh=fresh)
        if data is None:
            return None
        entry = decode(data, self._seal)
        if entry_digest(entry) != digest:
            raise CorruptEntry("cache entry of another key's content; 'qompass cache prune' removes it")
        return entry

    def put(self, digest: bytes, entry: Entry) -> None:
        """Store, replacing; what would push out much else, or what a store does not take, is left out.

        Raises:
            StoreUnavailable: the store cannot be written.
        """
        if entry.nbytes > MOST_BYTES:  # seen before it is encoded: that takes as much memory again
            return
        self.store.put(self._seal.address(digest), encode(entry, self._seal), entry.expires)

    def claim(self, digest: bytes, token: str, lease: float) -> bool:
        """Take the right to execute a key for ``lease`` seconds; False if a living holder of the seal's key has it."""
        address = self._seal.address(digest)
        holder = self.store.claim(address, token, lease)
        if holder is None:
            return True
        made = self._seal.claimed_at(holder)
        if made is not None and time.time() - made < OLDEST_CLAIM:
            return False
        self.store.release(address, holder)
        return self.store.claim(address, token, lease) is None

    def new_token(self, name: str) -> str:
        """Return a token to claim with."""
        return self._seal.claim_token(name)

    def renew(self, digests: Sequence[bytes], token: str, lease: float) -> None:
        """Extend the claims that still are the token's."""
        self.store.renew([self._seal.address(digest) for digest in digests], token, lease)

    def release(self, digest: bytes, token: str) -> None:
        """Give a claim up if it still is the token's."""
        self.store.release(self._seal.address(digest), token)

    def size(self) -> int:
        """Return the bytes in use."""
        return self.store.size()

    def describe(self) -> str:
        """Return what the store is, without secrets."""
        return self.store.describe()

    def notes(self) -> list[str]:
        """Return, once, what the user has to be told about the store."""
        told, self.store.notes[:] = list(self.store.notes), []
        return told

    def close(self) -> None:
        """Let go of files and connections."""
        self.store.close()

    def delete(self, address: bytes) -> None:
        """Forget what is stored at an address (of ``stored``)."""
        self.store.delete(address)

    def stored(self) -> Iterator[tuple[bytes, bytes, Entry | CorruptEntry]]:
        """Go through all that is stored: address, bytes, and the entry or what is wrong with it."""
        for address in self.store.keys():
            data = self.store.get(address)
            if data is not None:
                yield address, data, self.checked(address, data)

    def checked(self, address: bytes, data: bytes) -> Entry | CorruptEntry:
        """Return the entry in these bytes, or what is wrong with it at this address."""
        try:
            entry = decode(data, self._seal)
        except CorruptEntry as error:
            return error
        if self._seal.address(entry_digest(entry)) != address:
            return CorruptEntry("its content is another key's")
        return entry


def entry_digest(entry: Entry) -> bytes:
    """Return the digest of the key that an entry belongs to."""
    return hashlib.blake2b(entry.material, digest_size=32).digest()


def open_entries(where: str, *, max_bytes: int = 1 << 30) -> EntryStore:
    """Open the store at a place (``open_store``) under the key in force (``open_seal``).

    Raises:
        StoreUnavailable: either cannot be opened.
    """
    return EntryStore(open_store(where, max_bytes=max_bytes), open_seal())
