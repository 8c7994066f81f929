"""``QompassSampler`` by the cases that Qiskit holds its own samplers to, on fragments narrower than the circuits."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.circuit.library import real_amplitudes
from qiskit.primitives import BaseSamplerV2, BitArray, PrimitiveResult, SamplerPubResult, StatevectorSampler
from qiskit.providers import JobStatus
from qompass import InputError, QompassSampler

SHOTS = 8000
BELL = QuantumCircuit(2)
BELL.h(0)
BELL.cx(0, 1)
BELL.measure_all()
ANSATZ = real_amplitudes(2, reps=2)
ANSATZ.measure_all()


@pytest.fixture
def sampler() -> QompassSampler:
    return QompassSampler(max_qubits=1, seed=17)


def close(found: dict, wanted: dict, shots: int) -> bool:
    """Whether counts agree with expected ones within five standard deviations each (seed 17)."""
    keys = set(found) | set(wanted)
    return all(abs(found.get(k, 0) - wanted.get(k, 0)) < 5 * np.sqrt(max(wanted.get(k, 0), 1) + 1) for k in keys)


def test_bits_are_those_of_the_uncut_circuit(sampler):
    assert isinstance(sampler, BaseSamplerV2)
    result = sampler.run([BELL], shots=SHOTS).result()
    assert isinstance(result, PrimitiveResult) and isinstance(result[0], SamplerPubResult)
    assert isinstance(result[0].data.meas, BitArray) and result[0].data.meas.num_shots == SHOTS
    assert close(result[0].data.meas.get_counts(), {"00": SHOTS / 2, "11": SHOTS / 2}, SHOTS)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (1, 3), (0,)])
def test_parameter_sets_keep_their_shape(sampler, shape):
    values = np.random.default_rng(5).normal(size=(*shape, 6))
    found = sampler.run([(ANSATZ, values)], shots=SHOTS).result()[0].data.meas
    exact = StatevectorSampler(seed=2).run([(ANSATZ, values)], shots=SHOTS).result()[0].data.meas
    assert found.shape == exact.shape == shape and found.num_bits == 2
    for index in np.ndindex(*shape):
        one = {k: v for k, v in exact.get_counts(index).items()}
        both = found.get_counts(index)
        assert all(abs(both.get(k, 0) - one.get(k, 0)) < 7 * np.sqrt(one.get(k, 0) + 2) for k in set(one) | set(both))


def test_every_register_has_its_bits(sampler):
    one, two = ClassicalRegister(1, "one"), ClassicalRegister(2, "two")
    circuit = QuantumCircuit(QuantumRegister(3), one, two)
    circuit.x(0)
    circuit.x(2)
    circuit.cx(0, 1)
    circuit.measure([2, 0], [two[0], one[0]])
    data = sampler.run([circuit], shots=20).result()[0].data
    assert data.one.get_counts() == {"1": 20} and data.two.get_counts() == {"01": 20}


def test_wide_registers_keep_their_order(sampler):
    circuit = QuantumCircuit(11)
    for qubit in (0, 3, 9):
        circuit.x(qubit)
    for qubit in range(10):
        circuit.cz(qubit, qubit + 1)
    circuit.measure_all()
    data = QompassSampler(max_qubits=4).run([circuit], shots=5).result()[0].data
    assert data.meas.get_counts() == {"01000001001": 5}


def test_shots_of_registers_belong_together(sampler):
    one, two = ClassicalRegister(1, "one"), ClassicalRegister(1, "two")
    circuit = QuantumCircuit(QuantumRegister(2), one, two)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    data = sampler.run([circuit], shots=200).result()[0].data
    bits = data.one.array[:, 0]
    np.testing.assert_array_equal(bits, data.two.array[:, 0])
    assert 0 < bits[:100].sum() < 100, "an order that says nothing, seed 17"


def test_one_qubit_and_no_shots_of_it(sampler):
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    assert sampler.run([circuit], shots=9).result()[0].data.c.get_counts() == {"1": 9}


def test_a_pub_without_measurements(sampler):
    circuit = QuantumCircuit(2)
    circuit.h(0)
    with pytest.warns(UserWarning, match="no output classical registers"):
        result = sampler.run([circuit], shots=5).result()
    assert list(result[0].data.keys()) == []
    circuit.add_register(ClassicalRegister(2, "c"))
    assert sampler.run([circuit], shots=5).result()[0].data.c.get_counts() == {"00": 5}


def test_shots_come_from_the_pub_then_the_run_then_the_default(sampler):
    result = sampler.run([(BELL, None, 10), BELL], shots=20).result()
    assert [own.data.meas.num_shots for own in result] == [10, 20]
    assert QompassSampler(default_shots=3).run([BELL]).result()[0].data.meas.num_shots == 3
    told = {"shots": 10, "circuit_metadata": {}, "fragment_shots": 0, "devices": [], "notes": [], "runs": []}
    assert result[0].metadata == told


@pytest.mark.parametrize(
    ("pub", "shots", "kind"),
    [
        (ANSATZ, 10, ValueError),
        ((ANSATZ, [[1.0]]), 10, ValueError),
        ((BELL, [[1.0]]), 10, ValueError),
        (BELL, 0, ValueError),
        (BELL, -1, ValueError),
        (BELL, 1.5, (TypeError, ValueError)),
        ((ANSATZ, [[np.nan] * 6]), 10, InputError),
        ("circuit", 10, (TypeError, ValueError)),
    ],
)
def test_what_does_not_fit_is_refused_at_once(sampler, pub, shots, kind):
    with pytest.raises(kind):
        sampler.run([pub], shots=shots)


def test_a_measurement_in_mid_circuit_is_refused(sampler):
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    circuit.h(0)
    job = sampler.run([circuit])
    with pytest.raises(InputError, match="mid-circuit"):
        job.result()
    assert job.status() == JobStatus.ERROR


def test_the_same_seed_gives_the_same_bits_and_each_set_its_own():
    angle = Parameter("angle")
    circuit = QuantumCircuit(2, 2)
    circuit.ry(angle, 0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    pub = (circuit, [[1.0], [1.0]])
    first, again = (QompassSampler(max_qubits=1, seed=4).run([pub], shots=64).result()[0].data.c for _ in range(2))
    np.testing.assert_array_equal(first.array, again.array)
    assert (first.array[0] != first.array[1]).any()
