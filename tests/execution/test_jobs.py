"""Jobs: what names them, which random numbers they draw, and the exact tensors that they return."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Pauli, Statevector

from scheduler_policies import Device, Kind
from scheduler_policies.device import DeviceLimits, Price
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cutting import GateCut, make_plan, structure_of
from tasks.cutting.variants import VariantBuilder, enumerate_variants
from tasks.execution import on_device
from tasks.execution.device_results import ExecutionOptions
from tasks.execution.jobs import (
    count_measuring,
    fragment_tensor,
    measuring,
    run_job,
    sampled_jobs,
    uniform_shots,
)
from tasks.execution.packed_counts import unpack_counts
from tasks.execution.simulators import gram, passes
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.model.streams import random_stream, simulator_seed
from tasks.prediction import ShotVariances, predicted_spending, shot_variances
from tasks.reconstruction import contract
from tasks.reconstruction.statistics.allocation import FIRST_SHOTS
from tasks.runtime import cores
from tests.oracles import brickwork, problem_of, random_problem, uncut_values


def two_parts(angle: float = 0.0):
    """A plan of two fragments; ``angle`` is added in the second one only."""
    circuit = brickwork(4, 2, np.random.default_rng(8))
    circuit.rx(angle, 3)
    problem = problem_of(circuit, ["ZIIZ", "XIZI", "IYII"], np.ones((1, 3)))
    gates = [i for i, item in enumerate(circuit.data) if [circuit.find_bit(q).index for q in item.qubits] == [1, 2]]
    return make_plan(problem, cuts=tuple(map(GateCut, gates)), shots=10_000)


def jobs_of(plan, seed: int = 0, round_index: int = 0):
    return sampled_jobs(
        plan, uniform_shots(plan, 200 * sum(c.variants for c in plan.costs)), seed, round_index=round_index
    )


def test_every_sample_has_a_stream_of_its_own() -> None:
    """Another seed, round, circuit, fragment, setting or measurement group: other random numbers."""
    plan, other = two_parts(), two_parts(0.05)
    samples = [jobs_of(plan), jobs_of(plan, seed=1), jobs_of(plan, round_index=1), jobs_of(other)]
    samples += [jobs_of(plan, seed=2**32), jobs_of(plan, seed=2**32, round_index=1), jobs_of(plan, seed=2**32 + 1)]
    names = [name for jobs in samples for job in jobs for name in job.streams]
    assert len({v.group for job in samples[0] for v in job.variants}) > 1
    assert len(set(names)) == len(names)
    assert len({simulator_seed(name) for name in names}) == len(names)
    first = [random_stream(name).random() for name in names]
    assert len(set(first)) == len(first)
    assert jobs_of(plan)[0].streams == samples[0][0].streams


def test_neighbouring_circuits_and_rounds_have_uncorrelated_errors() -> None:
    """At the same seed, in the fragment that did not change too."""
    means = []
    for angle, seed, number in ((0.0, 0, 0), (0.05, 0, 0), (0.0, 2**32, 0), (0.0, 0, 1), (0.0, 1, 0)):
        plan = two_parts(angle)
        found = []
        for job in jobs_of(plan, seed, number):
            for counts in unpack_counts(run_job(job)):
                bits = np.unpackbits(counts.outcomes, axis=1, count=counts.num_bits, bitorder="little")
                found += (counts.counts @ bits / counts.shots).tolist()
        means.append(found)
    spread = np.array(means) - np.mean(means, axis=0)
    live = spread.std(axis=0) > 0
    assert live.sum() > 20
    scaled = spread[:, live] / spread[:, live].std(axis=0)
    for a, b in combinations(range(len(scaled)), 2):
        correlation = np.mean(scaled[a] * scaled[b])  # of five samples about their own mean: -1/4 if independent
        assert abs(correlation + 0.25) < 0.6, (a, b, correlation)


def test_whatever_changes_the_result_changes_the_name_of_a_job() -> None:
    plan = two_parts()
    job = jobs_of(plan)[0]
    fragment = job.fragment
    other = fragment.circuit.copy()
    other.rz(1e-9, 0)
    legs = tuple(replace(leg, position=leg.position + 1) for leg in fragment.legs)
    changed = [
        job,
        replace(job, shots=(job.shots[0] + 1, *job.shots[1:])),
        replace(job, seed=5),
        replace(job, round_index=1),
        replace(job, circuit="another"),
        replace(job, schemes=("full",) * len(job.schemes) if "minimal" in job.schemes else ("minimal",)),
        replace(job, variants=job.variants[::-1]),
        replace(job, fragment=replace(fragment, circuit=other)),
        replace(job, fragment=replace(fragment, legs=legs)),
        replace(job, fragment=replace(fragment, factors_x=~fragment.factors_x)),
        replace(job, fragment=replace(fragment, factors_z=~fragment.factors_z)),
        job.share(0, 3),
        job.share(1, 3),
        job.as_exact(),
    ]
    digests = [one.digest for one in changed]
    assert len(set(digests)) == len(digests)
    assert jobs_of(two_parts())[0].digest == job.digest
    assert replace(job, seed=7).as_exact().digest == job.as_exact().digest, "an exact tensor has no seed"


def test_a_tensor_does_not_depend_on_how_its_rounds_were_shared_out() -> None:
    plan = two_parts()
    rng = np.random.default_rng(4)
    results, whole = [], []
    for number, each in enumerate((60, 35)):
        shots = [np.full((2, c.variants), each) for c in plan.costs]
        job = sampled_jobs(plan, shots, 3, round_index=number)[0]
        whole.append((job, run_job(job)))
        cut = int(rng.integers(1, len(job.variants)))
        parts = [job.share(cut, len(job.variants) - cut), job.share(0, cut)]
        results += [(part, run_job(part)) for part in parts]
    together = fragment_tensor(job.fragment, job.schemes, whole)
    apart = fragment_tensor(job.fragment, job.schemes, results[::-1])
    np.testing.assert_array_equal(apart.values, together.values, err_msg="seed 4")
    assert {variant.half for variant in together.samples.variants} == {0, 1}
    assert sum(variant.counts.shots for variant in together.samples.variants) == 2 * 95 * len(job.variants)


@pytest.mark.parametrize("part, work", [(1 << 15, 14), (1, 0), (8, 2)])
def test_every_pauli_of_a_fragment(part: int, work: int, monkeypatch) -> None:
    """All 256 Paulis on four qubits, by blocks of one row, of some and of all."""
    monkeypatch.setattr(gram, "PART", part)
    monkeypatch.setattr(gram, "GRAM_PRODUCTS", part)
    monkeypatch.setattr(passes, "_WORK", work)
    monkeypatch.setattr(passes, "_WORTH", 32 if work else 1 << 20)
    circuit = brickwork(4, 3, np.random.default_rng(9))
    labels = ["".join(p) for p in product("IXYZ", repeat=4)]
    problem = problem_of(circuit, labels, np.ones((1, 256)))
    plan = make_plan(problem, cuts=(), shots=None)
    (fragment,) = plan.fragments
    found = exact_tensor(fragment, open_state(fragment))
    state = Statevector(circuit)
    for label, value in zip(_labels(fragment), found, strict=True):
        assert value == pytest.approx(state.expectation_value(Pauli(label)).real, abs=1e-12), label


@pytest.mark.parametrize("seed", range(3))
def test_paulis_with_open_legs_do_not_depend_on_their_company(seed: int, monkeypatch) -> None:
    """Each factor alone, one product over all rows, and all of them in blocks of several sizes."""
    rng = np.random.default_rng([10, seed])
    problem = random_problem(brickwork(7, 4, rng, gate=["cz", "swap", "rzz"][seed]), rng, terms=150)
    plan = make_plan(problem, max_qubits=5)
    for fragment in plan.fragments:
        alone = [
            exact_tensor(replace(fragment, factors_x=x[None], factors_z=z[None]), open_state(fragment))
            for x, z in zip(fragment.factors_x, fragment.factors_z, strict=True)
        ]
        for part, work in ((1 << 15, 14), (16, 2), (1 << 15, 0)):
            monkeypatch.setattr(gram, "PART", part)
            monkeypatch.setattr(gram, "GRAM_PRODUCTS", part)
            monkeypatch.setattr(passes, "_WORK", work)
            np.testing.assert_allclose(
                exact_tensor(fragment, open_state(fragment)),
                np.concatenate(alone, axis=-1),
                atol=1e-12,
                err_msg=f"seed {seed}",
            )


def _labels(fragment) -> list[str]:
    letters = np.where(
        fragment.factors_x & fragment.factors_z,
        "Y",
        np.where(fragment.factors_x, "X", np.where(fragment.factors_z, "Z", "I")),
    )
    return ["".join(reversed(row)) for row in letters.tolist()]


def test_a_circuit_without_measured_bits_takes_its_shots() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    problem = problem_of(circuit, ["II"], np.ones((1, 1)))
    plan = make_plan(problem, cuts=(), shots=100)
    for job in sampled_jobs(plan, uniform_shots(plan, 100), 0):
        assert sum(c.shots for c in unpack_counts(run_job(job))) == sum(job.shots)


def asked_nothing_between(scheme: str = ""):
    """A plan of three fragments; the one in the middle is asked nothing, two gates join it to the others."""
    circuit = QuantumCircuit(4)
    circuit.ry(0.9, range(4))
    circuit.cz(0, 1)
    circuit.cx(1, 2)
    circuit.ry(0.5, 2)
    circuit.cz(2, 3)
    circuit.ry(0.3, [0, 3])
    problem = problem_of(circuit, ["IIIZ", "ZIIZ", "XIII"], np.eye(3))
    cuts = tuple(GateCut(i, scheme) for i, item in enumerate(circuit.data) if item.name == "cz")
    return problem, make_plan(problem, cuts=cuts, shots=10_000)


@pytest.mark.parametrize("kind", ["", "hadamard"])
def test_shots_are_of_variants_that_measure(kind) -> None:
    """The others' one shot says all: as many bits as their circuits have tell which they are."""
    _, plan = asked_nothing_between(kind)
    read = []
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        builder = VariantBuilder(fragment, schemes)
        read.append([builder.circuit(one).num_clbits > 0 for one in enumerate_variants(fragment, schemes)])
        assert measuring(fragment, schemes).tolist() == read[-1]
        assert count_measuring(fragment, schemes) == sum(read[-1])
    variants, silent = sum(map(len, read)), sum(own.count(False) for own in read)
    for halves in (1, 2):
        shots = uniform_shots(plan, 10_000, halves=halves)
        assert sum(int(own.sum()) for own in shots) == 10_000
        taken = np.concatenate([own.reshape(halves, -1) for own in shots], axis=1)
        of_silent = taken[:, ~np.concatenate(read)]
        assert of_silent.size == halves * silent and (of_silent == 1).all()
        assert np.ptp(taken[:, np.concatenate(read)]) <= 1
    few = np.concatenate(uniform_shots(plan, variants - 1), axis=1)
    assert few.sum() == variants - 1 and few.max() == 1
    assert (silent > 0) == (kind == "")
    for limit, jobs in ((variants - silent, 1), (variants - silent - 1, 2)):
        qpu = Device("QPU", Kind.QPU, qubits=9, price=Price(per_job=1.0), limits=DeviceLimits(circuits_per_job=limit))
        assert predicted_spending(plan, (qpu,), 10 * variants).price == jobs, "no job runs the others"
    qpu = replace(qpu, price=Price(per_shot=1.0))
    for target, halves, each in ((False, 1, 50), (True, 2, FIRST_SHOTS)):
        price = predicted_spending(plan, (qpu,), 50 * variants, target=target).price
        assert price == pytest.approx(each * variants - halves * silent), "nobody pays their shots"
    measures = np.concatenate(read)
    worth = ShotVariances(measures[:, None] * 1.0, np.zeros(variants), measures)
    second = worth.taken(1e6, 1e5).sum()
    assert second == pytest.approx(1e6 / (1 + 1e-3 * silent / measures.sum())), "nor those of a second round"


def test_estimates_have_the_errors_that_shots_of_variants_that_measure_give() -> None:
    problem, plan = asked_nothing_between()
    known, structure, found = shot_variances(problem, plan), structure_of(problem, plan), []
    for seed in range(60):
        pieces = zip(plan.fragments, plan.schemes, sampled_jobs(plan, uniform_shots(plan, 2000), seed), strict=True)
        found.append(contract(structure, [fragment_tensor(f, s, [(job, run_job(job))]) for f, s, job in pieces]))
    spread, even = np.std(found, axis=0), known.even_errors(2000 / known.measuring.sum())
    assert spread == pytest.approx(even, rel=0.3)
    assert known.std_errors(2000) == pytest.approx(even, rel=1e-6), "one round"
    assert np.mean(found, axis=0) == pytest.approx(uncut_values(problem), abs=0.5 * even.max())


def test_threads_change_no_bit(monkeypatch, tmp_path) -> None:
    """A state large enough to be shared out, with legs, and its Gram matrices."""
    monkeypatch.setattr(cores, "usable_cores", lambda: 4)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    circuit = brickwork(18, 3, np.random.default_rng(12))
    problem = problem_of(circuit, ["Z" * 18, "X" * 17 + "I", "IY" * 9], np.ones((1, 3)))
    first = next(i for i, item in enumerate(circuit.data) if len(item.qubits) == 2)
    plan = make_plan(problem, cuts=(GateCut(first),))
    fragment = max(plan.fragments, key=lambda f: f.num_qubits)
    one, four = (open_state(fragment, threads=threads) for threads in (1, 4))
    assert one.amplitudes.size >= 1 << 17
    np.testing.assert_array_equal(one.amplitudes, four.amplitudes)
    np.testing.assert_array_equal(exact_tensor(fragment, one), exact_tensor(fragment, four, threads=4))


@pytest.mark.parametrize("of_device, of_run, expected", [(None, None, None), (5, None, 5), (None, 7, 7), (5, 7, 5)])
def test_a_simulator_draws_within_the_memory_of_its_device_and_of_the_run(of_device, of_run, expected, monkeypatch):
    asked = []
    run = on_device.run_job

    def noted(job, *, memory_bytes=None, **more):
        asked.append(memory_bytes)
        return run(job, **more)

    monkeypatch.setattr(on_device, "run_job", noted)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    plan = make_plan(problem_of(circuit, ["ZZ"], np.ones((1, 1))), shots=100)
    jobs = sampled_jobs(plan, uniform_shots(plan, 100), 0)
    device = replace(TYPICAL_CPU, memory_bytes=of_device)
    on_device.run_on_device(jobs, device, ExecutionOptions(memory_bytes=of_run))
    assert set(asked) == {expected}


def test_variants_run_one_by_one_where_memory_holds_no_open_state() -> None:
    plan = two_parts(0.4)
    job = sampled_jobs(plan, uniform_shots(plan, 20_000 * sum(c.variants for c in plan.costs)), 0)[0]
    together, single = (unpack_counts(run_job(job, memory_bytes=memory)) for memory in (None, 1))
    for one, other in zip(together, single, strict=True):
        assert one.shots == other.shots and one.num_bits == other.num_bits
    seen = fragment_tensor(plan.fragments[0], plan.schemes[0], [(job, run_job(job, memory_bytes=1))])
    exact = exact_tensor(plan.fragments[0], open_state(plan.fragments[0]))
    np.testing.assert_allclose(seen.values, exact, atol=0.1)
