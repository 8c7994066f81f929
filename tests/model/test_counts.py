"""Counts merged and split, and streams of random numbers: what every device's shots go through."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array

from tasks.model.counts import merge_counts, merge_each, split_counts
from tasks.model.problem import PauliTerms
from tasks.model.streams import random_stream, simulator_seed
from tasks.model.tensor import LegSettings, SampledData, VariantCounts, VariantData


def counted(rows: dict[int, int], readings=None) -> VariantCounts:
    return VariantCounts(np.array([[row] for row in rows], dtype=np.uint8), np.array(list(rows.values())), 3, readings)


def as_dict(counts: VariantCounts) -> dict[int, int]:
    return dict(zip(counts.outcomes[:, 0].tolist(), counts.counts.tolist(), strict=True))


def test_counts_of_several_sources_are_added_up() -> None:
    (found,) = merge_counts([counted({5: 2, 1: 4}), counted({1: 1, 7: 3}), counted({0: 9})])
    assert as_dict(found) == {0: 9, 1: 5, 5: 2, 7: 3}
    assert found.outcomes[:, 0].tolist() == [0, 1, 5, 7], "sorted"
    assert (found.num_bits, found.shots) == (3, 19)
    (alone,) = merge_counts([counted({5: 2, 1: 4})])
    assert as_dict(alone) == {5: 2, 1: 4}
    assert merge_counts([]) == []


def test_counts_read_in_different_ways_stay_apart() -> None:
    readings = np.array([[1.1, -0.9]] * 3)
    weighted = VariantCounts(np.array([[1], [1]], dtype=np.uint8), np.array([2, 3]), 3, None, np.array([2.0, -1.0]))
    parts = [counted({1: 1}), counted({1: 2}, readings), weighted, counted({1: 4}), counted({1: 8}, readings), weighted]
    plain, corrected, *rest = merge_counts(parts)
    assert (as_dict(plain), plain.readings) == ({1: 5}, None)
    assert as_dict(corrected) == {1: 10} and corrected.readings is not None
    assert [part is weighted for part in rest] == [True, True]


def test_halves_add_up_to_the_whole_and_neither_is_empty() -> None:
    print("seed 0")
    rng = np.random.default_rng(0)
    whole = [counted({0: 1, 5: 1}), counted({3: 1}), counted({2: 400, 6: 600}), counted({1: 2})]
    sizes = []
    for _ in range(200):
        pairs = split_counts(whole, [0.5, 0.5, 0.25, 0.01], rng)
        for before, (first, second) in zip(whole, pairs, strict=True):
            both = {row: as_dict(first).get(row, 0) + as_dict(second).get(row, 0) for row in as_dict(before)}
            assert both == as_dict(before)
            assert (first.counts > 0).all() and (second.counts > 0).all(), "no empty rows"
            assert before.shots == 1 or min(first.shots, second.shots) >= 1
        sizes.append([first.shots for first, _ in pairs])
    mean = np.mean(sizes, axis=0)
    assert mean[0] == 1 and abs(mean[1] - 0.5) < 0.18 and mean[3] == 1
    assert abs(mean[2] - 250) < 5 * np.sqrt(1000 * 0.25 * 0.75 / 200)


def test_a_chance_of_0_or_1_gives_everything_to_one_half() -> None:
    rng = np.random.default_rng(1)
    (none, everything), (all_, nothing) = split_counts([counted({1: 5}), counted({1: 5})], [0.0, 1.0], rng)
    assert [part.shots for part in (none, everything, all_, nothing)] == [0, 5, 5, 0]
    assert split_counts([], [], rng) == []


@pytest.mark.parametrize("seed", range(5))
def test_each_weight_keeps_its_share_of_a_half(seed: int) -> None:
    """Also where a half got nothing of some outcome."""
    weights = np.array([3.0, 3.0, -2.0, -2.0])
    rows = np.array([[0], [1], [0], [1]], dtype=np.uint8)
    whole = VariantCounts(rows, np.array([39, 1, 20, 40]), 1, None, weights)
    for half in split_counts([whole], [0.3], np.random.default_rng(seed))[0]:
        positive = half.weights > 0
        share = [(half.weights * half.counts)[rows].sum() / half.shots for rows in (positive, ~positive)]
        np.testing.assert_allclose(share, [3 * 40 / 100, -2 * 60 / 100], err_msg=f"seed {seed}")
        assert len(set(half.weights[positive].tolist())) == 1


def test_a_stream_is_its_name() -> None:
    assert random_stream("a:1").random(3).tolist() == random_stream("a:1").random(3).tolist()
    assert random_stream("a:1").random() != random_stream("a:2").random()
    seeds = [simulator_seed(f"name {i}") for i in range(200)]
    assert len(set(seeds)) == 200 and all(0 <= seed < 2**31 for seed in seeds)
    assert max(seeds) > 2**30, "all 31 bits are used"


def test_terms_and_halves_say_what_they_hold() -> None:
    x, z = np.array([[1, 0, 1], [0, 0, 0]], dtype=bool), np.array([[1, 1, 0], [0, 0, 0]], dtype=bool)
    terms = PauliTerms(x, z, csr_array(np.ones((1, 2))))
    assert terms.count == 2 and terms.support.tolist() == [[True, True, True], [False, False, False]]
    one = VariantData((), (), np.array([0]), np.ones((1, 3), dtype=bool), counted({0: 1}))
    other = VariantData((), (), np.array([0]), np.ones((1, 3), dtype=bool), counted({0: 1}), half=1)
    assert [SampledData((), part).halves for part in ((), (one,), (one, other))] == [1, 1, 2]


@pytest.mark.parametrize("rows", [{}, {4: 7}])
def test_shots_are_the_sum_of_the_counts(rows: dict[int, int]) -> None:
    counts = VariantCounts(
        np.array([[r] for r in rows], dtype=np.uint8).reshape(-1, 1), np.array(list(rows.values()), dtype=np.int64), 3
    )
    assert counts.shots == sum(rows.values())


def test_many_groups_are_merged_as_each_is_alone():
    rng = np.random.default_rng(7)
    groups = []
    for k in range(60):
        bits = [3, 9, 70, 20][k % 4]
        parts = []
        for _ in range(1 + k % 3):
            raw = np.unique(rng.integers(0, 4, size=(5, (bits + 7) // 8)).astype(np.uint8), axis=0)
            parts.append(VariantCounts(raw, rng.integers(1, 9, size=len(raw)), bits))
        if k % 7 == 3:
            parts.append(VariantCounts(raw, np.ones(len(raw), dtype=np.int64), bits, weights=np.ones(len(raw))))
        groups.append(parts)
    for found, parts in zip(merge_each(groups), groups, strict=True):
        for one, other in zip(found, merge_counts(parts), strict=True):
            np.testing.assert_array_equal(one.outcomes, other.outcomes, err_msg="seed 7")
            np.testing.assert_array_equal(one.counts, other.counts, err_msg="seed 7")
            assert one.num_bits == other.num_bits and (one.weights is None) == (other.weights is None)
    assert merge_each([]) == []


@pytest.mark.parametrize("mitigated", [False, True])
def test_samples_come_out_of_a_pickle_as_they_went_in(mitigated):
    rng = np.random.default_rng(8)
    legs = (LegSettings(np.array([[0, 0], [1, 0], [1, 1]]), rng.normal(size=(4, 3)), 2),)
    factors, masks = np.array([0, 2]), rng.random((2, 11)) < 0.5
    variants = []
    for k in range(9):
        raw = np.unique(rng.integers(0, 8, size=(1 + k, 2)).astype(np.uint8), axis=0)
        readings = np.array([[1.1, -0.9]] * 11) if mitigated and k == 4 else None
        counts = VariantCounts(raw, rng.integers(1, 9, size=len(raw)), 11, readings)
        variants.append(VariantData((k % 2,), (-1 if k % 3 else 0,), factors, masks, counts, k % 2))
    before = SampledData(legs, tuple(variants))
    after = pickle.loads(pickle.dumps(before))
    np.testing.assert_array_equal(after.legs[0].inverse, legs[0].inverse)
    for one, other in zip(after.variants, before.variants, strict=True):
        assert (one.settings, one.leg_bits, one.half) == (other.settings, other.leg_bits, other.half)
        for name in ("outcomes", "counts", "readings"):
            np.testing.assert_array_equal(getattr(one.counts, name), getattr(other.counts, name), err_msg="seed 8")
        np.testing.assert_array_equal(one.factors, factors)
        np.testing.assert_array_equal(one.factor_masks, masks)
        assert one.counts.num_bits == 11
    assert not pickle.loads(pickle.dumps(SampledData((), ()))).variants
