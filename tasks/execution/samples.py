"""All shots of a fragment as ``SampledData``: pieces put together, split in halves, and rounds added up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tasks.cutting.kinds import Scheme
from tasks.cutting.plan import Fragment
from tasks.cutting.variants import Variant, VariantBuilder
from tasks.execution.packed_counts import unpack_counts
from tasks.model.counts import merge_each, split_counts, split_rows
from tasks.model.streams import random_stream
from tasks.model.tensor import LegSettings, SampledData, VariantColumns, VariantCounts, VariantData, VariantMeaning

_NUMBER_BITS = 64  # outcomes of no more are compared as numbers


@dataclass(frozen=True)
class Shots:
    """What was asked of variants of one round, and their packed counts (``pack_counts``).

    Attributes:
        first: place of the first variant among those of its fragment and round.
        round_index: which round.
        variants: which variants.
        shots: (variant,) how many each was to take.
        first_half: (variant,) how many of them belong to the first half; none where they are not in halves.
        stream: names what decides which of the round's shots are in which half.
        arrays: the counts.
    """

    first: int
    round_index: int
    variants: Sequence[Variant]
    shots: Sequence[int]
    first_half: Sequence[int]
    stream: str
    arrays: Mapping[str, np.ndarray]


def samples_of(fragment: Fragment, schemes: tuple[Scheme, ...], results: Sequence[Shots]) -> SampledData:
    """All shots of all rounds of a fragment, whatever order they came back in and however they were shared out."""
    ordered = sorted(results, key=lambda own: (own.round_index, own.first))
    rounds = [list(own) for _, own in groupby(ordered, key=lambda own: own.round_index)]
    plain = all("readings" not in own.arrays and "weights" not in own.arrays for own in results)
    if plain and all(int(own.arrays["bits"].max(initial=0)) <= _NUMBER_BITS for own in results):
        builder = VariantBuilder(fragment, schemes)
        return SampledData(_spanned(fragment, schemes), _added([_round_columns(builder, own) for own in rounds]))
    found: dict[tuple[int, Variant], list[VariantCounts]] = {}
    for own in rounds:
        for half, variant, counts in _in_halves(own):
            found.setdefault((half, variant), []).append(counts)
    each = zip(found, merge_each(list(found.values())), strict=True)
    parts = [(*key, merged) for key, own in each for merged in own]
    return sampled_data(fragment, schemes, [v for _, v, _ in parts], [c for *_, c in parts], [h for h, *_ in parts])


def sampled_data(
    fragment: Fragment,
    schemes: tuple[Scheme, ...],
    variants: Sequence[Variant],
    counts: Sequence[VariantCounts],
    halves: Sequence[int] | None = None,
) -> SampledData:
    """Put counts beside what they mean (see ``tasks.model.tensor.SampledData``).

    Args:
        fragment: the fragment.
        schemes: (leg,) which settings each leg has.
        variants: the variants.
        counts: of each.
        halves: which half of the shots each belongs to; None: they are not in halves.
    """
    builder = VariantBuilder(fragment, schemes)
    data = tuple(
        VariantData(v.settings, meaning.leg_bits, meaning.factors, meaning.factor_masks, c, half)
        for v, c, half in zip(variants, counts, halves or [0] * len(variants), strict=True)
        for meaning in (builder.meaning(v),)
    )
    return SampledData(_spanned(fragment, schemes), data)


def _spanned(fragment: Fragment, schemes: tuple[Scheme, ...]) -> tuple[LegSettings, ...]:
    return tuple(leg.kind.spanning(s) for leg, s in zip(fragment.legs, schemes, strict=True))


def _round_columns(builder: VariantBuilder, results: Sequence[Shots]) -> VariantColumns:
    """One round's shots; where they are in halves both halves of a variant come one after the other."""
    variants = [variant for own in results for variant in own.variants]
    rows, outcomes, counts = (
        np.concatenate([own.arrays[name] for own in results]) for name in ("rows", "outcomes", "counts")
    )
    legs = len(builder.choices)
    settings = np.array([v.settings for v in variants], dtype=np.int64).reshape(len(variants), legs)
    groups = np.array([v.group for v in variants], dtype=np.int64)
    meanings, which = _meanings(builder, variants, settings, groups)
    whole = VariantColumns(meanings, which, settings, np.zeros_like(which), rows, outcomes, counts)
    if not results[0].first_half:
        return whole
    shares = np.concatenate([np.array(own.first_half) / np.array(own.shots) for own in results])
    owner = np.repeat(np.arange(len(rows)), rows)
    first = split_rows(counts, owner, owner, shares, random_stream(results[0].stream))
    halves = np.stack([first, counts - first])
    kept = halves > 0
    # Rows of both halves of a variant, one half after the other.
    half, row = np.nonzero(kept)
    order = np.lexsort((row, half, owner[row]))
    half, row = half[order], row[order]
    own_rows = np.zeros((len(rows), 2), dtype=np.int64)
    np.add.at(own_rows, (owner[row], half), 1)
    place, in_half = np.nonzero(own_rows)
    raw, mask = _raw(whole)
    return VariantColumns(
        meanings, which[place], settings[place], in_half, own_rows[place, in_half],
        raw[row][mask[row]], halves[half, row],
    )  # fmt: skip


def _meanings(
    builder: VariantBuilder, variants: Sequence[Variant], settings: np.ndarray, groups: np.ndarray
) -> tuple[tuple[VariantMeaning, ...], np.ndarray]:
    """What the bits of variants mean, each meaning once, and (variant,) which one."""
    measured = [np.array([setting.measured for setting in choice]) for choice in builder.choices]
    read = [own[settings[:, k]] for k, own in enumerate(measured)]
    _, first, which = np.unique(np.column_stack([groups, *read]), axis=0, return_index=True, return_inverse=True)
    return tuple(builder.meaning(variants[k]) for k in first.tolist()), which.reshape(-1)


def _raw(columns: VariantColumns) -> tuple[np.ndarray, np.ndarray]:
    """(row, 8) uint8 the bytes of each outcome, and which of them there are."""
    begins, widths = columns.byte_of_row(), np.repeat(columns.widths, columns.rows)
    mask = np.arange(_NUMBER_BITS // 8) < widths[:, None]
    raw = np.zeros(mask.shape, dtype=np.uint8)
    for byte in range(int(widths.max(initial=0))):
        has = mask[:, byte]
        raw[has, byte] = columns.outcomes[begins[has] + byte]
    return raw, mask


def _added(rounds: Sequence[VariantColumns]) -> VariantColumns:
    """Variants of several rounds, shots of the same variant and half added up."""
    alike: dict[tuple[object, ...], int] = {}
    meanings: list[VariantMeaning] = []
    which = []
    for own in rounds:
        numbers = []
        for meaning in own.meanings:
            key = (meaning.leg_bits, meaning.factors.tobytes(), meaning.factor_masks.tobytes())
            numbers.append(alike.setdefault(key, len(alike)))
            if len(meanings) < len(alike):
                meanings.append(meaning)
        which.append(np.array(numbers, dtype=np.int64)[own.which])
    settings, halves, rows, outcomes, counts = (
        np.concatenate([getattr(own, name) for own in rounds])
        for name in ("settings", "halves", "rows", "outcomes", "counts")
    )
    every = VariantColumns(tuple(meanings), np.concatenate(which), settings, halves, rows, outcomes, counts)
    words = np.column_stack([every.which, halves, settings])
    _, first, place = np.unique(words, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(every):
        return every
    order = np.argsort(np.argsort(first))  # in the order in which they come
    first, place = np.sort(first), order[place.reshape(-1)]
    owner = np.repeat(place, rows)
    raw, mask = _raw(every)
    numbers_of = raw.view(">u8").reshape(-1).astype(np.uint64)  # most significant first, as rows of bytes are sorted
    order = np.lexsort((numbers_of, owner))
    owner, numbers_of = owner[order], numbers_of[order]
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(owner) != 0) | (numbers_of[1:] != numbers_of[:-1])]))
    kept = order[starts]
    return VariantColumns(
        every.meanings, every.which[first], settings[first], halves[first],
        np.bincount(owner[starts], minlength=len(first)), raw[kept][mask[kept]], np.add.reduceat(counts[order], starts),
    )  # fmt: skip


def _in_halves(results: Sequence[Shots]) -> Iterator[tuple[int, Variant, VariantCounts]]:
    """(half, variant, counts) of one round."""
    variants = [variant for own in results for variant in own.variants]
    counts = [c for own in results for c in unpack_counts(own.arrays)]
    if not results[0].first_half:
        yield from ((0, variant, own) for variant, own in zip(variants, counts, strict=True))
        return
    shares = [own / asked for part in results for own, asked in zip(part.first_half, part.shots, strict=True)]
    rng = random_stream(results[0].stream)
    for variant, pair in zip(variants, split_counts(counts, shares, rng), strict=True):
        yield from ((half, variant, own) for half, own in enumerate(pair) if own.counts.size)
