"""How steps are laid out and absorptions grouped: the same values, whichever way is taken."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.reconstruction import contract
from tasks.reconstruction.contraction import layout
from tasks.reconstruction.contraction.contraction import contract_block, leaf_arrays
from tasks.reconstruction.contraction.grouping import distinct_pairs, leaf_parts, with_groups
from tasks.reconstruction.contraction.kernel import gathered_products, placed_products
from tasks.reconstruction.contraction.network import network_of, values_by_fragment
from tasks.reconstruction.contraction.path import used_terms
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.contraction.slicing import whole
from tests.reconstruction.networks import einsum_values, exact_tensors, random_structure


def grid(rows: int, columns: int) -> list[tuple[int, int]]:
    across = [(columns * r + c, columns * r + c + 1) for r in range(rows) for c in range(columns - 1)]
    return across + [(columns * r + c, columns * r + c + columns) for r in range(rows - 1) for c in range(columns)]


def sweep(fragments: int) -> tuple[tuple[int, int], ...]:
    """Absorb one fragment after the other, in order."""
    pairs, node = [], 0
    for other in range(1, fragments):
        pairs.append((node, other))
        node = fragments + len(pairs) - 1
    return tuple(pairs)


@pytest.mark.parametrize("dearer", ["copies", "calls"])
@pytest.mark.parametrize("seed", range(3))
def test_every_layout_gives_the_values_of_einsum(dearer: str, seed: int, monkeypatch) -> None:
    """Whatever costs more is avoided, so between them the two prices take every kind of layout."""
    if dearer == "copies":  # matrices onto the middle of arrays where they stand
        monkeypatch.setattr(layout, "SMALL_CALL", 0)
        monkeypatch.setattr(layout, "COPY", 1e6)
    else:  # arrays copied, and few large products
        monkeypatch.setattr(layout, "SMALL_CALL", 1e9)
        monkeypatch.setattr(layout, "COPY", 0)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    structure = random_structure(grid(3, 4), 12, rng, dims=((2, 3), (3, 3)), factors=3, terms=20, observables=6)
    tensors = exact_tensors(structure, rng)
    plan = schedule(structure, network_of(structure))
    placed = sum(step.split > 0 for tree in plan.trees for step in tree.steps)
    assert placed > 0 if dearer == "copies" else placed == 0
    expected = einsum_values(structure, [tensor.values for tensor in tensors])
    found = contract(structure, tensors)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("terms", [1, 200])
def test_grouped_absorptions_give_the_same_values(terms: int) -> None:
    """A sweep over a grid: with many terms that share its columns, fragments are joined before they are absorbed."""
    rng = np.random.default_rng(terms)
    structure = random_structure(grid(8, 3), 24, rng, dims=((4, 4),), factors=2, terms=terms, observables=5)
    tensors = exact_tensors(structure, rng)
    network = network_of(structure)
    path = sweep(24)
    better = with_groups(network, path, leaf_parts(structure, network, used_terms(structure)))
    values = values_by_fragment(structure, network, tensors)
    found = []
    for pairs in (path, better):
        plan = schedule(structure, network, paths=(pairs,))
        (tree,) = plan.trees
        found.append(next(iter(contract_block(structure, plan, 0, leaf_arrays(network, tree, values), plan.slices))))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-9 * np.abs(found[0]).max())
    if terms > 1:
        assert better != path
        assert whole(structure, network, better, False).effort < whole(structure, network, path, False).effort


def test_products_on_the_middle_of_arrays_are_those_of_einsum() -> None:
    rng = np.random.default_rng(5)
    matrices, wide = rng.normal(size=(3, 4, 2)), rng.normal(size=(6, 5, 2, 7))
    for rows_b in (np.array([0, 0, 2, 3, 5, 5]), np.arange(6), np.array([1, 2, 3])):
        rows_a = rng.integers(3, size=rows_b.size)
        expected = np.einsum("pnk,pbka->pbna", matrices[rows_a], wide[rows_b])
        np.testing.assert_allclose(placed_products(matrices, wide, rows_a, rows_b), expected, atol=1e-12)


def test_large_products_are_taken_alone_and_agree() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(2, 128, 80)), rng.normal(size=(3, 90, 80))
    rows_a, rows_b = np.array([1, 0, 1, 1]), np.array([0, 1, 1, 2])
    expected = np.einsum("pmk,pnk->pmn", a[rows_a], b[rows_b])
    np.testing.assert_allclose(gathered_products(a, b, rows_a, rows_b), expected, atol=1e-10)


@pytest.mark.parametrize("counts", [(3, 4), (50_000, 70_000)])
def test_pairs_that_occur_are_found_either_way(counts: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    left, right = (rng.integers(count, size=200) for count in counts)
    found, of_term = distinct_pairs(left, right, *counts)
    keys, inverse = np.unique(right * counts[0] + left, return_inverse=True)
    np.testing.assert_array_equal(found, keys)
    np.testing.assert_array_equal(of_term, inverse)
