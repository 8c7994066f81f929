"""A way without all amplitudes is chosen as if programs were made to their end; bounds only save making them."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.cutting import GateCut, WireCut
from tasks.cutting.cone_program import cone_program
from tasks.cutting.cuts import Cut
from tasks.cutting.open_program import open_program
from tasks.cutting.openings import Gate
from tasks.cutting.partition import partition
from tasks.cutting.pauli_program import pauli_program
from tasks.cutting.plan import Fragment
from tasks.cutting.product_program import product_program
from tasks.cutting.seconds import (
    CLEARLY,
    LEAST_S,
    WIDE,
    WORTH_S,
    _all_amplitudes_seconds,
    _amplitudes_seconds,
    _most_amplitudes_seconds,
    cheaper_way,
)
from tasks.cutting.sizes import exact_bytes, simulated_legs
from tests.oracles import problem_of


def a_circuit(rng: np.random.Generator) -> QuantumCircuit:
    """Shallow or deep, local or not, of Clifford gates or with others: every way is the quickest for some."""
    qubits, layers, reach = int(rng.integers(17, 25)), int(rng.integers(1, 5)), int(rng.choice([1, 1, 12]))
    clifford, every = rng.random() < 0.3, float(rng.choice([0.5, 1.0, 1.0]))
    circuit = QuantumCircuit(qubits)
    for _ in range(layers):
        for q in range(qubits):
            if clifford:
                getattr(circuit, str(rng.choice(["h", "s", "sx"])))(q)
            else:
                circuit.ry(float(rng.uniform(0, 3)), q)
        for q in range(qubits - 1):
            if rng.random() < every:
                other = min(qubits - 1, q + int(rng.integers(1, reach + 1)))
                if clifford:
                    circuit.cx(q, other)
                else:
                    circuit.rzz(float(rng.uniform(0, 3)), q, other)
    return circuit


def some_fragments(seed: int) -> tuple[Fragment, ...]:
    """Of a random circuit with a few cuts and a few observables."""
    rng = np.random.default_rng(seed)
    circuit = a_circuit(rng)
    places = [
        (k, circuit.find_bit(item.qubits[0]).index)
        for k, item in enumerate(circuit.data)
        if len(item.qubits) == 2 and circuit.find_bit(item.qubits[0]).index < 4
    ]
    cuts: list[Cut] = []
    for place in rng.permutation(len(places))[: rng.integers(0, 4)].tolist():
        instruction, qubit = places[place]
        cuts.append(WireCut(instruction, qubit) if place % 3 == 0 and instruction >= 40 else GateCut(instruction))
    letters = rng.choice(list(str(rng.choice(["IIIXYZ", "XYZ"]))), size=(int(rng.integers(1, 9)), circuit.num_qubits))
    labels = sorted({"".join(row) for row in letters})
    return partition(problem_of(circuit, labels, np.ones((1, len(labels)))), tuple(cuts)).fragments


def without_bounds(fragment: Fragment) -> tuple[str, float] | None:
    """The kind of way that ``cheaper_way`` is to choose, and its seconds."""
    most = _most_amplitudes_seconds(fragment)
    held = max(1 << 26, 16 << fragment.num_qubits + simulated_legs(fragment)[0], exact_bytes(fragment))
    best, cones = None, cone_program(fragment)
    if cones is not None and (
        not cones.leaves_out(fragment) or CLEARLY * cones.seconds > _amplitudes_seconds(fragment)
    ):
        cones = None
    for program in (pauli_program(fragment), product_program(fragment), cones):
        if program is None or program.bytes > held or (best is not None and best.seconds <= LEAST_S):
            continue
        if best is None or program.seconds <= best.seconds:
            best = program
    amplitudes = min(_all_amplitudes_seconds(fragment), most)
    if fragment.num_qubits < WIDE or most <= WORTH_S or best is None or CLEARLY * best.seconds > amplitudes:
        return None
    return type(best).__name__, best.seconds


@pytest.mark.parametrize("seed", range(30))
def test_the_way_is_that_of_the_least_seconds_of_all(seed):
    for fragment in some_fragments(seed):
        way = cheaper_way(fragment)
        assert (None if way is None else (type(way).__name__, way.seconds)) == without_bounds(fragment)


def test_every_way_is_chosen_for_some_fragment():
    ways = {type(cheaper_way(fragment)).__name__ for seed in range(60) for fragment in some_fragments(seed)}
    assert ways == {"NoneType", "ProductProgram", "PauliProgram", "ConeProgram"}


def test_a_fragment_that_is_seen_whole_is_not_taken_apart_into_itself():
    """Its part would be taken apart again, without end."""
    rng, circuit = np.random.default_rng(1), QuantumCircuit(19)
    circuit.h(range(19))
    for _ in range(90):
        a, b = rng.choice(19, 2, replace=False).tolist()
        circuit.rzz(0.5, a, b)
        circuit.rx(0.7, a)
    labels = sorted("Z" * (19 - k) + "I" * k for k in range(8))
    fragment = partition(problem_of(circuit, labels, np.ones((1, 8))), ()).fragments[0]
    program = cone_program(fragment)
    assert program is not None and not program.leaves_out(fragment)
    least = min(_all_amplitudes_seconds(fragment), _most_amplitudes_seconds(fragment))
    assert CLEARLY * program.seconds < least, "it would be taken"
    assert cheaper_way(fragment) is None


@pytest.mark.parametrize("make", [product_program, pauli_program, cone_program])
def test_a_program_within_bounds_is_that_without(make):
    for seed in range(12):
        for fragment in some_fragments(seed):
            free = make(fragment)
            if free is None:
                assert make(fragment, 1.0) is None
                continue
            assert make(fragment, free.seconds * 1.001).seconds == free.seconds
            bounded = make(fragment, free.seconds / 2)
            assert bounded is None or bounded.seconds == free.seconds


def test_counted_legs_are_those_simulated():
    for seed in range(30):
        for fragment in some_fragments(seed):
            branches, outputs = simulated_legs(fragment)
            program = open_program(fragment)
            assert program.amplitudes <= 2 ** (fragment.num_qubits + branches) < 2 * program.amplitudes
            assert program.branches <= 2 ** (branches + outputs) < 2 * program.branches


def test_many_legs_on_one_stretch_are_counted_without_all_their_branches():
    """A hub that is cut from forty others: two branches along one axis, four beside a turn."""
    circuit = QuantumCircuit(41)
    circuit.h(0)
    circuit.ry(0.3, range(1, 41))
    for q in range(1, 41):
        circuit.cz(0, q)
        if q == 20:
            circuit.u(0.3, 0.4, 0.5, 0)
    circuit.rx(0.2, range(41))
    cuts = tuple(GateCut(i) for i, item in enumerate(circuit.data) if len(item.qubits) == 2)
    hub = partition(problem_of(circuit, ["Z" * 41], np.ones((1, 1))), cuts).fragments[0]
    assert len(hub.legs) == 40 and simulated_legs(hub) == (1, 0), "the qubit begins in one state"


@pytest.mark.parametrize("seed", range(10))
def test_blocks_of_gates_hold_every_gate_once_and_keep_the_order_on_each_qubit(seed):
    for fragment in some_fragments(seed):
        blocks = [step.gates for step in open_program(fragment).steps if hasattr(step, "gates")]
        laid = [gate for block in blocks for gate in block]
        assert all(isinstance(gate, Gate) for gate in laid)
        given = [item for item in fragment.circuit.data if len(item.qubits) == 2]
        number = {bit: q for q, bit in enumerate(fragment.circuit.qubits)}
        for q in range(fragment.num_qubits):
            own = [gate.matrix.tolist() for gate in laid if len(gate.qubits) == 2 and q in gate.qubits]
            asked = [item.matrix.tolist() for item in given if q in {number[bit] for bit in item.qubits}]
            assert own == asked
        assert all(len({q for gate in block for q in gate.qubits}) <= 6 for block in blocks)
