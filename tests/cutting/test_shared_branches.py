"""Legs that share their branches on one wire: what each combination is made of, and how dozens are counted."""

from __future__ import annotations

import tracemalloc
from itertools import product

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.cutting import CuttingError, GateCut, WireCut, make_plan
from tasks.cutting.kinds import LegKind
from tasks.cutting.openings import Branching, Opening, opened_steps
from tests.oracles import problem_of


def events_on(fragment):
    """(qubit,) the one-qubit gates and legs on it, in order."""
    events = [[] for _ in range(fragment.num_qubits)]
    for position, item in enumerate([*fragment.circuit.data, None]):
        for leg in (leg for leg in fragment.legs if leg.position == position):
            events[leg.qubit].append(leg.kind)
        if item is not None:
            events[fragment.circuit.find_bit(item.qubits[0]).index].append(item.operation.to_matrix())
    return events


def products_of(events):
    """(branches of the legs, 2, 2) complex: every combination multiplied out by itself."""
    ranks = [range(one.rank) for one in events if isinstance(one, LegKind) and not one.opens_qubit]
    found = []
    for branches in product(*ranks):
        left, matrix = list(branches), np.eye(2, dtype=complex)
        for one in events:
            if not isinstance(one, LegKind):
                matrix = one @ matrix
            elif not one.opens_qubit:
                matrix = one.branch_operators()[left.pop(0)] @ matrix
        found.append(matrix)
    return np.array(found)


def star(legs, seed, wires=False):
    """Qubit 0, every gate of which is severed; with wires cut a piece of it begins and another one ends there."""
    rng = np.random.default_rng([seed, legs])
    circuit, cuts = QuantumCircuit(legs + 1), []
    for qubit in range(1, legs + 1):
        for on in (0, qubit) if rng.random() < 0.7 else (qubit,):
            circuit.u(*rng.uniform(0, 3, 3), on)
        if wires and qubit in (legs // 2, legs - 1) and qubit > 1:
            cuts.append(WireCut(len(circuit.data), 0))
        cuts.append(GateCut(len(circuit.data)))
        rng.choice([circuit.cz, circuit.cx, circuit.swap, lambda a, b: circuit.rzz(0.4, a, b)])(0, qubit)
    circuit.u(*rng.uniform(0, 3, 3), 0)
    return problem_of(circuit, ["Z" * (legs + 1)], np.ones((1, 1))), tuple(cuts)


@pytest.mark.parametrize("wires", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_every_combination_of_branches_is_what_its_chain_says(seed, wires):
    problem, cuts = star(1 + seed % 6, seed, wires)
    for fragment in make_plan(problem, cuts=cuts).fragments:
        events = events_on(fragment)
        steps, branchings = opened_steps(fragment)
        openings = {step.branching: step for step in steps if isinstance(step, Opening)}
        for number, one in enumerate(branchings):
            qubit = one.qubit if one.qubit is not None else openings[number].qubits[0]
            products = products_of(events[qubit])
            assert sorted(one.legs) == [k for k, leg in enumerate(fragment.legs) if leg.qubit == qubit]
            if one.qubit is not None:  # the basis states of the open qubit are the last leg's branches
                np.testing.assert_allclose(one.spread, products.reshape(-1, 2), atol=1e-13, err_msg=f"seed {seed}")
                continue
            made = np.tensordot(one.spread, openings[number].operators, axes=1)
            np.testing.assert_allclose(made[..., 0], products[..., 0], atol=1e-13, err_msg=f"seed {seed}")
            assert one.rank == np.linalg.matrix_rank(products[:, :, 0]) <= 2, "a qubit that begins in |0>"


@pytest.mark.parametrize("over_memory", [False, True])
@pytest.mark.parametrize("shots", [None, 10**16])
@pytest.mark.parametrize("kept", [0, 18])
def test_dozens_of_legs_on_one_qubit_are_counted_and_not_multiplied_out(kept, shots, over_memory, monkeypatch):
    """2^28 combinations of branches take 17 GB, which was asked for before the plan could be refused."""
    monkeypatch.setattr(Branching, "spread", property(lambda _: pytest.fail("no plan needs it")))
    legs = 28
    circuit, cuts = QuantumCircuit(1 + legs + kept), []
    for qubit in range(legs + 1, legs + kept + 1):
        circuit.cx(0, qubit)
    for qubit in range(1, legs + 1):
        circuit.ry(0.3, qubit)
        cuts.append(GateCut(len(circuit.data)))
        circuit.cx(0, qubit)
        circuit.ry(0.2, 0)
    problem = problem_of(circuit, ["Z" * circuit.num_qubits], np.ones((1, 1)))
    tracemalloc.start()
    try:
        asked = {"cuts": tuple(cuts), "shots": shots, "memory_bytes": 4 << 30, "over_memory": over_memory}
        if over_memory:
            assert make_plan(problem, **asked).costs[0].tensor_bytes == 8 << 56
        else:
            with pytest.raises(CuttingError, match="TiB of memory and 4 GiB may be used"):
                make_plan(problem, **asked)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
