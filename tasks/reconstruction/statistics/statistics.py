"""Fragment tensors to values and standard errors: the delta method over every shot.

The estimate is multilinear in the raw tensors (see ``raw``), so its variance to first order is a sum over variants of
the variance of one scalar a shot,

    X_o(outcome) = sum over entries e of the variant of  g_{o,e} * weight_e * sign_e(outcome),

with g the gradient of observable o. Every covariance inside a variant is in it.

What the shots say of that variance, and what they cannot say, is in ``uncertainty``.

Where the gradient vanishes at the true values the error is of second order. The gradient is taken at the estimates,
whose own noise keeps it from vanishing there, and the error bar is then too wide rather than too narrow: for a product
of two fragments by a factor of two (Sobel's test). Where it is exactly zero at the estimates, shots are drawn again
from what was seen instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from tasks.model.arrays import Arrays
from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction.contraction.contraction import contract
from tasks.reconstruction.contraction.layout import Path
from tasks.reconstruction.contraction.network import network_of, values_by_fragment
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.statistics.counts_to_tensor import tensor_values
from tasks.reconstruction.statistics.gradient import gradients
from tasks.reconstruction.statistics.uncertainty import Uncertainty
from tasks.reconstruction.statistics.variant_uncertainty import fragment_uncertainty

_RESAMPLINGS = 48
_ROUNDING = 1e-12


def estimate_values(
    structure: Structure,
    tensors: Sequence[FragmentTensor],
    *,
    memory_bytes: int | None = None,
    seed: int = 0,
    paths: Sequence[Path] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Contract the network once forwards and once backwards.

    Args:
        structure: how the fragments are joined and which terms the observables sum.
        tensors: one per fragment.
        memory_bytes: upper bound for the arrays of the contraction; None sets none.
        seed: of the path search.
        paths: candidates from an earlier search of the same network; None searches.

    Returns:
        values: (observable,) float64.
        std_errors: (observable,) float64, 0 where every fragment is exact.
    """
    values, variances_, _ = _values_and_variances(structure, tensors, memory_bytes=memory_bytes, seed=seed, paths=paths)
    return values, np.sqrt(variances_)


def estimate_with_shares(
    structure: Structure,
    tensors: Sequence[FragmentTensor],
    *,
    memory_bytes: int | None = None,
    paths: Sequence[Path] | None = None,
    gpu: Arrays | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As ``estimate_values`` (on a GPU where one is given and it is large enough), and where the variance comes from.

    Returns:
        values and standard errors, and (fragment, observable) float64: how much of the sample variance of each
        observable the shots of each fragment bring; columns sum to 1, or to 0 where there is none.
    """
    values, variances_, seen = _values_and_variances(
        structure, tensors, memory_bytes=memory_bytes, paths=paths, gpu=gpu
    )
    return values, np.sqrt(variances_), shares_of(seen)


def shares_of(seen: np.ndarray) -> np.ndarray:
    """(fragment, observable) parts of variances as shares: columns sum to 1, or to 0 where there is none."""
    total = seen.sum(axis=0)
    return np.divide(seen, total, out=np.zeros_like(seen), where=total > 0)


def variances(
    structure: Structure, tensors: Sequence[FragmentTensor], *, memory_bytes: int | None = None, seed: int = 0
) -> np.ndarray:
    """Variance of every observable by the delta method, (observable,) float64."""
    return _values_and_variances(structure, tensors, memory_bytes=memory_bytes, seed=seed)[1]


def _values_and_variances(
    structure: Structure,
    tensors: Sequence[FragmentTensor],
    *,
    memory_bytes: int | None,
    seed: int = 0,
    paths: Sequence[Path] | None = None,
    gpu: Arrays | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and variances, (observable,) each, and the (fragment, observable) parts seen of the latter."""
    samples = {tensor.fragment: tensor.samples for tensor in tensors if tensor.samples is not None}
    num_observables = structure.coefficients.shape[0]
    seen = np.zeros((len(tensors), num_observables))
    if not samples:
        values = contract(structure, tensors, memory_bytes=memory_bytes, seed=seed, paths=paths, gpu=gpu)
        return values, np.zeros(num_observables), seen
    network = network_of(structure)
    entries_of = values_by_fragment(structure, network, tensors)
    plan = schedule(structure, network, memory_bytes=memory_bytes, gradients=True, seed=seed, paths=paths)
    estimates, known = np.zeros(num_observables), Uncertainty.none(num_observables)
    some = next(iter(samples))
    for _, found in gradients(structure, network, plan, entries_of, tuple(samples), gpu=gpu):
        for piece in found:
            if piece.fragment == some:  # multilinear: the gradient along the tensor itself is the value
                entries = np.moveaxis(entries_of[some], -1, 0)[piece.factors]
                along = (piece.gradient * entries).reshape(len(entries), -1).sum(axis=1)
                np.add.at(estimates, piece.observables, along)
            told = fragment_uncertainty(samples[piece.fragment], piece, num_observables)
            seen[piece.fragment] += told.seen
            known.add(told)
    total = known.variance
    silent = np.flatnonzero(total == 0)
    if silent.size:
        total[silent] = _resampled_variances(_only(structure, silent), tensors, memory_bytes=memory_bytes, seed=seed)
    return estimates, total, seen


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
