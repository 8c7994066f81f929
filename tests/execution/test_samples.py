"""All shots of a fragment as arrays, against the same shots put together variant by variant."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.cutting import GateCut, WireCut, make_plan
from tasks.execution import samples
from tasks.execution.jobs import fragment_tensor, run_job, sampled_jobs
from tasks.execution.packed_counts import unpack_counts
from tests.oracles import brickwork, random_problem


@pytest.mark.parametrize("halves", [1, 2])
def test_pieces_and_rounds_give_the_same_samples_however_they_are_put_together(halves, monkeypatch):
    rng = np.random.default_rng([3, halves])
    circuit = brickwork(9, 3, rng)
    two = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2]
    wire = WireCut(two[5], circuit.find_bit(circuit.data[two[5]].qubits[1]).index)
    plan = make_plan(random_problem(circuit, rng), cuts=(GateCut(two[2]), wire), shots=10**6)
    shots = [
        [rng.integers(0, 40, size=(halves, cost.variants)) + (number == 0) for cost in plan.costs] for number in (0, 1)
    ]
    jobs = [job for number in (0, 1) for job in sampled_jobs(plan, shots[number], 7, round_index=number)]
    pieces = [part for job in jobs for part in (job.share(5, len(job.variants) - 5), job.share(0, 5))]
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        own = [(job, run_job(job)) for job in pieces if job.fragment is fragment]
        arrays = fragment_tensor(fragment, schemes, own)
        with monkeypatch.context() as patch:
            patch.setattr(samples, "_NUMBER_BITS", 0)
            objects = fragment_tensor(fragment, schemes, own)
        assert arrays.samples is not None and objects.samples is not None
        np.testing.assert_array_equal(arrays.values, objects.values)
        assert arrays.samples.halves == halves and len(arrays.samples.variants) == len(objects.samples.variants)
        for one, other in zip(arrays.samples.variants, objects.samples.variants, strict=True):
            assert (one.settings, one.leg_bits, one.half) == (other.settings, other.leg_bits, other.half)
            np.testing.assert_array_equal(one.factor_masks, other.factor_masks)
            np.testing.assert_array_equal(one.counts.outcomes, other.counts.outcomes)
            np.testing.assert_array_equal(one.counts.counts, other.counts.counts)
        spent = sum(int(own[fragment.index].sum()) for own in shots)
        assert arrays.samples.columns.shots.sum() == spent


def counts_of(arrays):
    return [(c.outcomes.tobytes(), c.counts.tolist(), c.num_bits) for c in unpack_counts(arrays)]


@pytest.mark.parametrize("most", [20, 300])  # on both sides of where a search takes more than a multinomial number
@pytest.mark.parametrize("qubits", [3, 5, 9])
def test_the_counts_of_a_variant_do_not_depend_on_its_company(qubits, most):
    rng = np.random.default_rng([qubits, most])
    circuit = brickwork(qubits, 3, rng)
    two = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2]
    wire = WireCut(two[-1], circuit.find_bit(circuit.data[two[-1]].qubits[1]).index)
    plan = make_plan(random_problem(circuit, rng), cuts=(GateCut(two[0]), wire), shots=10**6)
    shots = [rng.integers(1, most, size=(1, cost.variants)) for cost in plan.costs]
    for job in sampled_jobs(plan, shots, 7):
        count = len(job.variants)
        whole = counts_of(run_job(job))
        for start, end in [(0, count // 2), (count // 2, count), *((k, k + 1) for k in rng.integers(count, size=9))]:
            part = counts_of(run_job(job.share(int(start), int(end - start))))
            assert part == whole[start:end], (job.fragment.index, start, end)
