"""Small cases of the statistics, the prices and the outputs, whose numbers can be worked out on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from tasks.model.tensor import (
    FragmentTensor,
    LegSettings,
    SampledData,
    Structure,
    VariantColumns,
    VariantCounts,
    VariantData,
)
from tasks.reconstruction import contract, estimate_values, tensor_values
from tasks.reconstruction.contraction.layout import (
    CALL,
    COPY,
    GATHER,
    MOVE,
    SMALL_CALL,
    ends_of,
    lay_out,
    product_effort,
    stacked_effort,
)
from tasks.reconstruction.contraction.load import load_of, shape_of
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.path import bind, used_terms
from tasks.reconstruction.contraction.sharing import share_out, share_units, slowest
from tasks.reconstruction.distribution.outputs import ExactOutputs, MarginalOutputs, SampledOutputs
from tasks.reconstruction.distribution.whole import nearest_distribution
from tasks.reconstruction.errors import AllocationError
from tasks.reconstruction.statistics.allocation import shots_for_error, spend
from tasks.reconstruction.statistics.gradient import LeafGradient
from tasks.reconstruction.statistics.influences import Influences
from tasks.reconstruction.statistics.uncertainty import Uncertainty, uncertainty_of_mean
from tasks.reconstruction.statistics.walsh import histograms, walsh
from tests.reconstruction.networks import exact_tensors


def counted(rows: dict[int, int], bits: int) -> VariantCounts:
    packed = np.array([[row >> 8 * byte & 255 for byte in range((bits + 7) // 8)] for row in rows], dtype=np.uint8)
    return VariantCounts(packed, np.array(list(rows.values())), bits)


def chain(terms: int = 1, coefficients: np.ndarray | None = None) -> Structure:
    """Three fragments in a row, cuts of dimension 2 and 3, the first with a factor for each term."""
    legs = (((0, 0),), ((0, 1), (1, 0)), ((1, 1),))
    factor_index = np.zeros((terms, 3), dtype=np.int64)
    factor_index[:, 0] = np.arange(terms)
    weights = csr_array(np.ones((1, terms)) if coefficients is None else coefficients)
    return Structure(legs, (np.eye(2), np.eye(3)), factor_index, (terms, 1, 1), weights)


def test_terms_that_count_are_those_with_a_coefficient_of_either_sign() -> None:
    stored = csr_array((np.array([-1.0, 0.0, 2.0]), np.array([0, 1, 3]), np.array([0, 3])), shape=(1, 4))
    structure = chain(4, stored)
    np.testing.assert_array_equal(used_terms(structure), [0, 3])
    tensors = exact_tensors(structure, np.random.default_rng(3))
    first, middle, last = (tensor.values for tensor in tensors)
    each = np.einsum("at,ab,b->t", first, middle[..., 0], last[:, 0])
    np.testing.assert_allclose(contract(structure, tensors), [2 * each[3] - each[0]], rtol=1e-12)


def test_the_price_of_products() -> None:
    small = 7 * 3 * 5 * 2 + MOVE * (7 * 3 * 2 + 4 * 5 * 2 + 7 * 3 * 5) + 7 * (SMALL_CALL + GATHER * 5 * 2)
    assert stacked_effort(2, 3, 5, 7, 4) == small
    grouped = 900 * 30 + MOVE * (900 * 6 + 2 * 10 + 900 * 15) + 2 * CALL
    assert stacked_effort(2, 3, 5, 900, 2) == grouped, "two calls, one for each right-hand side"
    large = 3 * 128 * 64 * 64 + MOVE * 3 * (128 * 64 + 64 * 64 + 128 * 64) + 3 * CALL
    assert stacked_effort(64, 128, 64, 3, 1) == large
    assert product_effort(k=2, m=3, n=5, products=900, lefts=900, rights=2) == grouped
    assert product_effort(k=2, m=5, n=3, products=900, lefts=2, rights=900) == grouped


def test_a_step_is_laid_out_by_the_sizes_of_its_operands_not_by_their_numbers() -> None:
    sizes = (5, 3, 4, 2)
    narrow, wide = (1, 3), (0, 1, 2)
    ends = {0: 2, 2: 1, 3: 1}
    one = lay_out((0, 1), [narrow, wide], [1, 1], 1, sizes, ends)
    other = lay_out((0, 1), [wide, narrow], [1, 1], 1, sizes, ends)
    assert (other.left, other.right) == (1 - one.left, 1 - one.right)
    assert (other.kept_left, other.kept_right, other.split) == (one.kept_left, one.kept_right, one.split)
    assert other.effort == one.effort
    assert one.kept == (0, 2, 3) and one.summed == (1,) and one.right == 0
    products = 20 * 2 * 3 + MOVE * (20 * 3 + 2 * 3 + 20 * 2) + SMALL_CALL + GATHER * 2 * 3
    assert one.effort == products + COPY * 60, "the summed index stands in the middle of the wide one"
    rng = np.random.default_rng(8)
    for case in range(100):
        ends = {index: int(rng.integers(1, 4)) for index in range(6)}
        left, right = (tuple(rng.permutation(part).tolist()) for part in ([0, 1, 2], [2, 1, 3, 4, 5]))
        sizes = tuple(rng.integers(2, 5, size=6).tolist())
        one = lay_out((0, 1), [left, right], [1, 1], 1, sizes, ends)
        other = lay_out((0, 1), [right, left], [1, 1], 1, sizes, ends)
        if np.prod([sizes[i] for i in left]) == np.prod([sizes[i] for i in right]):
            continue  # as large as each other: either may stay where it is
        assert (other.kept, other.effort) == (one.kept, one.effort), f"seed 8, case {case}"


def test_a_small_matrix_is_multiplied_onto_the_middle_of_a_wide_array() -> None:
    sizes = (2, 3, 400, 5)
    step = lay_out((0, 1), [(3, 1), (0, 1, 2)], [1, 1], 1, sizes, {0: 2, 3: 1, 2: 1})
    assert (step.left, step.right, step.kept, step.split) == (0, 1, (0, 3, 2), 1)
    assert step.effort == 2 * (3 * 5 * 400 + MOVE * (3 * 400 + 5 * 400 + 5 * 3 / 4) + SMALL_CALL)


def test_after_how_many_steps_an_index_ends() -> None:
    ends = ends_of([(0,), (0, 1), (1, 2), (2,)], ((0, 1), (4, 2), (5, 3)))
    assert ends == [{0: 1}, {0: 1, 1: 2}, {1: 1, 2: 2}, {2: 1}, {1: 1}, {2: 1}, {}]


def test_the_load_of_a_chain() -> None:
    structure = chain(terms=5)
    network = network_of(structure)
    shape = shape_of(bind(structure, network, ((1, 2), (0, 3))), network.sizes)
    load = load_of(shape, (), False)
    assert (load.once, load.each) == (2 * 3 + 5 * 2, 0.0), "the matrix times the vector once, then five dot products"
    assert load.largest == 10 and load.effort_each == 0.0
    sliced = load_of(shape, (0,), False)
    assert (sliced.once, sliced.each) == (0.0, 3 + 5), "cut 0 touches both steps"
    sliced = load_of(shape, (1,), False)
    assert (sliced.once, sliced.each) == (0.0, 2 + 10)
    order = shape_of(bind(structure, network, ((0, 1), (3, 2))), network.sizes)
    load = load_of(order, (1,), False)
    assert (load.once, load.each) == (0.0, 5 * 2 + 5)
    both = load_of(order, (), False)
    assert both.once == 5 * 2 * 3 + 5 * 3
    assert both.peak < both.pressure <= 2**0.25 * both.peak, "two steps, the smaller of which counts for little"


def test_work_goes_to_whoever_has_least() -> None:
    assert share_out([5, 4, 3, 3, 1], 2) == [[0, 3], [1, 2, 4]]
    assert share_out([1, 1, 1], 4) == [[0], [1], [2], []]
    shares = share_units([0.0], [1.0], 8, 2)
    assert shares == [[(0, 0, 4)], [(0, 4, 8)]]
    assert slowest(shares, [0.5], [1.0]) == 4.5


def test_what_the_shots_of_one_variant_say() -> None:
    """Ten signs, two of them flipped: the sample variance, its fourth moment and the pseudo-shot."""
    found = uncertainty_of_mean(np.array([10.0]), np.array([0.6]), np.array([1.0]), 10)
    seen = (10 - 10 * 0.36) / 9 / 10
    assert found.seen[0] == pytest.approx(seen)
    chance = seen * 10 / 4  # p (1 - p)
    assert found.fourth[0] == pytest.approx(16 * chance * (1 - 3 * chance) / 1000)
    assert found.doubt[0] == pytest.approx((1 + 10 / 11 * 0.36) / 100)
    one = uncertainty_of_mean(np.array([2.25]), np.array([1.5]), np.array([4.0]), 1)
    assert (one.seen[0], one.fourth[0]) == (4.0, 16.0)  # a fair coin's: a single shot says nothing better
    assert one.doubt[0] == pytest.approx(4 + 0.5 * 2.25)


@pytest.mark.parametrize("chance", [0.5, 0.1, 0.004])
def test_the_fourth_moment_of_a_sign(chance: float) -> None:
    """Against the sum over both outcomes, for a scalar of 3 or -3."""
    shots, weight = 1000, 3.0
    mean = weight * (1 - 2 * chance)
    found = uncertainty_of_mean(np.array(shots * weight**2), np.array(mean), np.array(weight**2), shots)
    moment = (1 - chance) * (weight - mean) ** 4 + chance * (-weight - mean) ** 4
    assert found.fourth == pytest.approx(moment / shots**3, rel=4e-3)


def test_the_variance_claimed_is_what_was_seen_and_two_flips_but_never_below_the_doubt() -> None:
    known = Uncertainty(np.array([5.0, 0.0, 0.1]), np.array([5.0, 0.0, 0.01]), np.array([1.0, 0.5, 2.0]))
    np.testing.assert_allclose(known.variance, [7.0, 0.5, 2.0])
    known.add(Uncertainty(np.array([1.0]), np.array([3.0]), np.array([0.7])), np.array([1]))
    np.testing.assert_allclose(known.variance, [7.0, 7.0, 2.0])
    np.testing.assert_allclose(known.scaled(-2.0).variance, 4 * known.variance)
    assert known[1].doubt == 0.7


def test_a_histogram_of_more_than_a_byte() -> None:
    variant = VariantData((), (), np.array([0]), np.ones((1, 9), dtype=bool), counted({3: 2, 257: 5}, 9))
    other = VariantData((), (), np.array([0]), np.ones((1, 9), dtype=bool), counted({511: 1}, 9))
    found = histograms(VariantColumns.of([other, variant, other]), np.array([1, 2]), 9)
    assert found.shape == (2, 512)
    assert {(int(r), int(x)): found[r, x] for r, x in np.argwhere(found)} == {(0, 3): 2, (0, 257): 5, (1, 511): 1}


@pytest.mark.parametrize("kind", [float, complex])
def test_a_spectrum_is_over_the_last_axis_only(kind: type) -> None:
    rng = np.random.default_rng(11)
    array = rng.normal(size=(3, 2, 8)).astype(kind) * (1 if kind is float else 1 + 0.5j)
    signs = np.array([[(-1) ** bin(m & x).count("1") for m in range(8)] for x in range(8)])
    np.testing.assert_allclose(walsh(array), np.einsum("abx,xm->abm", array, signs), atol=1e-12)


def some_outputs() -> SampledOutputs:
    variant = VariantData((), (), np.array([0]), np.ones((1, 2), dtype=bool), counted({0: 5, 1: 3, 2: 2}, 2))
    return SampledOutputs((4, 7), SampledData((), (variant,)))


def test_shots_outside_the_codes_asked_for_count_for_none_of_them() -> None:
    outputs = some_outputs()
    both = np.array([True, True])
    np.testing.assert_allclose(outputs.projectors(both, np.array([0, 2])), [0.5, 0.2])
    np.testing.assert_allclose(outputs.projectors(both, np.array([3, 1])), [0.0, 0.3])
    np.testing.assert_allclose(outputs.projectors(np.array([True, False]), np.array([1])), [0.3])
    np.testing.assert_allclose(outputs.projectors(np.array([False, True]), np.array([0, 1])), [0.8, 0.2])


def test_one_shot_counts() -> None:
    variant = VariantData((), (), np.array([0]), np.ones((1, 2), dtype=bool), counted({2: 1}, 2))
    found = SampledOutputs((4, 7), SampledData((), (variant,))).projectors(np.array([True, True]), np.array([0, 2]))
    np.testing.assert_array_equal(found, [0.0, 1.0])


def test_a_leg_s_sign_goes_into_the_projectors() -> None:
    """Bit 0 carries the leg's sign: the unsigned column is the probability, the signed one the difference."""
    leg = LegSettings(np.array([[0, 0], [0, 1]]), np.array([[1.0, 0.0], [0.0, 2.0]]), 1)
    rows = {0b00: 1, 0b01: 2, 0b10: 3, 0b11: 4}
    variant = VariantData((0,), (0,), np.array([0]), np.array([[False, True]]), counted(rows, 2))
    found = SampledOutputs((0,), SampledData((leg,), (variant,))).projectors(np.array([True]), np.array([0, 1]))
    np.testing.assert_allclose(found, [[0.3, 0.7], [2 * (1 - 2) / 10, 2 * (3 - 4) / 10]])


def test_the_variance_of_a_frequency() -> None:
    codes = np.array([0, 2])
    gradient = LeafGradient(0, np.array([0, 1]), np.array([0, 1]), np.array([1.0, 3.0]))
    total = Uncertainty.none(2)
    some_outputs().add_uncertainty(np.array([True, True]), codes, gradient, total)
    p, scale = np.array([0.5, 0.2]), np.array([1.0, 9.0])
    np.testing.assert_allclose(total.seen, scale * p * (1 - p) / 9)
    np.testing.assert_allclose(total.doubt, scale * (0.25 + 10 / 11 * (p - 0.5) ** 2) / 100)


def test_the_variance_of_a_signed_frequency() -> None:
    """Every shot counts for g0 + (g0 / 2 + 2 g1) sign inside the projector and for 0 outside."""
    leg = LegSettings(np.array([[0, 0], [0, 1]]), np.array([[1.0, 0.5], [0.0, 2.0]]), 1)
    rows = {0b00: 1, 0b01: 2, 0b10: 3, 0b11: 4}
    variant = VariantData((0,), (0,), np.array([0]), np.array([[False, True]]), counted(rows, 2))
    outputs = SampledOutputs((0,), SampledData((leg,), (variant,)))
    total = Uncertainty.none(1)
    gradient = LeafGradient(0, np.array([0]), np.array([0]), np.array([[0.3, 0.1]]))
    outputs.add_uncertainty(np.array([True]), np.array([1]), gradient, total)
    shots = [0.0] * 3 + [0.3 + 0.35] * 3 + [0.3 - 0.35] * 4
    assert total.seen[0] == pytest.approx(np.var(shots, ddof=1) / 10, rel=1e-12)
    even = [0.0, 0.0, 0.65, -0.05]
    away = np.mean(shots) - np.mean(even)
    assert total.doubt[0] == pytest.approx((np.var(even) + 10 / 11 * away**2) / 100, rel=1e-12)


def test_outputs_that_are_not_kept_are_summed_over() -> None:
    p = np.random.default_rng(5).dirichlet(np.ones(8))
    whole = ExactOutputs((0, 1, 2), p)
    some = MarginalOutputs(whole, np.array([True, False, True]), (0, 1))
    table = p.reshape(2, 2, 2)  # bit 2, bit 1, bit 0
    kept = table.sum(axis=1).reshape(-1)
    np.testing.assert_allclose(some.projectors(np.array([True, True]), np.arange(4)), kept)
    np.testing.assert_allclose(some.projectors(np.array([False, True]), np.array([1])), [table[1].sum()])
    np.testing.assert_allclose(whole.projectors(np.array([False, True, False]), np.arange(2)), table.sum(axis=(0, 2)))


def test_the_nearest_distribution_on_paper() -> None:
    np.testing.assert_allclose(nearest_distribution(np.array([0.9, 0.4, -0.3])), [0.75, 0.25, 0.0])
    np.testing.assert_allclose(nearest_distribution(np.array([0.25, 0.25, 0.5])), [0.25, 0.25, 0.5])


def known(
    variances: list[float], doubts: list[float] | None = None, shots: int = 1, fourths: list[float] | None = None
) -> Influences:
    count = len(variances)
    return Influences(
        np.zeros(count, dtype=np.int64),
        np.array([0]),
        Uncertainty(*(np.array(own or [0.0] * count)[:, None] for own in (variances, fourths, doubts))),
        np.full(count, shots),
    )


def test_what_shots_predict() -> None:
    one = known([8.0, 2.0], [100.0, 50.0], 5, [40.0, 15.0])
    seen, more = 0.8 + 0.4, 2 * (0.04 + 0.12) / (0.8 + 0.4)
    np.testing.assert_allclose(one.predicted(np.array([10, 5])), [max(seen + more, 1.0, 2.0)])
    np.testing.assert_allclose(one.predicted(np.array([10, 4])), [50 / 16])
    np.testing.assert_allclose(replace(one, of=2).predicted(np.array([10, 5])), [seen + more / 2])
    np.testing.assert_allclose(one.smoothed[:, 0], [8 + 20, 2 + 10])
    np.testing.assert_allclose(one.with_a_flip_less[:, 0], [8 + 20 - 1, 2 + 10 - 1.5])


def test_a_bar_near_the_target_rests_on_ten_flips() -> None:
    """A shot's variance of 4 p and 16 p for its fourth moment: 100 shots see 100 p flips of either half."""
    rare = known([4 * 0.04], fourths=[16 * 0.04])
    for of, shots, enough in ((1, 249, False), (1, 251, True), (2, 124, False), (2, 126, True)):
        half = replace(rare, of=of)
        at_most = half.predicted(np.array([shots]))[0]
        assert half.reaches(1.01 * at_most, np.array([shots])) == enough
        assert half.reaches(4.01 * at_most, np.array([shots])), "far below the target"
        assert not half.reaches(0.99 * at_most, np.array([shots]))
    assert known([0.0], [2.0]).reaches(0.021**2, np.array([100])), "none were seen"
    (taken,) = shots_for_error(rare, np.array([50]), 0.1).tolist()
    assert rare.predicted(np.array([50]))[0] < 0.1**2, "the target is reached, by two flips"
    assert rare.predicted(np.array([50 + taken]))[0] == pytest.approx(0.1**2 / 4, rel=0.02), "or half of it"


def test_neyman_s_proportions_on_paper() -> None:
    nothing = np.zeros(2, dtype=np.int64)
    np.testing.assert_array_equal(spend(known([1.0, 4.0]), nothing, 30), [10, 20])
    np.testing.assert_array_equal(spend(known([1.0, 4.0]), nothing, 31), [10, 21])
    np.testing.assert_array_equal(spend(known([1.0, 4.0]), np.array([16, 2]), 30), [0, 12])
    np.testing.assert_array_equal(spend(known([1.0, 1.0]), nothing, 30, np.array([4.0, 1.0])), [5, 10])
    np.testing.assert_array_equal(spend(known([0.0, 0.0]), nothing, 10), [5, 5])
    np.testing.assert_array_equal(spend(known([0.0, 1.0]), nothing, 5005), [5, 5000]), "idle ones get a thousandth"
    assert spend(known([1.0, 4.0]), np.array([10, 20]), 30).sum() == 0
    with pytest.raises(AllocationError, match="has cost 31 of 30"):
        spend(known([1.0, 4.0]), np.array([11, 20]), 30)


def test_shots_for_an_error_on_paper() -> None:
    nothing = np.zeros(2, dtype=np.int64)
    # (1 + 2) ** 2 / 0.09 shots in proportion 1 : 2
    found = shots_for_error(known([1.0, 4.0]), nothing, 0.3)
    assert np.abs(found - np.array([33.4, 66.7])).max() <= 1 and 1 / found[0] + 4 / found[1] <= 0.09
    assert not shots_for_error(known([1.0, 4.0]), np.array([34, 67]), 0.3).any()
    assert shots_for_error(known([1.0]), np.array([40]), 0.1).tolist() == [60]
    for wrong in (0.0, -1.0):
        with pytest.raises(AllocationError, match="must be positive"):
            shots_for_error(known([1.0]), nothing[:1], wrong)
    with pytest.raises(AllocationError, match="would take about"):
        shots_for_error(known([1.0]), nothing[:1], 0.1, most=99)


def test_weighted_shots_give_a_weighted_mean() -> None:
    counts = VariantCounts(
        np.array([[0], [0], [1]], dtype=np.uint8), np.array([6, 3, 1]), 1, None, np.array([2, -1, 2])
    )
    variant = VariantData((), (), np.array([0]), np.array([[True]]), counts)
    np.testing.assert_allclose(tensor_values(SampledData((), (variant,)), 1), [(12 - 3 - 2) / 10])


def test_weighted_shots_are_samples_of_their_own() -> None:
    """Two samples, of 8 and of 12 shots, whose means count for 2 * 8 / 20 and -1 * 12 / 20."""
    rows, weights = np.array([[0], [1], [0], [1]], dtype=np.uint8), np.array([2.0, 2.0, -1.0, -1.0])
    counts = VariantCounts(rows, np.array([6, 2, 9, 3]), 1, None, weights)
    samples = SampledData((), (VariantData((), (), np.array([0]), np.array([[True]]), counts),))
    structure = Structure(((),), (), np.zeros((1, 1), dtype=int), (1,), csr_array(np.array([[1.0], [0.0]])))
    values, errors = estimate_values(structure, [FragmentTensor(0, tensor_values(samples, 1), samples)])
    means, shares, shots = np.array([0.5, 0.5]), np.array([0.8, -0.6]), np.array([8, 12])
    assert values.tolist() == pytest.approx([means @ shares, 0.0])
    seen = (1 - means**2) / (shots - 1)
    chances = seen * shots / 4
    fourth = np.power(shares, 4) @ (16 * chances * (1 - 3 * chances) / shots**3)
    whole = np.square(shares) @ seen
    assert errors[0] ** 2 == pytest.approx(whole + 2 * fourth / whole, rel=1e-12)
    assert errors[1] == 0.0, "nothing is asked of the second"
