"""Variants looked at together give what each gives alone: sums, variances, and which variant each belongs to."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.cutting import GateCut, WireCut, make_plan, structure_of
from tasks.execution.jobs import fragment_tensor, run_job, sampled_jobs
from tasks.reconstruction import estimate_values
from tasks.reconstruction.statistics import walsh as room
from tasks.reconstruction.statistics.influences import influences
from tests.oracles import brickwork, random_problem


def sampled_problem(seed):
    """Gate and wire legs, several groups that determine common factors, shots that differ by variant."""
    rng = np.random.default_rng([41, seed])
    circuit = brickwork(5, 3, rng, gate=["cz", "rzz", "swap"][seed % 3])
    problem = random_problem(circuit, rng, terms=9)
    two = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2]
    wire = two[-1]
    cuts = (GateCut(two[2]), WireCut(wire, circuit.find_bit(circuit.data[wire].qubits[0]).index))
    plan = make_plan(problem, cuts=cuts, shots=10**7)
    shots = [rng.integers(1, 300, c.variants).tolist() for c in plan.costs]
    tensors = [
        fragment_tensor(job.fragment, job.schemes, [(job, run_job(job))]) for job in sampled_jobs(plan, shots, seed)
    ]
    return structure_of(problem, plan), tensors


@pytest.mark.parametrize("seed", range(3))
def test_batches_give_what_their_variants_give_alone(seed, monkeypatch):
    structure, together = sampled_problem(seed)
    sizes = [len(b.members) for t in together for b in room.variant_batches(t.samples)[0]]
    assert max(sizes) > 4, "nothing was looked at together"
    values, errors = estimate_values(structure, together)
    (worth,) = influences(structure, together)
    monkeypatch.setattr(room, "MOST_BITS", -1)
    structure, alone = sampled_problem(seed)
    assert all(not room.variant_batches(t.samples)[0] for t in alone)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.values, b.values, atol=1e-12, err_msg=f"seed {seed}")
    values_alone, errors_alone = estimate_values(structure, alone)
    np.testing.assert_allclose(values, values_alone, atol=1e-11, err_msg=f"seed {seed}")
    np.testing.assert_allclose(errors, errors_alone, rtol=1e-9, err_msg=f"seed {seed}")
    (other,) = influences(structure, alone)
    np.testing.assert_allclose(worth.each.seen, other.each.seen, rtol=1e-8, atol=1e-15)


def test_a_walsh_spectrum_is_the_sum_of_signs():
    rng = np.random.default_rng(6)
    for bits in range(6):
        array = rng.normal(size=(3, 1 << bits))
        index = np.arange(1 << bits)
        parity = np.array([[(int(a) & int(b)).bit_count() & 1 for b in index] for a in index])
        np.testing.assert_allclose(room.walsh(array), array @ (1 - 2 * parity), atol=1e-12)
