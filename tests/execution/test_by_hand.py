"""Distributions, draws and counts of small circuits, against state vectors and sums worked out here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Pauli, Statevector

from tasks.cutting import make_plan
from tasks.cutting.variants import enumerate_variants, measurement_groups
from tasks.execution.jobs import fragment_tensor, run_job, sampled_jobs, uniform_shots
from tasks.execution.packed_counts import pack_counts, unpack_counts
from tasks.execution.simulators.as_circuits import counts_from_hex
from tasks.execution.simulators.drawing import draw_counts, pack_outcomes
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.sampled import variant_distributions
from tasks.model.tensor import VariantCounts
from tests.oracles import brickwork, problem_of


def whole_plan(labels: list[str], shots: int | None = 3000):
    circuit = brickwork(3, 3, np.random.default_rng(21))
    return circuit, make_plan(problem_of(circuit, labels, np.eye(len(labels))), cuts=(), shots=shots)


def test_distributions_are_those_of_the_state_in_the_bases_measured() -> None:
    circuit, plan = whole_plan(["XYZ", "ZZY", "YXX"])
    (fragment,), (schemes,) = plan.fragments, plan.schemes
    variants = enumerate_variants(fragment, schemes)
    assert len(variants) == 3
    state = open_state(fragment)
    alone = list(variant_distributions(fragment, schemes, state, variants))
    groups = measurement_groups(fragment)
    for variant, found in zip(variants, alone, strict=True):
        turned = circuit.copy()
        for qubit, basis in enumerate(groups[variant.group].bases):
            assert basis in (1, 2, 3), "X, Y, Z"
            if basis == 2:
                turned.sdg(qubit)
            if basis in (1, 2):
                turned.h(qubit)
        np.testing.assert_allclose(found, Statevector(turned).probabilities(), atol=1e-12)


def test_a_tensor_from_counts_is_the_mean_parity() -> None:
    labels = ["XXI", "ZIZ", "IYY"]
    circuit, plan = whole_plan(labels)
    (job,) = sampled_jobs(plan, uniform_shots(plan, 3000), 4)
    arrays = run_job(job)
    found = fragment_tensor(job.fragment, job.schemes, [(job, arrays)])
    assert found.fragment == job.fragment.index == 0 and found.samples is not None
    groups = measurement_groups(job.fragment)
    wanted = {}
    for variant, counts in zip(job.variants, unpack_counts(arrays), strict=True):
        bases = groups[variant.group].bases
        measured = np.flatnonzero(bases).tolist()
        for factor in range(job.fragment.num_factors):
            x, z = job.fragment.factors_x[factor], job.fragment.factors_z[factor]
            letters = np.where(x & z, 2, np.where(x, 1, np.where(z, 3, 0)))
            if any(letter and letter != basis for letter, basis in zip(letters, bases, strict=True)):
                continue
            total = 0
            for row, count in zip(counts.outcomes[:, 0].tolist(), counts.counts.tolist(), strict=True):
                ones = sum(row >> measured.index(q) & 1 for q in np.flatnonzero(letters).tolist())
                total += count * (-1) ** ones
            seen, shots = wanted.get(factor, (0, 0))
            wanted[factor] = (seen + total, shots + counts.shots)
    assert len(wanted) == found.values.size == 3
    np.testing.assert_allclose(found.values, [wanted[k][0] / wanted[k][1] for k in range(3)], atol=1e-14)
    state = Statevector(circuit)
    exact = sorted(state.expectation_value(Pauli(label)).real for label in labels)
    np.testing.assert_allclose(sorted(found.values), exact, atol=5 / np.sqrt(1000))


@pytest.mark.parametrize(("bits", "shots"), [(3, 500), (17, 400), (17, 1 << 17)])
def test_draws_follow_the_distribution(bits: int, shots: int) -> None:
    """Few shots of many bits are drawn one by one, all others at once."""
    probabilities = np.zeros(1 << bits)
    places = [1, 4, (1 << bits) - 1]
    probabilities[places] = [0.5, 0.2, 0.3]
    probabilities[0] = -1e-18  # rounding
    found = draw_counts(probabilities, shots, np.random.default_rng(6))
    assert (found.num_bits, found.shots) == (bits, shots)
    assert found.outcomes.shape == (3, (bits + 7) // 8)
    index = (found.outcomes.astype(np.int64) << (8 * np.arange(found.outcomes.shape[1]))).sum(axis=1)
    assert index.tolist() == places
    deviation = (found.counts - shots * probabilities[places]) / np.sqrt(shots * 0.25)
    assert np.abs(deviation).max() < 4, "seed 6"


def test_outcomes_and_hexadecimal_counts_are_packed_alike() -> None:
    np.testing.assert_array_equal(pack_outcomes(np.array([1, 258, 511]), 9), [[1, 0], [2, 1], [255, 1]])
    assert pack_outcomes(np.array([0]), 0).shape == (1, 1)
    found = counts_from_hex({"0x1ff": 3, "0x2": 4, "0x001": 1, "0x1": 2}, 9)
    assert found.outcomes.tolist() == [[1, 0], [2, 0], [255, 1]] and found.counts.tolist() == [3, 4, 3]
    assert found.num_bits == 9


def test_packed_counts_come_back() -> None:
    plain = VariantCounts(np.array([[1, 0], [2, 1]], dtype=np.uint8), np.array([3, 4]), 9)
    readings = np.column_stack([np.linspace(1, 2, 2), -np.ones(2)])
    corrected = VariantCounts(np.array([[3]], dtype=np.uint8), np.array([5]), 2, readings)
    weighted = VariantCounts(np.array([[0], [1]], dtype=np.uint8), np.array([6, 7]), 1, None, np.array([2.0, -1.0]))
    for several in ([plain], [plain, corrected], [weighted, plain], [plain, corrected, weighted]):
        arrays = pack_counts(several)
        assert arrays["rows"].tolist() == [len(c.counts) for c in several]
        for before, after in zip(several, unpack_counts(arrays), strict=True):
            np.testing.assert_array_equal(after.outcomes, before.outcomes)
            np.testing.assert_array_equal(after.counts, before.counts)
            assert after.num_bits == before.num_bits
            some = before.readings is not None or any(c.readings is not None for c in several)
            if some:
                expected = np.tile([1.0, -1.0], (before.num_bits, 1)) if before.readings is None else before.readings
                np.testing.assert_array_equal(after.readings if after.readings is not None else expected, expected)
            if before.weights is not None:
                np.testing.assert_array_equal(after.weights, before.weights)


def test_a_part_of_a_job_is_the_same_shots() -> None:
    """A job shared out draws for every variant what the whole job draws for it."""
    _, plan = whole_plan(["XYZ", "ZZY", "YXX"], shots=900)
    (job,) = sampled_jobs(plan, uniform_shots(plan, 900), 4)
    everything = unpack_counts(run_job(job))
    for first, count in ((0, 1), (1, 2), (2, 1)):
        part = job.share(first, count)
        assert (part.shots, part.variants) == (job.shots[first : first + count], job.variants[first : first + count])
        for own, whole in zip(unpack_counts(run_job(part)), everything[first : first + count], strict=True):
            np.testing.assert_array_equal(own.outcomes, whole.outcomes)
            np.testing.assert_array_equal(own.counts, whole.counts)
    assert replace(job, seed=5).streams != job.streams


def test_an_exact_job_is_the_expectation_of_every_factor() -> None:
    labels = ["XXI", "ZIZ", "IYY"]
    circuit, plan = whole_plan(labels)
    (job,) = sampled_jobs(plan, uniform_shots(plan, 3000), 4)
    exact = job.as_exact()
    values = fragment_tensor(exact.fragment, job.schemes, [(exact, run_job(exact))])
    assert values.samples is None
    state = Statevector(circuit)
    expected = sorted(state.expectation_value(Pauli(label)).real for label in labels)
    np.testing.assert_allclose(sorted(values.values), expected, atol=1e-12)


def test_a_bell_pair_has_only_equal_bits() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    plan = make_plan(problem_of(circuit, ["ZZ", "XX", "YY"], np.eye(3)), cuts=(), shots=300)
    (job,) = sampled_jobs(plan, uniform_shots(plan, 300), 1)
    tensor = fragment_tensor(job.fragment, job.schemes, [(job, run_job(job))])
    assert sorted(tensor.values.tolist()) == [-1.0, 1.0, 1.0]
