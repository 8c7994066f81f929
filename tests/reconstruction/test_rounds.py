"""Shots in rounds give unbiased estimates whose error bars are right, where luck is rare and shots are few."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.model.counts import merge_counts, split_counts
from tasks.model.tensor import VariantCounts
from tests.reconstruction.rounds import (
    near_certain_parts,
    part_flips,
    pulls,
    run_in_rounds,
    signs_in_rounds,
    summary,
)


@pytest.mark.parametrize("target", [None, 0.05])
def test_variants_that_saw_no_flip_by_luck_do_not_keep_it(target: float | None) -> None:
    """With counts that decide their own weight the mean pull is 1.06 here, and 0.6 towards a target (SE 0.25)."""
    found = pulls(near_certain_parts(100), 16, seed=3, target_error=target)
    assert abs(found["mean pull"]) < 0.55, f"seed 3: {found}"
    assert 0.6 < found["claimed"] / found["rms error"] < 1.6, f"seed 3: {found}"
    if target is not None:
        assert found["claimed"] <= 1.001 * target, f"seed 3: {found}"


@pytest.mark.parametrize("parts, runs", [(40, 150), pytest.param(400, 600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("target", [None, 0.06])
def test_sums_over_many_near_certain_parts(parts: int, runs: int, target: float | None) -> None:
    aim = None if target is None else target * float(np.sqrt(parts / 200))
    flip, rng = part_flips(0.09), np.random.default_rng(parts)
    made = np.array([signs_in_rounds(parts, flip, rng, target_error=aim) for _ in range(runs)])
    found = summary(made, parts * (1 - 2 * flip), parts)
    assert abs(found["mean pull"]) < 0.1 + 2 / np.sqrt(runs), f"seed {parts}: {found}"
    assert abs(found["within 1"] - 0.68) < 0.03 + 2 * 0.47 / np.sqrt(runs), f"seed {parts}: {found}"
    assert found["within 2"] >= 0.95 - 2.5 * 0.22 / np.sqrt(runs), f"seed {parts}: {found}"


@pytest.mark.parametrize("target", [None, 0.05])
def test_bare_numbers_say_what_whole_runs_say(target: float | None) -> None:
    """Errors and shots of ``signs_in_rounds`` are on average those of runs on counts."""
    problem, rng = near_certain_parts(100), np.random.default_rng(8)
    whole = np.array([run_in_rounds(problem, rng, target_error=target) for _ in range(12)])
    bare = np.array([signs_in_rounds(100, part_flips(0.09), rng, target_error=target) for _ in range(200)])
    for column, at_most in ((1, 0.04), (2, 0.06)):
        assert abs(whole[:, column].mean() / bare[:, column].mean() - 1) < at_most, "seed 8"


def counts(table: dict[int, int], weights: list[float] | None = None) -> VariantCounts:
    rows = np.array(sorted(table), dtype=np.uint8)[:, None]
    numbers = np.array([table[int(row)] for row in rows[:, 0]])
    return VariantCounts(rows, numbers, 3, weights=None if weights is None else np.array(weights))


def test_halves_are_independent_samples_that_make_up_the_whole() -> None:
    rng = np.random.default_rng(5)
    whole = [counts({0: 400, 3: 90, 7: 10}), counts({1: 2}), counts({2: 5})]
    ratios = []
    for _ in range(300):
        halves = split_counts(whole, [0.5, 0.5, 0.0], rng)
        for before, pair in zip(whole, halves, strict=True):
            (merged,) = merge_counts([half for half in pair if half.shots])
            np.testing.assert_array_equal(merged.outcomes, before.outcomes)
            np.testing.assert_array_equal(merged.counts, before.counts)
        assert halves[1][0].shots == halves[1][1].shots == 1  # neither half of two shots is empty
        assert halves[2][0].shots == 0
        first = dict(zip(halves[0][0].outcomes[:, 0].tolist(), halves[0][0].counts.tolist(), strict=True))
        ratios.append([first.get(outcome, 0) for outcome in (0, 3, 7)])
    seen = np.array(ratios)
    np.testing.assert_allclose(seen.mean(axis=0), [200, 45, 5], rtol=0.1, err_msg="seed 5")
    np.testing.assert_allclose(seen.var(axis=0, ddof=1), [100, 22.5, 2.5], rtol=0.35, err_msg="seed 5")
    assert np.abs(np.corrcoef(seen.T) - np.eye(3)).max() < 0.25, "seed 5"


def test_halves_of_extrapolated_counts_keep_the_share_of_every_weight() -> None:
    rng = np.random.default_rng(6)
    whole = counts({0: 60, 1: 15, 5: 25}, weights=[2.0, 2.0, -2.0])
    total = whole.counts @ whole.weights / whole.shots  # what a constant is worth
    for half in split_counts([whole], [0.5], rng)[0]:
        np.testing.assert_allclose(half.counts @ half.weights / half.shots, total, rtol=1e-12, err_msg="seed 6")


def test_counts_mitigated_in_different_ways_stay_apart() -> None:
    readings = np.tile([1.1, -1.1], (3, 1))
    plain, more = counts({0: 3, 1: 4}), counts({1: 5, 6: 1})
    other = VariantCounts(plain.outcomes, plain.counts, 3, readings)
    merged = merge_counts([plain, other, more, counts({2: 7}, [1.0])])
    assert sorted(c.shots for c in merged) == [7, 7, 13]
    (both,) = [c for c in merged if c.shots == 13]
    assert dict(zip(both.outcomes[:, 0].tolist(), both.counts.tolist(), strict=True)) == {0: 3, 1: 9, 6: 1}
