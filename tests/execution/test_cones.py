"""Fragments taken apart by light cones, against the state vector and against answers known by hand."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
from qiskit import QuantumCircuit

from tasks.cutting import GateCut, WireCut, make_plan
from tasks.cutting.cone_program import cone_program
from tasks.cutting.seconds import exact_fragment_seconds
from tasks.execution.simulators.cones import cone_tensor
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.execution.simulators.whole import whole_tensor
from tasks.workflow import estimate
from tests.oracles import problem_of

ONE = ["h", "s", "t", "x", "sx", "sdg"]
TWO = ["cz", "cx", "cy", "swap", "iswap", "ecr"]
TURNED = ["rzz", "rxx", "ryy", "rzx", "crx", "crz", "cp"]


def local_labels(qubits, number, rng):
    """Distinct Paulis on at most two qubits."""
    found = set()
    while len(found) < number:
        letters = ["I"] * qubits
        for q in rng.choice(qubits, int(rng.integers(3)), replace=False).tolist():
            letters[q] = str(rng.choice(list("XYZ")))
        found.add("".join(letters))
    return sorted(found)


def cut_circuit(seed, qubits=8, gates=9):
    """Few gates of many kinds between any two qubits; gates of all ranks and wires are severed."""
    rng = np.random.default_rng([seed, 13])
    circuit = QuantumCircuit(qubits)
    for _ in range(gates):
        a, b = rng.choice(qubits, 2, replace=False).tolist()
        getattr(circuit, str(rng.choice(ONE)))(a)
        if rng.random() < 0.4:
            circuit.ry(float(rng.uniform(0, 3)), b)
        if rng.random() < 0.5:
            getattr(circuit, str(rng.choice(TURNED)))(float(rng.uniform(0, 3)), a, b)
        else:
            getattr(circuit, str(rng.choice(TWO)))(a, b)
    two = [i for i, item in enumerate(circuit.data) if len(item.qubits) == 2]
    cuts = [GateCut(int(i)) for i in rng.choice(two, 2, replace=False)]
    for i in rng.choice(two[3:], 1, replace=False).tolist():
        qubit = circuit.find_bit(circuit.data[i].qubits[int(rng.integers(2))]).index
        if any(circuit.qubits[qubit] in circuit.data[k].qubits for k in range(i)):
            cuts.append(WireCut(i, qubit))
    labels = local_labels(qubits, 12, rng)
    return problem_of(circuit, labels, np.ones((1, len(labels)))), tuple(cuts)


def test_it_gives_the_tensor_of_the_state_vector():
    kinds, taken = set(), 0
    for seed in range(40):
        problem, cuts = cut_circuit(seed)
        for fragment in make_plan(problem, cuts=cuts).fragments:
            program = cone_program(fragment)
            parts = [part.of(fragment) for part in program.parts]
            found = cone_tensor(fragment, program, [exact_tensor(part, open_state(part)) for part in parts])
            expected = exact_tensor(fragment, open_state(fragment))
            np.testing.assert_allclose(found, expected, atol=1e-11, err_msg=f"seed {seed}")
            if any(len(part.circuit.data) < len(fragment.circuit.data) for part in parts):
                taken += 1
                kinds |= {leg.kind.name for leg in fragment.legs}
    assert taken > 20
    assert kinds == {"gate", "wire_in", "wire_out"}


@pytest.mark.parametrize("name", ["rzz", "rxx", "crz"])
def test_a_gate_that_changes_nothing_but_a_sign_is_in_the_cone_with_both_its_qubits(name):
    circuit = QuantumCircuit(4)
    circuit.h(circuit.qubits)
    circuit.rzz(0.3, 2, 3)
    getattr(circuit, name)(2 * np.pi if name == "crz" else np.pi, 0, 1)
    circuit.ry(0.4, 0)
    circuit.rx(0.2, 1)
    labels = ["IIIX", "IIYI", "YIII"]
    for fragment in make_plan(problem_of(circuit, labels, np.ones((1, len(labels)))), cuts=()).fragments:
        program = cone_program(fragment)
        found = cone_tensor(fragment, program, [whole_tensor(part.of(fragment)) for part in program.parts])
        np.testing.assert_allclose(found, exact_tensor(fragment, open_state(fragment)), atol=1e-11)


def qaoa(graph, gamma, beta, crossing=()):
    """One layer of MaxCut on a graph; ``crossing``: nodes joined to one more qubit by a gate that is severed."""
    nodes, cuts = graph.number_of_nodes(), []
    circuit = QuantumCircuit(nodes + bool(crossing))
    circuit.h(circuit.qubits)
    for a, b in graph.edges:
        circuit.rzz(-gamma, a, b)
    for node in crossing:
        cuts.append(GateCut(len(circuit.data)))
        circuit.rzz(-gamma, node, nodes)
    circuit.rx(2 * beta, circuit.qubits)
    return circuit, tuple(cuts)


def test_qaoa_of_sixty_nodes_needs_no_cut_and_gives_the_known_energies():
    """Wang, Hadfield, Jiang and Rieffel, Phys. Rev. A 97, 022304 (2018), theorem 1."""
    graph = networkx.random_regular_graph(3, 60, seed=3)
    gamma, beta = 0.6, 0.3
    circuit, _ = qaoa(graph, gamma, beta)
    found = estimate(circuit, [f"Z{a} Z{b}" for a, b in graph.edges], cache="off")
    for (a, b), one in zip(graph.edges, found, strict=True):
        triangles = len(set(graph[a]) & set(graph[b]))
        cut = 0.5 + np.sin(4 * beta) * np.sin(gamma) * np.cos(gamma) ** 2 / 2
        cut -= np.sin(2 * beta) ** 2 * np.cos(gamma) ** (4 - 2 * triangles) * (1 - np.cos(2 * gamma) ** triangles) / 4
        assert one.value == pytest.approx(1 - 2 * cut, abs=1e-11)
        assert one.std_error == 0


def test_a_wide_shallow_fragment_is_taken_apart_and_a_deep_one_is_not():
    graph = networkx.convert_node_labels_to_integers(networkx.grid_2d_graph(3, 7))
    circuit, cuts = qaoa(graph, 0.4, 0.2, crossing=(0, 10))
    labels = ["".join("Z" if q in edge else "I" for q in reversed(range(22))) for edge in graph.edges]
    fragment = max(
        make_plan(problem_of(circuit, labels, np.ones((1, len(labels)))), cuts=cuts).fragments, key=lambda f: f.width
    )
    way = cone_program(fragment)
    assert max(len(part.qubits) for part in way.parts) <= 8, "gates of one layer commute"
    expected = exact_tensor(fragment, open_state(fragment))
    found = cone_tensor(fragment, way, [whole_tensor(part.of(fragment)) for part in way.parts])
    np.testing.assert_allclose(found, expected, atol=1e-11)
    np.testing.assert_allclose(whole_tensor(fragment), expected, atol=1e-11)
    deep = circuit.compose(circuit).compose(circuit)
    deep = make_plan(problem_of(deep, labels, np.ones((1, len(labels)))), cuts=()).fragments[0]
    assert cone_program(deep, exact_fragment_seconds(deep) / 3) is None
