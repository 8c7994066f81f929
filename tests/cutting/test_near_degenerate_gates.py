"""Gates near a special point of the Weyl chamber, or of huge angles: their forms give them back, their cuts agree."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import library
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import random_unitary

from tasks.cutting import CuttingError, GateCut, make_plan, structure_of
from tasks.cutting.schmidt import PAULIS, find_form, schmidt_form
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job, sampled_jobs, uniform_shots
from tasks.reconstruction import estimate_values
from tests.oracles import problem_of, random_problem, uncut_values

SPECIAL = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1), (0.6, 0.6, 0), (0.6, 0.6, 0.6), (0.3, 0, 0), (1, 0.2, 0.2)]
ONE_ANGLE = {
    "rzz": lambda t: library.RZZGate(t),
    "rxx": lambda t: library.RXXGate(t),
    "ryy": lambda t: library.RYYGate(t),
    "rzx": lambda t: library.RZXGate(t),
    "cp": lambda t: library.CPhaseGate(t),
    "crx": lambda t: library.CRXGate(t),
    "cry": lambda t: library.CRYGate(t),
    "crz": lambda t: library.CRZGate(t),
    "cu": lambda t: library.CUGate(t, 2 * t, 0.3, -t),
    "cu1": lambda t: library.CU1Gate(t),
    "cu3": lambda t: library.CU3Gate(t, -0.4, t),
}
TWO_ANGLES = {
    "xx_plus_yy": lambda t: library.XXPlusYYGate(t, 0.3),
    "xx_minus_yy": lambda t: library.XXMinusYYGate(t, -2.0),
}
NEAR = [0.0, 2e-16, 1e-12, 2e-9, 1e-8, 1e-6, 2e-5, 8e-5, 1.6e-4]
ANGLES = [
    *(base + sign * d for base in (0, np.pi / 2, np.pi, 2 * np.pi, 4 * np.pi) for d in NEAR for sign in (1, -1)),
    *(1e4, -13139.08600390649, 444914.53905314027, 1e5 * np.pi),
]


def canonical(angles):
    """exp(i (a XX + b YY + c ZZ))."""
    core = np.eye(4, dtype=complex)
    for angle, pauli in zip(angles, PAULIS[1:], strict=True):
        core = core @ (np.cos(angle) * np.eye(4) + 1j * np.sin(angle) * np.kron(pauli, pauli))
    return core


def near_degenerate(rng):
    """A gate whose Weyl angles are within 1e-16 to 1e-3 of a special point, between random one-qubit gates or none."""
    shift = 10 ** rng.uniform(-16, -3, 3) * rng.choice([-1, 0, 1], 3)
    unitary = canonical(np.pi / 4 * np.array(SPECIAL[rng.integers(len(SPECIAL))]) + shift)
    if rng.random() < 0.7:
        outer = [np.kron(random_unitary(2, seed=rng).data, random_unitary(2, seed=rng).data) for _ in range(2)]
        unitary = outer[0] @ unitary @ outer[1]
    return unitary


@pytest.mark.parametrize("count", [300, pytest.param(6000, marks=pytest.mark.slow)])
def test_gates_whose_weyl_angles_nearly_coincide_are_reproduced(count):
    rng = np.random.default_rng(count)
    for number in range(count):
        unitary = near_degenerate(rng)
        form = schmidt_form(UnitaryGate(unitary), f"gate {number} of seed {count}")
        np.testing.assert_allclose(form.rebuilt(), unitary, rtol=0, atol=1e-9, err_msg=f"gate {number}, seed {count}")


@pytest.mark.parametrize("name", ONE_ANGLE)
def test_standard_gates_of_one_angle_have_rank_2_at_any_angle(name):
    for t in ANGLES:
        gate = ONE_ANGLE[name](t)
        form = schmidt_form(gate)
        assert form.rank == 2, f"{name}({t!r})"
        np.testing.assert_allclose(form.rebuilt(), gate.to_matrix(), rtol=0, atol=1e-9, err_msg=f"{name}({t!r})")


@pytest.mark.parametrize("name", ["rzz", "rxx", "ryy", "rzx"])
def test_their_kappa_is_1_plus_twice_the_sine_to_the_last_digit(name):
    for t in ANGLES:
        assert schmidt_form(ONE_ANGLE[name](t)).kappa() == pytest.approx(
            1 + 2 * abs(np.sin(t)), abs=2e-15 * (1 + abs(t))
        ), t
    for t in (1e-12, 2e-9, 1e-5):  # a small angle's coefficient keeps its digits
        assert abs(schmidt_form(ONE_ANGLE[name](t)).coefficients[1]) == pytest.approx(np.sin(t / 2), rel=1e-6)


@pytest.mark.parametrize("name", TWO_ANGLES)
def test_two_angle_gates_are_reproduced_at_any_angle(name):
    for t in ANGLES:
        gate = TWO_ANGLES[name](t)
        np.testing.assert_allclose(schmidt_form(gate).rebuilt(), gate.to_matrix(), rtol=0, atol=1e-9, err_msg=repr(t))


@pytest.mark.parametrize("control", [0, 1])
@pytest.mark.parametrize("axis", "XYZ")
@pytest.mark.parametrize("hand", [1, -1])
def test_any_one_qubit_unitary_under_control_of_any_axis_has_rank_2(axis, control, hand):
    """Blocks on either qubit, along every axis, with the controlled rotation about either side of the sphere."""
    rng = np.random.default_rng([ord(axis), control, hand + 1])
    pauli = PAULIS["IXYZ".index(axis)]
    one = random_unitary(2, seed=rng).data
    cases = [PAULIS[3], -PAULIS[3], np.diag([np.exp(-0.3j * hand), np.exp(0.3j * hand)]), np.eye(2), -1j * np.eye(2)]
    for other in [*cases, random_unitary(2, seed=rng).data]:
        plus, minus = (np.eye(2) + pauli) / 2, (np.eye(2) - pauli) / 2
        parts = [(plus, one), (minus, one @ other)]
        unitary = sum(np.kron(b, a) if control == 0 else np.kron(a, b) for a, b in parts)
        form = schmidt_form(UnitaryGate(unitary))
        assert form.rank == 2
        np.testing.assert_allclose(form.rebuilt(), unitary, rtol=0, atol=1e-12)


def test_single_precision_unitaries_are_cut_to_single_precision():
    rng = np.random.default_rng(7)
    for number in range(60):
        exact = random_unitary(4, seed=rng).data if number % 3 else near_degenerate(rng)
        given = exact.astype(np.complex64)
        form = find_form(UnitaryGate(given, check_input=False))
        assert form is not None, f"gate {number}, seed 7"
        np.testing.assert_allclose(form.rebuilt(), given, rtol=0, atol=1e-6)
        # Its own parts are unitary to double precision, so no norm is lost in a circuit.
        rebuilt = form.rebuilt()
        np.testing.assert_allclose(rebuilt.conj().T @ rebuilt, np.eye(4), atol=1e-12)


def test_a_rounded_gate_of_one_angle_keeps_its_rank():
    rng = np.random.default_rng(8)
    for _ in range(20):
        outer = [np.kron(random_unitary(2, seed=rng).data, random_unitary(2, seed=rng).data) for _ in range(2)]
        unitary = outer[0] @ np.asarray(library.RZZGate(rng.uniform(0.1, 3)).to_matrix()) @ outer[1]
        for given in (unitary, unitary.astype(np.complex64)):
            assert find_form(UnitaryGate(given, check_input=False)).rank == 2


@pytest.mark.parametrize(
    "matrix", [np.diag([1, 1, 1, 1 + 3e-6]), np.full((4, 4), np.nan), np.diag([1, 1, 1, 0])], ids=["near", "nan", "no"]
)
def test_a_matrix_that_is_not_unitary_has_no_form_and_says_so(matrix):
    gate = UnitaryGate(matrix, check_input=False)
    assert find_form(gate) is None
    with pytest.raises(CuttingError, match=r"^instruction 5 cannot be cut: .*; cut another gate$"):
        schmidt_form(gate, "instruction 5")


def around(gate, rng):
    """The gate in the middle of four qubits, between others, and random observables."""
    circuit = QuantumCircuit(4)
    for layer in range(2):
        for q in range(4):
            circuit.u(*rng.uniform(0, np.pi, 3), q)
        circuit.cx(0, 1)
        circuit.cz(2, 3)
        if layer == 0:
            circuit.append(gate, [2, 1])
    return random_problem(circuit, rng)


FIXED = [
    *(library.CXGate(), library.CZGate(), library.CYGate(), library.CHGate(), library.CSXGate(), library.CSGate()),
    *(library.SwapGate(), library.iSwapGate(), library.ECRGate(), library.DCXGate(), library.CSdgGate()),
    *(library.CXGate(ctrl_state=0), library.CU3Gate(13139.08600390649, 39.36432287750808, 444914.53905314027)),
]


@pytest.mark.parametrize(
    "gates",
    [
        FIXED,
        *([make(t) for t in (2e-9, np.pi - 1e-7, 2 * np.pi + 8e-5, 1e4)] for make in (ONE_ANGLE | TWO_ANGLES).values()),
    ],
    ids=["fixed", *ONE_ANGLE, *TWO_ANGLES],
)
def test_circuits_cut_at_such_a_gate_have_the_uncut_values(gates):
    rng = np.random.default_rng(11)
    for gate in gates:
        problem = around(gate, rng)
        plan = make_plan(problem, cuts=(GateCut(6),))
        assert len(plan.fragments) == 2
        tensors = [
            fragment_tensor(job.fragment, schemes, [(job, run_job(job))])
            for job, schemes in zip(exact_jobs(plan), plan.schemes, strict=True)
        ]
        values, _ = estimate_values(structure_of(problem, plan), tensors)
        np.testing.assert_allclose(values, uncut_values(problem), atol=1e-9, err_msg=f"{gate}, seed 11")


@pytest.mark.parametrize(
    "gate",
    [library.RZZGate(2e-5), library.CPhaseGate(np.pi / 65536), library.XXPlusYYGate(1e-6, 0.3), FIXED[-1]],
    ids=lambda gate: gate.name,
)
def test_sampled_values_of_such_cuts_are_within_their_errors(gate):
    problem = around(gate, np.random.default_rng(12))
    plan = make_plan(problem, cuts=(GateCut(6),), shots=40_000)
    jobs = sampled_jobs(plan, uniform_shots(plan, 40_000), 5)
    tensors = [
        fragment_tensor(f, s, [(job, run_job(job)) for job in jobs if job.fragment.index == f.index])
        for f, s in zip(plan.fragments, plan.schemes, strict=True)
    ]
    values, errors = estimate_values(structure_of(problem, plan), tensors)
    assert (np.abs(values - uncut_values(problem)) < 4 * errors).all(), (values, errors)


def test_a_gate_that_cannot_be_cut_stays_whole_and_stops_no_plan():
    circuit = QuantumCircuit(6)
    for q in range(6):
        circuit.h(q)
    odd = UnitaryGate(np.diag([1, 1, 1, 1 + 3e-6]), check_input=False)
    circuit.append(odd, [2, 3])  # in the middle, where the cheapest cut would be
    for q in (0, 1, 3, 4):
        circuit.cx(q, q + 1)
        circuit.cx(q, q + 1)
    problem = problem_of(circuit, ["Z" * 6], np.ones((1, 1)))
    plan = make_plan(problem, max_qubits=4)
    assert max(f.width for f in plan.fragments) <= 4
    assert GateCut(6) not in plan.cuts
    with pytest.raises(CuttingError, match=r"^instruction 6 \(unitary on qubits \[2, 3\]\) cannot be cut"):
        make_plan(problem, cuts=(GateCut(6),))
    with pytest.raises(CuttingError, match=r"`max_qubits` 1: gates that cannot be cut, as instruction 6 \(unitary\)"):
        make_plan(problem, max_qubits=1)
