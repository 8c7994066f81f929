"""Counts to fragment tensors: sums of signs over shots, and from them the entries in the leg bases.

An entry of a fragment's *raw tensor* (raw column of each leg, factor) is the mean of a sign over the shots of every
variant that determines it (of two halves of the shots: the mean of their means); the leg basis is a linear map of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from tasks.model.tensor import LegSettings, SampledData, VariantCounts, VariantData
from tasks.reconstruction.errors import MissingCountsError
from tasks.reconstruction.statistics.walsh import histograms, variant_batches, walsh

OUTCOME_CHUNK = 1 << 16
"""Outcomes looked at in one go."""


@dataclass(frozen=True)
class VariantEntries:
    """The raw entries one variant determines.

    Attributes:
        columns: (entry, leg) int, the raw column of each leg.
        masks: (entry, num_bits) bool, bits whose parity is the sign that the legs give.
    """

    columns: np.ndarray
    masks: np.ndarray


def tensor_values(samples: SampledData, num_factors: int, half: int | None = None) -> np.ndarray:
    """Estimate a fragment's tensor from its counts.

    Args:
        samples: settings of the legs and the counts of every variant.
        num_factors: length of the factor axis.
        half: whose shots alone it is estimated from; None: all.

    Returns:
        (leg_0, ..., leg_k, factor) float64, in the leg bases of ``tasks.model.tensor``.

    Raises:
        MissingCountsError: if an entry that the leg bases need has no shot, or counts are not positive.
    """
    sums, shots = _raw_sums(samples, num_factors)
    check_covered(samples, shots)
    means = np.divide(sums, shots, out=np.zeros_like(sums), where=shots > 0)
    raw = means.mean(axis=0) if half is None else means[half]
    for axis, leg in enumerate(samples.legs):
        raw = np.moveaxis(np.tensordot(raw, leg.inverse, axes=(axis, 1)), -1, axis)
    return np.ascontiguousarray(raw)


def variant_entries(legs: Sequence[LegSettings], variant: VariantData) -> VariantEntries:
    """Enumerate the raw columns that a variant determines: one or two for each leg."""
    choices = [
        np.flatnonzero((leg.columns[:, 0] == setting) & ((bit >= 0) | (leg.columns[:, 1] == 0)))
        for leg, setting, bit in zip(legs, variant.settings, variant.leg_bits, strict=True)
    ]
    sizes = tuple(map(len, choices))
    picks = np.indices(sizes).reshape(len(sizes), prod(sizes))
    columns = np.empty((prod(sizes), len(sizes)), dtype=np.int64)
    masks = np.zeros((prod(sizes), variant.counts.num_bits), dtype=bool)
    for leg, (own, choice, bit) in enumerate(zip(legs, choices, variant.leg_bits, strict=True)):
        columns[:, leg] = choice[picks[leg]]
        if bit >= 0:
            masks[:, bit] ^= own.columns[columns[:, leg], 1] != 0
    return VariantEntries(columns, masks)


def signs(variant: VariantData, masks: np.ndarray, start: int = 0, stop: int | None = None) -> np.ndarray:
    """(outcome, mask) float64: the parity of each outcome under each mask (mask, num_bits), +1 or -1.

    Where readout errors are mitigated it is the product of the bits' readings instead: of the parity's sign, and of a
    size that makes its mean what a device without readout errors would have given.
    """
    counts = variant.counts
    outcomes = counts.outcomes[start:stop]
    chosen = np.packbits(masks, axis=1, bitorder="little")
    words = -(-max(outcomes.shape[1], chosen.shape[1]) // 8)
    parity = np.zeros((len(outcomes), len(masks)), dtype=np.uint8)
    for word, own in zip(_words(outcomes, words).T, _words(chosen, words).T, strict=True):
        parity ^= np.bitwise_count(word[:, None] & own) & 1
    sign = 1.0 - 2.0 * parity
    if counts.readings is None:
        return sign
    bits = np.unpackbits(outcomes, axis=1, count=counts.num_bits, bitorder="little")
    sizes = np.log(np.abs(counts.readings))
    return sign * np.exp(np.where(bits, sizes[:, 1], sizes[:, 0]) @ masks.T.astype(np.float64))


def _words(packed: np.ndarray, words: int) -> np.ndarray:
    """(row, byte) uint8, eight bits each, as (row, word) of 64."""
    filled = np.zeros((len(packed), 8 * words), dtype=np.uint8)
    filled[:, : packed.shape[1]] = packed
    return filled.view(np.uint64)


def _raw_sums(samples: SampledData, num_factors: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of signs and numbers of shots behind each raw entry, both (half, raw of each leg..., factor)."""
    shape = (samples.halves, *(len(leg.columns) for leg in samples.legs), num_factors)
    sums, shots = np.zeros(shape), np.zeros(shape)
    every = samples.columns.counts
    wrong = np.flatnonzero(~np.isfinite(every) | (every < 0))
    if wrong.size:
        number = int(np.searchsorted(samples.columns.row_ends, wrong[0], side="right"))
        raise MissingCountsError(
            f"Variant {number} (settings {samples.variants[number].settings}) has counts that are not numbers of shots:"
            " no estimate can be made from it. Delete this fragment's result and resume the run."
        )
    together, singles = variant_batches(samples)
    for batch in together:
        for part in batch.chunks(1 << batch.num_bits):
            spectrum = walsh(histograms(samples.columns, batch.members[part], batch.num_bits))
            where = batch.entries(part)
            np.add.at(sums, where, spectrum[:, batch.all_masks])  # several groups can determine one entry
            np.add.at(shots, where, spectrum[:, :1, None])
    for number in singles:
        variant = samples.variants[number]
        entries = variant_entries(samples.legs, variant)
        found = np.zeros((len(entries.columns), len(variant.factors)))
        for start in range(0, variant.counts.counts.size, OUTCOME_CHUNK):
            stop = start + OUTCOME_CHUNK
            weighted = signs(variant, entries.masks, start, stop) * _worth(variant.counts)[start:stop, None]
            found += weighted.T @ signs(variant, variant.factor_masks, start, stop)
        one = (variant.half, *(column[:, None] for column in entries.columns.T), np.asarray(variant.factors)[None, :])
        sums[one] += found
        shots[one] += variant.counts.shots
    return sums, shots


def _worth(counts: VariantCounts) -> np.ndarray:
    return counts.counts if counts.weights is None else counts.counts * counts.weights


def check_covered(samples: SampledData, shots: np.ndarray) -> None:
    """Refuse (half, raw of each leg..., factor) shots that leave an entry without any.

    Raises:
        MissingCountsError: naming the first such entry.
    """
    needed = np.ones(shots.shape, dtype=bool)
    for axis, leg in enumerate(samples.legs, start=1):
        shape = [1] * shots.ndim
        shape[axis] = -1
        needed &= (leg.inverse != 0).any(axis=0).reshape(shape)
    bare = np.argwhere(needed & (shots == 0))
    if bare.size:
        settings = tuple(int(leg.columns[i, 0]) for leg, i in zip(samples.legs, bare[0][1:], strict=False))
        raise MissingCountsError(
            f"No shots for leg settings {settings}, observable factor {int(bare[0][-1])} ({len(bare)} entries lack"
            " counts): no estimate can be made. Resume the run to repeat the missing variants."
        )
