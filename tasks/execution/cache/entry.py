"""What is stored under a key, and its bytes: a header in JSON, arrays as raw little-endian data, a seal. No pickle.

Layout: magic ``QPCE``, version (2 bytes), identity of the sealing key (8 bytes), header length (4 bytes), header,
arrays in the header's order, 32 bytes of HMAC-SHA256 over all before it. Nothing in an entry is ever executed, and
nobody without the key can make one that is used, so a store that others may write to can at worst make a lookup miss.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field

import numpy as np

from tasks.execution.cache.errors import CorruptEntry, OtherKey
from tasks.execution.cache.seal import ID_BYTES, TAG_BYTES, Seal
from tasks.model.tensor import VariantCounts

ENTRY_VERSION = 3
_MAGIC = b"QPCE"
_HEAD = struct.Struct(f"<4sH{ID_BYTES}sI")
_to_json = json.JSONEncoder(separators=(",", ":")).encode
_DTYPES = {"<f8", "<c16", "<i8", "|u1"}


@dataclass(frozen=True)
class Entry:
    """A stored result.

    Attributes:
        material: everything the key is the digest of; compared on every hit.
        angles: (rotation,) float64, the unrounded angles of the canonical form; compared within 1e-12.
        blocks: counts in canonical bit order, one per execution that contributed.
        array: an exact value or tensor, or None.
        cost: seconds that producing it took.
        created: seconds since the epoch.
        expires: seconds since the epoch, or 0 for never.
        provenance: where it came from, for people.
        keep: whether it may be stored; not part of what is stored.
    """

    material: bytes
    angles: np.ndarray
    blocks: tuple[VariantCounts, ...] = ()
    array: np.ndarray | None = None
    cost: float = 0.0
    created: float = 0.0
    expires: float = 0.0
    provenance: dict[str, str] = field(default_factory=dict)
    keep: bool = True

    @property
    def shots(self) -> int:
        """Shots in all blocks."""
        return sum(block.shots for block in self.blocks)

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays, about as many as it takes in a store."""
        blocks = sum(block.outcomes.nbytes + block.counts.nbytes for block in self.blocks)
        return len(self.material) + self.angles.nbytes + blocks + (0 if self.array is None else self.array.nbytes)


def encode(entry: Entry, seal: Seal) -> list[bytes | memoryview]:
    """Return the entry's bytes, sealed, in parts: arrays are not copied, one may be as large as memory allows."""
    arrays = [np.frombuffer(entry.material, dtype=np.uint8), entry.angles]
    for block in entry.blocks:
        arrays += [block.outcomes, block.counts]
    if entry.array is not None:
        arrays.append(entry.array)
    packed = [np.asarray(a, dtype=np.asarray(a).dtype.newbyteorder("<"), order="C") for a in arrays]
    header = {
        "arrays": [[a.dtype.str, list(a.shape)] for a in packed],
        "bits": [block.num_bits for block in entry.blocks],
        "has_array": entry.array is not None,
        "cost": entry.cost,
        "created": entry.created,
        "expires": entry.expires,
        "provenance": entry.provenance,
    }
    text = _to_json(header).encode()
    head = _HEAD.pack(_MAGIC, ENTRY_VERSION, seal.identity, len(text))
    parts: list[bytes | memoryview] = [head, text, *(a.reshape(-1).view(np.uint8).data for a in packed if a.size)]
    return [*parts, seal.tag(*parts)]


def decode(data: bytes, seal: Seal) -> Entry:
    """Return the entry in these bytes.

    Raises:
        OtherKey: it is sealed with another key.
        CorruptEntry: wrong magic, version or seal, or a header that does not describe the rest.
    """
    if len(data) < _HEAD.size + TAG_BYTES or data[:4] != _MAGIC:
        raise CorruptEntry("not a cache entry: the first bytes are wrong; 'qompass cache prune' removes it")
    body, tag = memoryview(data)[:-TAG_BYTES], data[-TAG_BYTES:]
    _, version, identity, length = _HEAD.unpack_from(body)
    if version != ENTRY_VERSION:
        raise CorruptEntry(f"cache entry of version {version}, this program reads {ENTRY_VERSION}; it is run again")
    if identity != seal.identity:
        raise OtherKey("cache entry sealed with another key; it is not used")
    if not seal.made(tag, body):
        raise CorruptEntry("cache entry that fails its seal: damaged or forged; 'qompass cache prune' removes it")
    try:
        header = json.loads(bytes(body[_HEAD.size : _HEAD.size + length]))
        arrays = _read_arrays(body, _HEAD.size + length, header["arrays"])
        blocks = []
        for i, num_bits in enumerate(header["bits"]):
            blocks.append(_checked_block(arrays[2 + 2 * i], arrays[3 + 2 * i], int(num_bits)))
        return Entry(
            material=arrays[0].tobytes(),
            angles=arrays[1],
            blocks=tuple(blocks),
            array=arrays[-1] if header["has_array"] else None,
            cost=float(header["cost"]),
            created=float(header["created"]),
            expires=float(header["expires"]),
            provenance={str(k): str(v) for k, v in header["provenance"].items()},
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise CorruptEntry(f"cache entry with an unsound header ({error}); it is run again") from error


def _read_arrays(body: memoryview, at: int, described: list[list[object]]) -> list[np.ndarray]:
    arrays = []
    for dtype, shape in described:
        if dtype not in _DTYPES or not isinstance(shape, list):
            raise ValueError(f"array type {dtype}")
        sizes = [int(n) for n in shape]
        if any(n < 0 for n in sizes):
            raise ValueError("negative array size")
        count = math.prod(sizes)
        array = np.frombuffer(body, dtype=np.dtype(str(dtype)), count=count, offset=at) if count else np.empty(0, dtype)
        at += array.nbytes
        arrays.append(array.reshape(sizes))
    if at != len(body):
        raise ValueError("length")
    return arrays


def _checked_block(outcomes: np.ndarray, counts: np.ndarray, num_bits: int) -> VariantCounts:
    rows, width = outcomes.shape
    if outcomes.dtype != np.uint8 or width != max(1, (num_bits + 7) // 8):
        raise ValueError("outcomes")
    if counts.shape != (rows,) or (counts <= 0).any():
        raise ValueError("counts")
    return VariantCounts(outcomes, counts, num_bits)
