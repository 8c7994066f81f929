"""How to spend shots: from what a shot of each variant is worth to the number of shots for each variant.

A variant v with n_v shots contributes A[v, o] / n_v to the variance of observable o, where A is the variance of one
shot's influence on it. For a given total price sum_v c_v n_v the weighted sum of variances is least for Neyman's
allocation n_v proportional to sqrt(sum_o w_o A[v, o] / c_v).

A variant whose first shots agree by luck must not keep its luck by getting few more while others are corrected: the
mean over rounds is unbiased only if the rounds' weights do not depend on what was counted. So the shots of every
variant form two halves (``SampledData``), and how much a half still gets follows from how the *other* half's outcomes
spread (cross-fitting; Chernozhukov et al., Econometrics Journal 21, C1, 2018). The gradients in A come from all shots:
the estimate is multilinear, so a variant's gradient depends on the other fragments alone. Where it is all noise, shots
that follow one draw of it starve the variants that it passes over, so its square is the mean of both halves' squares.

Towards a target error the other half also says when there are enough: a run that stops when its own error bar has
become small stops on lucky shots (F rare flips are then off by 1 / sqrt(F) standard errors, against half of that for a
fixed number of shots; Siegmund, Sequential Analysis, 1985). That is decided once, with a little to spare. What the
other half says of an allocation that follows its own outcomes would be too hopeful: variants that flipped by luck get
many shots. So each variant's variance is set against the shots that it would get with one flip less, which is right on
average: E[F h(F - 1)] = mu E[h(F)] for F Poisson with mean mu (Chen, Annals of Probability 3, 534 (1975)). Where the
error bar would be near the target but rest on fewer than ten flips, shots for ten are taken. Where the whole error bar
is above the target afterwards, further rounds take more of everything in the same proportions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction.errors import AllocationError
from tasks.reconstruction.statistics.influences import Influences, influences, shots_taken
from tasks.reconstruction.statistics.statistics import variances

FIRST_ROUND = 0.25
"""Share of the shots that a first, uniform round takes."""
SHOTS_FOR_ROUNDS = 100
"""Shots a variant from which there are two: with fewer, a first one says too little and starves what looks certain."""
FIRST_SHOTS = 400
"""Shots a variant, in the first round towards a target error."""
MOST_SHOTS = 1e12
"""Of a run in all, towards a target error."""

_AIM = 0.95  # of the variance that a target allows
_REWEIGHTINGS = 40
_BISECTIONS = 60
_SHOTS_AN_HOUR = 3.6e6  # of a QPU that takes a thousand a second


def first_round_shots(variants: int, shots: float | None) -> float:
    """Shots of the first round; all of them where there is no second one.

    Args:
        variants: of the plan.
        shots: all there are to spend, None for as many as a target error takes.
    """
    if shots is None:
        return FIRST_SHOTS * variants
    return FIRST_ROUND * shots if shots >= SHOTS_FOR_ROUNDS * variants else shots


def allocate_shots(
    structure: Structure,
    tensors: Sequence[FragmentTensor],
    shots: int | None,
    target_error: float | None,
    prices: Mapping[int, float],
    memory_bytes: int | None = None,
    rounds: int = 1,
) -> dict[int, np.ndarray]:
    """Decide what each half of the shots still takes.

    Args:
        structure: the structure.
        tensors: the tensors after the rounds so far, whose shots are in halves.
        shots: all there are to spend, what was spent included; None for as many as the target error takes.
        target_error: standard error to reach for every observable, None for what the shots give.
        prices: of a shot, by fragment; all zero where shots cost the same.
        memory_bytes: as in ``contract``.
        rounds: how many rounds there were; after the first each half decides for the other, later ones go on in the
            proportions that there are.

    Returns:
        {fragment: (half, variant) int64} shots still to take, variants in the order of the first round.

    Raises:
        AllocationError: no tensor is sampled, the target is out of reach, or the shots are spent already.
    """
    if rounds > 1 and target_error is not None:
        done = shots_taken({tensor.fragment: tensor.samples for tensor in tensors if tensor.samples is not None})[1]
        worst = float(variances(structure, tensors, memory_bytes=memory_bytes).max(initial=0.0))
        more = more_of_all(np.concatenate(list(done.values()), axis=1), worst, shots, target_error)
        ends = np.cumsum([counts.shape[1] for counts in done.values()])[:-1]
        return dict(zip(done, np.split(more, ends, axis=1), strict=True))
    halves = influences(structure, tensors, memory_bytes=memory_bytes)
    taken = each_from_the_other(halves, shots, target_error, prices)
    fragments = halves[0].fragments
    return {int(f): taken[:, fragments == f] for f in np.unique(fragments)}


def each_from_the_other(
    halves: Sequence[Influences], shots: int | None, target_error: float | None, prices: Mapping[int, float]
) -> np.ndarray:
    """(half, variant) int64 shots that each half still takes, from what the other saw; as ``allocate_shots``."""
    left: list[int | None] = [None, None]
    if shots is not None:
        unspent = shots - sum(int(half.shots.sum()) for half in halves)
        left = [unspent - unspent // 2, unspent // 2]
    taken = [
        _one_half(other, own.shots, share, target_error, prices)
        for own, other, share in zip(halves, reversed(halves), left, strict=True)
    ]
    return np.stack(taken)


def more_of_all(done: np.ndarray, variance: float, shots: int | None, target_error: float) -> np.ndarray:
    """Shots that bring all that were taken to the same multiple, at which the error is the target.

    Args:
        done: (half, variant) int64, shots taken.
        variance: the largest of the observables' so far.
        shots: all there are to spend, None for any number.
        target_error: standard error to reach.
    """
    worst = variance / target_error**2
    excess = worst / _AIM - 1 if worst > 1 else 0.0
    if shots is not None:
        excess = min(excess, (shots - int(done.sum())) / int(done.sum()))
    rounded = np.ceil if shots is None else np.floor
    return np.asarray(rounded(excess * done).astype(np.int64))


def _one_half(
    other: Influences,
    done: np.ndarray,
    left: int | None,
    target_error: float | None,
    prices: Mapping[int, float],
) -> np.ndarray:
    """(variant,) shots that one half still takes, from what the other saw; it may have twice the variance in all."""
    price = np.array([prices[int(f)] for f in other.fragments]) if any(prices.values()) else None
    more = None
    if left is not None:
        total = float(done.sum() + left) if price is None else float(price @ done) + left * float(price.mean())
        more = spend(other, done, total, price)
    if target_error is not None:
        if other.reaches(2 * target_error**2, done):
            return np.zeros_like(done)
        try:
            needed = shots_for_error(other, done, np.sqrt(2 * _AIM) * target_error, price, asked=target_error)
        except AllocationError:
            if more is None:
                raise
            needed = more  # out of reach: the shots there are do what they can
        if more is None or needed.sum() < more.sum():
            more = needed
    assert more is not None
    return more


def spend(known: Influences, done: np.ndarray, total: float, prices: np.ndarray | None = None) -> np.ndarray:
    """Allocate a total, shots of the first round included, so that the sum of the variances is least.

    Args:
        known: what one shot is worth.
        done: (variant,) int64, shots taken already.
        total: what all rounds may cost, in units of ``prices`` (shots, when these are 1).
        prices: (variant,) price of a shot on the device that runs it; None means 1 each.

    Returns:
        (variant,) int64, shots still to take.

    Raises:
        AllocationError: if the first round has already cost more than ``total``.
    """
    price = np.ones(done.size) if prices is None else np.asarray(prices, dtype=np.float64)
    left = total - float(price @ done)
    if left < 0:
        raise AllocationError(f"The first round has cost {total - left:g} of {total:g}. Allow more shots.")
    ideal = _ideal(known.smoothed.sum(axis=1), price)
    return _rounded_down(np.maximum(_filled(ideal, done, price, total) - done, 0.0), price, left)


def expected_shots(worth: np.ndarray, done: np.ndarray, total: float) -> np.ndarray:
    """(variant,) shots, not whole, that all rounds will have given.

    Args:
        worth: (variant,) variance of one shot's influence, summed over the observables.
        done: (variant,) shots of the first round.
        total: of all rounds.
    """
    ones = np.ones(done.size)
    return _filled(_ideal(worth, ones), done, ones, total)


def shots_for_error(
    known: Influences,
    done: np.ndarray,
    target_error: float,
    prices: np.ndarray | None = None,
    *,
    most: float = MOST_SHOTS,
    asked: float | None = None,
) -> np.ndarray:
    """Find the cheapest shots for which no observable's standard error exceeds a target.

    Args:
        known: what one shot is worth.
        done: (variant,) int64, shots taken already.
        target_error: standard error to reach for every observable.
        prices: (variant,) price of a shot; None means 1 each.
        most: total shots above which the target is refused.
        asked: the error to name in the refusal, where the target is a part of what was asked for.

    Returns:
        (variant,) int64, shots still to take; all zero if the target is already reached.

    Raises:
        AllocationError: if the target is not positive or would take more than ``most`` shots.
    """
    if not target_error > 0:
        raise AllocationError(f"The target error is {target_error:g}; it must be positive.")
    price = np.ones(done.size) if prices is None else np.asarray(prices, dtype=np.float64)
    goal = target_error**2
    if known.reaches(goal, done):
        return np.zeros(done.size, dtype=np.int64)
    weights = _worst_weights(known, price)
    ideal = _ideal(known.smoothed @ weights, price)
    less = np.minimum(ideal, _ideal(known.with_a_flip_less @ weights, price))

    def reached(scale: float) -> bool:
        return known.reaches(goal, np.maximum(scale * less, done))

    low, high = 0.0, float(np.max(known.each.seen.T @ (1.0 / ideal))) / goal
    high = max(high, 1.0 / float(ideal.max()))
    while not reached(high) and float(ideal.sum()) * high <= most:
        high *= 2
    if float(ideal.sum()) * high > most:
        raise out_of_reach(asked or target_error, float(ideal.sum()) * high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return np.ceil(np.maximum(high * ideal - done, 0.0)).astype(np.int64)


def out_of_reach(target_error: float, shots: float) -> AllocationError:
    """The refusal of a target that would take so many shots."""
    return AllocationError(
        f"A standard error of {target_error:g} would take about {shots:.1e} shots, {shots / _SHOTS_AN_HOUR:.1e} hours"
        " at a thousand a second. Use fewer cuts, wider fragments, or a larger `target_error`.",
        field="target_error",
    )


def _ideal(worth: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Neyman's proportions, with a floor that keeps a variant that looked idle from being starved."""
    ideal = np.sqrt(worth / price)
    if not ideal.any():
        return np.ones_like(ideal)
    return np.maximum(ideal, 1e-3 * ideal.max())


def _filled(ideal: np.ndarray, done: np.ndarray, price: np.ndarray, total: float) -> np.ndarray:
    """The scale of ``ideal`` at which max(scale * ideal, done) costs ``total``, applied."""
    ratio = done / ideal
    order = np.argsort(ratio, kind="stable")
    free = np.cumsum((price * ideal)[order])
    fixed = float(price @ done) - np.cumsum((price * done)[order])
    scale = (total - fixed) / free
    inside = np.flatnonzero(scale >= ratio[order])
    chosen = scale[inside[-1]] if inside.size else 0.0
    return np.maximum(chosen * ideal, done)


def _rounded_down(shots: np.ndarray, price: np.ndarray, left: float) -> np.ndarray:
    """Whole shots that cost at most ``left``; what rounding left over goes where most was cut off."""
    whole = np.floor(shots).astype(np.int64)
    rest = left - float(price @ whole)
    for variant in np.argsort(whole - shots, kind="stable"):
        if shots[variant] > whole[variant] and price[variant] <= rest:
            whole[variant] += 1
            rest -= price[variant]
    return whole


def _worst_weights(known: Influences, price: np.ndarray) -> np.ndarray:
    """Weights of the observables for which Neyman's allocation makes the largest variance as small as it can be."""
    weights = np.full(known.observables.size, 1.0 / max(1, known.observables.size))
    smoothed = known.smoothed
    best, best_weights = np.inf, weights
    for _ in range(_REWEIGHTINGS):
        ideal = _ideal(smoothed @ weights, price)
        variance = smoothed.T @ (1.0 / ideal) * float(price @ ideal)
        if variance.max() < best:
            best, best_weights = float(variance.max()), weights
        weights = weights * variance / max(float(weights @ variance), 1e-300)
    return best_weights
