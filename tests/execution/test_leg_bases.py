"""Many legs on one wire: their bases a few at a time, against the Heisenberg picture; memory as predicted."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.cutting import GateCut, WireCut, make_plan
from tasks.cutting.cost import exact_bytes, factors_of_x_parts, tensor_numbers
from tasks.cutting.open_program import open_program
from tasks.cutting.pauli_program import pauli_program
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.pauli_tensor import pauli_tensor
from tests.oracles import problem_of


def fragments_of(legs, seed, gates=("cz",), wire=False):
    """Qubit 0, all of whose gates with qubit 2 are severed, with one gate to qubit 1 before them."""
    rng = np.random.default_rng([seed, legs])
    circuit, cuts = QuantumCircuit(3), []
    circuit.u(*rng.uniform(0, 3, 3), 0)
    circuit.cx(0, 1)
    for number in range(legs):
        for q in range(3):
            circuit.u(*rng.uniform(0, 3, 3), q)
        if wire and number == legs // 2:
            cuts.append(WireCut(len(circuit.data), 0))
        cuts.append(GateCut(len(circuit.data)))
        getattr(circuit, gates[number % len(gates)])(0, 2)
    circuit.u(*rng.uniform(0, 3, 3), 0)
    labels = ["IIX", "IIY", "IZZ", "IXY"]
    return make_plan(problem_of(circuit, labels, np.ones((1, 4))), cuts=tuple(cuts)).fragments


@pytest.mark.parametrize(
    "legs, gates, wire",
    [
        (5, ("cz",), False),
        (6, ("cz",), False),
        (5, ("swap", "cz"), False),
        (4, ("iswap", "cx"), True),
        (7, ("cz",), False),
    ],
)
def test_entries_of_many_legs_on_one_wire(legs, gates, wire):
    shared = 0
    for fragment in fragments_of(legs, 5, gates, wire):
        state = open_state(fragment)
        found = exact_tensor(fragment, state)
        expected = pauli_tensor(fragment, pauli_program(fragment))
        np.testing.assert_allclose(found, expected, atol=1e-11, err_msg="seed 5")
        shared = max(shared, *(len(one.legs) for one in state.branchings))
    assert shared == (legs if not wire else 4)


def two_wires(legs, seed, bare):
    """Qubits 0 and 1, all of whose gates with qubit 2 are severed; ``bare``: 0 is still |0> at the first four."""
    rng = np.random.default_rng([seed, *legs])
    circuit, cuts = QuantumCircuit(3), []
    for qubit, number in enumerate(legs):
        for k in range(number):
            if not (bare and qubit == 0 and k < 4):
                circuit.u(*rng.uniform(0, 3, 3), qubit)
            circuit.u(*rng.uniform(0, 3, 3), 2)
            cuts.append(GateCut(len(circuit.data)))
            circuit.cz(qubit, 2)
    circuit.cx(0, 1)
    circuit.u(*rng.uniform(0, 3, 3), 0)
    circuit.u(*rng.uniform(0, 3, 3), 1)
    labels = ["IIX", "IYI", "IZZ", "IXY"]
    return make_plan(problem_of(circuit, labels, np.ones((1, 4))), cuts=tuple(cuts)).fragments


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("legs", [(5, 1), (1, 5), (6, 2), (5, 5)])
def test_entries_of_many_legs_on_one_wire_beside_another(legs, bare):
    several = 0
    for fragment in two_wires(legs, 7, bare):
        state = open_state(fragment)
        found = exact_tensor(fragment, state)
        expected = pauli_tensor(fragment, pauli_program(fragment))
        np.testing.assert_allclose(found, expected, atol=1e-11, err_msg="seed 7")
        several = max(several, len(state.branchings))
    assert several == 2


def test_nine_legs_on_one_wire_take_the_memory_predicted():
    fragment = max(fragments_of(9, 6), key=lambda one: one.num_qubits)
    state = open_state(fragment)
    assert [len(one.legs) for one in state.branchings] == [9]
    predicted = exact_bytes(open_program(fragment), factors_of_x_parts(fragment), 8 * tensor_numbers(fragment))
    tracemalloc.start()
    try:
        exact_tensor(fragment, state)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert predicted / 1.15 < peak < 1.15 * predicted
