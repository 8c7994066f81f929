"""Counts in canonical bit order, and disjoint samples out of one pool of shots.

Two variants of a run that mean the same must not be given the same shots as if they were independent. A pool is an
ordered sequence of shots; whoever uses it takes his own range. The order inside a block of counts is a fixed
pseudo-random permutation, so that disjoint ranges are independent samples of the distribution, and the same range is
the same counts every time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from tasks.model.counts import merge_counts
from tasks.model.tensor import VariantCounts


def to_canonical(counts: VariantCounts, bits: Sequence[int], inverted: Sequence[bool]) -> VariantCounts:
    """Return counts with stored bit ``i`` = the caller's bit ``bits[i]``, XOR ``inverted[i]``."""
    if _as_they_are(bits, inverted, counts.num_bits):
        return _in_order(counts.outcomes, counts.counts, counts.num_bits)
    plain = _unpack(counts.outcomes, counts.num_bits)
    return _collect(plain[:, list(bits)] ^ np.asarray(inverted, dtype=np.uint8), counts.counts)


def from_canonical(
    counts: VariantCounts, bits: Sequence[int], inverted: Sequence[bool], num_bits: int
) -> VariantCounts:
    """Undo :func:`to_canonical`; bits that are not stored are 0."""
    if num_bits == counts.num_bits and _as_they_are(bits, inverted, num_bits):
        return _in_order(counts.outcomes, counts.counts, num_bits)
    stored = _unpack(counts.outcomes, counts.num_bits)
    plain = np.zeros((len(stored), num_bits), dtype=np.uint8)
    plain[:, list(bits)] = stored ^ np.asarray(inverted, dtype=np.uint8)
    return _collect(plain, counts.counts)


def take(blocks: Sequence[VariantCounts], start: int, stop: int) -> VariantCounts:
    """Return shots ``start`` to ``stop`` of the pool that the blocks form one after the other.

    Raises:
        ValueError: the pool has fewer shots.
    """
    parts = []
    before = 0
    for block in blocks:
        low, high = max(0, start - before), min(block.shots, stop - before)
        if low < high:
            parts.append(block if (low, high) == (0, block.shots) else _part(block, low, high))
        before += block.shots
    if stop > before or not parts:
        raise ValueError(f"shots {start} to {stop} of a pool of {before}")
    (merged,) = merge_counts(parts)
    return merged


def shares(total: int, wanted: Sequence[int]) -> list[int]:
    """Split ``total`` shots in proportion to what was wanted, nobody below his wish (``total >= sum(wanted)``)."""
    if len(wanted) == 1:
        return [total]
    extra = total - sum(wanted)
    weight = sum(wanted)
    ends = np.cumsum(np.asarray(wanted, dtype=np.int64)) * extra // max(1, weight)
    return [int(w + e) for w, e in zip(wanted, np.diff(ends, prepend=0), strict=True)]


def _part(block: VariantCounts, low: int, high: int) -> VariantCounts:
    digest = hashlib.blake2b(block.outcomes.tobytes() + block.counts.tobytes(), digest_size=8).digest()
    order = np.random.default_rng(int.from_bytes(digest, "little"))
    which = order.permutation(np.repeat(np.arange(len(block.counts)), block.counts))[low:high]
    counts = np.bincount(which, minlength=len(block.counts))
    kept = counts > 0
    return VariantCounts(block.outcomes[kept], counts[kept].astype(np.int64), block.num_bits)


def _unpack(outcomes: np.ndarray, num_bits: int) -> np.ndarray:
    return np.unpackbits(outcomes, axis=1, count=num_bits, bitorder="little") if num_bits else outcomes[:, :0]


def _collect(plain: np.ndarray, counts: np.ndarray) -> VariantCounts:
    num_bits = plain.shape[1]
    packed = np.packbits(plain, axis=1, bitorder="little") if num_bits else np.zeros((len(plain), 1), dtype=np.uint8)
    return _in_order(packed, counts, num_bits)


def _as_they_are(bits: Sequence[int], inverted: Sequence[bool], num_bits: int) -> bool:
    """Whether bits keep their places and values, as those of circuits found as they are written do."""
    return num_bits > 0 and list(bits) == list(range(num_bits)) and not any(inverted)


def _in_order(packed: np.ndarray, counts: np.ndarray, num_bits: int) -> VariantCounts:
    order = np.lexsort(packed.T[::-1])  # the same rows in the same order, however the bits were permuted
    return VariantCounts(np.ascontiguousarray(packed[order]), counts[order], num_bits)
