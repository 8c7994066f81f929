"""Counts of one variant from several sources as one, and shots in two halves that are independent of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tasks.model.tensor import VariantCounts


def merge_counts(parts: Sequence[VariantCounts]) -> list[VariantCounts]:
    """Counts over the same bits as one, but for those whose errors were mitigated in different ways."""
    alike: dict[bytes | None, list[VariantCounts]] = {}
    merged = []
    for part in parts:
        if part.weights is not None:
            merged.append(part)
        else:
            alike.setdefault(None if part.readings is None else part.readings.tobytes(), []).append(part)
    return [_sum_rows(own) for own in alike.values()] + merged


def merge_each(groups: Sequence[Sequence[VariantCounts]]) -> list[list[VariantCounts]]:
    """``merge_counts`` of many groups, the plain ones in one sort for each width of their outcomes."""
    merged: list[list[VariantCounts]] = [[] for _ in groups]
    plain: dict[int, list[int]] = {}
    for k, parts in enumerate(groups):
        if len(parts) == 1:
            merged[k] = [parts[0]]
            continue
        simple = bool(parts) and all(c.readings is None and c.weights is None for c in parts)
        width = parts[0].outcomes.shape[1] if simple else 9
        if width > 8:
            merged[k] = merge_counts(parts)
        else:
            plain.setdefault(width, []).append(k)
    for width, members in plain.items():
        parts = [part for k in members for part in groups[k]]
        outcomes = np.concatenate([part.outcomes for part in parts])
        raw = np.zeros((len(outcomes), 8), dtype=np.uint8)
        raw[:, :width] = outcomes  # most significant first, as rows of bytes are sorted
        numbers = raw.view(">u8").reshape(-1).astype(np.uint64)
        counts = np.concatenate([part.counts for part in parts])
        owners = np.repeat(np.arange(len(members)), [sum(len(p.counts) for p in groups[k]) for k in members])
        order = np.lexsort((numbers, owners))
        numbers, owners = numbers[order], owners[order]
        starts = np.flatnonzero(np.concatenate([[True], (np.diff(owners) != 0) | (numbers[1:] != numbers[:-1])]))
        sums = np.add.reduceat(counts[order], starts)
        rows = outcomes[order[starts]]
        ends = np.searchsorted(owners[starts], np.arange(len(members)), side="right").tolist()
        for k, start, end in zip(members, [0, *ends[:-1]], ends, strict=True):
            merged[k] = [VariantCounts(rows[start:end], sums[start:end], groups[k][0].num_bits)]
    return merged


def _sum_rows(parts: Sequence[VariantCounts]) -> VariantCounts:
    if len(parts) == 1:
        return parts[0]
    rows, counts = np.concatenate([c.outcomes for c in parts]), np.concatenate([c.counts for c in parts])
    # One key a row, the first byte most significant: as numbers where they fit, which sort ten times as fast as bytes.
    width = rows.shape[1]
    if width <= 8:
        padded = np.zeros((len(rows), 8), dtype=np.uint8)
        padded[:, :width] = rows
        keys = padded.view(">u8").reshape(-1)
    else:
        keys = np.ascontiguousarray(rows).view(f"V{width}").reshape(-1)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    total = np.bincount(inverse, counts, minlength=len(first)).astype(np.int64)
    return replace(parts[0], outcomes=rows[first], counts=total)


def split_counts(
    counts: Sequence[VariantCounts], first: Sequence[float], rng: np.random.Generator
) -> list[tuple[VariantCounts, VariantCounts]]:
    """Split the shots of every variant into two halves, which are independent samples of its distribution.

    Every shot goes to the first half with the given chance, whatever it says (thinning): then how many are in a half
    says nothing of what they are.

    Args:
        counts: of the variants.
        first: (variant,) the chance.
        rng: where randomness comes from.

    Returns:
        (variant,) both halves. Where the chance is neither 0 nor 1, neither half of shots of one weight is empty if
        these are at least 2; weights are scaled so that each weight keeps its share of a half.
    """
    if not counts:
        return []
    rows = np.concatenate([c.counts for c in counts])
    owner = np.repeat(np.arange(len(counts)), [len(c.counts) for c in counts])
    weights = np.concatenate([np.ones(len(c.counts)) if c.weights is None else c.weights for c in counts])
    stratum = _strata(owner, weights)
    own = split_rows(rows, owner, stratum, np.asarray(first, dtype=np.float64), rng)
    return list(zip(_parts(counts, own, stratum), _parts(counts, rows - own, stratum), strict=True))


def split_rows(
    rows: np.ndarray, owner: np.ndarray, stratum: np.ndarray, first: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(row,) int64: how many of each row's shots are in the first half (see ``split_counts``).

    Args:
        rows: (row,) int64 shots.
        owner: (row,) int64, the variant of each.
        stratum: (row,) int64, the same for rows of a variant that have one weight.
        first: (variant,) float64, the chance of the first half.
        rng: where randomness comes from.
    """
    total = np.bincount(stratum, rows)
    chance = first[owner]
    own = rng.binomial(rows, chance)
    bound = (chance > 0) & (chance < 1) & (total[stratum] >= 2)
    while True:
        taken = np.bincount(stratum, own)
        again = np.flatnonzero(bound & ((taken == 0) | (taken == total))[stratum])
        if not again.size:
            return np.asarray(own)
        own[again] = rng.binomial(rows[again], chance[again])


def _strata(owner: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(row,) int64: the number of each row's pair of variant and weight, in their order."""
    order = np.lexsort((weights, owner))
    begins = np.diff(owner[order], prepend=-1).astype(bool) | np.diff(weights[order], prepend=np.nan).astype(bool)
    stratum = np.empty(len(owner), dtype=np.int64)
    stratum[order] = np.cumsum(begins) - 1
    return stratum


def _parts(counts: Sequence[VariantCounts], own: np.ndarray, stratum: np.ndarray) -> list[VariantCounts]:
    """(variant,) as many shots of each row as ``own``, a (row,) array over all variants, says."""
    rows, widths = (np.array(of) for of in zip(*(c.outcomes.shape for c in counts), strict=True))
    kept = own > 0
    begins = np.concatenate([[0], np.cumsum(rows)])
    at = np.concatenate([[0], np.cumsum(kept)])[begins]
    byte = np.concatenate([[0], np.cumsum(np.diff(at) * widths)]).tolist()
    table = np.concatenate([c.outcomes.reshape(-1) for c in counts])[np.repeat(kept, np.repeat(widths, rows))]
    numbers, at = own[kept], at.tolist()
    parts = []
    for k, c in enumerate(counts):
        weights = c.weights
        if weights is not None and at[k + 1] > at[k]:
            mine = slice(begins[k], begins[k + 1])
            place = np.unique(stratum[mine], return_inverse=True)[1]
            before = np.bincount(place, c.counts) / c.shots
            after = np.bincount(place, own[mine]) / own[mine].sum()
            weights = (weights * before[place] / np.maximum(after[place], 1e-300))[kept[mine]]
        outcomes = table[byte[k] : byte[k + 1]].reshape(-1, c.outcomes.shape[1])
        parts.append(VariantCounts(outcomes, numbers[at[k] : at[k + 1]], c.num_bits, c.readings, weights))
    return parts
