"""How many shots a target error takes where all variants get equally many: each half decides for the other.

What stops at its own error bar stops on lucky shots. So, as ``tasks.reconstruction.statistics.allocation`` says, the
first shots form two halves, and how many a half takes in all follows from what the other saw, once. All variants are
one variant here, whose shot is a shot of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.reconstruction.statistics.allocation import each_from_the_other
from tasks.reconstruction.statistics.influences import Influences
from tasks.reconstruction.statistics.uncertainty import Uncertainty

FIRST_SHOTS = 400
"""A variant, on the way to a target error."""
MOST_ROUNDS = 5
_FIRST_SHARE = 4  # the first shots are at most the fourth of all there are


def first_shots(most: int | None) -> tuple[int, ...]:
    """(half,) shots of a variant in the first round; one half that takes all where there are too few for two rounds.

    Args:
        most: shots of a variant there are to spend, None for any number.
    """
    first = FIRST_SHOTS if most is None else min(FIRST_SHOTS, most // _FIRST_SHARE)
    return (first - first // 2, first // 2) if first >= FIRST_SHOTS // _FIRST_SHARE else (most or FIRST_SHOTS,)


def further_shots(
    halves: Sequence[Uncertainty], shots: Sequence[int] | np.ndarray, most: int | None, target_error: float
) -> np.ndarray:
    """(half,) int64 shots of a variant that each half still takes, from what the other saw.

    Args:
        halves: (half,) of the (observable,) means over a single shot, as each half saw it.
        shots: (half,) of a variant, so far.
        most: shots of a variant there are to spend, None for any number.
        target_error: standard error to reach for every observable.

    Raises:
        AllocationError: the target is out of reach.
    """
    together = []
    for known, done in zip(halves, shots, strict=True):
        one, every = np.zeros(1, dtype=np.int64), np.arange(len(known.seen))
        together.append(Influences(one, every, known[None], np.array([done]), of=len(halves)))
    return each_from_the_other(together, most, target_error, {0: 0.0})[:, 0]
