"""What `qompass cache stats|verify|prune|export|import` does; the command line only prints what these return."""

from __future__ import annotations

import contextlib
import secrets
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tasks.errors import InputError
from tasks.execution.cache.entry import Entry
from tasks.execution.cache.entry_store import EntryStore
from tasks.execution.cache.errors import CorruptEntry, OtherKey
from tasks.execution.cache.form_memo import FORM_MEMO
from tasks.inputs.files import open_named

_EXPORT_MAGIC = b"QPCX\x02\x00"
_RECORD = struct.Struct("<32sQ")
_MAX_RECORD = 1 << 32


@dataclass(frozen=True)
class Statistics:
    """What a store holds.

    Attributes:
        entries: how many sound entries.
        unsound: addresses whose entry is damaged or forged.
        of_other_keys: entries sealed with another key than the one in force; they are not used.
        expired: entries past their time.
        bytes_used: bytes in use.
        shots: shots in all counts.
        cost: seconds that producing everything took: what the cache is worth.
        by_backend: entries by the backend that made them.
        remembered_forms: circuits as written whose meaning is remembered.
    """

    entries: int
    unsound: int
    of_other_keys: int
    expired: int
    bytes_used: int
    shots: int
    cost: float
    by_backend: dict[str, int]
    remembered_forms: int


@dataclass(frozen=True)
class Imported:
    """What became of the entries in a file.

    Attributes:
        stored: how many are in the store now that were not.
        there_already: how many the store had, with as many shots or more.
        refused: how many are damaged, or sealed with another key than the one in force.
    """

    stored: int
    there_already: int
    refused: int


def statistics(store: EntryStore) -> Statistics:
    """Count what a store holds.

    Raises:
        StoreUnavailable: it cannot be read.
    """
    now = time.time()
    sound = unsound = of_other_keys = expired = shots = remembered_forms = 0
    cost = 0.0
    backends: Counter[str] = Counter()
    for _, _, entry in store.stored():
        if isinstance(entry, CorruptEntry):
            unsound += not isinstance(entry, OtherKey)
            of_other_keys += isinstance(entry, OtherKey)
            continue
        if entry.provenance.get("level") == FORM_MEMO:
            remembered_forms += 1
            continue
        sound += 1
        expired += bool(entry.expires and entry.expires < now)
        shots += entry.shots
        cost += entry.cost
        backends[entry.provenance.get("backend", "?")] += 1
    used, made_by = store.size(), dict(backends)
    return Statistics(sound, unsound, of_other_keys, expired, used, shots, cost, made_by, remembered_forms)


def verify(store: EntryStore) -> dict[str, str]:
    """Return, by address (hex), what is wrong with each unsound entry: its seal, header, or content of another key."""
    return {
        address.hex(): str(entry)
        for address, _, entry in store.stored()
        if isinstance(entry, CorruptEntry) and not isinstance(entry, OtherKey)
    }


def prune(store: EntryStore, *, older_than: float | None = None) -> int:
    """Remove unsound and expired entries, and those made more than ``older_than`` seconds ago. Returns how many.

    Entries of other keys are left to their owners, and to the store's size bound.
    """
    now = time.time()
    removed = 0
    for address, _, entry in store.stored():
        if isinstance(entry, OtherKey):
            continue
        if isinstance(entry, CorruptEntry) or _past(entry, now, older_than):
            store.delete(address)
            removed += 1
    return removed


def _past(entry: Entry, now: float, older_than: float | None) -> bool:
    expired = bool(entry.expires and entry.expires < now)
    return expired or (older_than is not None and now - entry.created > older_than)


def export_entries(store: EntryStore, path: Path) -> int:
    """Write all sound entries to a file that ``import_entries`` reads under the same key. Returns how many.

    The file appears whole, in the place of an older one.

    Raises:
        InputError: there is something else than a file of this name, or none can be written there.
    """
    written = 0
    with _new_file(path) as out:
        out.write(_EXPORT_MAGIC)
        for address, data, entry in store.stored():
            if isinstance(entry, Entry):
                out.write(_RECORD.pack(address, len(data)) + data)
                written += 1
    return written


def import_entries(store: EntryStore, path: Path) -> Imported:
    """Read entries from a file; each is checked before it is stored, and none replaces one with as many shots.

    Only entries that are sealed with the key in force are taken: whoever made the others may have made them up.

    Raises:
        InputError: the file cannot be read, or is not an export.
    """
    stored = there_already = refused = 0
    with open_named(path, "cache export") as source:
        if source.read(len(_EXPORT_MAGIC)) != _EXPORT_MAGIC:
            raise InputError(f"{path}: not a cache export of this version: name one that `qompass cache export` wrote")
        while head := source.read(_RECORD.size):
            if len(head) < _RECORD.size:
                raise InputError(f"{path}: cut off; what came before is imported: export it again")
            address, length = _RECORD.unpack(head)
            if length > _MAX_RECORD:
                raise InputError(f"{path}: an entry of {length} bytes; the file is damaged: export it again")
            data = source.read(length)
            entry = store.checked(address, data)
            if isinstance(entry, CorruptEntry):
                refused += 1
            elif _known_shots(store, address) >= entry.shots:
                there_already += 1
            else:
                store.store.put(address, [data], entry.expires)
                stored += 1
    return Imported(stored, there_already, refused)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that has its name, in the place of an older one, only when the block ends well."""
    partial = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is a directory, a device or a pipe: name a file to write")
        with partial.open("xb") as out:
            yield out
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path!s:.200}: {error.strerror}: name a file that can be written") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _known_shots(store: EntryStore, address: bytes) -> int:
    """Shots of the sound entry at an address; -1 where there is none."""
    held = store.store.get(address)
    known = None if held is None else store.checked(address, held)
    return known.shots if isinstance(known, Entry) else -1
