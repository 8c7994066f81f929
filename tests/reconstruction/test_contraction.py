"""Contraction against one einsum a term, on networks of every shape a plan can make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from tasks.model.tensor import FragmentTensor, Structure
from tasks.reconstruction import contract
from tasks.reconstruction.contraction import slicing
from tasks.reconstruction.contraction.kernel import SCRATCH_BYTES
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.path import _price, find_paths
from tasks.reconstruction.contraction.schedule import network_cost, schedule
from tasks.reconstruction.errors import ContractionCostError, InconsistentNetworkError, MemoryLimitError
from tasks.reconstruction.statistics.gradient import gradients
from tests.reconstruction.networks import einsum_values, exact_tensors, random_structure

SHAPES = {
    "single": ([], 1),
    "single with a loop": ([(0, 0)], 1),
    "pair": ([(0, 1)], 2),
    "three parallel cuts": ([(0, 1), (1, 0), (0, 1)], 2),
    "loops and parallels": ([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)], 3),
    "disconnected": ([(0, 1), (2, 3), (2, 3)], 6),
    "triangle": ([(0, 1), (1, 2), (2, 0)], 3),
    "chain": ([(i, i + 1) for i in range(11)], 12),
    "tree": ([((i - 1) // 2, i) for i in range(1, 13)], 13),
    "grid": (
        [(4 * r + c, 4 * r + c + 1) for r in range(3) for c in range(3)]
        + [(4 * r + c, 4 * r + c + 4) for r in range(2) for c in range(4)],
        12,
    ),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dims", [((4, 4),), ((2, 3), (3, 2), (4, 4))], ids=["square", "rectangular"])
def test_values_agree_with_einsum(shape: str, dims, seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges, fragments = SHAPES[shape]
    structure = random_structure(edges, fragments, rng, dims=dims)
    tensors = exact_tensors(structure, rng)
    expected = einsum_values(structure, [tensor.values for tensor in tensors])
    shuffled = [tensors[i] for i in rng.permutation(fragments)]
    np.testing.assert_allclose(
        contract(structure, shuffled), expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max(initial=1.0)
    )


@pytest.mark.parametrize("terms", [1, 40, 400])
def test_many_terms_share_nodes(terms: int) -> None:
    rng = np.random.default_rng(terms)
    edges, fragments = SHAPES["grid"]
    structure = random_structure(edges, fragments, rng, dims=((2, 2),), factors=5, terms=terms, observables=terms)
    tensors = exact_tensors(structure, rng)
    expected = einsum_values(structure, [tensor.values for tensor in tensors])
    np.testing.assert_allclose(contract(structure, tensors), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shape", ["single with a loop", "loops and parallels", "disconnected", "tree", "grid"])
@pytest.mark.parametrize("ranks", [1, 12])
def test_gradient_is_the_change_of_the_value(shape: str, seed: int, ranks: int, monkeypatch) -> None:
    """The value is linear in each tensor, so replacing one tensor by a direction gives gradient . direction exactly."""
    rng = np.random.default_rng(seed)
    edges, fragments = SHAPES[shape]
    structure = random_structure(edges, fragments, rng, dims=((2, 3), (3, 3)))
    tensors = exact_tensors(structure, rng)
    network = network_of(structure)
    monkeypatch.setattr(slicing, "_MORE_WORK", 1e3)  # cut into pieces whatever it costs
    plan = schedule(structure, network, gradients=True, ranks=ranks)
    assert plan.cost.units > 1 or ranks == 1 or not structure.bonds or fragments == 1
    seen = set()
    every = list(
        gradients(structure, network, plan, [t.values for t in tensors], range(fragments), adjoint_bytes=100_000)
    )
    for found in [piece for _, pieces in every for piece in pieces]:
        seen.add(found.fragment)
        picked_out = np.unique(found.observables)
        direction = rng.normal(size=tensors[found.fragment].values.shape)
        changed = [direction if f == found.fragment else tensors[f].values for f in range(fragments)]
        expected = einsum_values(structure, changed)
        along = np.zeros(expected.size)
        picked = np.moveaxis(direction, -1, 0)[found.factors]
        np.add.at(along, found.observables, (found.gradient * picked).reshape(len(picked), -1).sum(axis=1))
        np.testing.assert_allclose(
            along[picked_out], expected[picked_out], rtol=1e-9, atol=1e-9 * np.abs(expected).max(initial=1.0)
        )
    assert seen == set(range(fragments)) or not structure.coefficients.nnz


def test_observable_without_terms_is_zero() -> None:
    rng = np.random.default_rng(5)
    structure = random_structure([(0, 1)], 2, rng)
    empty = Structure(
        structure.legs,
        structure.bonds,
        structure.factor_index,
        structure.num_factors,
        structure.coefficients * 0,
    )
    np.testing.assert_array_equal(contract(empty, exact_tensors(structure, rng)), np.zeros(5))


def test_a_wrong_leg_size_names_the_fragment() -> None:
    rng = np.random.default_rng(6)
    structure = random_structure([(0, 1)], 2, rng)
    tensors = exact_tensors(structure, rng)
    tensors[1] = FragmentTensor(1, tensors[1].values[:3])
    with pytest.raises(InconsistentNetworkError, match="fragment 1 has shape"):
        contract(structure, tensors)


def test_a_nan_names_the_fragment_and_entry() -> None:
    rng = np.random.default_rng(7)
    structure = random_structure([(0, 1)], 2, rng)
    tensors = exact_tensors(structure, rng)
    tensors[0].values[2, 0] = np.nan
    with pytest.raises(InconsistentNetworkError, match=r"fragment 0 is not finite at legs \(2,\), factor 0"):
        contract(structure, tensors)


def test_a_missing_tensor_is_named() -> None:
    rng = np.random.default_rng(8)
    structure = random_structure([(0, 1)], 2, rng)
    with pytest.raises(InconsistentNetworkError, match="Fragment 1 has no tensor"):
        contract(structure, exact_tensors(structure, rng)[:1])


def test_a_leg_used_twice_is_refused() -> None:
    rng = np.random.default_rng(9)
    structure = random_structure([(0, 1)], 2, rng)
    twice = Structure(
        (structure.legs[0], structure.legs[0]),
        structure.bonds,
        structure.factor_index,
        structure.num_factors,
        structure.coefficients,
    )
    with pytest.raises(InconsistentNetworkError, match="End 0 of cut 0"):
        network_of(twice)


@pytest.mark.parametrize("shape", ["three parallel cuts", "disconnected", pytest.param("grid", marks=pytest.mark.slow)])
def test_slices_and_blocks_add_up(shape: str) -> None:
    rng = np.random.default_rng(11)
    edges, fragments = SHAPES[shape]
    structure = random_structure(edges, fragments, rng, factors=4, terms=60, observables=20)
    tensors = exact_tensors(structure, rng)
    whole = contract(structure, tensors)
    cost = network_cost(structure)
    with pytest.raises(MemoryLimitError) as refusal:
        contract(structure, tensors, memory_bytes=1000)
    least = refusal.value.least_bytes
    assert 1000 < least <= cost.peak_bytes
    assert f"{least:,}" in str(refusal.value)
    sliced = network_cost(structure, memory_bytes=least)
    assert sliced.peak_bytes <= least
    assert sliced.units > 1 or least == cost.peak_bytes
    limit = (least + cost.peak_bytes) // 2  # a path of more work and less memory may do without slices
    assert network_cost(structure, memory_bytes=limit).peak_bytes <= limit
    for bound in (least, limit):
        found = contract(structure, tensors, memory_bytes=bound)
        np.testing.assert_allclose(found, whole, rtol=1e-9, atol=1e-9 * np.abs(whole).max())


def test_a_path_is_refined_and_held_beside_others_where_it_is_gone_often() -> None:
    """Refining is an investment: it makes no path dearer, and every path gives the same values."""
    rng = np.random.default_rng(21)
    edges = [(i, (i + step) % 14) for i in range(14) for step in (1, 5)]
    structure = random_structure(edges, 14, rng, terms=6)
    network = network_of(structure)
    (once,), often = find_paths(network, uses=1e-9), find_paths(network, uses=1e9)
    assert len(often) > 1
    assert min(_price(network, path) for path in often) <= _price(network, once)
    tensors = exact_tensors(structure, rng)
    values = [contract(structure, tensors, paths=[path]) for path in (once, *often)]
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], rtol=1e-9, atol=1e-9, err_msg="seed 21")


def test_a_network_nobody_can_contract_is_refused() -> None:
    rng = np.random.default_rng(12)
    edges = [(i, (i + step) % 60) for i in range(60) for step in (1, 7, 17)]
    with pytest.raises(ContractionCostError, match="Use fewer cuts"):
        network_cost(random_structure(edges, 60, rng, terms=2))


def test_a_large_grid_is_sliced_along_a_path_made_for_it() -> None:
    """Half the memory of a boundary sweep: slices alone would cost fifty times the work. Every plan is the same."""
    rng = np.random.default_rng(13)
    rows, columns = 8, 9
    edges = [(columns * r + c, columns * r + c + 1) for r in range(rows) for c in range(columns - 1)]
    edges += [(columns * r + c, columns * r + c + columns) for r in range(rows - 1) for c in range(columns)]
    structure = random_structure(edges, rows * columns, rng, factors=1, terms=2, observables=9)
    assert structure.coefficients.nnz
    whole = network_cost(structure)
    limit = int(SCRATCH_BYTES + 0.5 * (whole.peak_bytes - SCRATCH_BYTES))
    sliced = network_cost(structure, memory_bytes=limit)
    assert sliced.peak_bytes <= limit and sliced.units > 1
    assert sliced.flops < 20 * whole.flops
    assert network_cost(structure, memory_bytes=limit) == sliced
    tensors = exact_tensors(structure, rng)
    expected = contract(structure, tensors)
    np.testing.assert_allclose(contract(structure, tensors, memory_bytes=limit), expected, rtol=1e-9)


def test_observables_without_a_term_are_zero_under_any_bound() -> None:
    rng = np.random.default_rng(14)
    structure = random_structure([(i, i + 1) for i in range(5)], 6, rng, terms=3, observables=2)
    nothing = replace(structure, coefficients=csr_array(structure.coefficients.shape))
    tensors = exact_tensors(nothing, rng)
    np.testing.assert_array_equal(contract(nothing, tensors), np.zeros(2))
    bound = network_cost(nothing).peak_bytes
    np.testing.assert_array_equal(contract(nothing, tensors, memory_bytes=bound), np.zeros(2))
    with pytest.raises(MemoryLimitError):
        contract(nothing, tensors, memory_bytes=1000)
