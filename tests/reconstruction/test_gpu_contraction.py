"""Contraction and gradients by every array library that is here: those of numpy, and of one einsum a term."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.model.arrays import HERE, Arrays
from tasks.reconstruction import contract
from tasks.reconstruction.contraction import slicing
from tasks.reconstruction.contraction.contraction import library_for
from tasks.reconstruction.contraction.kernel import summed_products
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.statistics.gradient import gradients
from tasks.reconstruction.statistics.statistics import estimate_with_shares
from tests.reconstruction.networks import einsum_values, exact_tensors, random_structure
from tests.reconstruction.test_batches import sampled_problem
from tests.reconstruction.test_contraction import SHAPES


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dims", [((4, 4),), ((2, 3), (3, 2), (4, 4))], ids=["square", "rectangular"])
def test_values_agree_with_einsum(shape, dims, gpu):
    rng = np.random.default_rng(17)
    structure = random_structure(*SHAPES[shape], rng, dims=dims)
    tensors = exact_tensors(structure, rng)
    expected = einsum_values(structure, [tensor.values for tensor in tensors])
    found = contract(structure, tensors, gpu=gpu)
    scale = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * scale, err_msg="seed 17")
    np.testing.assert_allclose(found, contract(structure, tensors), rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("ranks", [1, 12])
@pytest.mark.parametrize("part", [1 << 22, 16])
@pytest.mark.parametrize("shape", ["single with a loop", "loops and parallels", "disconnected", "tree", "grid"])
def test_gradients_are_those_of_the_cpu(shape, part, ranks, gpu, monkeypatch):
    gpu.part = part
    rng = np.random.default_rng(18)
    structure = random_structure(*SHAPES[shape], rng, dims=((2, 3), (3, 3)), terms=30)
    values = [tensor.values for tensor in exact_tensors(structure, rng)]
    network = network_of(structure)
    monkeypatch.setattr(slicing, "_MORE_WORK", 1e3)  # cut into pieces whatever it costs
    plan = schedule(structure, network, gradients=True, ranks=ranks)
    here, there = (
        list(gradients(structure, network, plan, values, range(len(values)), gpu=own)) for own in (None, gpu)
    )
    for (observables, expected), (same, found) in zip(here, there, strict=True):
        np.testing.assert_array_equal(observables, same)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one.factors, other.factors)
            scale = np.abs(one.gradient).max(initial=1e-300)
            np.testing.assert_allclose(other.gradient, one.gradient, rtol=1e-11, atol=1e-12 * scale, err_msg="seed 18")


@pytest.mark.parametrize("part", [1 << 22, 7])
def test_sums_of_products_in_runs_of_every_length(part, gpu):
    gpu.part = part
    rng = np.random.default_rng(19)
    targets = rng.permutation(np.repeat(np.arange(9), [1, 2, 3, 4, 5, 8, 13, 1, 21]))
    a, b = rng.normal(size=(6, 3, 2)), rng.normal(size=(5, 4, 2))
    rows_a, rows_b = rng.integers(6, size=targets.size), rng.integers(5, size=targets.size)
    expected = np.zeros((9, 3, 4))
    np.add.at(expected, targets, np.einsum("pmk,pnk->pmn", a[rows_a], b[rows_b]))
    found = gpu.fetch(summed_products(gpu.put(a), gpu.put(b), rows_a, rows_b, targets, 9, gpu))
    np.testing.assert_allclose(found, expected, atol=1e-13, err_msg="seed 19")


@pytest.mark.parametrize("seed", range(2))
def test_sampled_runs_get_the_cpus_values_and_errors(seed, gpu):
    structure, tensors = sampled_problem(seed)
    for here, there in zip(*(estimate_with_shares(structure, tensors, gpu=own) for own in (None, gpu)), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-9, atol=1e-12, err_msg=f"seed {seed}")


def test_small_networks_stay_on_the_cpu():
    structure = random_structure(*SHAPES["grid"], np.random.default_rng(20), dims=((2, 2),))
    network = network_of(structure)
    plan = schedule(structure, network)
    here, flops = Arrays(None), plan.cost.flops
    here.smallest_flops = flops
    assert library_for(plan, here) is here and library_for(plan, None) is HERE
    here.smallest_flops = flops + 1
    assert library_for(plan, here) is HERE
