"""Gates that borrow a name: what an operation is decides, never what it is called; every parameter is in the key."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import library as gates
from qiskit.circuit.random import random_circuit

from tasks.execution.cache import keys
from tasks.execution.cache.keys import KeyMaker, Target, exact_material
from tasks.execution.cache.semantic.canonical import canonical_form, decode
from tasks.execution.cache.semantic.circuit_reader import read_circuit
from tasks.execution.cache.semantic.distribution import canonical_distribution
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
    builder = read_circuit(circuit)
    form = canonical_form(builder.finish(), builder.num_qubits, circuit.num_clbits)
    off = difference(exact_distribution_of_ry(1.4), form_distribution(decode(form), form))
    assert off < 1e-12
    by_distribution = canonical_distribution(circuit)
    assert by_distribution is not None
    assert sorted(by_distribution.probabilities) == pytest.approx(sorted(exact_distribution_of_ry(1.4).values()))


def exact_distribution_of_ry(angle: float) -> dict[tuple[int, ...], float]:
    circuit = QuantumCircuit(1, 1)
    circuit.ry(angle, 0)
    circuit.measure(0, 0)
    return exact_distribution(circuit)


def test_letters_and_matrices_are_in_the_key_of_a_circuit_as_written() -> None:
    def written(gate: object, qubits: int) -> bytes:
        circuit = QuantumCircuit(3, 3)
        circuit.append(gate, range(qubits))
        return exact_material(circuit)

    different = [
        written(gates.PauliGate("XYZ"), 3),
        written(gates.PauliGate("XZZ"), 3),
        written(gates.UnitaryGate(np.diag([1, 1j])), 1),
        written(gates.UnitaryGate(np.diag([1, -1j])), 1),
        written(gates.UnitaryGate(np.eye(4)), 2),
    ]
    assert len(set(different)) == len(different)


def test_what_is_no_gate_has_no_key_by_distribution() -> None:
    circuit = QuantumCircuit(2, 2)
    inner = QuantumCircuit(1, 1)
    inner.measure(0, 0)
    circuit.h(0)
    circuit.append(inner.to_instruction(), [0], [0])
    assert canonical_distribution(circuit) is None
    started = QuantumCircuit(2, 2)
    started.h(0)
    started.cx(0, 1)
    started.initialize([0.6, 0.8], 1)  # resets its qubit, so that the other one is left in a mixture
    started.measure([0, 1], [0, 1])
    assert canonical_distribution(started) is None


@pytest.mark.parametrize("seed", range(20))
def test_standard_gates_are_written_down_as_all_others_are(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short way for standard gates and the way for everything give the same bytes."""
    print("seed", seed)
    circuit = random_circuit(5, 8, measure=True, reset=True, seed=seed)
    short = exact_material(circuit)
    monkeypatch.setattr(keys, "_plain_material", lambda head, parameters: b"")
    assert exact_material(circuit) == short
