"""Parametric plans on the exact path: values against the uncut circuit, gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit.library import efficient_su2, get_standard_gate_name_mapping
from qiskit.quantum_info import Operator, SparsePauliOp

from tasks.cutting.cuts import GateCut, WireCut
from tasks.cutting.schmidt import schmidt_form
from tasks.parametric.bonds import GateBond, bond_slopes, bonds_of
from tasks.parametric.elementary import PARTS, Fixed, parts_of
from tasks.parametric.template import Unsuited, template_of
from tests.parametric.circuits import parametric, random_circuit, random_operators, uncut

GATES = get_standard_gate_name_mapping()


@pytest.mark.parametrize("name", PARTS)
def test_the_parts_of_a_gate_are_the_gate(name):
    kind, width = GATES[name].base_class, GATES[name].num_qubits
    angles = np.random.default_rng(3).uniform(-4, 4, len(GATES[name].params))
    for free in (range(len(angles)), range(1)):
        total = np.eye(2**width)
        for part in parts_of(kind(*angles), range(width), {number: number for number in free}):
            one = QuantumCircuit(width)
            if isinstance(part, Fixed):
                one.unitary(part.matrix, part.qubits)
            else:
                one.unitary(np.diag(np.exp(1j * part.factor * angles[part.angle] * part.pattern)), part.qubits)
                assert len(np.unique(part.pattern)) == 2, "the two-point shift rule needs two values"
            total = Operator(one).data @ total
        ratio = total @ kind(*angles).to_matrix().conj().T
        np.testing.assert_allclose(ratio, ratio[0, 0] * np.eye(2**width), atol=1e-12)


@pytest.mark.parametrize("name", [name for name in PARTS if GATES[name].num_qubits == 2])
def test_a_severed_gates_bond_is_that_of_its_form_and_moves_as_differences_say(name):
    kind, number = GATES[name].base_class, len(GATES[name].params)
    point = np.random.default_rng(2).uniform(0.4, 1.2, number)
    bond = GateBond(kind(*point), schmidt_form(kind(*point)), range(number), range(number))
    np.testing.assert_allclose(bonds_of([bond], point[None])[0][0], schmidt_form(kind(*point)).bond(), atol=1e-12)
    for angle, slope in bond_slopes([bond], point[None])[0]:
        step = 1e-6 * np.eye(number)[angle]
        moved = [bonds_of([bond], (point + sign * step)[None])[0] for sign in (1, -1)]
        difference = (moved[0] - moved[1]) / 2e-6
        np.testing.assert_allclose(slope, difference, atol=1e-8)


def test_a_gate_whose_ends_turn_with_its_angles_has_no_such_bond():
    gate = GATES["cu"].base_class(0.4, 0.5, 0.6, 0.7)
    with pytest.raises(ValueError, match="depends on its angles"):
        GateBond(gate, schmidt_form(gate), range(4), range(4))


@pytest.mark.parametrize("seed", range(12))
def test_random_circuits(seed):
    rng = np.random.default_rng(seed)
    qubits = int(rng.integers(3, 7))
    circuit = random_circuit(rng, qubits, 4 * qubits, 5)
    operators = random_operators(rng, qubits, 3)
    plan = parametric(circuit, operators, qubits - 1)
    values = rng.uniform(-3, 3, (4, 5))
    wanted = uncut(circuit, operators, values)
    np.testing.assert_allclose(plan.values(values), wanted, atol=1e-9, err_msg=f"seed {seed}")
    together = plan.values(values)
    for number in range(4):
        plan.forget()
        alone = plan.values(values[number : number + 1])[0]
        np.testing.assert_array_equal(alone, together[number], err_msg=f"seed {seed}: alone as in company")
    found, slopes = plan.gradients(values)
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    for number in range(5):
        step = 1e-5 * np.eye(5)[number]
        difference = (plan.values(values + step) - plan.values(values - step)) / 2e-5
        np.testing.assert_allclose(slopes[:, :, number].T, difference, atol=1e-6, err_msg=f"seed {seed}")


def test_any_cuts_of_any_circuit_alone_as_in_company():
    legs, shapes = [], set()
    for seed in range(24):
        print(f"seed {seed}")
        rng = np.random.default_rng(seed)
        qubits = int(rng.integers(2, 7))
        circuit = random_circuit(rng, qubits, int(rng.integers(1, 4 * qubits)), 4)
        if seed % 3 == 0:  # a group that nothing joins to the others
            other = random_circuit(rng, 2, 4, 4)
            renamed = dict(zip(other.parameters, ParameterVector("q", 4), strict=True))
            circuit = circuit.tensor(other.assign_parameters(renamed))
        width = circuit.num_qubits
        operators = [*random_operators(rng, width, 2), SparsePauliOp("I" * width, [0.3]),
                     SparsePauliOp.from_sparse_list([("Z", [int(rng.integers(width))], 1.0)], width)]  # fmt: skip
        numeric = template_of(circuit, operators).problem.circuit
        two = [(i, [numeric.find_bit(q).index for q in item.qubits]) for i, item in enumerate(numeric.data)
               if item.operation.num_qubits == 2]  # fmt: skip
        chosen = [two[k] for k in rng.permutation(len(two))[: int(rng.integers(0, 4))]]
        cuts = tuple(WireCut(i, own[0]) if rng.random() < 0.3 else GateCut(i) for i, own in chosen)
        plan = parametric(circuit, operators, None, cuts)
        legs += [len(fragment.legs) for fragment in plan.plan.fragments]
        values = rng.uniform(-3, 3, (3, circuit.num_parameters))
        together = plan.values(values)
        np.testing.assert_allclose(together, uncut(circuit, operators, values), atol=1e-10, err_msg=f"seed {seed}")
        np.testing.assert_allclose(plan.gradients(values)[0], together, atol=1e-12)
        for number in range(3):
            plan.forget()
            np.testing.assert_array_equal(plan.values(values[number : number + 1])[0], together[number])
        shapes |= {leg.kind for fragment in plan.plan.fragments for leg in fragment.legs}
    assert {0, 1, 2, 3} <= set(legs)
    assert len(shapes) == 4, "ends of gates of one angle and of any other, and both ends of wires"


@pytest.mark.parametrize("name", [name for name in PARTS if GATES[name].num_qubits == 2])
def test_the_angle_of_a_severed_gate_runs_nothing(name):
    vector = ParameterVector("v", len(GATES[name].params))
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(0.4 + qubit, qubit)
    circuit.cx(0, 1)
    circuit.append(GATES[name].base_class(*vector), [2, 1])
    circuit.cx(2, 3)
    circuit.rx(0.7, 2)
    operators = [SparsePauliOp("ZXYZ"), SparsePauliOp("IZZI")]
    plan = parametric(circuit, operators, None, (GateCut(5),))
    values = np.random.default_rng(1).uniform(-4, 4, (20, len(vector)))
    plan.values(values[:1])
    assert plan.runs == [1, 1]
    np.testing.assert_allclose(plan.values(values), uncut(circuit, operators, values), atol=1e-9)
    assert plan.runs == [1, 1]


def test_an_angle_of_one_fragment_runs_that_fragment_alone():
    first, second = Parameter("first"), Parameter("second")
    circuit = QuantumCircuit(4)
    circuit.ry(first, 0)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    circuit.ry(second, 3)
    circuit.cx(2, 3)
    plan = parametric(circuit, [SparsePauliOp("ZZXX")], 2)
    assert len(plan.programs) == 2
    plan.values(np.array([[0.1, 0.2]]))
    plan.values(np.array([[0.1, 0.3], [0.1, 0.4], [0.1, 0.3]]))
    assert sorted(plan.runs) == [1, 3]


def test_several_wires_and_loops_of_cuts():
    rng = np.random.default_rng(8)
    circuit = random_circuit(rng, 4, 14, 3)
    places = [i for i, item in enumerate(circuit.data) if item.operation.num_qubits == 2]
    numeric = template_of(circuit, [SparsePauliOp("ZZZZ")]).problem.circuit
    two = [i for i, item in enumerate(numeric.data) if item.operation.num_qubits == 2]
    assert places and len(two) >= 3
    wire = numeric.find_bit(numeric.data[two[2]].qubits[0]).index
    operators = random_operators(rng, 4, 2)
    values = rng.uniform(-3, 3, (3, 3))
    for cuts in ((GateCut(two[0]),), (GateCut(two[1]), WireCut(two[2], wire)), (WireCut(two[2], wire),)):
        plan = parametric(circuit, operators, None, cuts)
        np.testing.assert_allclose(plan.values(values), uncut(circuit, operators, values), atol=1e-9)
        slopes = plan.gradients(values)[1]
        step = 1e-5 * np.eye(3)[1]
        difference = (plan.values(values + step) - plan.values(values - step)) / 2e-5
        np.testing.assert_allclose(slopes[:, :, 1].T, difference, atol=1e-6)


def test_wide_fragments_take_blocks_of_gates():
    circuit = efficient_su2(11, reps=1, entanglement="linear")
    operators = [SparsePauliOp.from_sparse_list([("ZZ", [2, 7], 1.0), ("X", [10], 0.5)], 11)]
    plan = parametric(circuit, operators, 9)
    values = np.random.default_rng(5).normal(size=(2, circuit.num_parameters))
    np.testing.assert_allclose(plan.values(values), uncut(circuit, operators, values), atol=1e-9)
    slopes = plan.gradients(values, np.ones((1, 1)))[1]
    step = 1e-5 * np.eye(circuit.num_parameters)[7]
    difference = (plan.values(values + step) - plan.values(values - step)) / 2e-5
    np.testing.assert_allclose(slopes[0, :, 7], difference[:, 0], atol=1e-7)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_last_layers_legs_take_no_room_in_the_state(layers):
    rng = np.random.default_rng(layers)
    angles = ParameterVector("a", 6 * layers + 2)
    circuit = QuantumCircuit(5)
    circuit.h(range(5))
    for layer in range(layers):
        first = 6 * layer
        for number, (a, b) in enumerate(((0, 1), (1, 2), (3, 4), (2, 3), (1, 3))):  # the last two are severed
            circuit.rzz((1 + number) * angles[first] + angles[first + number], a, b)
        for qubit in range(5):
            circuit.rx(angles[first + 5] + 0.1 * qubit, qubit)
            circuit.rz(angles[first + 1], qubit)
            circuit.ry(0.4 * angles[6 * layers], qubit)
    circuit.rz(angles[6 * layers + 1], 3)
    labels = ["XZIYI", "IIIYX", "IYXII", "IZZII", "ZIIIZ", "IYIXI", "IXIII", "ZZIII"]
    operators = [SparsePauliOp(own) for own in labels] + [SparsePauliOp(labels, rng.normal(size=8))]
    cuts = tuple(GateCut(i) for i, item in enumerate(circuit.data) if item.operation.name == "rzz" and
                 {circuit.find_bit(q).index for q in item.qubits} in ({2, 3}, {1, 3}))  # fmt: skip
    plan = parametric(circuit, operators, None, cuts)
    late = [{leg for own in program.late for leg in own.legs} for program in plan.programs]
    assert [len(own) for own in late] == [2, 2]
    assert all(len(own.opened) == 2 * (layers - 1) for own in plan.programs)
    assert any(len(own.legs) == 2 for program in plan.programs for own in program.late), "two legs on one qubit"
    values = rng.uniform(-3, 3, (3, circuit.num_parameters))
    np.testing.assert_allclose(plan.values(values), uncut(circuit, operators, values), atol=1e-10)
    found, slopes = plan.gradients(values)
    np.testing.assert_allclose(found, plan.values(values), atol=1e-12)
    for number in range(circuit.num_parameters):
        step = 1e-5 * np.eye(circuit.num_parameters)[number]
        difference = (plan.values(values + step) - plan.values(values - step)) / 2e-5
        np.testing.assert_allclose(slopes[:, :, number].T, difference, atol=1e-7)


def test_an_energy_takes_one_sum_of_a_fragments_own_terms():
    rng = np.random.default_rng(4)
    angles = ParameterVector("a", 6)
    circuit = QuantumCircuit(6)
    for qubit in range(6):
        circuit.ry(angles[qubit], qubit)
    for qubit in range(5):
        circuit.rzz(angles[qubit] - 0.3, qubit, qubit + 1)
        circuit.rx(angles[5 - qubit], qubit)
    cut = next(i for i, item in enumerate(circuit.data) if {circuit.find_bit(q).index for q in item.qubits} == {2, 3})
    inside = [(letters, list(pair)) for letters in ("ZZ", "XX", "XY") for pair in ((0, 1), (1, 2), (3, 4), (4, 5))]
    terms = [(*own, float(rng.normal())) for own in [*inside, ("ZZ", [2, 3]), ("X", [0]), ("Z", [4]), ("", [])]]
    energy = SparsePauliOp.from_sparse_list(terms, 6)
    alone = parametric(circuit, [energy], None, (GateCut(cut),))
    # Nothing and the sum of all within, on either side, and one end of the term across.
    assert [len(grams.tensors(program.states(np.zeros((1, len(program.angles))))[-1],
                              np.zeros((1, len(program.angles))))[0, 0]) for program, grams
            in zip(alone.programs, alone.grams, strict=True)] == [3, 3]  # fmt: skip
    both = parametric(circuit, [energy, SparsePauliOp("IIIIZZ"), 0.5 * energy], None, (GateCut(cut),))
    values = rng.uniform(-3, 3, (3, 6))
    wanted = uncut(circuit, [energy, SparsePauliOp("IIIIZZ"), 0.5 * energy], values)
    np.testing.assert_allclose(both.values(values), wanted, atol=1e-10)
    np.testing.assert_allclose(alone.values(values), wanted[:, :1], atol=1e-10)
    slopes = alone.gradients(values)[1]
    np.testing.assert_allclose(slopes, both.gradients(values, np.array([[1.0, 0.0, 0.0]]))[1], atol=1e-10)
    for number in range(6):
        step = 1e-5 * np.eye(6)[number]
        difference = (alone.values(values + step) - alone.values(values - step)) / 2e-5
        np.testing.assert_allclose(slopes[:, :, number].T, difference, atol=1e-7)


def test_observables_of_no_qubit_and_none_at_all_cost_nothing():
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("a"), 0)
    circuit.cx(0, 1)
    plan = parametric(circuit, [SparsePauliOp("II", [0.5]), SparsePauliOp("II", [0.0])], 1)
    np.testing.assert_array_equal(plan.values(np.zeros((2, 1))), [[0.5, 0.0]] * 2)
    assert not plan.gradients(np.zeros((2, 1)))[1].any()


def test_parameters_where_nothing_is_made_ready_say_so():
    circuit = QuantumCircuit(2)
    with circuit.for_loop(range(2)):
        circuit.rx(Parameter("a"), 0)
    with pytest.raises(Unsuited):
        template_of(circuit, [SparsePauliOp("ZZ")])
