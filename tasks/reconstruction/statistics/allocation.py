"""How to spend shots: from a first round's gradients to the number of shots for each variant.

A variant v with n_v shots contributes A[v, o] / n_v to the variance of observable o, where A is the variance of one
shot's influence on it. For a given total price sum_v c_v n_v the weighted sum of variances is least for Neyman's
allocation n_v proportional to sqrt(sum_o w_o A[v, o] / c_v).

A variant whose first shots agree by luck must not keep its luck by getting few more while others are corrected: the
mean over two rounds is unbiased only if the rounds' weights do not depend on the counts. So the shots of every variant
form two halves (``SampledData``), and what one half is still to get is computed from the other half alone: gradients,
variances and all (cross-fitting; Chernozhukov et al., Econometrics Journal 21, C1, 2018). That is done once. Rounds
after it, towards a target error, take more of everything in the same proportions: how much depends on the whole error
bar alone, which no single variant's luck moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tasks.model.tensor import FragmentTensor, SampledData, Structure
from tasks.reconstruction.contraction.network import network_of, values_by_fragment
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.errors import AllocationError
from tasks.reconstruction.statistics.counts_to_tensor import tensor_values
from tasks.reconstruction.statistics.gradient import gradients
from tasks.reconstruction.statistics.statistics import variances, variant_variances

FIRST_ROUND = 0.3
"""Share of the shots that a first, uniform round takes."""

_REWEIGHTINGS = 40
_BISECTIONS = 60
_SHOTS_AN_HOUR = 3.6e6  # of a QPU that takes a thousand a second


@dataclass(frozen=True)
class Influences:
    """What one shot of each variant means for each observable.

    Attributes:
        fragments: (variant,) int, the fragment of each variant.
        observables: (observable,) int, which observables.
        variances: (variant, observable) float64, variance of one shot's influence as seen: right on average.
        doubts: (variant, observable) float64, what is in doubt (see ``statistics``), times the shots squared.
        shots: (variant,) int64, shots it has had.
    """

    fragments: np.ndarray
    observables: np.ndarray
    variances: np.ndarray
    doubts: np.ndarray
    shots: np.ndarray

    def predicted(self, shots: np.ndarray) -> np.ndarray:
        """(observable,) variance with so many shots a variant."""
        each = 1.0 / np.maximum(shots, 1)
        doubt = (self.doubts * np.square(each)[:, None]).max(axis=0, initial=0.0)
        return np.asarray(self.variances.T @ each + doubt)

    @property
    def smoothed(self) -> np.ndarray:
        """(variant, observable) float64: ``variances`` with the doubt, so that no variant looks certain."""
        return self.variances + self.doubts / np.maximum(self.shots, 1)[:, None]


def influences(
    structure: Structure,
    tensors: Sequence[FragmentTensor],
    *,
    most_observables: int = 64,
    memory_bytes: int | None = None,
    seed: int = 0,
) -> Influences:
    """Measure from a first round what one shot of each variant is worth.

    Args:
        structure: the structure.
        tensors: the tensors after the first round.
        most_observables: keep only so many observables, those with the largest variances.
        memory_bytes: as in ``contract``.
        seed: of the path search.

    Raises:
        AllocationError: if no tensor is sampled.
    """
    samples = {tensor.fragment: tensor.samples for tensor in tensors if tensor.samples is not None}
    if not samples:
        raise AllocationError("Every fragment is exact: no shots to allocate. Leave `shots` out.", field="shots")
    network = network_of(structure)
    values = values_by_fragment(structure, network, tensors)
    plan = schedule(structure, network, memory_bytes=memory_bytes, gradients=True, seed=seed)
    order = sorted(samples)
    rows = _rows({fragment: samples[fragment] for fragment in order})
    fragments = np.repeat(order, [len(set(rows[fragment].tolist())) for fragment in order])
    shots = np.zeros(len(fragments), dtype=np.int64)
    for fragment in order:
        np.add.at(shots, rows[fragment], [variant.counts.shots for variant in samples[fragment].variants])
    kept = np.zeros(0, dtype=np.int64)
    tables = np.zeros((2, len(fragments), 0))
    for observables, found in gradients(structure, network, plan, values, order):
        block = np.zeros((2, len(fragments), observables.size))
        for piece in found:
            for position, asking, seen, unseen in variant_variances(samples[piece.fragment], piece):
                row, columns = rows[piece.fragment][position], np.searchsorted(observables, asking)
                block[0, row, columns] += seen * shots[row]
                block[1, row, columns] += unseen * shots[row] ** 2
        kept, tables = np.concatenate([kept, observables]), np.concatenate([tables, block], axis=2)
        predicted = Influences(fragments, kept, tables[0], tables[1], shots).predicted(shots)
        largest = np.sort(np.argsort(-predicted, kind="stable")[:most_observables])
        kept, tables = kept[largest], tables[:, :, largest]
    return Influences(fragments, kept, tables[0], tables[1], shots)


def _rows(samples: Mapping[int, SampledData]) -> dict[int, np.ndarray]:
    """For each fragment's variants their rows in a table; what was measured under several calibrations shares one."""
    rows, start = {}, 0
    for fragment, data in samples.items():
        place: dict[tuple, int] = {}
        for variant in data.variants:
            place.setdefault((variant.settings, variant.factors.tobytes()), len(place))
        own = [place[variant.settings, variant.factors.tobytes()] for variant in data.variants]
        rows[fragment] = start + np.array(own, dtype=np.int64)
        start += len(place)
    return rows


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
        return _more_of_all(structure, tensors, shots, target_error, memory_bytes)
    halves = [influences(structure, half_of(tensors, half), memory_bytes=memory_bytes) for half in (0, 1)]
    totals = [None, None] if shots is None else [shots - shots // 2, shots // 2]
    taken = [
        _one_half(other, own.shots, total, target_error, prices)
        for own, other, total in zip(halves, reversed(halves), totals, strict=True)
    ]
    fragments = halves[0].fragments
    return {int(f): np.stack([half[fragments == f] for half in taken]) for f in np.unique(fragments)}


def _more_of_all(
    structure: Structure,
    tensors: Sequence[FragmentTensor],
    shots: int | None,
    target_error: float,
    memory_bytes: int | None,
) -> dict[int, np.ndarray]:
    """(half, variant) shots by fragment that bring every variant's to the same multiple, whose error is the target."""
    samples = {tensor.fragment: tensor.samples for tensor in tensors if tensor.samples is not None}
    done = {}
    for fragment, rows in _rows(samples).items():
        rows = rows - rows.min()
        done[fragment] = np.zeros((2, rows.max() + 1), dtype=np.int64)
        own = samples[fragment].variants
        np.add.at(done[fragment], ([v.half for v in own], rows), [v.counts.shots for v in own])
    excess = variances(structure, tensors, memory_bytes=memory_bytes).max(initial=0.0) / target_error**2 - 1
    if shots is not None:
        spent = sum(int(counts.sum()) for counts in done.values())
        excess = min(excess, (shots - spent) / spent)
    rounded = np.ceil if shots is None else np.floor
    return {fragment: rounded(max(0.0, excess) * counts).astype(np.int64) for fragment, counts in done.items()}


def half_of(tensors: Sequence[FragmentTensor], half: int) -> list[FragmentTensor]:
    """The tensors that one half of the shots alone would give; exact ones as they are."""
    found = []
    for tensor in tensors:
        if tensor.samples is not None:
            own = tuple(replace(variant, half=0) for variant in tensor.samples.variants if variant.half == half)
            samples = SampledData(tensor.samples.legs, own)
            tensor = FragmentTensor(tensor.fragment, tensor_values(samples, tensor.values.shape[-1]), samples)
        found.append(tensor)
    return found


def _one_half(
    other: Influences,
    done: np.ndarray,
    shots: int | None,
    target_error: float | None,
    prices: Mapping[int, float],
) -> np.ndarray:
    """(variant,) shots that one half still takes, from what the other saw; it may have twice the variance in all."""
    price = np.array([prices[int(f)] for f in other.fragments]) if any(prices.values()) else None
    more = None
    if shots is not None:
        left = shots - int(done.sum())
        total = float(shots) if price is None else float(price @ done) + left * float(price.mean())
        more = spend(other, done, total, price)
    if target_error is not None:
        try:
            needed = shots_for_error(other, done, np.sqrt(2.0) * target_error, price)
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


def shots_for_error(
    known: Influences,
    done: np.ndarray,
    target_error: float,
    prices: np.ndarray | None = None,
    *,
    most: float = 1e12,
) -> np.ndarray:
    """Find the cheapest shots for which no observable's standard error exceeds a target.

    Args:
        known: what one shot is worth.
        done: (variant,) int64, shots taken already.
        target_error: standard error to reach for every observable.
        prices: (variant,) price of a shot; None means 1 each.
        most: total shots above which the target is refused.

    Returns:
        (variant,) int64, shots still to take; all zero if the target is already reached.

    Raises:
        AllocationError: if the target is not positive or would take more than ``most`` shots.
    """
    if not target_error > 0:
        raise AllocationError(f"The target error is {target_error:g}; it must be positive.")
    price = np.ones(done.size) if prices is None else np.asarray(prices, dtype=np.float64)
    goal = target_error**2
    if known.predicted(done).max(initial=0.0) <= goal:
        return np.zeros(done.size, dtype=np.int64)
    ideal = _ideal(known.smoothed @ _worst_weights(known, price), price)
    # Enough even without the first round: half of the goal for what is seen, half for what is in doubt.
    seen, doubt = known.variances.T @ (1.0 / ideal), (known.doubts / np.square(ideal)[:, None]).max(axis=0)
    scale = max(2 * float(seen.max()) / goal, float(np.sqrt(2 * doubt.max() / goal)))
    if float(ideal.sum()) * scale > most:
        raise out_of_reach(target_error, float(ideal.sum()) * scale)
    low, high = 0.0, scale
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        enough = known.predicted(np.maximum(middle * ideal, done)).max() <= goal
        low, high = (low, middle) if enough else (middle, high)
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
