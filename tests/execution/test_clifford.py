"""Clifford and nearly Clifford fragments, tensors and counts, against the state vector and against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Pauli, StabilizerState

from tasks.cutting import GateCut, WireCut, make_plan
from tasks.cutting.pauli_program import is_clifford, pauli_program
from tasks.cutting.seconds import stabiliser_seconds
from tasks.cutting.variants import enumerate_variants
from tasks.execution.jobs import run_job, sampled_jobs, uniform_shots
from tasks.execution.packed_counts import unpack_counts
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.pauli_tensor import pauli_tensor
from tasks.execution.simulators.sampled import variant_distributions
from tasks.execution.simulators.stabiliser import coins_of
from tasks.inputs.validation import make_problem
from tasks.workflow import estimate
from tests.oracles import problem_of

TWO = ["cz", "cx", "cy", "swap", "iswap", "ecr", "dcx"]
ONE = ["h", "s", "sdg", "sx", "x", "y", "z", "sxdg"]


def cut_circuit(seed, qubits=5, gates=8, others=0):
    """Random Clifford gates, ``others`` of them followed by a rotation; gates and wires are severed."""
    rng = np.random.default_rng([seed, 77])
    circuit = QuantumCircuit(qubits)
    turned = set(rng.choice(gates, others, replace=False).tolist())
    for number in range(gates):
        a, b = rng.choice(qubits, 2, replace=False).tolist()
        getattr(circuit, rng.choice(ONE))(a)
        getattr(circuit, rng.choice(ONE))(b)
        if number in turned:
            circuit.u(*rng.uniform(0, 3, 3), a)
            circuit.rzz(float(rng.uniform(0, 3)), a, b)
        getattr(circuit, rng.choice(TWO))(a, b)
    two = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2]
    kinds = rng.choice(["", "hadamard"], 2)
    cuts = [GateCut(int(i), str(k)) for i, k in zip(rng.choice(two, 2, replace=False), kinds, strict=True)]
    for i in rng.choice(two[gates // 3 :], 1, replace=False).tolist():
        qubit = circuit.find_bit(circuit.data[i].qubits[int(rng.integers(2))]).index
        if any(circuit.qubits[qubit] in circuit.data[k].qubits for k in range(i)):
            cuts.append(WireCut(i, qubit))
    labels = ["".join(rng.choice(list("IXYZ"), qubits)) for _ in range(6)] + ["Z" * qubits]
    return problem_of(circuit, sorted(set(labels)), np.ones((1, len(set(labels))))), tuple(cuts)


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("seed", range(8))
def test_it_gives_the_tensor_of_the_state_vector(seed, others):
    problem, cuts = cut_circuit(seed, others=others)
    for fragment in make_plan(problem, cuts=cuts).fragments:
        program = pauli_program(fragment)
        if program is not None:
            assert program.clifford == is_clifford(fragment)
            expected = exact_tensor(fragment, open_state(fragment))
            found = pauli_tensor(fragment, program)
            np.testing.assert_allclose(found, expected, atol=1e-11, err_msg=f"seed {seed}")
            if program.clifford:
                np.testing.assert_allclose(found, found.round(), atol=1e-11)


@pytest.mark.parametrize("seed", range(8))
def test_variants_have_the_distributions_of_the_state_vector(seed):
    problem, cuts = cut_circuit(seed, gates=7)
    plan = make_plan(problem, cuts=cuts, shots=10**9)
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        assert is_clifford(fragment)
        variants = enumerate_variants(fragment, schemes)[:: 1 + plan.costs[fragment.index].variants // 60]
        check_distributions(fragment, schemes, variants, f"seed {seed}")


def check_distributions(fragment, schemes, variants, said=""):
    laws = variant_distributions(fragment, schemes, open_state(fragment), variants)
    for law, coins in zip(laws, coins_of(fragment, schemes, variants), strict=True):
        number = coins.follows.shape[1]
        drawn = (np.arange(1 << number)[:, None] >> np.arange(number)) & 1
        bits = (drawn @ coins.follows.T & 1) ^ coins.fixed
        found = np.bincount(bits @ (1 << np.arange(bits.shape[1])), minlength=len(law)) / len(drawn)
        np.testing.assert_allclose(found, law, atol=1e-12, err_msg=said)


def wide(half, seed=5, turned=0):
    """Two halves of random Clifford gates all over, joined by two gates that are severed, and a few rotations."""
    rng = np.random.default_rng([seed, half])
    circuit, severed = QuantumCircuit(2 * half), []
    for layer in range(5):
        for q in range(2 * half):
            getattr(circuit, rng.choice(ONE))(q)
        for first in (0, half):
            order = (rng.permutation(half) + first).tolist()
            for a, b in zip(order[::2], order[1::2], strict=False):
                circuit.cz(a, b)
        for _ in range(turned if layer == 2 else 0):
            circuit.rx(0.6, int(rng.integers(2 * half)))
        if layer in (1, 3):
            severed.append(GateCut(len(circuit.data)))
            circuit.cx(int(rng.integers(half)), half + int(rng.integers(half)))
    return circuit, tuple(severed)


def stabilisers(circuit, number):
    """Labels of Paulis whose value is 1 or -1, and their values."""
    state = StabilizerState(circuit)
    rows = state.clifford.to_labels(mode="S")[:number]
    return [row[1:] for row in rows], [state.expectation_value(Pauli(row[1:])) for row in rows]


def test_hundreds_of_qubits_are_nothing():
    """Two fragments of 100 qubits, of which nothing else would hold the state, exactly and by shots."""
    circuit, cuts = wide(100)
    labels, values = stabilisers(circuit, 4)
    asked = [*labels, "Z0 Z1 Z150"]
    exact = estimate(circuit, asked, cuts=cuts, cache="off")
    assert [one.value for one in exact[:4]] == pytest.approx(values, abs=1e-9)
    assert exact[4].value == pytest.approx(StabilizerState(circuit).expectation_value(Pauli("ZZZ"), [0, 1, 150]))
    sampled = estimate(circuit, labels[:1], cuts=cuts, shots=20_000, seed=3, cache="off")
    assert abs(sampled[0].value - values[0]) < 5 * sampled[0].std_error + 0.02


def test_a_clifford_circuit_needs_no_cut_whatever_is_asked_of_it():
    circuit, _ = wide(60)
    (label,), (value,) = stabilisers(circuit, 1)
    for shots in (None, 4000):
        plan = make_plan(make_problem(circuit, [label]), shots=shots)
        assert not plan.cuts and max(cost.exact_bytes for cost in plan.costs) < 1 << 25
        (found,) = estimate(circuit, [label], shots=shots, cache="off", memory_bytes=1 << 28)
        assert found.value == pytest.approx(value, abs=1e-9)


def test_a_few_other_gates_are_no_hindrance():
    """Eight rotations on 60 qubits: the halves' Paulis, against the whole circuit's and against a small copy."""
    circuit, cuts = wide(30, turned=8)
    asked = ["Z0", "X3 Z7", "Z31 Z40", "Y2 Y44"]
    pieces, whole = (estimate(circuit, asked, cache="off", **given) for given in ({"cuts": cuts}, {}))
    assert [one.value for one in pieces] == pytest.approx([one.value for one in whole], abs=1e-9)
    small, severed = wide(8, turned=8)
    for fragment in make_plan(make_problem(small, ["Z" * 16, "Z0", "X3 Z9"]), cuts=severed).fragments:
        np.testing.assert_allclose(
            pauli_tensor(fragment, pauli_program(fragment)), exact_tensor(fragment, open_state(fragment)), atol=1e-11
        )


@pytest.mark.parametrize("at_once", [1, 5, 40])
def test_factors_that_wait_while_others_are_followed_lose_nothing(at_once, monkeypatch):
    monkeypatch.setattr("tasks.execution.simulators.pauli_tensor.ROWS_AT_ONCE", at_once)
    small, severed = wide(8, turned=8)
    for fragment in make_plan(make_problem(small, ["Z" * 16, "Z0", "X3 Z9", "Y2 Z5", "X1"]), cuts=severed).fragments:
        found = pauli_tensor(fragment, pauli_program(fragment))
        np.testing.assert_allclose(found, exact_tensor(fragment, open_state(fragment)), atol=1e-11)


def test_a_deep_circuit_of_rotations_is_no_sum_of_paulis():
    rng, circuit = np.random.default_rng(1), QuantumCircuit(30)
    for layer in range(12):
        for q in range(30):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for q in range(layer % 2, 29, 2):
            circuit.cz(q, q + 1)
    assert pauli_program(make_plan(make_problem(circuit, ["Z" * 30]), cuts=()).fragments[0]) is None


def test_counts_do_not_depend_on_how_variants_are_shared_out():
    circuit, cuts = wide(20)
    plan = make_plan(make_problem(circuit, ["Z" * 40]), cuts=cuts, shots=10**6)
    job = sampled_jobs(plan, uniform_shots(plan, 5000), 7)[0]
    assert stabiliser_seconds(job.fragment, len(job.variants))
    whole = unpack_counts(run_job(job))
    parts = [c for first in range(0, len(job.variants), 7) for c in unpack_counts(
        run_job(job.share(first, min(7, len(job.variants) - first))))]  # fmt: skip
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one.outcomes, other.outcomes) and np.array_equal(one.counts, other.counts)
        assert one.num_bits == other.num_bits


def test_copies_are_followed_too():
    """One cut for several gates from one qubit: its copy is a qubit that ends as an outgoing wire."""
    circuit = QuantumCircuit(6)
    circuit.h(range(6))
    for target in (3, 4, 1, 5):
        circuit.cz(2, target)
        circuit.s(target)
    circuit.cx(3, 4)
    circuit.h(range(6))
    problem = problem_of(circuit, ["XZZXZX", "ZIIZIZ", "YXIIXZ"], np.eye(3))
    plan = make_plan(problem, cuts=(GateCut(6, joined=(8, 12)),), shots=10**6)
    assert any(leg.kind.copies for fragment in plan.fragments for leg in fragment.legs)
    for fragment, schemes in zip(plan.fragments, plan.schemes, strict=True):
        found = pauli_tensor(fragment, pauli_program(fragment))
        np.testing.assert_allclose(found, exact_tensor(fragment, open_state(fragment)), atol=1e-11)
        check_distributions(fragment, schemes, enumerate_variants(fragment, schemes))
