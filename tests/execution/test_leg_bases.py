"""Many legs on one wire: their bases a few at a time, against the Heisenberg picture; memory as predicted."""

from __future__ import annotations

import tracemalloc
from math import prod

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.cutting import GateCut, WireCut, make_plan
from tasks.cutting.pauli_program import pauli_program
from tasks.cutting.pauli_rows import Rows
from tasks.cutting.sizes import exact_bytes, tensor_numbers
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
@pytest.mark.parametrize("legs", [(5, 1), (1, 5), (6, 2), pytest.param((5, 5), marks=pytest.mark.slow)])
def test_entries_of_many_legs_on_one_wire_beside_another(legs, bare, monkeypatch):
    monkeypatch.setattr("tasks.cutting.pauli_program._MOST_BITS", 24.0)  # ten legs take so many, the other way few
    several = 0
    for fragment in two_wires(legs, 7, bare):
        state = open_state(fragment)
        found = exact_tensor(fragment, state)
        expected = pauli_tensor(fragment, pauli_program(fragment))
        np.testing.assert_allclose(found, expected, atol=1e-11, err_msg="seed 7")
        several = max(several, len(state.branchings))
    assert several == 2


def many_legs(seed):
    """Few qubits with up to nine legs, alone on their wires or many on one, of two or four branches, and wires cut."""
    rng = np.random.default_rng([seed, 13])
    width, gate = int(rng.integers(1, 6)), ["cz", "rzz", "swap"][seed % 3]
    circuit, cuts = QuantumCircuit(width + 1), []
    hot = rng.choice(width, min(width, int(rng.integers(1, 4))), replace=False)
    legs = int(rng.integers(4, 6 if gate == "swap" else 10))
    for number in range(legs):
        for q in range(width + 1):
            circuit.u(*rng.uniform(0, 3, 3), q)
        for q in range(width - 1):
            if rng.random() < 0.5:
                circuit.cx(q, q + 1)
        own = int(rng.choice(hot)) if seed % 2 else int(rng.integers(width))
        if number == 2 and seed % 4 == 0 and any(circuit.qubits[own] in item.qubits[1:] for item in circuit.data):
            cuts.append(WireCut(len(circuit.data), own))
        cuts.append(GateCut(len(circuit.data)))
        circuit.rzz(0.7, own, width) if gate == "rzz" else getattr(circuit, gate)(own, width)
    labels = sorted({"I" + "".join(rng.choice(list("IXYZ"), width)) for _ in range(int(rng.choice([1, 3, 12])))})
    return make_plan(problem_of(circuit, labels, np.ones((1, len(labels)))), cuts=tuple(cuts))


@pytest.mark.parametrize("seed", range(24))
def test_few_qubits_with_many_legs_take_the_memory_predicted(seed):
    """And their entries are those of the Heisenberg picture, where that has few enough terms to follow."""
    for fragment in many_legs(seed).fragments:
        bytes_of_tensor = 8 * tensor_numbers(fragment)
        if bytes_of_tensor > 32 << 20:
            continue
        predicted = exact_bytes(fragment)
        tracemalloc.start()
        try:
            found = exact_tensor(fragment, open_state(fragment))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1.15 * predicted + (1 << 19), f"{peak} measured, {predicted} predicted, seed {seed}"
        assert predicted < 1.25 * peak or peak < 4 << 20, f"{peak} measured, {predicted} predicted, seed {seed}"
        program = pauli_program(fragment, 0.05)
        if program is not None:
            np.testing.assert_allclose(found, pauli_tensor(fragment, program), atol=1e-11, err_msg=f"seed {seed}")


@pytest.mark.parametrize("seed", range(24))
def test_paulis_are_no_more_than_their_bound_however_many_legs(seed):
    """Of each factor, once equal ones are joined."""
    for fragment in many_legs(seed).fragments:
        program, factors = pauli_program(fragment, 0.02), fragment.num_factors
        if program is None:
            continue
        dimensions = *(leg.dimension for leg in fragment.legs), factors
        rows = Rows((fragment.factors_x + 2 * fragment.factors_z).astype(np.uint8).T.copy(), np.arange(factors))
        for step in program.steps:
            rows.take(step.qubits, step.map, 0 if step.leg is None else prod(dimensions[step.leg + 1 :]))
            rows._join()
            most = np.bincount(rows.places % factors, minlength=factors)
            assert (most <= 1.0001 * np.exp2(program.rows)).all(), f"{most}, {program.rows}, seed {seed}"
