"""Shots drawn from distributions, and the counts that they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tasks.model.tensor import VariantCounts

_ROUNDING = 1e-12  # a probability below this would not be noticed in any number of shots
_STEPS = 2.0**40  # of probabilities that are whole multiples of one that small
_FEW_PLACES, _COUNTED = 16, 32  # below these, comparing with all beats a search, counting all beats sorting
_BLOCK = 16
_UP_TO = np.triu(np.ones((_BLOCK, _BLOCK)))
_BELOW_ONE = 1.0 - 2.0**-40  # keeps a uniform number off the end of a distribution, where rounding could carry it


def draw_counts(probabilities: np.ndarray, shots: int, rng: np.random.Generator) -> VariantCounts:
    """Draw shots from a distribution.

    Args:
        probabilities: (2**m,), outcome ``i`` having measured bit ``b`` equal to ``(i >> b) & 1``; sums to 1 within
            rounding.
        shots: how many, at least 1.
        rng: where randomness comes from.
    """
    outcomes, counts = draw_places(probabilities.astype(np.float64), shots, rng)
    num_bits = int(probabilities.size).bit_length() - 1
    return VariantCounts(pack_outcomes(outcomes, num_bits), counts, num_bits)


def normalise(laws: np.ndarray) -> np.ndarray:
    """Scale weights in place so that their sums over the last axis are 1, rounded to multiples of 2**-40.

    A zero draws no random number and what is nearly zero does, and numpy draws in another way above 1/2 than below:
    counts would depend on the order of sums, and so on the machine and on the library that made the weights. Sums of
    whole numbers do not.
    """
    laws *= _STEPS / laws.sum(axis=-1, keepdims=True)
    np.rint(laws, out=laws)
    laws /= laws.sum(axis=-1, keepdims=True)
    return laws


def draw_places(law: np.ndarray, shots: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw places of a (place,) distribution, which may be overwritten; memory never grows with the shots.

    The distribution sums to 1 within rounding, which may have made zeros slightly negative.

    Returns:
        (place,) int64 in ascending order, those drawn, and (place,) int64, how often each was.
    """
    if many_shots(shots, law.size):
        drawn = rng.multinomial(shots, normalise(law))
        places = drawn.nonzero()[0]
        return places, drawn[places]
    law[law < _ROUNDING] = 0.0
    sums = _running_sums(law)
    drawn = np.searchsorted(sums, np.sort(rng.random(shots)) * (_BELOW_ONE * sums[-1]), side="right")
    ends = np.empty(shots, dtype=bool)  # of each place's shots, the last
    np.not_equal(drawn[1:], drawn[:-1], out=ends[:-1])
    ends[-1:] = True
    last = ends.nonzero()[0]
    counts = last + 1
    counts[1:] -= last[:-1] + 1
    return drawn[last], counts


def _running_sums(law: np.ndarray) -> np.ndarray:
    """(place,) sums up to each place: within blocks as a product of matrices, which takes a third of ``np.cumsum``."""
    if law.size % _BLOCK:
        return law.cumsum()
    sums = law.reshape(-1, _BLOCK) @ _UP_TO
    sums[1:] += sums[:-1, -1].cumsum()[:, None]
    return sums.reshape(-1)


def draw_each(
    laws: np.ndarray, shots: Sequence[int], generators: Iterable[np.random.Generator]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw places of every row of (row, place) distributions, which may be overwritten, as ``draw_places`` would.

    Args:
        laws: the distributions.
        shots: for each row how many.
        generators: for each row where its randomness comes from; each is used before the next is asked for.

    Returns:
        (row,) int64, how many places of each row were drawn; (found,) int64 the places of all rows one after the other,
        and (found,) int64, how often each was drawn.
    """
    if not all(many_shots(own, laws.shape[1]) for own in shots):
        pairs = [draw_places(law, own, rng) for law, own, rng in zip(laws, shots, generators, strict=True)]
        places, counts = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return np.array([len(found) for _, found in pairs], dtype=np.int64), places, counts
    drawn = np.empty(laws.shape, dtype=np.int64)
    for k, (law, own, rng) in enumerate(zip(normalise(laws), shots, generators, strict=True)):
        drawn[k] = rng.multinomial(own, law)
    rows, places = drawn.nonzero()
    return np.bincount(rows, minlength=len(laws)), places, drawn[rows, places]


def draw_within(laws: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Of every row of (row, place) weights, which may be overwritten, draw as many places as its count says.

    Returns:
        (found,) int64 in ascending order: ``row * places + place``, and (found,) int64, how often each was drawn.
    """
    (rows, places), shots = laws.shape, int(counts.sum())
    if many_shots(shots, laws.size):
        drawn = rng.multinomial(counts, normalise(laws)).reshape(-1)
        found = np.flatnonzero(drawn)
        return found, drawn[found]
    row = np.repeat(np.arange(rows), counts)
    uniform = rng.random(shots) * _BELOW_ONE
    if places <= _FEW_PLACES:
        sums = np.ascontiguousarray(laws.T)
        for place in range(1, places):
            sums[place] += sums[place - 1]
        uniform *= sums[-1].take(row)
        found = row * places
        for below in sums[:-1]:
            found += below.take(row) <= uniform
    else:
        found = _searched(laws, row, uniform)
    if laws.size <= _COUNTED * shots:
        drawn = np.bincount(found, minlength=laws.size)
        found = (drawn > 0).nonzero()[0]
        return found, drawn[found]
    return np.unique(found, return_counts=True)


def _searched(laws: np.ndarray, row: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """(shot,) ``row * places + place`` of each shot in its row of (row, place) weights: first its block, then in it."""
    sums = laws.reshape(-1, _BLOCK) @ _UP_TO
    ends = sums[:, -1].reshape(len(laws), -1).cumsum(axis=1)
    total = ends[:, -1:]
    upto = ends / total + np.arange(len(laws), dtype=np.float64)[:, None]
    within = np.minimum(row + uniform, np.nextafter(row + 1.0, 0.0))
    block = np.searchsorted(upto.reshape(-1), within, side="right")
    inside = sums.take(block, axis=0)
    before = np.where(block % ends.shape[1] > 0, ends.take(block - 1), 0.0)
    # Rounding must not carry a shot over an end of its row or block, where places may have no weight.
    left = np.clip(uniform * total[:, 0].take(row) - before, 0.0, _BELOW_ONE * inside[:, -1])
    return _BLOCK * block + (inside <= left[:, None]).sum(axis=1)


def many_shots(shots: int, places: int) -> bool:
    """Whether one binomial number a place costs less than one search a shot."""
    return 2 * shots >= places


def pack_outcomes(outcomes: np.ndarray, num_bits: int) -> np.ndarray:
    """(outcome, byte) uint8 from (outcome,) integers, bit ``b`` of the integer being measured bit ``b``."""
    raw = outcomes.astype("<u8").view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(raw[:, : outcome_bytes(num_bits)])


def outcome_bytes(num_bits: int) -> int:
    """Bytes of a packed outcome."""
    return max(1, (num_bits + 7) // 8)
