"""Shots go where they lower the error most: against brute force, and in repeated experiments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_array

from tasks.model.tensor import FragmentTensor, SampledData, Structure, VariantCounts, VariantData
from tasks.reconstruction import tensor_values, variances
from tasks.reconstruction.errors import AllocationError, MemoryLimitError
from tasks.reconstruction.statistics.allocation import allocate_shots, shots_for_error, spend
from tasks.reconstruction.statistics.influences import Influences, influences
from tasks.reconstruction.statistics.uncertainty import Uncertainty, uncertainty_of_mean
from tests.reconstruction.networks import exact_tensors, random_structure
from tests.reconstruction.test_statistics import draw, sampled_problem


def known(variances_: np.ndarray, shots: np.ndarray) -> Influences:
    count, observables = variances_.shape
    each = replace(Uncertainty.none(count, observables), seen=variances_)
    return Influences(np.zeros(count, dtype=int), np.arange(observables), each, shots)


def in_halves(problem, rng: np.random.Generator, shots: int) -> list[FragmentTensor]:
    """The tensors of ``draw`` from two halves of shots."""
    made = []
    for first, second in zip(draw(*problem, rng, shots), draw(*problem, rng, shots), strict=True):
        if first.samples is not None and second.samples is not None:
            more = tuple(replace(variant, half=1) for variant in second.samples.variants)
            samples = SampledData(first.samples.legs, (*first.samples.variants, *more))
            first = FragmentTensor(first.fragment, tensor_values(samples, first.values.shape[-1]), samples)
        made.append(first)
    return made


@pytest.mark.parametrize("seed", range(3))
def test_spending_is_the_optimum_that_a_general_optimiser_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table, done = rng.exponential(size=(6, 2)), rng.integers(1, 60, size=6)
    price = rng.uniform(0.5, 3, size=6)
    total = float(price @ done) + 200.0
    found = spend(known(table, done), done, total, price)
    assert price @ (found + done) <= total + 1e-9
    assert price @ (found + done) > total - price.max() - 1e-9, f"seed {seed}"
    worth = table.sum(axis=1)
    oracle = minimize(
        lambda extra: (worth / (done + extra)).sum(),
        np.full(6, 200 / price.sum()),
        bounds=[(0, None)] * 6,
        constraints={"type": "eq", "fun": lambda extra: price @ extra - 200},
        tol=1e-12,
    )
    assert (worth / (done + found)).sum() <= oracle.fun * 1.02, f"seed {seed}"


@pytest.mark.parametrize("seed", range(3))
def test_a_target_is_met_at_the_least_price(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table, done = rng.exponential(size=(5, 3)), np.full(5, 4)
    some = known(table, done)
    found = shots_for_error(some, done, 0.05)
    assert some.predicted(done + found).max() <= 0.05**2
    oracle = minimize(
        lambda n: n.sum(),
        np.full(5, 5000.0),
        bounds=[(4, None)] * 5,
        constraints={"type": "ineq", "fun": lambda n: 1 - (table.T @ (1 / n)) / 0.05**2},
        tol=1e-10,
        options={"maxiter": 500},
    )
    assert (done + found).sum() <= oracle.fun * 1.03, f"seed {seed}"


def test_a_variant_that_looked_idle_is_not_starved() -> None:
    """It gets a thousandth of what the busiest one gets."""
    some = known(np.array([[1.0], [0.0]]), np.array([1, 1]))
    assert spend(some, some.shots, 1_001_002).tolist() == pytest.approx([10**6, 1000], abs=2)
    idle = known(np.zeros((4, 1)), np.full(4, 10))
    assert spend(idle, idle.shots, 400).tolist() == [90] * 4


@pytest.mark.parametrize("target", [None, 1e-3])
def test_how_a_halfs_own_outcomes_spread_decides_nothing_of_what_it_gets(target: float | None) -> None:
    """The same means with other outcomes behind them: what the other half gets changes, its own shots do not."""
    problem = sampled_problem(3)
    prices = {0: 0.0, 1: 0.0}
    tensors = in_halves(problem, np.random.default_rng(5), shots=300)
    changed = []
    for tensor in tensors:
        if tensor.samples is not None:
            own = list(tensor.samples.variants)
            for place, variant in enumerate(own):
                if variant.half == 1:
                    rows = variant.counts.outcomes.copy()
                    rows[: len(rows) // 2] = rows[: len(rows) // 2][::-1]
                    own[place] = replace(variant, counts=replace(variant.counts, outcomes=rows))
            tensor = replace(tensor, samples=SampledData(tensor.samples.legs, tuple(own)))  # the values stay
        changed.append(tensor)
    total = 10**6 if target is None else None
    before = allocate_shots(problem[0], tensors, total, target, prices)
    after = allocate_shots(problem[0], changed, total, target, prices)
    for fragment in before:
        np.testing.assert_array_equal(after[fragment][1], before[fragment][1], err_msg="seed 5")
        assert (after[fragment][0] != before[fragment][0]).any()
    if total is not None:
        assert sum(int(own.sum()) for own in before.values()) <= total


def test_a_fragments_gradient_is_not_its_own() -> None:
    """Another tensor of a fragment, however far off, leaves the proportions of its own variants as they are."""
    problem = sampled_problem(3)
    tensors = in_halves(problem, np.random.default_rng(5), shots=300)
    place = next(i for i, tensor in enumerate(tensors) if tensor.samples is not None)
    shifted = list(tensors)
    shifted[place] = replace(tensors[place], values=3 * tensors[place].values)
    for one, two in zip(influences(problem[0], tensors), influences(problem[0], shifted), strict=True):
        own = one.fragments == tensors[place].fragment
        np.testing.assert_allclose(two.each.seen[own], one.each.seen[own], rtol=1e-9)
        assert not np.allclose(two.each.seen[~own], one.each.seen[~own])


def test_a_target_set_by_lucky_flips_is_reached_on_average() -> None:
    """The other half's flips decide both who gets shots and how many: what is truly reached is what was aimed at."""
    parts, flip, first = 100, 0.004, 100
    rng = np.random.default_rng(11)
    true = np.full(parts, 4 * flip * (1 - flip))
    reached = []
    for _ in range(40):
        ones = rng.binomial(first, flip, size=parts)
        own = uncertainty_of_mean(np.full(parts, float(first)), 1 - 2 * ones / first, np.ones(parts), first)
        each = own.per_shot(first)[:, None]
        known_ = Influences(np.zeros(parts, dtype=int), np.arange(1), each, np.full(parts, first))
        reached.append((true / (first + shots_for_error(known_, known_.shots, 0.05))).sum())
    assert 0.9 < np.mean(reached) / 0.05**2 < 1.15, "seed 11"  # 1.5 were it not for the flip less


def test_later_rounds_towards_a_target_scale_everything_alike() -> None:
    problem = sampled_problem(3)
    tensors = in_halves(problem, np.random.default_rng(7), shots=300)
    prices = {0: 0.0, 1: 0.0}
    worst = float(np.sqrt(variances(problem[0], tensors).max()))
    more = allocate_shots(problem[0], tensors, None, worst / 2, prices, rounds=2)
    for tensor in tensors:
        if tensor.samples is not None:
            done = np.array([[v.counts.shots for v in tensor.samples.variants if v.half == h] for h in (0, 1)])
            np.testing.assert_array_equal(more[tensor.fragment], np.ceil((4 / 0.95 - 1) * done - 1e-6), "seed 7")
    none = allocate_shots(problem[0], tensors, None, worst * 1.001, prices, rounds=2)
    assert not any(shots.any() for shots in none.values())
    spent = sum(v.counts.shots for t in tensors if t.samples is not None for v in t.samples.variants)
    capped = allocate_shots(problem[0], tensors, spent + 1000, worst / 2, prices, rounds=2)
    assert 900 < sum(int(shots.sum()) for shots in capped.values()) <= 1000


def test_a_target_already_reached_takes_no_shots() -> None:
    some = known(np.ones((3, 1)), np.full(3, 1000))
    assert shots_for_error(some, some.shots, 0.5).sum() == 0


def test_impossible_wishes_are_refused() -> None:
    some = known(np.ones((3, 1)), np.full(3, 10))
    with pytest.raises(AllocationError, match="must be positive"):
        shots_for_error(some, some.shots, 0.0)
    with pytest.raises(AllocationError, match="would take about"):
        shots_for_error(some, some.shots, 1e-7)
    with pytest.raises(AllocationError, match="has cost 30 of 20"):
        spend(some, some.shots, 20)
    rng = np.random.default_rng(0)
    structure = random_structure([(0, 1)], 2, rng)
    with pytest.raises(AllocationError, match="Every fragment is exact"):
        influences(structure, exact_tensors(structure, rng))


def test_influences_add_up_to_the_variances() -> None:
    problem = sampled_problem(3)
    tensors = draw(*problem, np.random.default_rng(1), 500)
    (found,) = influences(problem[0], tensors)
    np.testing.assert_allclose(
        found.predicted(found.shots), variances(problem[0], tensors)[found.observables], rtol=1e-9
    )


def test_influences_of_two_halves_are_those_of_each_on_its_own_mean() -> None:
    """A quarter of both variances is the variance of the mean; of what is in doubt each bears half."""
    problem = sampled_problem(3)
    tensors = in_halves(problem, np.random.default_rng(1), 500)
    both = influences(problem[0], tensors)
    seen = sum(half.each.seen.T @ (1 / half.shots) for half in both) / 4
    fourth = sum(half.each.fourth.T @ (1.0 / half.shots) ** 3 for half in both) / 16
    whole = Uncertainty(seen, fourth, np.zeros_like(seen)).variance
    np.testing.assert_allclose(whole, variances(problem[0], tensors)[both[0].observables], rtol=1e-9)
    alike = replace(both[0], each=both[0].each, shots=both[0].shots)
    total = Uncertainty(*(np.concatenate([part, part]) for part in vars(alike.each.scaled(0.5)).values()))
    twice = Influences(np.tile(alike.fragments, 2), alike.observables, total, np.tile(alike.shots, 2))
    np.testing.assert_allclose(twice.predicted(twice.shots) * 2, alike.predicted(alike.shots), rtol=1e-9)


def test_the_memory_of_the_run_bounds_the_contraction_between_rounds() -> None:
    problem = sampled_problem(3)
    tensors = in_halves(problem, np.random.default_rng(3), shots=200)
    prices = {0: 0.0, 1: 0.0}
    free = allocate_shots(problem[0], tensors, 100_000, None, prices)
    with pytest.raises(MemoryLimitError) as caught:
        allocate_shots(problem[0], tensors, 100_000, None, prices, memory_bytes=1)
    least = caught.value.least_bytes
    bounded = allocate_shots(problem[0], tensors, 100_000, None, prices, memory_bytes=2 * least)
    assert bounded.keys() == free.keys() and sum(shots.sum() for shots in free.values()) > 0
    for fragment, shots in free.items():
        np.testing.assert_allclose(bounded[fragment], shots, atol=1, err_msg="seed 3")
    whole = allocate_shots(problem[0], tensors, 100_000, None, prices, memory_bytes=least)  # with no room for a half's
    assert sum(shots.sum() for shots in whole.values()) == sum(shots.sum() for shots in free.values())


def test_what_the_noise_of_a_gradient_is_worth_follows_from_how_a_halfs_differs() -> None:
    """A product of two means: each is the gradient of the other, and of the first half's shots it is another one."""
    structure = Structure(((), ()), (), np.zeros((1, 2), dtype=int), (1, 1), csr_array(np.ones((1, 1))))
    ones = {0: (60, 45), 1: (48, 57)}  # of a hundred shots a half
    tensors = []
    for fragment, numbers in ones.items():
        variants = tuple(
            VariantData((), (), np.array([0]), np.array([[True]]), VariantCounts(
                np.array([[0], [1]], dtype=np.uint8), np.array([100 - own, own]), 1), half)
            for half, own in enumerate(numbers)
        )  # fmt: skip
        samples = SampledData((), variants)
        tensors.append(FragmentTensor(fragment, tensor_values(samples, 1), samples))
    found = influences(structure, tensors)
    means = {f: [1 - own / 50 for own in numbers] for f, numbers in ones.items()}
    for half, known_ in enumerate(found):
        for f in (0, 1):
            other = means[1 - f]
            spread = (1 - means[f][half] ** 2) * 100 / 99
            assert known_.each.seen[f, 0] == pytest.approx(spread * np.mean(other) ** 2)
            assert known_.unsteady[f, 0] == pytest.approx(spread * (other[0] - other[1]) ** 2 / 4)
            assert known_.smoothed[f, 0] > known_.each.seen[f, 0] + known_.unsteady[f, 0]
