"""Many variants at once: those that read the same bits, their counts as histograms and these as Walsh spectra.

Variants of a fragment that read the same bits for the same observable factors differ only in which raw columns their
signs speak for. With h the histogram of a variant's outcomes, every mean of a sign it can give is an entry of
sum_x h(x) (-1)^(m.x), and the scalar X(x) whose variance the estimate needs is that same transform of its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TypeAlias

import numpy as np

from tasks.model.tensor import LegSettings, SampledData, VariantData

# Above so many bits a histogram is mostly zeros, and a variant has enough rows to be worth a call of its own.
MOST_BITS = 12
CHUNK_ENTRIES = 1 << 21

_Options: TypeAlias = list[tuple[tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class VariantGroup:
    """Variants that read the same bits.

    Attributes:
        members: (variant,) int, positions in ``SampledData.variants``.
        halves: (variant,) int, the half of the shots that each belongs to.
        columns: (variant, entry, leg) int, the raw columns of each entry that they determine.
        masks: (entry,) int64, the bits whose parity is the sign that the legs give.
        factors: (k,) int, the observable factors they determine.
        factor_masks: (k,) int64, the bits whose parity gives each factor's sign.
        num_bits: how many bits they read.
    """

    members: np.ndarray
    halves: np.ndarray
    columns: np.ndarray
    masks: np.ndarray
    factors: np.ndarray
    factor_masks: np.ndarray
    num_bits: int

    @property
    def all_masks(self) -> np.ndarray:
        """(entry, k) int64: the mask of every entry and factor."""
        return self.masks[:, None] ^ self.factor_masks[None, :]

    def entries(self, part: slice) -> tuple[np.ndarray, ...]:
        """Indices of raw tensors (half, raw of each leg..., factor), each broadcasting to (variant, entry, k)."""
        columns = self.columns[part]
        raw = (columns[:, :, leg, None] for leg in range(columns.shape[2]))
        return (self.halves[part, None, None], *raw, self.factors[None, None, :])

    def chunks(self, entries: int) -> list[slice]:
        """The variants in parts, for arrays with so many entries a variant."""
        step = max(1, CHUNK_ENTRIES // max(1, entries))
        return [slice(a, a + step) for a in range(0, len(self.members), step)]


def variant_batches(samples: SampledData) -> tuple[list[VariantGroup], list[int]]:
    """Sort variants into batches.

    Returns:
        the batches, and the positions of the variants that are better looked at one by one: those with many bits, and
        those with mitigated counts, whose readings are no signs. Variants without shots are in neither.
    """
    groups: dict[tuple, list[int]] = {}
    singles = []
    seen: dict[tuple[int, int], bytes] = {}  # most variants share their factor arrays: look into each array once
    for position, variant in enumerate(samples.variants):
        counts = variant.counts
        if counts.counts.size == 0:
            continue
        if counts.num_bits > MOST_BITS or counts.readings is not None or counts.weights is not None:
            singles.append(position)
            continue
        arrays = (id(variant.factors), id(variant.factor_masks))
        if arrays not in seen:
            seen[arrays] = np.asarray(variant.factors).tobytes() + b"|" + variant.factor_masks.tobytes()
        groups.setdefault((variant.leg_bits, counts.num_bits, seen[arrays]), []).append(position)
    made = []
    options = [(_options(leg, False), _options(leg, True)) for leg in samples.legs]
    for members in groups.values():
        made += _batches_of(samples, members, options)
    return made, singles


def _batches_of(
    samples: SampledData, members: list[int], options_of: Sequence[tuple[_Options, _Options]]
) -> list[VariantGroup]:
    """Batches of variants that agree in their bits; they may still differ in which of them make how many columns.

    ``options_of``: of each leg, where its bit is not read and where it is.
    """
    first = samples.variants[members[0]]
    options = [own[bit >= 0] for own, bit in zip(options_of, first.leg_bits, strict=True)]
    by_signs: dict[tuple, list[int]] = {}
    for position in members:
        chosen = samples.variants[position].settings
        key = tuple(option[s][1] for option, s in zip(options, chosen, strict=True))
        by_signs.setdefault(key, []).append(position)
    made = []
    for signs, part in by_signs.items():
        if any(not flags for flags in signs):
            continue  # a setting without a usable column determines no entry
        settings = np.array([samples.variants[p].settings for p in part], dtype=np.int64).reshape(len(part), -1)
        choices = list(product(*(range(len(flags)) for flags in signs)))
        picks = np.array(choices, dtype=np.int64).reshape(len(choices), len(signs))
        columns = np.empty((len(part), len(choices), len(signs)), dtype=np.int64)
        masks = np.zeros(len(choices), dtype=np.int64)
        for leg, (option, flags, bit) in enumerate(zip(options, signs, first.leg_bits, strict=True)):
            table = np.array([(raw + (0,) * len(flags))[: len(flags)] for raw, _ in option])
            columns[:, :, leg] = table[settings[:, leg]][:, picks[:, leg]]
            if bit >= 0:
                masks ^= np.array(flags, dtype=np.int64)[picks[:, leg]] << bit
        factor_masks = _as_integers(first.factor_masks)
        halves = np.array([samples.variants[p].half for p in part])
        factors = np.asarray(first.factors)
        made.append(VariantGroup(np.array(part), halves, columns, masks, factors, factor_masks, first.counts.num_bits))
    return made


def _options(leg: LegSettings, read: bool) -> _Options:
    """For each setting its raw columns and whether each is signed, without those whose bit is not read."""
    made: _Options = [((), ())] * leg.num_settings
    for raw, (setting, signed) in enumerate(leg.columns[:, :2].tolist()):
        if read or not signed:
            columns, flags = made[setting]
            made[setting] = ((*columns, raw), (*flags, int(signed)))
    return made


def _as_integers(masks: np.ndarray) -> np.ndarray:
    return masks.astype(np.int64) @ (1 << np.arange(masks.shape[1], dtype=np.int64))


def histograms(variants: Sequence[VariantData], num_bits: int) -> np.ndarray:
    """(variant, 2**num_bits) float64: how often each variant gave each outcome."""
    rows = [len(v.counts.counts) for v in variants]
    table = np.concatenate([v.counts.outcomes for v in variants])
    weights = 1 << (8 * np.arange(table.shape[1], dtype=np.int64))
    outcomes = (table.astype(np.int64) * weights).sum(axis=1) & ((1 << num_bits) - 1)
    places = np.repeat(np.arange(len(variants), dtype=np.int64) << num_bits, rows) + outcomes
    counts = np.concatenate([v.counts.counts for v in variants]).astype(np.float64)
    return np.bincount(places, weights=counts, minlength=len(variants) << num_bits).reshape(len(variants), -1)


def walsh(array: np.ndarray) -> np.ndarray:
    """sum_x array[..., x] (-1)^(m.x) for every m, over the last axis.

    By two matrix products where these are small, and real; else step by step, each bit in turn.
    """
    bits = int(array.shape[-1]).bit_length() - 1
    if bits <= MOST_BITS and not np.iscomplexobj(array):
        low = bits // 2
        square = array.reshape(-1, 1 << (bits - low), 1 << low)
        return np.matmul(_hadamard(bits - low), square @ _hadamard(low)).reshape(array.shape)
    out = array.copy()
    for bit in range(bits):
        view = out.reshape(*array.shape[:-1], -1, 2, 1 << bit)
        low_half = view[..., 0, :] + view[..., 1, :]
        view[..., 1, :] = view[..., 0, :] - view[..., 1, :]
        view[..., 0, :] = low_half
    return out


@cache
def _hadamard(bits: int) -> np.ndarray:
    index = np.arange(1 << bits)
    return 1.0 - 2.0 * (np.bitwise_count(index[:, None] & index[None, :]) & 1)
