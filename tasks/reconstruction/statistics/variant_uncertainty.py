"""What each variant's shots say of the variance of the estimates: sample moments of one scalar a shot.

The scalar X of ``statistics`` is computed for batches of variants as the Walsh transform of its weights (``walsh``),
and for variants with many bits or mitigated counts one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tasks.model.tensor import SampledData, VariantData
from tasks.reconstruction.statistics.counts_to_tensor import OUTCOME_CHUNK, signs, variant_entries
from tasks.reconstruction.statistics.gradient import LeafGradient
from tasks.reconstruction.statistics.uncertainty import Uncertainty, uncertainty_of_mean
from tasks.reconstruction.statistics.walsh import VariantGroup, histograms, variant_batches, walsh

# Transforming so many weights a variant takes longer than the calls that a batch saves.
_BATCH_WEIGHTS = 1 << 18


def fragment_uncertainty(samples: SampledData, found: LeafGradient, num_observables: int) -> Uncertainty:
    """(observable,) what one fragment's shots say of the variance of every observable."""
    total = Uncertainty.none(num_observables)
    for _, observables, own in variant_uncertainties(samples, found):
        total.add(own.summed(axis=0), observables)
    return total


def variant_uncertainties(
    samples: SampledData, found: LeafGradient
) -> Iterator[tuple[np.ndarray, np.ndarray, Uncertainty]]:
    """What each variant's shots say of the variance of the observables that a gradient speaks of.

    Yields:
        for several variants at once: (variant,) int positions in ``samples.variants``, (observable,) int ascending,
        and the (variant, observable) uncertainty.
    """
    used, local = np.unique(found.observables, return_inverse=True)
    if used.size == 0:
        return
    raw_gradient = found.gradient
    for axis, leg in enumerate(samples.legs):
        raw_gradient = np.moveaxis(np.tensordot(raw_gradient, leg.inverse, axes=(1 + axis, 0)), -1, 1 + axis)
    num_factors = 1 + max(int(meaning.factors.max(initial=0)) for meaning in samples.columns.meanings)
    together, singles = variant_batches(samples)
    shots_behind = _shots_behind(samples, together, singles, max(num_factors, 1 + int(found.factors.max())))
    pairs = _Pairs(found.factors, np.asarray(local), raw_gradient, used.size)
    for batch in together:
        if used.size << batch.num_bits > _BATCH_WEIGHTS:
            singles = [*singles, *batch.members.tolist()]
            continue
        for part in batch.chunks(used.size << batch.num_bits):
            together_ = _batch_uncertainty(samples, batch, part, pairs, shots_behind)
            if together_ is not None:
                yield batch.members[part], used, together_
    for number in singles:
        alone = _single_uncertainty(samples, samples.variants[number], pairs, shots_behind)
        if alone is not None:
            yield np.array([number]), used, alone[None]


@dataclass(frozen=True)
class _Pairs:
    """A gradient by raw entries: (pair,) factor and observable (counted from 0) of each, (pair, raw...) gradient."""

    factors: np.ndarray
    observables: np.ndarray
    gradient: np.ndarray
    num_observables: int

    def of(self, factors: np.ndarray, num_factors: int) -> tuple[np.ndarray, np.ndarray]:
        """Which pairs take one of ``factors``, and which of these each takes."""
        place = np.full(num_factors, -1, dtype=np.int64)
        place[factors] = np.arange(len(factors))
        chosen = np.flatnonzero(place[self.factors] >= 0)
        return chosen, place[self.factors[chosen]]


def _batch_uncertainty(
    samples: SampledData, batch: VariantGroup, part: slice, pairs: _Pairs, shots_behind: np.ndarray
) -> Uncertainty | None:
    """(variant, observable) of a batch's means; None where no observable asks for them."""
    chosen, factor = pairs.of(batch.factors, shots_behind.shape[-1])
    if chosen.size == 0:
        return None
    counts = histograms(samples.columns, batch.members[part], batch.num_bits)
    shots = counts.sum(axis=1)
    weight = shots[:, None, None] / (len(shots_behind) * shots_behind[batch.entries(part)])  # (variant, entry, k)
    columns = batch.columns[part]
    by_pair = (chosen[None, None, :], *(columns[:, :, leg, None] for leg in range(columns.shape[2])))
    picked = pairs.gradient[by_pair] * weight[:, :, factor]  # (variant, entry, pair)
    size = 1 << batch.num_bits
    row = np.arange(len(shots))[:, None, None] * pairs.num_observables + pairs.observables[chosen]
    place = row * size + batch.all_masks[:, factor]
    weights = np.bincount(place.reshape(-1), picked.reshape(-1), len(shots) * pairs.num_observables * size)
    weights = weights.reshape(len(shots), pairs.num_observables, size)
    weights[:, :, 0] = 0.0  # an entry without a sign is the same in every shot
    scalar = walsh(weights)
    mean = np.matmul(scalar, counts[:, :, None])[:, :, 0] / shots[:, None]
    squares = np.matmul(np.square(scalar), counts[:, :, None])[:, :, 0]
    return uncertainty_of_mean(squares, mean, np.square(weights).sum(axis=2), shots[:, None])


def _single_uncertainty(
    samples: SampledData, variant: VariantData, pairs: _Pairs, shots_behind: np.ndarray
) -> Uncertainty | None:
    """(observable,) of the means of one variant; None where no observable asks for them."""
    chosen, factor = pairs.of(variant.factors, shots_behind.shape[-1])
    if variant.counts.shots == 0 or chosen.size == 0 or variant.counts.num_bits == 0:  # no bit, no doubt
        return None
    entries = variant_entries(samples.legs, variant)
    at = tuple(entries.columns.T)
    by_factor = (variant.half, *(column[:, None] for column in at), np.asarray(variant.factors)[None, :])
    weight = variant.counts.shots / (len(shots_behind) * shots_behind[by_factor])
    by_pair = (chosen[:, None], *(column[None, :] for column in at))
    picked = pairs.gradient[by_pair] * weight.T[factor]
    masks = entries.masks[:, None, :] ^ variant.factor_masks[None, :, :]
    distinct, group = np.unique(
        np.packbits(masks.reshape(-1, masks.shape[-1]), axis=1, bitorder="little"),
        axis=0,
        return_inverse=True,
    )
    group = group.reshape(masks.shape[:2])
    weights = np.zeros((pairs.num_observables, len(distinct)))
    np.add.at(weights, (pairs.observables[chosen][:, None], group.T[factor]), picked)
    signed = distinct.any(axis=1)  # an entry without a sign is the same in every shot
    bits = np.unpackbits(distinct[signed], axis=1, count=masks.shape[-1], bitorder="little").astype(bool)
    return _uncertainty_of_signs(variant, bits, weights[:, signed])


def _shots_behind(
    samples: SampledData, together: list[VariantGroup], singles: list[int], num_factors: int
) -> np.ndarray:
    """(half, raw of each leg..., factor) shots behind each raw entry."""
    shots = np.zeros((samples.halves, *(len(leg.columns) for leg in samples.legs), num_factors))
    for batch in together:
        numbers = samples.columns.shots[batch.members].astype(np.float64)
        for part in batch.chunks(batch.masks.size * batch.factors.size):
            np.add.at(shots, batch.entries(part), numbers[part, None, None])
    for number in singles:
        variant = samples.variants[number]
        columns = variant_entries(samples.legs, variant).columns
        where = (variant.half, *(column[:, None] for column in columns.T), np.asarray(variant.factors)[None, :])
        shots[where] += variant.counts.shots
    return shots


def _uncertainty_of_signs(variant: VariantData, masks: np.ndarray, weights: np.ndarray) -> Uncertainty:
    """(observable,) of the mean over shots of sum_m weights[o, m] * sign_m(outcome).

    The signs of distinct non-empty masks are uncorrelated with mean 0 under even outcomes, which gives the pseudo-shot.
    Shots of different weights are samples of their own, and their means are added up.
    """
    if variant.counts.weights is not None:
        return _uncertainty_of_sum(variant, masks, weights)
    counts = variant.counts.counts.astype(np.float64)
    shots = counts.sum()
    outcomes, observables, distinct = counts.size, weights.shape[0], len(masks)
    mean = np.zeros(distinct)
    through_matrix = distinct * (outcomes + observables) < outcomes * observables
    squares = np.zeros(observables)
    matrix = np.zeros((distinct, distinct))
    for start in range(0, outcomes, OUTCOME_CHUNK):
        stop = start + OUTCOME_CHUNK
        sign = signs(variant, masks, start, stop)
        part = counts[start:stop]
        mean += part @ sign / shots
        if through_matrix:
            matrix += (sign * part[:, None]).T @ sign
        else:
            squares += part @ np.square(sign @ weights.T)
    if through_matrix:
        squares = np.einsum("om,om->o", weights @ matrix, weights)
    return uncertainty_of_mean(squares, weights @ mean, np.square(weights).sum(axis=1), shots)


def _uncertainty_of_sum(variant: VariantData, masks: np.ndarray, weights: np.ndarray) -> Uncertainty:
    """As ``_uncertainty_of_signs``, for a mean over several samples, each of one weight."""
    counts = variant.counts
    assert counts.weights is not None
    total = Uncertainty.none(weights.shape[0])
    for weight in np.unique(counts.weights):
        rows = counts.weights == weight
        part = replace(counts, outcomes=counts.outcomes[rows], counts=counts.counts[rows], weights=None)
        own = _uncertainty_of_signs(replace(variant, counts=part), masks, weights)
        total.add(own.scaled(weight * part.shots / counts.shots))
    return total
