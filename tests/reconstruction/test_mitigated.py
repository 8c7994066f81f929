"""Counts with mitigated readout errors, or that extrapolate to zero noise: values and errors against repetition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from tasks.execution.packed_counts import pack_counts, unpack_counts
from tasks.model.tensor import FragmentTensor, SampledData, Structure, VariantCounts, VariantData
from tasks.reconstruction import estimate_values, tensor_values

FLIPS = np.array([[0.02, 0.10], [0.05, 0.01], [0.03, 0.07]])  # (bit, (1 read for 0, 0 read for 1))
MASKS = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 1]], dtype=bool)


def readings(flips: np.ndarray) -> np.ndarray:
    low, high = flips.T
    return np.column_stack([1 - high + low, -(1 - low + high)]) / (1 - low - high)[:, None]


def counts_of(bits: np.ndarray, **mitigated: np.ndarray) -> VariantCounts:
    rows, counts = np.unique(np.packbits(bits, axis=1, bitorder="little"), axis=0, return_counts=True)
    return VariantCounts(rows, counts.astype(np.int64), bits.shape[1], **mitigated)


def fragment(counts: VariantCounts) -> FragmentTensor:
    samples = SampledData((), (VariantData((), (), np.arange(len(MASKS)), MASKS, counts),))
    return FragmentTensor(0, tensor_values(samples, len(MASKS)), samples)


def structure() -> Structure:
    index = np.arange(len(MASKS))[:, None]
    return Structure(((),), (), index, (len(MASKS),), csr_array(np.array([[0.5, 1.0, -2.0]])))


def truth(law: np.ndarray) -> float:
    bits = (np.arange(8)[:, None] >> np.arange(3)) & 1
    parities = (1 - 2 * ((bits @ MASKS.T) & 1)).T @ law
    return float(np.array([0.5, 1.0, -2.0]) @ parities)


def shots_of(law: np.ndarray, flips: np.ndarray, shots: int, rng: np.random.Generator) -> np.ndarray:
    bits = ((rng.choice(8, size=shots, p=law)[:, None] >> np.arange(3)) & 1).astype(np.uint8)
    wrong = rng.random(bits.shape) < np.where(bits, flips[:, 1], flips[:, 0])
    return bits ^ wrong


@pytest.mark.parametrize("seed", [1, 2])
def test_readout_mitigation_is_unbiased_and_its_error_is_that_of_repetition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    law = rng.dirichlet(np.full(8, 0.5))
    found = np.array(
        [
            np.concatenate(
                estimate_values(
                    structure(), [fragment(counts_of(shots_of(law, FLIPS, 1000, rng), readings=readings(FLIPS)))]
                )
            )
            for _ in range(400)
        ]
    )
    values, errors = found.T
    assert abs(values.mean() - truth(law)) < 4 * values.std() / 20, f"seed {seed}"
    assert errors.mean() == pytest.approx(values.std(), rel=0.15), f"seed {seed}"


@pytest.mark.parametrize("seed", [3, 4])
def test_extrapolated_counts_add_up_with_the_error_of_repetition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = rng.dirichlet(np.full(8, 0.3)), rng.dirichlet(np.full(8, 2.0))
    none = np.zeros((3, 2))
    found = []
    for _ in range(400):
        first, second = counts_of(shots_of(low, none, 900, rng)), counts_of(shots_of(high, none, 300, rng))
        weights = np.concatenate([np.full(len(first.counts), 1.5 / 0.75), np.full(len(second.counts), -0.5 / 0.25)])
        counts = VariantCounts(
            np.concatenate([first.outcomes, second.outcomes]), np.concatenate([first.counts, second.counts]), 3,
            weights=weights,
        )  # fmt: skip
        found.append(np.concatenate(estimate_values(structure(), [fragment(counts)])))
    values, errors = np.array(found).T
    wanted = 1.5 * truth(low) - 0.5 * truth(high)
    assert abs(values.mean() - wanted) < 4 * values.std() / 20, f"seed {seed}"
    assert errors.mean() == pytest.approx(values.std(), rel=0.15), f"seed {seed}"


def test_neutral_readings_and_weights_change_nothing() -> None:
    bits = np.random.default_rng(5).integers(0, 2, size=(200, 3)).astype(np.uint8)
    plain = counts_of(bits)
    same = counts_of(bits, readings=np.tile([1.0, -1.0], (3, 1)), weights=np.ones(len(plain.counts)))
    for first, second in zip(
        estimate_values(structure(), [fragment(plain)]), estimate_values(structure(), [fragment(same)]), strict=True
    ):
        np.testing.assert_allclose(first, second, rtol=1e-12)


def test_mitigated_counts_survive_storage() -> None:
    rng = np.random.default_rng(6)
    plain = counts_of(rng.integers(0, 2, size=(50, 2)).astype(np.uint8))
    corrected = counts_of(rng.integers(0, 2, size=(50, 3)).astype(np.uint8), readings=readings(FLIPS))
    weighed = replace(plain, weights=rng.normal(size=len(plain.counts)))
    for stored in ([plain, corrected, weighed], [plain, plain]):
        for before, after in zip(stored, unpack_counts(pack_counts(stored)), strict=True):
            np.testing.assert_array_equal(before.outcomes, after.outcomes)
            np.testing.assert_array_equal(before.counts, after.counts)
            if before.readings is not None:
                np.testing.assert_array_equal(before.readings, after.readings)
            if before.weights is not None:
                np.testing.assert_array_equal(before.weights, after.weights)
