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

from tasks.model.tensor import LegSettings, SampledData, VariantColumns, VariantMeaning

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
    columns = samples.columns
    alone = (columns.bits > MOST_BITS) | columns.mitigated
    singles = np.flatnonzero((columns.rows > 0) & alone).tolist()
    alike: dict[tuple, int] = {}
    same = [alike.setdefault(_key(own), len(alike)) for own in columns.meanings]
    options = [(_options(leg, False), _options(leg, True)) for leg in samples.legs]
    made = []
    for meaning, members in _parts(np.array(same, dtype=np.int64)[columns.which], (columns.rows > 0) & ~alone):
        made += _batches_of(columns, columns.meanings[same.index(meaning)], members, options)
    return made, singles


def _key(meaning: VariantMeaning) -> tuple:
    return meaning.leg_bits, meaning.num_bits, meaning.factors.tobytes(), meaning.factor_masks.tobytes()


def _parts(numbers: np.ndarray, wanted: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(number, positions of the wanted that have it), in the order in which they come."""
    places = np.flatnonzero(wanted)
    places = places[np.argsort(numbers[places], kind="stable")]
    parts = np.split(places, np.flatnonzero(np.diff(numbers[places])) + 1) if places.size else []
    return sorted(((int(numbers[part[0]]), part) for part in parts), key=lambda own: int(own[1][0]))


def _batches_of(
    columns: VariantColumns,
    meaning: VariantMeaning,
    members: np.ndarray,
    options_of: Sequence[tuple[_Options, _Options]],
) -> list[VariantGroup]:
    """Batches of variants that agree in their bits; they may still differ in which of them make how many columns.

    ``options_of``: of each leg, where its bit is not read and where it is.
    """
    options = [own[bit >= 0] for own, bit in zip(options_of, meaning.leg_bits, strict=True)]
    of_members = columns.settings[members]
    kinds = np.zeros(of_members.shape, dtype=np.int64)
    flags_of: list[list[tuple[int, ...]]] = []
    for leg, option in enumerate(options):
        flags_of.append(list(dict.fromkeys(flags for _, flags in option)))
        kinds[:, leg] = np.array([flags_of[-1].index(flags) for _, flags in option])[of_members[:, leg]]
    known_of = tuple(map(len, flags_of))
    which = np.ravel_multi_index(tuple(kinds.T), known_of) if known_of else np.zeros(len(members), dtype=np.int64)
    made = []
    for number, part in _parts(which, np.ones(len(members), dtype=bool)):
        signs = [known[k] for known, k in zip(flags_of, np.unravel_index(number, known_of), strict=True)]
        if any(not flags for flags in signs):
            continue  # a setting without a usable column determines no entry
        settings = of_members[part]
        choices = list(product(*(range(len(flags)) for flags in signs)))
        picks = np.array(choices, dtype=np.int64).reshape(len(choices), len(signs))
        raw_columns = np.empty((len(part), len(choices), len(signs)), dtype=np.int64)
        masks = np.zeros(len(choices), dtype=np.int64)
        for leg, (option, flags, bit) in enumerate(zip(options, signs, meaning.leg_bits, strict=True)):
            table = np.array([(raw + (0,) * len(flags))[: len(flags)] for raw, _ in option])
            raw_columns[:, :, leg] = table[settings[:, leg]][:, picks[:, leg]]
            if bit >= 0:
                masks ^= np.array(flags, dtype=np.int64)[picks[:, leg]] << bit
        factor_masks, own = _as_integers(meaning.factor_masks), members[part]
        halves = columns.halves[own]
        made.append(VariantGroup(own, halves, raw_columns, masks, meaning.factors, factor_masks, meaning.num_bits))
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


def histograms(columns: VariantColumns, members: np.ndarray, num_bits: int) -> np.ndarray:
    """(member, 2**num_bits) float64: how often each of variants that read so many bits gave each outcome."""
    rows, width = columns.rows_of(members), max(1, (num_bits + 7) // 8)
    ends = columns.byte_ends[members]
    own = columns.rows[members]
    first = np.repeat(ends - np.cumsum(own) * width, own) + np.arange(len(rows)) * width
    outcomes = np.zeros(len(rows), dtype=np.int64)
    for byte in range(width):
        outcomes |= columns.outcomes[first + byte].astype(np.int64) << 8 * byte
    places = np.repeat(np.arange(len(members), dtype=np.int64) << num_bits, own) + outcomes % (1 << num_bits)
    counts = columns.counts[rows].astype(np.float64)
    return np.bincount(places, weights=counts, minlength=len(members) << num_bits).reshape(len(members), -1)


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
