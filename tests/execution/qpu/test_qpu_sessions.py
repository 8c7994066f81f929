"""What a session of Qompass keeps open at a QPU service, and how many jobs many sets of parameter values are."""

import json
import threading

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qompass import QompassEstimator, Session

from launch.emulator.options import IBM, DeviceOptions
from launch.emulator.server import Emulator
from launch.emulator.services import environment
from tasks.execution.leases import open_leases
from tests.execution.qpu.test_qpu_run import only_qpus
from tests.execution.qpu.test_qpu_secrets import MARK


@pytest.fixture
def emulator(tmp_path, monkeypatch):
    """QPU_A with two units' worth of jobs, reached from this process."""
    device = DeviceOptions("QPU_A", IBM, noise=0.0, readout=0.0)
    made = Emulator([device], MARK)
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    entry = {"name": "QPU_A", "type": IBM, "environment": environment(device, made.url, MARK)}
    config = tmp_path / "qrmi_config.json"
    config.write_text(json.dumps({"resources": [entry]}))
    config.chmod(0o600)
    monkeypatch.setenv("QOMPASS_QRMI_CONFIG", str(config))
    monkeypatch.setenv("QOMPASS_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def settings(tmp_path):
    return {
        "resources": only_qpus(tmp_path, "QPU_A"), "max_qubits": 2, "shots": 20_000, "mitigation": "none",
        "cache": "off", "seed": 1,
    }  # fmt: skip


@pytest.fixture
def circuit():
    angle = Parameter("angle")
    made = QuantumCircuit(4)
    made.ry(angle, 0)
    for qubit in range(3):
        made.cx(qubit, qubit + 1)
    return made


@pytest.mark.timeout(300)
def test_a_session_opens_one_session_at_the_service_and_holds_its_units(emulator, settings, circuit):
    with Session(**settings) as session:
        assert len(emulator.sessions) == 1 and open_leases().wanted("QPU_A") == 1
        estimator = session.estimator()
        for angle in (0.3, 0.9):
            data = estimator.run([(circuit, "ZIIZ", [angle])]).result()[0].data
            assert abs(float(data.evs) - 1) < 5 * float(data.stds) + 0.05
        jobs = list(emulator.devices["QPU_A"].jobs.values())
        assert len(jobs) >= 2 and {job.session for job in jobs} == set(emulator.sessions)
        assert [own["accepting_jobs"] for own in emulator.sessions.values()] == [True], "it stays open between calls"
    assert [own["accepting_jobs"] for own in emulator.sessions.values()] == [False]
    assert open_leases().wanted("QPU_A") == 0


@pytest.mark.timeout(300)
def test_many_sets_are_few_jobs(emulator, settings, circuit):
    angles = np.linspace(0.2, 1.6, 6)
    data = QompassEstimator(**settings).run([(circuit, ["ZIII"], angles[:, None])]).result()[0].data
    assert (abs(data.evs - np.cos(angles)) < 5 * data.stds + 0.02).all(), data.evs - np.cos(angles)
    together = len(emulator.devices["QPU_A"].jobs)
    QompassEstimator(**settings).run([(circuit, "ZIII", angles[:1])]).result()
    alone = len(emulator.devices["QPU_A"].jobs) - together
    assert together < 6 * alone / 2, f"{together} jobs for 6 sets, {alone} for one"
