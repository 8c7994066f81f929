"""Shots drawn from distributions, and the counts that they are."""

from __future__ import annotations

import numpy as np

from tasks.model.tensor import VariantCounts

_ROUNDING = 1e-12  # a probability below this would not be noticed in any number of shots
_FEW_PLACES, _COUNTED = 16, 32  # below these, comparing with all beats a search, counting all beats sorting
_BELOW_ONE = 1.0 - 2.0**-40  # keeps a uniform number off the end of a distribution, where rounding could carry it


def draw_counts(probabilities: np.ndarray, shots: int, rng: np.random.Generator) -> VariantCounts:
    """Draw shots from a distribution.

    Args:
        probabilities: (2**m,), outcome ``i`` having measured bit ``b`` equal to ``(i >> b) & 1``; sums to 1 within
            rounding.
        shots: how many, at least 1.
        rng: where randomness comes from.
    """
    outcomes, counts = draw_places(normalise(probabilities.astype(np.float64)), shots, rng)
    num_bits = int(probabilities.size).bit_length() - 1
    return VariantCounts(pack_outcomes(outcomes, num_bits), counts, num_bits)


def normalise(laws: np.ndarray) -> np.ndarray:
    """Scale weights in place so that their sums over the last axis are 1, what is rounding set to 0.

    A zero draws no random number and what is nearly zero does: without the cut the counts of impossible outcomes'
    neighbours would depend on the order of sums, and so on the machine.
    """
    laws /= laws.sum(axis=-1, keepdims=True)
    laws[laws < _ROUNDING] = 0.0
    laws /= laws.sum(axis=-1, keepdims=True)
    return laws


def draw_places(law: np.ndarray, shots: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw places of a (place,) distribution; memory never grows with the shots.

    Returns:
        (place,) int64 in ascending order, those drawn, and (place,) int64, how often each was.
    """
    if many_shots(shots, law.size):
        drawn = rng.multinomial(shots, law)
        places = drawn.nonzero()[0]
        return places, drawn[places]
    cumulative = law.cumsum()
    cumulative /= cumulative[-1]
    drawn = np.searchsorted(cumulative, np.sort(rng.random(shots)) * _BELOW_ONE, side="right")
    ends = np.empty(shots, dtype=bool)  # of each place's shots, the last
    np.not_equal(drawn[1:], drawn[:-1], out=ends[:-1])
    ends[-1] = True
    last = ends.nonzero()[0]
    counts = last + 1
    counts[1:] -= last[:-1] + 1
    return drawn[last], counts


def draw_within(laws: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Of every row of (row, place) distributions draw as many places as its count says.

    Returns:
        (found,) int64 in ascending order: ``row * places + place``, and (found,) int64, how often each was drawn.
    """
    rows, shots = len(laws), int(counts.sum())
    if many_shots(shots, laws.size):
        drawn = rng.multinomial(counts, laws).reshape(-1)
        found = np.flatnonzero(drawn)
        return found, drawn[found]
    cumulative = np.cumsum(laws, axis=1)
    cumulative /= cumulative[:, -1:]
    row = np.repeat(np.arange(rows), counts)
    uniform = rng.random(shots) * _BELOW_ONE
    places = laws.shape[1]
    if places <= _FEW_PLACES:
        found = row * places + (cumulative[row] <= uniform[:, None]).sum(axis=1)
    else:
        cumulative += np.arange(rows, dtype=np.float64)[:, None]
        found = np.searchsorted(cumulative.reshape(-1), row + uniform, side="right")
    if laws.size <= _COUNTED * shots:
        drawn = np.bincount(found, minlength=laws.size)
        found = np.flatnonzero(drawn)
        return found, drawn[found]
    return np.unique(found, return_counts=True)


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
