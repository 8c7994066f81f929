"""Shots go where they lower the error most: against brute force, and in repeated experiments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from tasks.model.tensor import FragmentTensor, SampledData
from tasks.reconstruction import tensor_values, variances
from tasks.reconstruction.errors import AllocationError, MemoryLimitError
from tasks.reconstruction.statistics.allocation import (
    Influences,
    allocate_shots,
    influences,
    shots_for_error,
    spend,
)
from tests.reconstruction.networks import exact_tensors, random_structure
from tests.reconstruction.test_statistics import draw, sampled_problem


def known(variances_: np.ndarray, shots: np.ndarray) -> Influences:
    count = len(shots)
    none = np.zeros_like(variances_)
    return Influences(np.zeros(count, dtype=int), np.arange(variances_.shape[1]), variances_, none, shots)


def in_halves(problem, rng: np.random.Generator, shots: int) -> list[FragmentTensor]:
    """The tensors of ``draw`` from two halves of shots."""
    made = []
    for first, second in zip(draw(*problem, rng, shots), draw(*problem, rng, shots), strict=True):
        if first.samples is not None and second.samples is not None:
            more = tuple(replace(variant, half=1) for variant in second.samples.variants)
            samples = SampledData(first.samples.legs, first.samples.variants + more)
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


def test_a_half_is_decided_by_the_other_alone() -> None:
    """What one half has seen changes nothing of what it gets, in any fragment."""
    problem = sampled_problem(3)
    prices = {0: 0.0, 1: 0.0}
    tensors = in_halves(problem, np.random.default_rng(5), shots=300)
    other = in_halves(problem, np.random.default_rng(6), shots=300)
    mixed = []
    for one, two in zip(tensors, other, strict=True):
        if one.samples is not None and two.samples is not None:
            own = [v for v in one.samples.variants if v.half == 0] + [v for v in two.samples.variants if v.half == 1]
            samples = SampledData(one.samples.legs, tuple(own))
            one = FragmentTensor(one.fragment, tensor_values(samples, one.values.shape[-1]), samples)
        mixed.append(one)
    before = allocate_shots(problem[0], tensors, 10**6, None, prices)
    after = allocate_shots(problem[0], mixed, 10**6, None, prices)
    for fragment in before:
        np.testing.assert_array_equal(after[fragment][1], before[fragment][1], err_msg="seeds 5, 6")
        assert (after[fragment][0] != before[fragment][0]).any()
        assert sum(int(own.sum()) for own in before.values()) <= 10**6


def test_later_rounds_towards_a_target_scale_everything_alike() -> None:
    problem = sampled_problem(3)
    tensors = in_halves(problem, np.random.default_rng(7), shots=300)
    prices = {0: 0.0, 1: 0.0}
    worst = float(np.sqrt(variances(problem[0], tensors).max()))
    more = allocate_shots(problem[0], tensors, None, worst / 2, prices, rounds=2)
    for tensor in tensors:
        if tensor.samples is not None:
            done = np.array([[v.counts.shots for v in tensor.samples.variants if v.half == h] for h in (0, 1)])
            np.testing.assert_array_equal(more[tensor.fragment], np.ceil(3 * done - 1e-6), err_msg="seed 7")
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
    found = influences(problem[0], tensors)
    np.testing.assert_allclose(
        found.predicted(found.shots), variances(problem[0], tensors)[found.observables], rtol=1e-9
    )


def test_the_memory_of_the_run_bounds_the_contraction_between_rounds() -> None:
    problem = sampled_problem(3)
    tensors = in_halves(problem, np.random.default_rng(3), shots=200)
    prices = {0: 0.0, 1: 0.0}
    free = allocate_shots(problem[0], tensors, 100_000, None, prices)
    with pytest.raises(MemoryLimitError) as caught:
        allocate_shots(problem[0], tensors, 100_000, None, prices, memory_bytes=1)
    bounded = allocate_shots(problem[0], tensors, 100_000, None, prices, memory_bytes=caught.value.least_bytes)
    assert bounded.keys() == free.keys() and sum(shots.sum() for shots in free.values()) > 0
    for fragment, shots in free.items():
        np.testing.assert_allclose(bounded[fragment], shots, atol=1, err_msg="seed 3")
