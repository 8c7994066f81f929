"""Backends of Qiskit as devices of a run: placed by policies, leased, mitigated, and in the record."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorSampler
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error
from qompass import InputError, QompassEstimator, Session, devices, estimate

from apps.cli.main import main
from tasks.execution.backends import NamedSampler
from tasks.execution.qpu.served import described
from tasks.execution.qpu.vendors import vendor_of

SETTINGS = {"max_qubits": 2, "shots": 20_000, "seed": 1, "cache": "off"}


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    for name in ("QRMI_JOB_QPU_RESOURCES", "QRMI_JOB_QPU_TYPES", "QOMPASS_QRMI_CONFIG", "QOMPASS_RESOURCES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QOMPASS_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def circuit() -> QuantumCircuit:
    made, angle = QuantumCircuit(4), Parameter("angle")
    made.ry(angle, 0)
    for qubit in range(3):
        made.cx(qubit, qubit + 1)
    return made


@pytest.mark.timeout(300)
def test_several_kinds_beside_the_cores_are_used_and_recorded(circuit):
    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(0.01, 2), ["cx"])
    with devices("aer", NOISY=noise, MINE=StatevectorSampler(seed=3)) as resources:
        estimator = QompassEstimator(**SETTINGS, resources=resources, policy="round_robin", mitigation="none")
        result = estimator.run([(circuit, [["ZIIZ"], ["ZIII"]], [[0.4], [1.1]])]).result()[0]
    assert set(result.metadata["devices"]) >= {"aer", "NOISY", "MINE"}
    wanted = np.array([[1, 1], np.cos([0.4, 1.1])])
    assert (abs(result.data.evs - wanted) < 5 * result.data.stds + 0.05).all(), result.data.evs
    assert any("NOISY" in note for note in result.metadata["notes"])
    assert not [name for name in os.environ if "QRMI" in name], "nothing stays behind"


@pytest.mark.timeout(300)
def test_readout_errors_of_a_backend_are_mitigated(circuit):
    noise = NoiseModel()
    noise.add_all_qubit_readout_error(ReadoutError([[0.9, 0.1], [0.1, 0.9]]))
    bound = circuit.assign_parameters([0.4])
    with devices(READ=noise, simulate=False) as resources:
        plain, mended = (
            estimate(bound, "ZIII", **SETTINGS, resources=resources, mitigation=how)[0] for how in ("none", "readout")
        )
    assert plain.value < 0.85 * np.cos(0.4) and abs(mended.value - np.cos(0.4)) < 5 * mended.std_error + 0.03


@pytest.mark.timeout(300)
def test_a_backend_with_a_name_is_reached_from_the_shell(circuit, tmp_path, own_folder, monkeypatch, capsys):
    from qiskit import qpy

    with devices("aer", simulate=False) as resources:
        shutil.copytree(resources, tmp_path / "devices")
    with open(tmp_path / "circuit.qpy", "wb") as file:
        qpy.dump(circuit.assign_parameters([0.4]), file)
    named = {"QRMI_JOB_QPU_RESOURCES": "aer", "QRMI_JOB_QPU_TYPES": "qiskit-backend", "aer_QRMI_BACKEND": "aer"}
    asked = ["run", str(tmp_path / "circuit.qpy"), "--observable", "Z3", "--shots", "8000"]
    asked += ["--resources", str(tmp_path / "devices"), "--cache", "off", "--mitigation", "none", "--json"]
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    status, said = main([*asked, "--out", str(tmp_path / "runs")]), capsys.readouterr()
    assert status == 0, said.err
    (found,) = json.loads(said.out)["estimates"]
    assert abs(found["value"] - np.cos(0.4)) < 5 * found["std_error"]
    (record,) = (tmp_path / "runs").glob("*/record.json")
    known = json.loads(record.read_text())["devices"]["aer"]
    assert known["type"] == "qiskit-backend" and known["qubits"] == 20


@pytest.mark.timeout(300)
def test_a_session_keeps_a_backend(circuit):
    from tasks.execution.leases import open_leases

    with devices(AER=AerSimulator(), simulate=False) as resources:
        with Session(**SETTINGS, resources=resources, mitigation="none") as session:
            assert open_leases().wanted("AER") == 1
            data = session.estimator().run([(circuit, "ZIII", [0.7])]).result()[0].data
        assert open_leases().wanted("AER") == 0
    assert abs(float(data.evs) - np.cos(0.7)) < 5 * float(data.stds)


def test_a_fake_backend_is_described_with_its_errors():
    pytest.importorskip("qiskit_ibm_runtime")
    sampler = NamedSampler("fake_torino")
    target = vendor_of("qiskit-backend").target("fake_torino", described(sampler))
    theirs = sampler.backend.target
    assert target.num_qubits == 133 and target.named
    assert set(target.basis_gates) == {"cz", "id", "rz", "sx", "x"}
    errors = {gate.qubits: gate.error for gate in target.gates if gate.name == "cz"}
    assert errors == {place: min(known.error, 1.0) for place, known in theirs["cz"].items()}
    wrong = [known.error for _, known in sorted(theirs["measure"].items())]
    np.testing.assert_allclose([sum(pair) / 2 for pair in target.readout], wrong)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ONE": "fake_nowhere"}, "there is no 'fake_nowhere'"),
        ({"ONE": 3}, "a int is no backend"),
        ({}, "no backend is given"),
        ({"a-b": "aer"}, "'a-b' cannot be a device's name"),
        ({"ONE": "aer", "resources": "nowhere.xml"}, "nowhere.xml: no such file"),
    ],
)
def test_what_is_no_device_is_one_line(given, says):
    with pytest.raises(InputError if "nowhere.xml" not in says else Exception, match=says), devices(**given):
        pass
