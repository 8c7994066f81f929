"""Fragment tensors to values and standard errors: the delta method over every shot.

The estimate is multilinear in the raw tensors (see ``raw``), so its variance to first order is a sum over variants of
the variance of one scalar a shot,

    X_o(outcome) = sum over entries e of the variant of  g_{o,e} * weight_e * sign_e(outcome),

with g the gradient of observable o. Every covariance inside a variant is in it.

What the shots seen say is the sample variance, which is unbiased: a sum over hundreds of variants has the right error
bar although most of them saw no flip. What they cannot say, because a handful of equal outcomes is no certainty, is
*doubt*: what three quarters of a pseudo-shot spread evenly over all outcomes add to a variant (a Wilson interval's
centre; with a whole one, z = 1, GHZ states and stabilisers were given more than twice their error). It falls as
1 / shots squared, and of all variants the largest counts, once: flips that one variant hid behind its few shots, a
hundred variants like it would have shown.

Where the gradient vanishes at the true values the error is of second order. The gradient is taken at the estimates,
whose own noise keeps it from vanishing there, and the error bar is then too wide rather than too narrow: for a product
of two fragments by a factor of two (Sobel's test). Where it is exactly zero at the estimates, shots are drawn again
from what was seen instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from tasks.model.tensor import FragmentTensor, SampledData, Structure, VariantData
from tasks.reconstruction.contraction.contraction import contract
from tasks.reconstruction.contraction.network import network_of, values_by_fragment
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.statistics.counts_to_tensor import OUTCOME_CHUNK, signs, tensor_values, variant_entries
from tasks.reconstruction.statistics.gradient import LeafGradient, gradients
from tasks.reconstruction.statistics.walsh import VariantGroup, histograms, variant_batches, walsh

_RESAMPLINGS = 48
_ROUNDING = 1e-12
_PSEUDO_SHOTS = 0.75
# Transforming so many weights a variant takes longer than the calls that a batch saves.
_BATCH_WEIGHTS = 1 << 18


def estimate_values(
    structure: Structure, tensors: Sequence[FragmentTensor], *, memory_bytes: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Contract the network once forwards and once backwards.

    Returns:
        values: (observable,) float64.
        std_errors: (observable,) float64, 0 where every fragment is exact.
    """
    values, variances_ = _values_and_variances(structure, tensors, memory_bytes=memory_bytes, seed=seed)
    return values, np.sqrt(variances_)


def variances(
    structure: Structure, tensors: Sequence[FragmentTensor], *, memory_bytes: int | None = None, seed: int = 0
) -> np.ndarray:
    """Variance of every observable by the delta method, (observable,) float64."""
    return _values_and_variances(structure, tensors, memory_bytes=memory_bytes, seed=seed)[1]


def _values_and_variances(
    structure: Structure, tensors: Sequence[FragmentTensor], *, memory_bytes: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    samples = {tensor.fragment: tensor.samples for tensor in tensors if tensor.samples is not None}
    num_observables = structure.coefficients.shape[0]
    total = np.zeros(num_observables)
    if not samples:
        return contract(structure, tensors, memory_bytes=memory_bytes, seed=seed), total
    network = network_of(structure)
    values = values_by_fragment(structure, network, tensors)
    plan = schedule(structure, network, memory_bytes=memory_bytes, gradients=True, seed=seed)
    estimates, doubt = np.zeros(num_observables), np.zeros(num_observables)
    some = next(iter(samples))
    for _, found in gradients(structure, network, plan, values, tuple(samples)):
        for piece in found:
            if piece.fragment == some:  # multilinear: the gradient along the tensor itself is the value
                entries = np.moveaxis(values[some], -1, 0)[piece.factors]
                along = (piece.gradient * entries).reshape(len(entries), -1).sum(axis=1)
                np.add.at(estimates, piece.observables, along)
            seen, unseen = fragment_variances(samples[piece.fragment], piece, num_observables)
            total += seen
            np.maximum(doubt, unseen, out=doubt)
    total += doubt
    silent = np.flatnonzero(total == 0)
    if silent.size:
        total[silent] = _resampled_variances(_only(structure, silent), tensors, memory_bytes=memory_bytes, seed=seed)
    return estimates, total


def _only(structure: Structure, observables: np.ndarray) -> Structure:
    return replace(structure, coefficients=csr_array(structure.coefficients[observables]))


def _resampled_variances(
    structure: Structure, tensors: Sequence[FragmentTensor], *, memory_bytes: int | None, seed: int
) -> np.ndarray:
    """Variance by drawing every variant's shots again: for observables whose gradient is exactly zero at the estimate.

    That is so for a constant, which stays at zero, and by accident with few shots, where the error is of second order.
    """
    if structure.coefficients.nnz == 0:
        return np.zeros(structure.coefficients.shape[0])
    rng = np.random.Generator(np.random.Philox(seed))
    found = []
    for _ in range(_RESAMPLINGS):
        drawn = [_drawn_again(tensor, rng) for tensor in tensors]
        found.append(contract(structure, drawn, memory_bytes=memory_bytes, seed=seed))
    spread = np.var(found, axis=0, ddof=1)
    return np.where(spread > (_ROUNDING * np.abs(found).max(axis=0)) ** 2, spread, 0.0)


def _drawn_again(tensor: FragmentTensor, rng: np.random.Generator) -> FragmentTensor:
    if tensor.samples is None:
        return tensor
    variants = []
    for variant in tensor.samples.variants:
        counts = variant.counts
        if counts.shots:
            seen = rng.multinomial(counts.shots, counts.counts / counts.shots)
            kept = seen > 0
            weights = None if counts.weights is None else counts.weights[kept]
            counts = replace(counts, outcomes=counts.outcomes[kept], counts=seen[kept], weights=weights)
        variants.append(replace(variant, counts=counts))
    samples = replace(tensor.samples, variants=tuple(variants))
    return FragmentTensor(tensor.fragment, tensor_values(samples, tensor.values.shape[-1]), samples)


def fragment_variances(
    samples: SampledData, found: LeafGradient, num_observables: int
) -> tuple[np.ndarray, np.ndarray]:
    """What one fragment's shots contribute to the variance of every observable.

    Returns:
        (observable,) float64 each: the variance seen, to be summed over fragments, and the doubt, of which the largest
        of all fragments is added once.
    """
    total, doubt = np.zeros(num_observables), np.zeros(num_observables)
    for _, observables, seen, unseen in variant_variances(samples, found):
        total[observables] += seen
        doubt[observables] = np.maximum(doubt[observables], unseen)
    return total, doubt


def variant_variances(
    samples: SampledData, found: LeafGradient
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """What each variant's shots contribute to the variance of the observables that a gradient speaks of.

    Yields:
        (position in ``samples.variants``, (observable,) int ascending, (observable,) float64 variance seen,
        (observable,) float64 doubt).
    """
    used, local = np.unique(found.observables, return_inverse=True)
    if used.size == 0:
        return
    raw_gradient = found.gradient
    for axis, leg in enumerate(samples.legs):
        raw_gradient = np.moveaxis(np.tensordot(raw_gradient, leg.inverse, axes=(1 + axis, 0)), -1, 1 + axis)
    num_factors = 1 + max(int(variant.factors.max(initial=0)) for variant in samples.variants)
    together, singles = variant_batches(samples)
    shots_behind = _shots_behind(samples, together, singles, max(num_factors, 1 + int(found.factors.max())))
    pairs = _Pairs(found.factors, np.asarray(local), raw_gradient, used.size)
    for batch in together:
        if used.size << batch.num_bits > _BATCH_WEIGHTS:
            singles = [*singles, *batch.members.tolist()]
            continue
        for part in batch.chunks(used.size << batch.num_bits):
            variances_ = _batch_variances(samples, batch, part, pairs, shots_behind)
            if variances_ is not None:
                for number, seen, unseen in zip(batch.members[part].tolist(), *variances_, strict=True):
                    yield number, used, seen, unseen
    for number in singles:
        variance = _single_variance(samples, samples.variants[number], pairs, shots_behind)
        if variance is not None:
            yield number, used, *variance


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


def _batch_variances(
    samples: SampledData, batch: VariantGroup, part: slice, pairs: _Pairs, shots_behind: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """(variant, observable) variances and doubts of a batch's means; None where no observable asks for them."""
    chosen, factor = pairs.of(batch.factors, shots_behind.shape[-1])
    if chosen.size == 0:
        return None
    counts = histograms([samples.variants[p] for p in batch.members[part]], batch.num_bits)
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
    return seen_and_doubt(squares, mean, np.square(weights).sum(axis=2), shots[:, None])


def _single_variance(
    samples: SampledData, variant: VariantData, pairs: _Pairs, shots_behind: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """(observable,) variance and doubt of the means of one variant; None where no observable asks for them."""
    chosen, factor = pairs.of(variant.factors, shots_behind.shape[-1])
    if variant.counts.shots == 0 or chosen.size == 0:
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
    return _variance_of_mean(variant, bits, weights[:, signed])


def _shots_behind(
    samples: SampledData, together: list[VariantGroup], singles: list[int], num_factors: int
) -> np.ndarray:
    """(half, raw of each leg..., factor) shots behind each raw entry."""
    shots = np.zeros((samples.halves, *(len(leg.columns) for leg in samples.legs), num_factors))
    for batch in together:
        numbers = np.array([samples.variants[p].counts.shots for p in batch.members], dtype=np.float64)
        for part in batch.chunks(batch.masks.size * batch.factors.size):
            np.add.at(shots, batch.entries(part), numbers[part, None, None])
    for number in singles:
        variant = samples.variants[number]
        columns = variant_entries(samples.legs, variant).columns
        where = (variant.half, *(column[:, None] for column in columns.T), np.asarray(variant.factors)[None, :])
        shots[where] += variant.counts.shots
    return shots


def _variance_of_mean(variant: VariantData, masks: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance and doubt of the mean over shots of sum_m weights[o, m] * sign_m(outcome), (observable,) each.

    The signs of distinct non-empty masks are uncorrelated with mean 0 under even outcomes, which gives the pseudo-shot.
    Shots of different weights are samples of their own, and their means are added up.
    """
    if variant.counts.weights is not None:
        return _variance_of_sum(variant, masks, weights)
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
    of_mean = weights @ mean
    return seen_and_doubt(squares, of_mean, np.square(weights).sum(axis=1), shots)


def seen_and_doubt(
    squares: np.ndarray, mean: np.ndarray, even: np.ndarray, shots: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of a mean, and its doubt: what a pseudo-shot would add to it.

    Args:
        squares: sum of the squares over the shots.
        mean: of the shots.
        even: the square of the pseudo-shot, which is the variance of one shot if all outcomes are equally likely; a
            single shot says nothing better.
        shots: how many.
    """
    spread = np.maximum(squares - shots * np.square(mean), 0.0) / np.maximum(shots - 1, 1)
    seen = np.where(shots > 1, spread, even) / shots
    doubt = _PSEUDO_SHOTS * (even + shots / (shots + 1) * np.square(mean)) / np.square(shots)
    return np.asarray(seen), np.asarray(doubt)


def _variance_of_sum(variant: VariantData, masks: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As ``_variance_of_mean``, for a mean over several samples, each of one weight."""
    counts = variant.counts
    assert counts.weights is not None
    total, doubt = np.zeros(weights.shape[0]), np.zeros(weights.shape[0])
    for weight in np.unique(counts.weights):
        rows = counts.weights == weight
        part = replace(counts, outcomes=counts.outcomes[rows], counts=counts.counts[rows], weights=None)
        share = weight * part.shots / counts.shots
        seen, unseen = _variance_of_mean(replace(variant, counts=part), masks, weights)
        total += share**2 * seen
        doubt += share**2 * unseen
    return total, doubt
