"""Fragments that flipping every bit leaves as they are: half of the amplitudes, the same values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp, Statevector

from tasks.cutting.cuts import GateCut
from tasks.parametric import program
from tests.parametric.circuits import parametric, random_operators


def flipping(rng: np.random.Generator, qubits: int, parameters: int, gates: int) -> QuantumCircuit:
    """A circuit that commutes with X on all qubits, from |+> and |->, on every pair of qubits."""
    vector = ParameterVector("p", parameters)
    circuit = QuantumCircuit(qubits)
    for qubit in range(qubits):
        if rng.random() < 0.3:
            circuit.x(qubit)
        circuit.h(qubit)
    for number in range(gates):
        own = vector[number % parameters]
        angle = [own, 2 * own + 0.3, own.sin(), float(rng.uniform(-3, 3))][int(rng.choice(4, p=[0.4, 0.3, 0.25, 0.05]))]
        kind = str(rng.choice(["rzz", "rxx", "ryy", "rx", "x", "sx"], p=[0.55, 0.02, 0.03, 0.3, 0.05, 0.05]))
        first, second = (int(q) for q in rng.choice(qubits, 2, replace=False))
        if kind in ("x", "sx"):
            getattr(circuit, kind)(first)
        elif kind == "rx":
            circuit.rx(angle, first)
        else:
            getattr(circuit, kind)(angle, first, second)
    for parameter in vector:
        if parameter not in circuit.parameters:
            circuit.rx(parameter, 0)
    return circuit


def joined(parts: int, size: int, layers: int, weights: bool) -> QuantumCircuit:
    """QAOA of rings in a row, neighbours joined by one edge."""
    rng, vector = np.random.default_rng(parts * size), ParameterVector("p", 2 * layers)
    circuit = QuantumCircuit(parts * size)
    circuit.h(circuit.qubits)
    edges = [(k * size + i, k * size + (i + 1) % size) for k in range(parts) for i in range(size)]
    edges += [(k * size - 1, k * size) for k in range(1, parts)]
    each = rng.uniform(0.5, 1.5, len(edges)) if weights else np.ones(len(edges))
    for layer in range(layers):
        for (a, b), weight in zip(edges, each, strict=True):
            circuit.rzz(float(weight) * vector[2 * layer], a, b)
        circuit.rx(2 * vector[2 * layer + 1], circuit.qubits)
    return circuit


def z_sums(rng: np.random.Generator, qubits: int) -> list[SparsePauliOp]:
    """Sums of Z and ZZ, even and odd ones together, and the identity."""
    found = []
    for _ in range(2):
        terms = [("ZZ", [int(q) for q in rng.choice(qubits, 2, replace=False)], float(rng.normal())) for _ in range(5)]
        terms += [("Z", [int(rng.integers(qubits))], float(rng.normal())), ("", [], 0.5)]
        found.append(SparsePauliOp.from_sparse_list(terms, qubits))
    return found


def exactly(circuit: QuantumCircuit, operators: list[SparsePauliOp], values: np.ndarray) -> np.ndarray:
    """(set, observable) from whole states."""
    states = [Statevector(circuit.assign_parameters(own)) for own in values]
    return np.array([[float(state.expectation_value(own).real) for own in operators] for state in states])


def compare(monkeypatch, circuit, operators, max_qubits, cuts=None):
    """Values beside whole states, each set alone, gradients beside those of all amplitudes.

    Returns:
        (fragment,) whether half of its amplitudes were held.
    """
    plan = parametric(circuit, operators, max_qubits, cuts)
    with monkeypatch.context() as patch:
        patch.setattr(program, "left_out", lambda *args: None)
        whole = parametric(circuit, operators, max_qubits, cuts)
        assert all(own.flip is None for own in whole.programs)
    values = np.random.default_rng(7).uniform(-3, 3, (3, circuit.num_parameters))
    found, slopes = plan.gradients(values)
    np.testing.assert_allclose(found, exactly(circuit, operators, values), atol=1e-12)
    np.testing.assert_allclose(plan.values(values), found, atol=1e-12)
    np.testing.assert_allclose(slopes, whole.gradients(values)[1], atol=2e-12)
    together = plan.values(values)
    for number in range(len(values)):
        plan.forget()
        alone = plan.values(values[number : number + 1])[0]
        np.testing.assert_array_equal(alone, together[number], err_msg="alone as in company")
    for own, other in zip(plan.programs, whole.programs, strict=True):
        assert own.amplitudes == other.amplitudes >> (own.flip is not None)
    return [own.flip is not None for own in plan.programs]


def test_random_circuits_that_commute_with_all_bits_flipped(monkeypatch):
    used = []
    for seed in range(20):
        print(f"seed {seed}")
        rng = np.random.default_rng(seed)
        qubits = int(rng.integers(4, 8))
        circuit = flipping(rng, qubits, 3, int(rng.integers(qubits, 3 * qubits)))
        operators = z_sums(rng, qubits) if seed % 3 else [*random_operators(rng, qubits, 1), *z_sums(rng, qubits)[:1]]
        used += compare(monkeypatch, circuit, operators, int(rng.integers(max(2, qubits - 2), qubits + 1)))
    assert sum(used) >= len(used) // 4, f"{sum(used)} of {len(used)} fragments"


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize(("parts", "size", "layers"), [(1, 6, 2), (2, 5, 1), (2, 4, 3), (3, 4, 2)])
def test_qaoa_of_rings_in_a_row(parts, size, layers, weights, monkeypatch):
    circuit = joined(parts, size, layers, weights)
    rng = np.random.default_rng(parts)
    operators = [SparsePauliOp("I" * circuit.num_qubits), *z_sums(rng, circuit.num_qubits)]
    assert all(compare(monkeypatch, circuit, operators, size))


@pytest.mark.parametrize("kind", ["rzz", "rxx", "ryy"])
def test_several_cuts_of_every_kind_on_one_qubit(kind, monkeypatch):
    vector = ParameterVector("p", 4)
    circuit = QuantumCircuit(6)
    circuit.h(circuit.qubits)
    cuts = []
    for number, parameter in enumerate(vector):
        for a, b in ((0, 1), (1, 2), (3, 4), (4, 5)):
            circuit.rzz(parameter + a, a, b)
        circuit.rx(0.4 + number, circuit.qubits)
        cuts.append(GateCut(len(circuit.data)))
        getattr(circuit, kind)(parameter, 2, 3)
        circuit.rx(parameter, 2)
    operators = z_sums(np.random.default_rng(2), 6)
    used = compare(monkeypatch, circuit, operators, None, tuple(cuts))
    assert kind != "rzz" or all(used)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda circuit: circuit.rz(0.3, 2), id="a field"),
        pytest.param(lambda circuit: circuit.ry(circuit.parameters[0], 1), id="a rotation that turns signs"),
        pytest.param(lambda circuit: circuit.cx(0, 1), id="a gate of another kind"),
        pytest.param(lambda circuit: circuit.data.pop(1), id="a qubit that begins at 0"),
    ],
)
def test_what_breaks_the_symmetry_is_seen(change, monkeypatch):
    circuit = joined(1, 4, 2, False)
    change(circuit)
    circuit.rx(circuit.parameters[1], circuit.qubits)
    assert compare(monkeypatch, circuit, z_sums(np.random.default_rng(1), 4), 4) == [False]
