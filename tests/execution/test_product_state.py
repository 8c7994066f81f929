"""Tensors of fragments by a matrix product state, against the state vector and against answers known by hand."""

from __future__ import annotations

import tracemalloc

import networkx
import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.cutting import GateCut, WireCut, make_plan
from tasks.cutting.cone_program import cone_program
from tasks.cutting.product_program import ProductProgram, product_program, sites_contracted
from tasks.cutting.seconds import cheaper_way
from tasks.execution.simulators.cones import cone_tensor
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.product_state import _Line, product_tensor
from tasks.execution.simulators.whole import whole_tensor
from tasks.workflow import estimate
from tests.oracles import problem_of


def cut_circuit(seed, qubits=7, gates=12):
    """Gates of all ranks between any two qubits; some gates and wires are severed, some twice on one stretch."""
    rng = np.random.default_rng([seed, 41])
    circuit = QuantumCircuit(qubits)
    for _ in range(gates):
        a, b = rng.choice(qubits, 2, replace=False).tolist()
        circuit.u(*rng.uniform(0, 3, 3), a)
        circuit.ry(float(rng.uniform(0, 3)), b)
        rng.choice([circuit.cz, circuit.cx, circuit.swap, lambda x, y: circuit.rzz(0.7, x, y), circuit.iswap])(a, b)
    two = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2]
    cuts = [GateCut(int(i)) for i in rng.choice(two, 2, replace=False)]
    for i in rng.choice(two[4:], 2, replace=False).tolist():
        qubit = circuit.find_bit(circuit.data[i].qubits[int(rng.integers(2))]).index
        if any(circuit.qubits[qubit] in circuit.data[k].qubits for k in range(i)):
            cuts.append(WireCut(i, qubit))
    labels = ["".join(rng.choice(list("IXYZ"), qubits)) for _ in range(6)] + ["Z" * qubits]
    return problem_of(circuit, sorted(set(labels)), np.ones((1, len(set(labels))))), tuple(cuts)


@pytest.mark.parametrize("seed", range(12))
def test_it_gives_the_tensor_of_the_state_vector(seed):
    problem, cuts = cut_circuit(seed)
    plan = make_plan(problem, cuts=cuts)
    assert any(fragment.legs for fragment in plan.fragments)
    for fragment in plan.fragments:
        expected = exact_tensor(fragment, open_state(fragment))
        found = product_tensor(fragment, product_program(fragment))
        np.testing.assert_allclose(found, expected, atol=1e-11, err_msg=f"seed {seed}")


def line(qubits, layers, seed=0):
    """Layers of general gates between neighbours."""
    rng = np.random.default_rng([seed, qubits])
    circuit = QuantumCircuit(qubits)
    for layer in range(layers):
        for q in range(qubits):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for q in range(layer % 2, qubits - 1, 2):
            circuit.cz(q, q + 1)
    return circuit


def test_a_wide_shallow_circuit_needs_no_cut():
    """60 qubits whole, in a moment and a MiB, with the values of fragments of 12."""
    circuit, asked = line(60, 5), ["Z3 Z4", "X17 Y18", "Z0 Z30 Z59"]
    whole, pieces = (estimate(circuit, asked, cache="off", **given) for given in ({}, {"max_qubits": 12}))
    for one, other in zip(whole, pieces, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-10) and one.std_error == 0


def test_fragments_of_sixty_qubits_are_no_refusal():
    """A GHZ state of 120 qubits cut in its middle: Z on an even number of qubits is 1, on an odd number 0."""
    circuit = QuantumCircuit(120)
    circuit.h(0)
    for q in range(119):
        circuit.cx(q, q + 1)
    found = estimate(circuit, ["Z5 Z110", "Z7", "Z1 Z59 Z60 Z119"], cuts=(GateCut(60),), cache="off")
    assert [one.value for one in found] == pytest.approx([1, 0, 1], abs=1e-12)


def test_a_deep_wide_fragment_is_none():
    circuit = line(24, 40)
    plan = make_plan(problem_of(circuit, ["Z" * 24], np.ones((1, 1))), cuts=())
    assert product_program(plan.fragments[0]) is None


def made_and_counted(fragment):
    """(site - 1,) log2 of the bonds that a fragment's gates make, and of those that were counted."""
    program = product_program(fragment)
    state = _Line(program)
    for step in program.steps:
        state.add(step)
    return np.log2([site.shape[3] for site in state._sites[:-1]]), program.bonds


def layers_of_all_kinds(seed, qubits=8):
    """Diagonal gates that share qubits, controlled ones on certain values, other axes, gates of four terms."""
    rng = np.random.default_rng([seed, 42])
    circuit, cuts = QuantumCircuit(qubits), []
    for _ in range(3):
        for q in range(qubits):
            if rng.random() < 0.5:
                getattr(circuit, str(rng.choice(["h", "x", "s", "sx"])))(q)
        for _ in range(qubits):
            a, b = rng.choice(qubits, 2, replace=False).tolist()
            rng.choice(
                [circuit.cx, circuit.cz, lambda x, y: circuit.rzz(0.7, x, y), lambda x, y: circuit.rxx(0.4, x, y)]
            )(a, b)
            if rng.random() < 0.1:
                cuts.append(GateCut(len(circuit.data) - 1))
        if rng.random() < 0.3:
            circuit.iswap(*rng.choice(qubits, 2, replace=False).tolist())
    return make_plan(problem_of(circuit, ["Z" * qubits, "XY" * (qubits // 2)], np.eye(2)), cuts=tuple(cuts)).fragments


@pytest.mark.parametrize("seed", range(12))
def test_bonds_are_no_larger_than_counted(seed):
    problem, cuts = cut_circuit(seed, qubits=9, gates=16)
    for fragment in (*make_plan(problem, cuts=cuts).fragments, *layers_of_all_kinds(seed)):
        made, counted = made_and_counted(fragment)
        assert len(made) == len(counted)
        assert (made <= counted + 1e-9).all(), f"seed {seed}: {made} made, {counted} counted"


def whole(circuit):
    (fragment,) = make_plan(problem_of(circuit, ["Z" * circuit.num_qubits], np.ones((1, 1))), cuts=()).fragments
    return fragment


@pytest.mark.parametrize("kind", ["QAOA", "hub", "Ising", "certain"])
def test_gates_that_share_a_qubit_count_once_for_a_bond(kind):
    """Terms by hand: a layer of QAOA on a grid, a hub's gates, a line's first steps, controls that are |0> or |1>."""
    circuit = QuantumCircuit(12)
    if kind == "QAOA":
        circuit.h(range(12))
        for a, b in networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(3, 4)).edges:
            circuit.rzz(0.4, a, b)
        circuit.rx(0.3, range(12))
    elif kind == "hub":
        circuit.h(0)
        circuit.ry(0.7, range(1, 12))
        for q in range(1, 12):
            circuit.cx(0, q)
        circuit.u(0.3, 0.2, 0.1, range(12))
    elif kind == "Ising":
        for q in range(11):
            circuit.rzz(0.4, q, q + 1)  # of |0>: phases
        circuit.rx(0.5, range(12))
        for q in range(11):
            circuit.rzz(0.4, q, q + 1)
        circuit.rx(0.5, range(12))
    else:
        circuit.x(range(0, 12, 2))
        circuit.ry(0.4, 11)
        for q in range(11):
            circuit.cx(q, q + 1)
            circuit.cx(11 - q, (3 * q) % 11)
        circuit.ry(0.4, range(12))
    made, counted = made_and_counted(whole(circuit))
    assert (made <= counted + 1e-9).all()
    assert counted.max() == {"QAOA": 3, "hub": 1, "Ising": 1, "certain": made.max()}[kind]


@pytest.mark.parametrize("layers_of_last", [1, 2, 4])
def test_a_bond_counts_no_more_than_its_neighbour_and_a_qubit(layers_of_last):
    """Four gates on the middle pair of a line, fewer on the pair beside it: what one qubit can add bounds them."""
    circuit, rng = QuantumCircuit(8), np.random.default_rng(45)
    for layer in range(4):
        for q in range(8):
            circuit.ry(float(rng.uniform(0.5, 1)), q)
        for q in (0, 1, 2, 3, *([4] if layer < layers_of_last else []), 5, 6):
            circuit.cz(q, q + 1)
    circuit.ry(0.3, range(8))
    made, counted = made_and_counted(whole(circuit))
    np.testing.assert_allclose(counted, made, atol=1e-9)


@pytest.mark.parametrize("end", [0, 19])
def test_sites_with_legs_come_last_whichever_end_they_are_at(end):
    """A line with a leg a layer at one of its ends: the pairs of branches are carried through no other site."""
    circuit, cuts = QuantumCircuit(21), []
    for _ in range(4):
        for first in (0, 1):
            for q in range(first, 19, 2):
                circuit.rzz(0.3, q, q + 1)
        cuts.append(GateCut(len(circuit.data)))
        circuit.rzz(0.3, end, 20)
        circuit.rx(0.5, circuit.qubits)
    labels = ["I" * (20 - q) + "Z" + "I" * q for q in range(20)]
    plan = make_plan(problem_of(circuit, labels, np.ones((1, 20))), cuts=tuple(cuts))
    fragment = max(plan.fragments, key=lambda one: one.num_qubits)
    program = product_program(fragment)
    assert {program.places[leg.qubit] for leg in fragment.legs} == {19}
    assert isinstance(cheaper_way(fragment), ProductProgram), "quicker than all amplitudes and light cones"
    cones = cone_program(fragment)
    expected = cone_tensor(fragment, cones, [whole_tensor(part.of(fragment)) for part in cones.parts])
    np.testing.assert_allclose(product_tensor(fragment, program), expected, atol=1e-11)


def test_a_factor_is_contracted_from_where_it_differs_from_its_neighbour():
    circuit = line(4, 2)
    labels = ["IIIZ", "IIXZ", "ZIXZ", "ZIXY"]
    (fragment,) = make_plan(problem_of(circuit, labels, np.ones((1, 4))), cuts=()).fragments
    assert sites_contracted(fragment, range(4), 4).tolist() == [2, 3, 3, 4]
    assert sites_contracted(fragment, range(4), 0).tolist() == [2, 2, 1, 2]


@pytest.mark.parametrize("legs", [0, 2, 4])
@pytest.mark.parametrize("qubits, layers", [(14, 6), (16, 12), (20, 12)])
def test_the_peak_is_predicted_where_all_bonds_are_full(qubits, layers, legs):
    """Gates of equal Schmidt coefficients between general ones make bonds as large as they can be."""
    rng = np.random.default_rng([50, qubits, legs])
    circuit, cuts = QuantumCircuit(qubits + 1), []
    for layer in range(layers):
        for q in range(qubits):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for q in range(layer % 2, qubits - 1, 2):
            circuit.cx(q, q + 1)
        if layer < legs:
            cuts.append(GateCut(len(circuit.data)))
            circuit.rzz(0.5, int(rng.integers(qubits)), qubits)
    labels = ["I" * (qubits - 1 - q) + "ZZ" + "I" * q for q in range(qubits - 1)]
    plan = make_plan(problem_of(circuit, labels, np.ones((1, len(labels)))), cuts=tuple(cuts))
    fragment = max(plan.fragments, key=lambda f: f.num_qubits)
    program = product_program(fragment)
    tracemalloc.start()
    try:
        tensor = product_tensor(fragment, program)
        peak = tracemalloc.get_traced_memory()[1] - tensor.nbytes
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * program.bytes, f"{peak} measured, {program.bytes} predicted, seed 50"
    assert program.bytes < 2.5 * peak + (1 << 19), f"{peak} measured, {program.bytes} predicted, seed 50"


@pytest.mark.parametrize("layers", [1, 2])
def test_it_hardly_matters_how_the_qubits_of_a_grid_are_numbered(layers):
    """Half of a grid, its rows or its columns numbered first; predicted alike, though an order comes of the numbers."""
    seconds = []
    for turned in (False, True):
        grid = networkx.grid_2d_graph(6, 6)
        number = {(a, b): 6 * b + a if turned else 6 * a + b for a, b in grid}
        circuit, cuts = QuantumCircuit(36), []
        for layer in range(layers):
            circuit.ry(0.3 + layer, range(36))
            for one, other in grid.edges:
                if {one[0], other[0]} == {2, 3}:
                    cuts.append(GateCut(len(circuit.data)))
                circuit.cz(number[one], number[other])
        circuit.ry(0.4, range(36))
        plan = make_plan(problem_of(circuit, ["Z" * 36], np.ones((1, 1))), cuts=tuple(cuts))
        assert [fragment.num_qubits for fragment in plan.fragments] == [18, 18]
        seconds.append(max(product_program(fragment).seconds for fragment in plan.fragments))
    assert seconds[0] == pytest.approx(seconds[1], rel=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_whichever_order_is_taken_the_tensor_is_the_same(seed, monkeypatch):
    monkeypatch.setattr("tasks.cutting.product_program._SHORT_S", 0.0)
    test_it_gives_the_tensor_of_the_state_vector(seed)
