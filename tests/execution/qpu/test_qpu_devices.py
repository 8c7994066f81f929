"""QPUs as policies see them: targets read into devices, and states read from status, queue, leases and calibration."""

import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit_ibm_runtime.json import RuntimeDecoder
from qiskit_ibm_runtime.utils.backend_converter import convert_to_target
from qiskit_ibm_runtime.utils.backend_decoder import configuration_from_server_data, properties_from_server_data

from launch.emulator.ibm import encode_results
from launch.emulator.jobs import Job
from scheduler_policies.device import Device, Kind
from scheduler_policies.machine import QPU_SPEED
from tasks.cutting import make_plan
from tasks.execution.leases import lease
from tasks.execution.qpu import (
    Fault,
    QpuError,
    QpuOptions,
    describe_qpu,
    list_qpus,
    qpu_report,
    retry,
)
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.fidelity import fragment_fidelities, program_fidelity
from tasks.execution.qpu.retry import PRESENT_SECONDS
from tasks.execution.qpu.vendors import vendor_of
from tasks.inputs.validation import make_problem
from tests.execution.qpu.circuits import ghz, run_variants

QPU = Device("QPU_A", Kind.QPU, units=2, qubits=1, speed=QPU_SPEED)


@pytest.fixture(autouse=True)
def own_places(monkeypatch, tmp_path):
    monkeypatch.setenv("QOMPASS_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def environ(running):
    resource = running.resource()
    lists = {"QRMI_JOB_QPU_RESOURCES": resource.name, "QRMI_JOB_QPU_TYPES": resource.type}
    return lists | {f"{resource.name}_{key}": value for key, value in resource.environment.items()}


def test_ibms_own_client_reads_the_results_of_the_emulator():
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(3, "a"), ClassicalRegister(9, "b"))
    memory = np.random.default_rng(5).integers(0, 2, (7, 12), dtype=np.uint8)
    job = Job("one", [], memory=[memory, memory[:0]], circuits=[circuit, circuit])
    full, none = json.loads(encode_results(job), cls=RuntimeDecoder)
    for name, own in (("a", memory[:, :3]), ("b", memory[:, 3:])):
        assert full.data[name].get_bitstrings() == ["".join(map(str, shot[::-1])) for shot in own.tolist()]
        assert (none.data[name].num_shots, none.data[name].num_bits) == (0, own.shape[1])


@pytest.mark.parametrize("backend", ["lagos", "torino"])
def test_an_ibm_target_is_read_as_ibms_own_client_reads_it(service, backend):
    with QpuClient(service("ibm", backend=backend).resource()) as client:
        raw = client.target()
    found = vendor_of("ibm-quantum-compute-service").target("QPU_A", raw)
    judge = convert_to_target(
        configuration=configuration_from_server_data(raw["configuration"]),
        properties=properties_from_server_data(raw["properties"]),
    )
    assert found.num_qubits == judge.num_qubits
    checked = 0
    for name in set(found.target.operation_names) - {"reset"}:
        for qubits, properties in judge[name].items():
            if properties is None or (properties.error or 0) >= 1:
                continue
            ours = found.target[name][qubits]
            assert ours.error == pytest.approx(properties.error or 0.0, abs=1e-12)
            assert ours.duration == pytest.approx(properties.duration or 0.0, rel=1e-6)
            checked += 1
    assert checked > 3 * judge.num_qubits


@pytest.mark.parametrize("kind", ["ibm", "iqm"])
def test_a_device_has_what_its_target_says(service, kind):
    running = service(kind, shot=2e-4)
    device = describe_qpu(QPU, running.resource())
    assert (device.units, device.qubits, device.kind) == (2, 7, Kind.QPU)
    assert 0.003 < device.two_qubit_error < 0.05 and 0.01 < device.readout_error < 0.2
    assert set(device.coupling) >= {(0, 1), (1, 3), (3, 5)}
    assert device.resource_type == running.resource().type
    assert {"cx", "sx"} <= set(device.basis_gates) if kind == "ibm" else {"cz", "r"} == set(device.basis_gates)
    if kind == "ibm":
        assert device.speed.shot == pytest.approx(2e-4)


def test_the_two_interfaces_tell_the_same_errors(service):
    ibm, iqm = (describe_qpu(QPU, service(kind).resource()) for kind in ("ibm", "iqm"))
    assert ibm.two_qubit_error == pytest.approx(iqm.two_qubit_error, rel=1e-6)
    np.testing.assert_allclose(ibm.readout_errors, iqm.readout_errors)


def test_queue_leases_and_calibration_are_in_the_state(service):
    running = service("ibm", queue=30.0)
    idle = qpu_report(QPU, running.resource()).state
    assert (idle.queue_length, idle.free_units) == (0, 2) and idle.calibration_epoch
    assert 0 <= idle.calibration_age < 60
    with QpuClient(running.resource()) as other, lease("QPU_A", 2):
        pub = 'OPENQASM 3.0; include "stdgates.inc"; bit[1] c; x $0; c[0] = measure $0;'
        asked = json.dumps({"pubs": [[pub, None, 5]], "version": 2})
        other.start("QiskitPrimitive", {"input": asked, "program_id": "sampler"})
        busy = qpu_report(QPU, running.resource()).state
    assert (busy.queue_length, busy.free_units) == (1, 1)
    assert busy.expected_wait > 1
    running.emulator.devices["QPU_A"].chip.calibrate()
    retry._targets.clear()
    assert qpu_report(QPU, running.resource()).state.calibration_epoch != idle.calibration_epoch


def test_a_calibration_that_got_worse_is_seen_a_few_seconds_later(service, monkeypatch):
    running = service("ibm")
    device = describe_qpu(QPU, running.resource())
    running.emulator.command("worsen", {"device": "QPU_A", "factor": 10.0})
    running.emulator.command("publish", {"device": "QPU_A"})
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + PRESENT_SECONDS, sleep=time.sleep)
    monkeypatch.setattr(retry, "time", later)
    assert PRESENT_SECONDS <= 5, "an evaluation of a loop takes a few seconds"
    assert qpu_report(device, running.resource()).state.drift > 5


def test_our_own_jobs_are_not_others(service, options):
    running = service("ibm", queue=2.0)
    thread = threading.Thread(target=run_variants, args=(running.resource(), [ghz(2)], [10], QpuOptions()))
    thread.start()
    while not running.jobs():
        time.sleep(0.02)
    time.sleep(0.2)
    assert qpu_report(QPU, running.resource()).state.queue_length == 0
    thread.join()


@pytest.mark.parametrize("kind", ["ibm", "iqm"])
def test_the_list_shows_what_is_there_and_why_the_rest_is_not(service, kind):
    running = service(kind)
    (report,) = list_qpus([QPU, Device("CPU", Kind.CPU)], environ(running))
    assert report.status == "online" and report.device.qubits == 7 and not report.problem
    wrong = environ(running)
    for key in wrong:
        if "KEY" in key or "TOKEN" in key:
            wrong[key] = "wrong-MARK"
    (report,) = list_qpus([], wrong)
    assert report.status == "unreachable" and "MARK" not in report.problem
    assert report.state.set_aside_until > time.monotonic()
    reports = list_qpus([QPU, Device("QPU_X", Kind.QPU, qubits=5)], environ(running))
    assert [r.status for r in reports] == ["online", "unreachable"]


def test_a_device_that_is_down_is_set_aside(service):
    running = service("iqm", up=1e-9, down=1e9)
    running.emulator.command("clear", {})
    state = qpu_report(QPU, running.resource()).state
    assert state.free_units == 0 and state.set_aside_until > time.monotonic()


@pytest.mark.parametrize(
    ("kind", "raw", "fault"),
    [
        ("ibm-quantum-compute-service", {"configuration": None, "properties": None}, Fault.UNAVAILABLE),
        ("ibm-quantum-system", {}, Fault.UNAVAILABLE),
        ("ibm-quantum-compute-service", {"configuration": {"n_qubits": 2}}, Fault.GARBLED),
        ("iqm-server", {"dynamic_quantum_architecture": {"qubits": ["QB1"]}}, Fault.GARBLED),
        ("iqm-server", {}, Fault.GARBLED),
    ],
)
def test_a_target_that_cannot_be_read_is_told(kind, raw, fault):
    with pytest.raises(QpuError) as caught:
        vendor_of(kind).target("QPU_A", raw)
    assert caught.value.fault is fault


def test_the_fidelity_of_a_transpiled_circuit_predicts_what_noise_leaves_of_it(service, options):
    running = service("ibm", backend="nairobi", noise=2.0)
    device = describe_qpu(QPU, running.resource())
    circuit = ghz(4, np.pi / 2)
    run = run_variants(running.resource(), [circuit], [8000], options)
    predicted = program_fidelity(device, run.programs[0])
    counts = run.counts[0]
    right = counts.counts[np.isin(counts.outcomes[:, 0], [0, 15])].sum() / counts.shots
    # A depolarised state is still in one of the two right outcomes now and then: more is left than predicted.
    assert predicted - 0.02 < right < predicted + 0.12
    assert program_fidelity(device, run.programs[0], readout_mitigated=True) > predicted


def test_every_fragment_of_a_plan_has_a_fidelity_on_every_qpu_that_fits(service, monkeypatch):
    running = service("iqm")
    for key, value in environ(running).items():
        monkeypatch.setenv(key, value)
    wide = QuantumCircuit(6)
    for qubit in range(5):
        wide.rzz(0.3, qubit, qubit + 1)
    plan = make_plan(make_problem(wide, "Z0 Z5"), max_qubits=3, shots=1000)
    device = describe_qpu(QPU, running.resource())
    found = fragment_fidelities(plan, [device, Device("CPU", Kind.CPU)], readout_mitigated=True)
    assert set(found) == {fragment.index for fragment in plan.fragments}
    for ((name, fidelity),) in found.values():
        assert name == "QPU_A" and 0.7 < fidelity < 0.999
