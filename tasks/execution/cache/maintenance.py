"""What `qompass cache stats|verify|prune|export|import` does; the command line only prints what these return."""

from __future__ import annotations

import hashlib
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.execution.cache.entry import Entry, decode
from tasks.execution.cache.errors import CorruptEntry
from tasks.execution.cache.form_memo import SPELLING
from tasks.execution.cache.stores.store import Store

_EXPORT_MAGIC = b"QPCX\x01\x00"
_RECORD = struct.Struct("<32sQ")
_MAX_RECORD = 1 << 32


@dataclass(frozen=True)
class Statistics:
    """What a store holds.

    Attributes:
        entries: how many sound entries.
        unsound: keys whose entry cannot be read.
        expired: entries past their time.
        bytes_used: bytes in use.
        shots: shots in all counts.
        cost: seconds that producing everything took: what the cache is worth.
        by_backend: entries by the backend that made them.
        spellings: circuits as written whose meaning is remembered.
    """

    entries: int
    unsound: int
    expired: int
    bytes_used: int
    shots: int
    cost: float
    by_backend: dict[str, int]
    spellings: int


def statistics(store: Store) -> Statistics:
    """Count what a store holds.

    Raises:
        StoreUnavailable: it cannot be read.
    """
    now = time.time()
    sound = unsound = expired = shots = spellings = 0
    cost = 0.0
    backends: Counter[str] = Counter()
    for _, entry in _entries(store):
        if entry is None:
            unsound += 1
            continue
        if entry.provenance.get("level") == SPELLING:
            spellings += 1
            continue
        sound += 1
        expired += bool(entry.expires and entry.expires < now)
        shots += entry.shots
        cost += entry.cost
        backends[entry.provenance.get("backend", "?")] += 1
    return Statistics(sound, unsound, expired, store.size(), shots, cost, dict(backends), spellings)


def verify(store: Store) -> list[str]:
    """Return the keys (hex) whose entry is unsound: bad checksum or header, or material that is not the key's."""
    return [key.hex() for key, entry in _entries(store) if entry is None]


def prune(store: Store, *, older_than: float | None = None) -> int:
    """Remove unsound and expired entries, and those made more than ``older_than`` seconds ago. Returns how many."""
    now = time.time()
    removed = 0
    for key, entry in _entries(store):
        old = entry is not None and older_than is not None and now - entry.created > older_than
        if entry is None or old or (entry.expires and entry.expires < now):
            store.delete(key)
            removed += 1
    return removed


def export_entries(store: Store, path: Path) -> int:
    """Write all sound entries to a file that ``import_entries`` reads. Returns how many."""
    written = 0
    with path.open("wb") as out:
        out.write(_EXPORT_MAGIC)
        for key in store.keys():
            data = store.get(key)
            if data is not None and _sound(key, data) is not None:
                out.write(_RECORD.pack(key, len(data)) + data)
                written += 1
    return written


def import_entries(store: Store, path: Path) -> tuple[int, int]:
    """Read entries from a file; each is checked before it is stored, and none replaces one with more shots.

    Returns:
        (stored, refused or superfluous).

    Raises:
        CorruptEntry: the file is not an export.
    """
    stored = refused = 0
    with path.open("rb") as source:
        if source.read(len(_EXPORT_MAGIC)) != _EXPORT_MAGIC:
            raise CorruptEntry(f"{path}: not a cache export of this version")
        while head := source.read(_RECORD.size):
            if len(head) < _RECORD.size:
                raise CorruptEntry(f"{path}: cut off; what came before is imported")
            key, length = _RECORD.unpack(head)
            if length > _MAX_RECORD:
                raise CorruptEntry(f"{path}: an entry of {length} bytes; the file is damaged")
            data = source.read(length)
            entry = _sound(key, data)
            held = store.get(key)
            known = _sound(key, held) if held is not None else None
            if entry is None or (known is not None and known.shots >= entry.shots):
                refused += 1
                continue
            store.put(key, data, entry.expires)
            stored += 1
    return stored, refused


def _entries(store: Store) -> Iterator[tuple[bytes, Entry | None]]:
    for key in store.keys():
        data = store.get(key)
        if data is not None:
            yield key, _sound(key, data)


def _sound(key: bytes, data: bytes) -> Entry | None:
    """Return the entry if its bytes are sound and its material is what the key is the digest of."""
    try:
        entry = decode(data)
    except CorruptEntry:
        return None
    return entry if hashlib.blake2b(entry.material, digest_size=32).digest() == key else None
