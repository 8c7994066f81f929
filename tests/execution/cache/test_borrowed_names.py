"""Gates that borrow a name: what an operation is decides, never what it is called; every parameter is in the key."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import library as gates
from qiskit.circuit.random import random_circuit

from tasks.execution import as_written
from tasks.execution.as_written import circuit_material
from tasks.execution.cache.keys import KeyMaker, Target
from tasks.execution.cache.semantic import canonical_form
from tasks.execution.cache.semantic.canonical import operations_of
from tests.execution.cache.oracle import difference, exact_distribution, form_distribution


def named(name: str, angle: float) -> QuantumCircuit:
    """A circuit whose one gate is called ``name`` and is a rotation, as an OpenQASM file can define it."""
    inner = QuantumCircuit(1, name=name)
    inner.ry(angle, 0)
    circuit = QuantumCircuit(1, 1)
    circuit.append(inner.to_gate(), [0])
    circuit.measure(0, 0)
    return circuit


@pytest.mark.parametrize("name", ["unitary", "barrier", "delay", "reset", "measure", "cx", "h"])
@pytest.mark.parametrize("target", [Target("ideal"), Target("qpu", calibration="monday")], ids=["ideal", "qpu"])
def test_two_gates_of_one_borrowed_name_have_two_keys(name: str, target: Target) -> None:
    keys = KeyMaker()
    assert keys.counts_key(named(name, 0.4), target).digest != keys.counts_key(named(name, 1.4), target).digest


@pytest.mark.parametrize("name", ["unitary", "barrier", "delay", "reset", "measure"])
def test_a_borrowed_name_is_read_by_its_definition(name: str) -> None:
    circuit = named(name, 1.4)
    form = canonical_form(circuit)
    off = difference(exact_distribution_of_ry(1.4), form_distribution(operations_of(form), form))
    assert off < 1e-12


def exact_distribution_of_ry(angle: float) -> dict[tuple[int, ...], float]:
    circuit = QuantumCircuit(1, 1)
    circuit.ry(angle, 0)
    circuit.measure(0, 0)
    return exact_distribution(circuit)


def test_letters_and_matrices_are_in_the_key_of_a_circuit_as_written() -> None:
    def written(gate: object, qubits: int) -> bytes:
        circuit = QuantumCircuit(3, 3)
        circuit.append(gate, range(qubits))
        return circuit_material(circuit)

    different = [
        written(gates.PauliGate("XYZ"), 3),
        written(gates.PauliGate("XZZ"), 3),
        written(gates.UnitaryGate(np.diag([1, 1j])), 1),
        written(gates.UnitaryGate(np.diag([1, -1j])), 1),
        written(gates.UnitaryGate(np.eye(4)), 2),
    ]
    assert len(set(different)) == len(different)


@pytest.mark.parametrize("seed", range(20))
def test_standard_gates_are_written_down_as_all_others_are(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short way for standard gates and the way for everything give the same bytes."""
    print("seed", seed)
    circuit = random_circuit(5, 8, measure=True, reset=True, seed=seed)
    short = circuit_material(circuit)
    monkeypatch.setattr(as_written, "_plain_material", lambda head, parameters: b"")
    assert circuit_material(circuit) == short
