"""Backends and samplers of the user's run the fragments of an estimate."""

from __future__ import annotations

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qompass import InputError, QompassEstimator, QompassSampler

from tasks.cutting import GateCut


@pytest.fixture
def circuit() -> QuantumCircuit:
    a, b = Parameter("a"), Parameter("b")
    made = QuantumCircuit(4)
    made.ry(a, [0, 2])
    made.cx(0, 1)
    made.rzz(b, 1, 2)
    made.cx(2, 3)
    made.rx(0.4, range(4))
    return made


VALUES = [[0.4, 0.9], [1.2, -0.7]]
OBSERVABLES = [["ZZZZ"], ["IXXI"]]


def kinds_of_backends(*quick):
    """Each of them is in one of two tests at least."""
    kinds = {
        "name": "aer",
        "backend": AerSimulator(),
        "sampler": StatevectorSampler(seed=3),
        "noise model": NoiseModel(),
    }
    return [pytest.param(own, id=kind, marks=[pytest.mark.slow] * (kind not in quick)) for kind, own in kinds.items()]


@pytest.mark.parametrize("backend", kinds_of_backends("name", "sampler"))
def test_noiseless_ones_agree_with_the_uncut_circuit(circuit, backend):
    wanted = StatevectorEstimator().run([(circuit, OBSERVABLES, VALUES)]).result()[0].data.evs
    result = QompassEstimator(max_qubits=2, backend=backend, shots=200_000, seed=2).run(
        [(circuit, OBSERVABLES, VALUES)]
    )
    data = result.result()[0].data
    assert (data.stds > 0).all() and (abs(data.evs - wanted) < 5 * data.stds).all()


def test_a_fake_backend_by_name(circuit):
    pytest.importorskip("qiskit_ibm_runtime")
    estimator = QompassEstimator(max_qubits=2, backend="fake_manila", shots=60_000, seed=2)
    result = estimator.run([(circuit, "ZZZZ", VALUES[0])]).result()[0]
    exact = float(StatevectorEstimator().run([(circuit, "ZZZZ", VALUES[0])]).result()[0].data.evs)
    assert abs(float(result.data.evs) - exact) < 0.25 and result.metadata["devices"] == ["fake_manila"]
    assert any("not in the standard errors" in note for note in result.metadata["notes"])


def test_noise_is_the_backends(circuit):
    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(0.5, 2), ["cx"])
    estimator = QompassEstimator(max_qubits=2, backend=noise, shots=100_000, seed=1)
    noisy = float(estimator.run([(circuit, "ZZZZ", VALUES[0])]).result()[0].data.evs)
    exact = float(StatevectorEstimator().run([(circuit, "ZZZZ", VALUES[0])]).result()[0].data.evs)
    assert abs(noisy) < 0.6 * abs(exact)


def test_a_precision_is_reached(circuit):
    estimator = QompassEstimator(max_qubits=2, backend="aer", seed=1)
    result = estimator.run([(circuit, OBSERVABLES, VALUES)], precision=0.03).result()[0]
    assert result.data.stds.max() <= 0.032 and result.metadata["shots"] > 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backend": "fake_nowhere"}, "there is no 'fake_nowhere': name one of aer"),
        ({"backend": 3}, "a int is no backend"),
        ({"backend": "aer", "out": "runs"}, "leave one of them out"),
    ],
)
def test_what_is_no_backend_is_refused(settings, says):
    with pytest.raises(InputError, match=says):
        QompassEstimator(max_qubits=2, shots=1000, **settings)


def test_shots_have_to_be_said_and_circuits_to_fit(circuit):
    job = QompassEstimator(max_qubits=2, backend="aer").run([(circuit, "ZZZZ", VALUES[0])])
    with pytest.raises(InputError, match="takes shots"):
        job.result()
    pytest.importorskip("qiskit_ibm_runtime")
    wide = QuantumCircuit(8)
    for qubit in range(7):
        wide.cx(qubit, qubit + 1)
    with pytest.raises(InputError, match="has 5 qubits and a variant takes"):
        QompassEstimator(cuts=(GateCut(6),), backend="fake_manila", shots=10_000).run([(wide, "Z" * 8)]).result()


def measured(circuit: QuantumCircuit) -> QuantumCircuit:
    made = circuit.copy()
    made.measure_all()
    return made


def apart(counts: dict, wanted: dict) -> float:
    """Total variation distance of two distributions of bit strings."""
    one, other = sum(counts.values()), sum(wanted.values())
    return sum(abs(counts.get(k, 0) / one - wanted.get(k, 0) / other) for k in {*counts, *wanted}) / 2


@pytest.mark.parametrize("backend", kinds_of_backends("backend", "noise model"))
def test_strings_of_noiseless_ones_are_those_of_the_uncut_circuit(circuit, backend):
    pub = (measured(circuit), VALUES)
    sampler = QompassSampler(max_qubits=2, backend=backend, seed=2)
    result = sampler.run([pub], shots=20_000).result()[0]
    wanted = StatevectorSampler(seed=1).run([pub], shots=20_000).result()[0].data.meas
    assert result.data.meas.shape == (2,) and result.metadata["fragment_shots"] >= 40_000
    for place in range(2):
        assert apart(result.data.meas.get_counts(place), wanted.get_counts(place)) < 0.05
    fewer = QompassSampler(max_qubits=2, backend=backend, seed=2, shots=3000).run([pub], shots=20).result()[0]
    assert 2 * 2500 < fewer.metadata["fragment_shots"] <= 2 * 3000 and fewer.data.meas.num_shots == 20


def test_strings_of_more_bits_than_a_vector_holds(circuit):
    wide = QuantumCircuit(32)
    wide.h(0)
    for qubit in range(31):
        wide.cx(qubit, qubit + 1)
    result = QompassSampler(max_qubits=12, backend=StatevectorSampler(seed=3)).run([measured(wide)], shots=2000)
    counts = result.result()[0].data.meas.get_counts()
    assert apart(counts, {"0" * 32: 1, "1" * 32: 1}) < 0.1, counts


@pytest.mark.parametrize("name", ["fake_manila", pytest.param("fake_torino", marks=pytest.mark.slow)])
def test_strings_from_a_fake_backend_have_its_errors(circuit, name):
    pytest.importorskip("qiskit_ibm_runtime")
    bound = measured(circuit.assign_parameters(VALUES[0]))
    result = QompassSampler(max_qubits=2, backend=name, seed=2).run([bound], shots=4000).result()[0]
    wanted = StatevectorSampler(seed=1).run([bound], shots=20_000).result()[0].data.meas.get_counts()
    assert 0.005 < apart(result.data.meas.get_counts(), wanted) < 0.25
    assert result.metadata["devices"] == [name]
    assert any("with the errors of these" in note for note in result.metadata["notes"])


def test_a_sampler_on_a_backend_refuses_what_it_cannot_run(circuit):
    midway = QuantumCircuit(2, 1)
    midway.measure(0, 0)
    midway.h(0)
    with pytest.raises(InputError, match="mid-circuit"):
        QompassSampler(max_qubits=1, backend="aer").run([midway]).result()
    with pytest.raises(InputError, match="a int is no backend"):
        QompassSampler(backend=3)
    silent = QuantumCircuit(2, 2)
    found = QompassSampler(max_qubits=1, backend="aer").run([silent], shots=4).result()[0]
    assert found.data.c.get_counts() == {"00": 4} and found.metadata["fragment_shots"] == 0
