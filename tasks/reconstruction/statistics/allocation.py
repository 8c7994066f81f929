"""How to spend shots: from a first round's gradients to the number of shots for each variant.

A variant v with n_v shots contributes A[v, o] / n_v to the variance of observable o, where A is the variance of one
shot's influence on it. For a given total price sum_v c_v n_v the weighted sum of variances is least for Neyman's
allocation n_v proportional to sqrt(sum_o w_o A[v, o] / c_v).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction.contraction.network import network_of, values_by_fragment
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.errors import AllocationError
from tasks.reconstruction.statistics.gradient import gradients
from tasks.reconstruction.statistics.statistics import variant_variances

FIRST_ROUND = 0.2
"""Share of the shots that a first, uniform round takes."""

_REWEIGHTINGS = 40
_BISECTIONS = 60


@dataclass(frozen=True)
class Influences:
    """What one shot of each variant means for each observable.

    Attributes:
        fragments: (variant,) int, the fragment of each variant.
        positions: (variant,) int, its place in that fragment's ``SampledData.variants``.
        observables: (observable,) int, which observables.
        variances: (variant, observable) float64, variance of one shot's influence.
        shots: (variant,) int64, shots it has had.
    """

    fragments: np.ndarray
    positions: np.ndarray
    observables: np.ndarray
    variances: np.ndarray
    shots: np.ndarray

    def predicted(self, shots: np.ndarray) -> np.ndarray:
        """(observable,) variance with so many shots a variant."""
        return np.asarray(self.variances.T @ (1.0 / np.maximum(shots, 1)))


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
        raise AllocationError("Every fragment is exact: there are no shots to allocate. Leave --shots out.")
    network = network_of(structure)
    values = values_by_fragment(structure, network, tensors)
    plan = schedule(structure, network, memory_bytes=memory_bytes, gradients=True, seed=seed)
    order = sorted(samples)
    offsets = np.cumsum([0, *(len(samples[fragment].variants) for fragment in order)])
    start = dict(zip(order, offsets.tolist(), strict=False))
    shots = np.array([variant.counts.shots for f in order for variant in samples[f].variants], dtype=np.int64)
    kept = np.zeros(0, dtype=np.int64)
    table = np.zeros((int(offsets[-1]), 0))
    for observables, found in gradients(structure, network, plan, values, order):
        block = np.zeros((int(offsets[-1]), observables.size))
        for piece in found:
            for position, seen, variance in variant_variances(samples[piece.fragment], piece):
                row = start[piece.fragment] + position
                block[row, np.searchsorted(observables, seen)] += variance * shots[row]
        kept, table = np.concatenate([kept, observables]), np.concatenate([table, block], axis=1)
        largest = np.sort(np.argsort(-(table.T @ (1.0 / np.maximum(shots, 1))), kind="stable")[:most_observables])
        kept, table = kept[largest], table[:, largest]
    return Influences(
        fragments=np.repeat(order, np.diff(offsets)),
        positions=np.concatenate([np.arange(len(samples[fragment].variants)) for fragment in order]),
        observables=kept,
        variances=table,
        shots=shots,
    )


def spend(known: Influences, total: float, prices: np.ndarray | None = None) -> np.ndarray:
    """Allocate a total, shots of the first round included, so that the sum of the variances is least.

    Args:
        known: what one shot is worth.
        total: what all rounds may cost, in units of ``prices`` (shots, when these are 1).
        prices: (variant,) price of a shot on the device that runs it; None means 1 each.

    Returns:
        (variant,) int64, shots still to take.

    Raises:
        AllocationError: if the first round has already cost more than ``total``.
    """
    price = np.ones(known.shots.size) if prices is None else np.asarray(prices, dtype=np.float64)
    left = total - float(price @ known.shots)
    if left < 0:
        raise AllocationError(f"The first round has cost {total - left:g} of {total:g}. Allow more shots.")
    ideal = _ideal(known.variances.sum(axis=1), price)
    return _rounded_down(np.maximum(_filled(ideal, known.shots, price, total) - known.shots, 0.0), price, left)


def shots_for_error(
    known: Influences, target_error: float, prices: np.ndarray | None = None, *, most: float = 1e12
) -> np.ndarray:
    """Find the cheapest shots for which no observable's standard error exceeds a target.

    Args:
        known: what one shot is worth.
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
    price = np.ones(known.shots.size) if prices is None else np.asarray(prices, dtype=np.float64)
    goal = target_error**2
    if known.predicted(known.shots).max(initial=0.0) <= goal:
        return np.zeros(known.shots.size, dtype=np.int64)
    ideal = _ideal(known.variances @ _worst_weights(known, price), price)
    scale = float((known.variances.T @ (1.0 / ideal)).max()) / goal  # enough even without the first round
    if float(ideal.sum()) * scale > most:
        raise AllocationError(
            f"A standard error of {target_error:g} would take about {ideal.sum() * scale:.1e} shots. Use"
            " fewer cuts, wider fragments, or a larger --target-error."
        )
    low, high = 0.0, scale
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        enough = known.predicted(np.maximum(middle * ideal, known.shots)).max() <= goal
        low, high = (low, middle) if enough else (middle, high)
    return np.ceil(np.maximum(high * ideal - known.shots, 0.0)).astype(np.int64)


def by_fragment(known: Influences, shots: np.ndarray) -> Mapping[int, np.ndarray]:
    """(variant,) shots of each fragment, in the order of its variants."""
    return {int(fragment): shots[known.fragments == fragment] for fragment in np.unique(known.fragments)}


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
    best, best_weights = np.inf, weights
    for _ in range(_REWEIGHTINGS):
        ideal = _ideal(known.variances @ weights, price)
        variance = known.variances.T @ (1.0 / ideal) * float(price @ ideal)
        if variance.max() < best:
            best, best_weights = float(variance.max()), weights
        weights = weights * variance / max(float(weights @ variance), 1e-300)
    return best_weights
