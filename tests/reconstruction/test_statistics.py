"""Counts to tensors and error bars, against shot-by-shot loops and against repeated experiments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from tasks.model.tensor import FragmentTensor, SampledData, Structure, VariantCounts, VariantData
from tasks.reconstruction import contract, estimate_values, tensor_values, variances
from tasks.reconstruction.errors import MissingCountsError
from tests.reconstruction.networks import (
    einsum_values,
    exact_tensors,
    looped_values,
    pauli_leg,
    preparation_leg,
    random_samples,
    random_structure,
)

SEEDS = [1, pytest.param(2, marks=pytest.mark.slow)]
LEGS = {"no leg": (), "upstream": (pauli_leg(),), "both": (pauli_leg(), preparation_leg())}


@pytest.mark.parametrize("factors", [1, 5])
@pytest.mark.parametrize("legs", LEGS)
def test_values_agree_with_a_loop_over_shots(legs: str, factors: int) -> None:
    rng = np.random.default_rng(factors)
    samples = random_samples(LEGS[legs], factors, rng)
    np.testing.assert_allclose(tensor_values(samples, factors), looped_values(samples, factors), atol=1e-12)


def sampled_problem(seed: int):
    """Two sampled fragments and an exact one in a triangle, with a fixed law for every variant."""
    rng = np.random.default_rng(seed)
    structure = random_structure([(0, 1), (1, 2), (2, 0)], 3, rng, factors=4, terms=6, observables=4)
    legs = tuple(
        tuple(pauli_leg() if end == 0 else preparation_leg() for _, end in structure.legs[f]) for f in range(2)
    )
    laws: tuple[dict, dict] = ({}, {})
    exact = rng.normal(size=(4, 4, structure.num_factors[2]))
    return structure, legs, laws, exact


def draw(structure, legs, laws, exact, rng, shots):
    tensors = [FragmentTensor(2, exact)]
    for fragment in range(2):
        factors = structure.num_factors[fragment]
        samples = random_samples(legs[fragment], factors, rng, shots=shots, distributions=laws[fragment])
        tensors.append(FragmentTensor(fragment, tensor_values(samples, factors), samples))
    return tensors


@pytest.mark.parametrize("seed", SEEDS)
def test_predicted_variance_is_the_variance_of_repeated_experiments(seed: int) -> None:
    problem = sampled_problem(seed)
    rng = np.random.default_rng(100 + seed)
    runs = 120
    found = np.array([estimate_values(problem[0], draw(*problem, rng, 400)) for _ in range(runs)])
    seen = found[:, 0].std(axis=0, ddof=1)
    predicted = np.sqrt(np.square(found[:, 1]).mean(axis=0))
    # the standard deviation of 120 runs is known to 1 / sqrt(240) = 6.5 %; four of those, and the pseudo-shot's share
    live = seen > 0
    assert live.any(), f"seed {seed}"
    np.testing.assert_allclose(predicted[live], seen[live], rtol=0.26, err_msg=f"seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_variance_is_the_sum_over_shots_of_squared_influence(seed: int) -> None:
    """The infinitesimal jackknife in plain Python: move the weight of one outcome, see how the estimate moves."""
    structure, legs, laws, exact = sampled_problem(seed)
    rng = np.random.default_rng(200 + seed)
    tensors = draw(structure, legs, laws, exact, rng, 1500)
    values = {tensor.fragment: tensor.values for tensor in tensors}
    base = einsum_values(structure, [values[f] for f in range(3)])
    total = np.zeros(len(base))
    for tensor in tensors[1:]:
        samples = tensor.samples
        for number, variant in enumerate(samples.variants):
            moved = []
            for row in range(len(variant.counts.counts)):
                # all the variant's shots at this outcome: exactly the influence, as values are linear in frequencies
                counts = VariantCounts(
                    variant.counts.outcomes[row : row + 1],
                    np.array([variant.counts.shots]),
                    variant.counts.num_bits,
                )
                changed = VariantData(variant.settings, variant.leg_bits, variant.factors, variant.factor_masks, counts)
                variants = (*samples.variants[:number], changed, *samples.variants[number + 1 :])
                new = dict(values)
                new[tensor.fragment] = tensor_values(SampledData(samples.legs, variants), tensor.values.shape[-1])
                moved.append(einsum_values(structure, [new[f] for f in range(3)]) - base)
            share = variant.counts.counts / variant.counts.shots
            total += share @ np.square(moved) / variant.counts.shots
    np.testing.assert_allclose(variances(structure, tensors), total, rtol=0.02, err_msg=f"seed {seed}")


@pytest.mark.parametrize("seed", SEEDS)
def test_variance_agrees_with_the_bootstrap(seed: int) -> None:
    """Draw every variant's shots again from what was seen, and look how much the estimate moves."""
    structure, legs, laws, exact = sampled_problem(seed)
    rng = np.random.default_rng(300 + seed)
    tensors = draw(structure, legs, laws, exact, rng, 2000)
    found = []
    for _ in range(150):
        again = [tensors[0]]
        for tensor in tensors[1:]:
            variants = []
            for variant in tensor.samples.variants:
                counts = variant.counts
                seen = rng.multinomial(counts.shots, counts.counts / counts.shots)
                kept = seen > 0
                new = VariantCounts(counts.outcomes[kept], seen[kept], counts.num_bits)
                variants.append(
                    VariantData(variant.settings, variant.leg_bits, variant.factors, variant.factor_masks, new)
                )
            samples = SampledData(tensor.samples.legs, tuple(variants))
            again.append(FragmentTensor(tensor.fragment, tensor_values(samples, tensor.values.shape[-1]), samples))
        found.append(contract(structure, again))
    seen_error, predicted = np.std(found, axis=0, ddof=1), np.sqrt(variances(structure, tensors))
    live = seen_error > 0
    np.testing.assert_allclose(predicted[live], seen_error[live], rtol=0.25, err_msg=f"seed {seed}")


def test_where_the_gradient_vanishes_the_error_bar_is_wide_enough() -> None:
    """A product of two fair coins has gradient zero at its mean, and its error is of second order.

    At the estimate itself the gradient does not vanish; x y with error sqrt(x**2 + y**2) / sqrt(n) is the Sobel test,
    which is conservative there: the deviation in error bars follows a normal law of half the width.
    """
    rng = np.random.default_rng(17)
    inside, runs = 0, 200
    for _ in range(runs):
        coins = [coin(400, int(rng.binomial(400, 0.5))) for _ in range(2)]
        structure, tensors = product_of_coins(*coins)
        value, error = estimate_values(structure, tensors)
        inside += abs(value[0]) <= error[0]
    assert 0.9 < inside / runs < 1.0


def product_of_coins(first: FragmentTensor, second: FragmentTensor) -> tuple[Structure, list[FragmentTensor]]:
    """Two fragments without a cut between them, and the product of their factors."""
    structure = Structure(((), ()), (), np.zeros((1, 2), dtype=int), (1, 1), csr_array(np.ones((1, 1))))
    return structure, [FragmentTensor(f, t.values, t.samples) for f, t in enumerate((first, second))]


def test_a_gradient_of_exactly_zero_is_not_certainty() -> None:
    structure, tensors = product_of_coins(coin(100, 50), coin(100, 50))
    value, error = estimate_values(structure, tensors)
    assert value[0] == 0.0
    assert 0.006 < error[0] < 0.016  # the true error is 1 / 100


def coin(shots: int, ones: int) -> FragmentTensor:
    """One fragment, one measured bit, factor Z."""
    seen = np.array([shots - ones, ones])
    found = np.flatnonzero(seen)
    counts = VariantCounts(found.astype(np.uint8)[:, None], seen[found], 1)
    variant = VariantData((), (), np.array([0]), np.array([[True]]), counts)
    samples = SampledData((), (variant,))
    return FragmentTensor(0, tensor_values(samples, 1), samples)


def scaled_coin(scale: float) -> Structure:
    """The network of one fragment, one factor, and one observable that is ``scale`` times it."""
    return Structure(((),), (), np.zeros((1, 1), dtype=int), (1,), csr_array(np.array([[scale]])))


def test_shots_that_agree_are_not_certainty() -> None:
    """A pseudo-shot: with n equal shots the variance is (1 + n / (n + 1)) / n**2."""
    structure = scaled_coin(1.0)
    for shots in (8, 1000):
        value, error = estimate_values(structure, [coin(shots, 0)])
        assert value[0] == 1.0
        assert error[0] == pytest.approx(np.sqrt(1 + shots / (shots + 1)) / shots, rel=1e-12)
    _, one = estimate_values(structure, [coin(1, 0)])
    assert one[0] > 1.0, "a single shot says nothing of its spread"


@pytest.mark.parametrize("parts", [1, 5, 60])
def test_the_doubt_of_many_certain_variants_counts_once(parts: int) -> None:
    """GHZ states and stabilisers: a hundred variants that never flip are not a hundred times in doubt."""
    structure = Structure(((),), (), np.arange(parts)[:, None], (parts,), csr_array(np.ones((1, parts))))
    counts = VariantCounts(np.zeros((1, 1), dtype=np.uint8), np.array([1000]), 1)
    variants = tuple(VariantData((), (), np.array([p]), np.array([[True]]), counts) for p in range(parts))
    samples = SampledData((), variants)
    _, error = estimate_values(structure, [FragmentTensor(0, tensor_values(samples, parts), samples)])
    assert error[0] == pytest.approx(np.sqrt(1 + 1000 / 1001) / 1000, rel=1e-12)


def test_many_variants_that_rarely_flip_have_the_error_of_repetition() -> None:
    """Eight shots each, a flip in two percent of them: sample variances that are right on average, and two flips."""
    parts, shots, flip = 200, 8, 0.02
    structure = Structure(((),), (), np.arange(parts)[:, None], (parts,), csr_array(np.ones((1, parts))))
    rng = np.random.default_rng(23)
    seen = [coin(shots, ones).samples.variants[0] for ones in range(shots + 1)]
    variances_ = []
    for _ in range(24):
        variants = []
        for part, ones in enumerate(rng.binomial(shots, flip, size=parts).tolist()):
            variants.append(replace(seen[ones], factors=np.array([part])))
        samples = SampledData((), tuple(variants))
        variances_.append(variances(structure, [FragmentTensor(0, tensor_values(samples, parts), samples)])[0])
    true = parts * 4 * flip * (1 - flip) / shots
    two = 2 * 4 / shots**2 * (1 - 3 / shots)
    assert np.mean(variances_) == pytest.approx(true + two, rel=0.08), "seed 23"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_variance_and_doubt_are_those_of_a_loop_over_outcomes(seed: int) -> None:
    """Groups with unequal shots that share a factor, and bits with unequal readings; every piece by its definition."""
    rng = np.random.default_rng([31, seed])
    groups = [np.array([0, 1]), np.array([0, 2])]
    variants = []
    for group, shots in zip(groups, (40, 900), strict=True):
        seen = rng.multinomial(shots, rng.dirichlet(np.full(8, 0.5)))
        found = np.flatnonzero(seen)
        readings = None if seed == 1 else np.array([[1.2, -0.9], [1.0, -1.1], [0.8, -1.3]])
        counts = VariantCounts(found.astype(np.uint8)[:, None], seen[found], 3, readings)
        masks = np.array([[1, 0, 0], [1, 0, 1]] if group[1] == 1 else [[1, 0, 0], [0, 1, 1]], dtype=bool)
        variants.append(VariantData((), (), group, masks, counts))
    weights = rng.normal(size=3)
    structure = Structure(((),), (), np.arange(3)[:, None], (3,), csr_array(weights[None]))
    samples = SampledData((), tuple(variants))
    seen, fourth, doubts = 0.0, 0.0, []
    for variant in variants:
        n = variant.counts.shots
        behind = [940 if factor == 0 else n for factor in variant.factors]
        each = [weights[f] * n / b for f, b in zip(variant.factors, behind, strict=True)]
        values = []
        for (row,), count in zip(variant.counts.outcomes.tolist(), variant.counts.counts.tolist(), strict=True):
            x = 0.0
            for w, mask in zip(each, variant.factor_masks, strict=True):
                for bit in np.flatnonzero(mask):
                    one = (row >> int(bit)) & 1
                    w *= (1 - 2 * one) if variant.counts.readings is None else variant.counts.readings[bit, one]
                x += w
            values += [x] * count
        seen += np.var(values, ddof=1) / n
        even = np.square(each).sum()
        chance = min(0.25, np.var(values, ddof=1) / (4 * even))
        fourth += 16 * even**2 * chance * (1 - 3 * chance) / n**3
        doubts.append((even + n / (n + 1) * np.mean(values) ** 2) / n**2)
    found = variances(structure, [FragmentTensor(0, tensor_values(samples, 3), samples)])[0]
    assert found == pytest.approx(max(seen + 2 * fourth / seen, *doubts), rel=1e-10), f"seed {seed}"


def test_the_tensor_of_two_halves_is_the_mean_of_theirs() -> None:
    """However unequal: a half that got more shots, because the other was unlucky, weighs no more."""
    first, second = coin(1000, 10).samples.variants[0], replace(coin(50, 5).samples.variants[0], half=1)
    samples = SampledData((), (first, second))
    value, error = estimate_values(scaled_coin(1.0), [FragmentTensor(0, tensor_values(samples, 1), samples)])
    assert value[0] == pytest.approx((0.98 + 0.8) / 2)
    spread = (1 - 0.98**2) / 999 + (1 - 0.8**2) / 49
    chances = [(0.25 * (1 - 0.98**2) * 1000 / 999, 1000), (0.25 * (1 - 0.8**2) * 50 / 49, 50)]
    fourth = sum(16 * chance * (1 - 3 * chance) / shots**3 for chance, shots in chances)
    assert error[0] ** 2 == pytest.approx((spread + 2 * fourth / spread) / 4, rel=1e-12)


def test_a_fair_coin_has_the_textbook_error() -> None:
    structure = scaled_coin(3.0)
    value, error = estimate_values(structure, [coin(10_000, 5_000)])
    assert value[0] == 0.0
    np.testing.assert_allclose(error[0], 3.0 / 100, rtol=1e-3)


def test_exact_tensors_have_no_error() -> None:
    rng = np.random.default_rng(3)
    structure = random_structure([(0, 1), (1, 1)], 2, rng)
    tensors = exact_tensors(structure, rng)
    values, errors = estimate_values(structure, tensors)
    np.testing.assert_allclose(values, einsum_values(structure, [t.values for t in tensors]), rtol=1e-10, atol=1e-10)
    assert (errors == 0).all()


def test_a_missing_variant_is_named() -> None:
    rng = np.random.default_rng(4)
    samples = random_samples((preparation_leg(),), 1, rng)
    kept = tuple(variant for variant in samples.variants if variant.settings != (2,))
    with pytest.raises(MissingCountsError, match=r"No shots for leg settings \(2,\), observable factor 0"):
        tensor_values(SampledData(samples.legs, kept), 1)
