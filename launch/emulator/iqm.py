"""The part of the IQM Server REST interface that the ``iqm-server`` client of QRMI 0.26.4 speaks."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from qiskit import ClassicalRegister, QuantumCircuit

from launch.emulator.jobs import CANCELLED, COMPLETED, FAILED, PENDING, QUEUED, RUNNING, TOO_LONG, Device, Job, new_id
from launch.emulator.options import IQM, DeviceOptions
from launch.emulator.qasm import NotIsa
from launch.emulator.reply import Refused, Reply, Request, json_reply

STATUS = {
    QUEUED: "waiting", RUNNING: "processing", COMPLETED: "completed", FAILED: "failed", CANCELLED: "cancelled",
    TOO_LONG: "failed",
}  # fmt: skip
ROOT = uuid.UUID("7b1f8c2e-0000-4000-8000-000000000000")


class IqmService:
    """One IQM-like server with one or more quantum computers."""

    kind = IQM

    def __init__(self, devices: dict[str, Device], token: str) -> None:
        # The client turns the last underscore of a resource name into a colon to get the alias.
        self.devices = {_alias(name): device for name, device in devices.items()}
        self._token = token

    @staticmethod
    def environment(options: DeviceOptions, url: str, token: str) -> dict[str, str]:
        """The variables that QRMI wants for a device."""
        return {"QRMI_IQM_ISA_ENDPOINT": url, "QRMI_IQM_ISA_TOKEN": token}

    def step(self, request: Request) -> str:
        """The step a request belongs to, by which faults are asked for."""
        parts = request.path.strip("/").split("/")[2:]
        if parts[0] == "calibration-sets":
            return "properties" if len(parts) > 3 and parts[3] == "metrics" else "configuration"
        if parts[0] == "quantum-computers":
            return "health"
        if request.method == "POST":
            return "job_cancel" if parts[-1] == "cancel" else "job_create"
        return "result" if "artifacts" in parts else "job_get"

    def serve(self, request: Request) -> Reply:
        """Answer one request."""
        if request.headers.get("authorization", "") != f"Bearer {self._token}":
            raise _error(401, "unauthorized", "The token is invalid or has expired.")
        parts = request.path.strip("/").split("/")[2:]
        if parts[0] == "calibration-sets" and len(parts) >= 3:
            return self._calibration(self._device(parts[1]), parts[3:])
        if parts[0] == "quantum-computers" and len(parts) >= 2:
            return self._computer(self._device(parts[1]), parts[1], parts[2:])
        if parts[0] == "jobs" and request.method == "POST" and parts[-1] != "cancel":
            return self._submit(request, self._device(parts[1]))
        if parts[0] == "jobs" and len(parts) >= 2:
            return self._job(request, parts[1:])
        raise _error(404, "not_found", f"no such path {request.path}")

    def _device(self, alias: str) -> Device:
        if alias not in self.devices:
            raise _error(404, "qc_not_found", f"Quantum computer {alias} not found.")
        return self.devices[alias]

    def _calibration(self, device: Device, parts: list[str]) -> Reply:
        properties = device.chip.properties()
        epoch = str(uuid.uuid5(ROOT, properties["last_update_date"]))
        if parts == ["dynamic-quantum-architecture"]:
            return json_reply(_architecture(device, epoch))
        observations = _metrics(properties) if parts == ["metrics"] else []
        kind = "quality-metric-set" if parts == ["metrics"] else "calibration-set"
        return json_reply(
            {
                "observation_set_id": epoch,
                "observation_set_type": kind,
                "created_timestamp": properties["last_update_date"],
                "end_timestamp": properties["last_update_date"],
                "invalid": False,
                "observations": observations,
            }
        )

    def _computer(self, device: Device, alias: str, parts: list[str]) -> Reply:
        now = datetime.now(timezone.utc).isoformat()
        health = {"healthy": device.reachable, "updated_at": now}
        if parts == ["health"]:
            return json_reply(health)
        if parts and parts[0] == "artifacts":
            raise _error(404, "qc_artifact_not_found", "no such artifact")
        return json_reply(
            {
                "id": str(uuid.uuid5(ROOT, alias)), "alias": alias, "display_name": alias, "description": "emulated",
                "backend_type": "qpu", "number_of_qubits": device.chip.qubits, "pulla_enabled": False,
                "limits": {
                    "max_instructions_per_circuit": 100000, "max_shots_per_circuit": device.options.shots,
                    "max_circuits_per_job": device.options.circuits, "max_executions_per_job": 10_000_000,
                    "max_queued_jobs_per_user": 100,
                },
                "operational_status": "online" if device.reachable else "offline", "health": health,
                "queue_length": len(device.pending()),
                "pricing": {"payg_price_per_second": str(device.options.price)},
                "additional_info": {
                    "academy_url": "", "best_suited_for": [], "documentation_url": "", "mock_url": "",
                },
            }
        )  # fmt: skip

    def _submit(self, request: Request, device: Device) -> Reply:
        asked = request.json()
        circuits, shots = asked.get("circuits") or [], int(asked.get("shots", 0))
        if not 0 < len(circuits) <= device.options.circuits or not 0 < shots <= device.options.shots:
            raise _error(400, "invalid_job_payload", f"{len(circuits)} circuits of {shots} shots are out of bounds.")
        work = [(_reader(circuit, device), shots) for circuit in circuits]
        job = Job(new_id(), work, tag=request.query.get("tag", ""))
        job.extra["calibration"] = asked.get("calibration_set_id")
        device.submit(job)
        return json_reply(_described(job), 201)

    def _job(self, request: Request, parts: list[str]) -> Reply:
        for device in self.devices.values():
            if parts[0] in device.jobs:
                job = device.jobs[parts[0]]
                break
        else:
            raise _error(404, "job_not_found", "Job not found.")
        if parts[1:] == ["cancel"]:
            device.cancel(job)
            return json_reply(_described(job))
        if parts[1:2] == ["artifacts"]:
            if job.status != COMPLETED or parts[2] != "measurements":
                raise _error(404, "job_artifact_not_found", f"The job has no {parts[2]}.")
            return Reply(200, json.dumps(_measurements(job)).encode(), "application/octet-stream")
        if request.query.get("wait_until_terminal") == "true":
            end = time.monotonic() + min(float(request.query.get("timeout_seconds", 30)), device.options.hold)
            while job.status in PENDING and time.monotonic() < end and job.id in device.jobs:
                time.sleep(0.005)
        if job.id not in device.jobs:
            raise _error(404, "job_not_found", "Job not found.")
        return json_reply(_described(job))


def _alias(name: str) -> str:
    head, underscore, tail = name.rpartition("_")
    return f"{head}:{tail}" if underscore else name


def _architecture(device: Device, epoch: str) -> dict[str, Any]:
    names = [f"QB{qubit + 1}" for qubit in range(device.chip.qubits)]
    pairs = {tuple(sorted(pair)) for pair in device.chip.configuration["coupling_map"]}
    lacks = set(device.options.lacks.split("+"))
    gates = {
        "prx": ("drag_gaussian", [[name] for name in names]),
        "cz": ("tgss", [[names[a], names[b]] for a, b in sorted(pairs)]),
        "measure": ("constant", [[name] for name in names]),
    }
    if device.options.dynamic:
        gates["cc_prx"] = ("prx_composite", [[name] for name in names])
    return {
        "calibration_set_id": epoch,
        "qubits": names,
        "computational_resonators": [],
        "gates": {
            gate: {
                "implementations": {implementation: {"loci": loci}},
                "default_implementation": implementation,
                "override_default_implementation": {},
            }
            for gate, (implementation, loci) in gates.items()
            if gate not in lacks
        },
    }


def _metrics(properties: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for gate in properties["gates"]:
        name = {"sx": "prx.drag_gaussian", "cx": "cz.tgss"}.get(gate["gate"])
        if name is not None:
            locus = "__".join(f"QB{qubit + 1}" for qubit in sorted(gate["qubits"]))
            error = next(entry["value"] for entry in gate["parameters"] if entry["name"] == "gate_error")
            method = "rb" if len(gate["qubits"]) == 1 else "irb"
            suffix = ":par=d2" if method == "rb" else ""
            found.append((f"metrics.{method}.{name}.{locus}.fidelity{suffix}", "", 1 - error))
    for qubit, entries in enumerate(properties["qubits"]):
        values = {entry["name"]: entry["value"] for entry in entries}
        prefix = f"metrics.ssro.measure.constant.QB{qubit + 1}"
        found.append((f"{prefix}.fidelity", "", 1 - values.get("readout_error", 0.0)))
        for bit, key in (("error_0_to_1", "prob_meas1_prep0"), ("error_1_to_0", "prob_meas0_prep1")):
            if key in values:
                found.append((f"{prefix}.{bit}", "", values[key]))
    stamp = properties["last_update_date"]
    return [
        {
            "observation_id": index, "dut_field": field, "unit": unit, "value": value, "uncertainty": None,
            "invalid": False, "created_timestamp": stamp, "modified_timestamp": stamp,
        }
        for index, (field, unit, value) in enumerate(found)
    ]  # fmt: skip


def _reader(asked: dict[str, Any], device: Device) -> Callable[[], QuantumCircuit]:
    def read() -> QuantumCircuit:
        lacks, size = set(device.options.lacks.split("+")), device.chip.qubits
        circuit, seen = QuantumCircuit(size), set()  # type: ignore[var-annotated]
        pairs = {tuple(sorted(pair)) for pair in device.chip.configuration["coupling_map"]}
        for entry in asked["instructions"]:
            qubits = [int(name.removeprefix("QB")) - 1 for name in entry.get("locus") or entry["qubits"]]
            known = {"prx", "cz", "measure", "barrier"} - lacks
            if max(qubits) >= size or entry["name"] not in known:
                raise NotIsa(f"{entry['name']} on {qubits} is not in the calibration set")
            if not device.options.dynamic and seen & set(qubits) and entry["name"] != "barrier":
                raise NotIsa("a qubit is used after its measurement")
            if entry["name"] == "prx":
                circuit.r(entry["args"]["angle"], entry["args"]["phase"], qubits[0])
            elif entry["name"] == "cz":
                if tuple(sorted(qubits)) not in pairs:
                    raise NotIsa(f"there is no cz on {qubits}")
                circuit.cz(*qubits)
            elif entry["name"] == "measure":
                register = ClassicalRegister(len(qubits), f"m{len(circuit.cregs)}")
                circuit.add_register(register)
                circuit.metadata = (circuit.metadata or {}) | {register.name: entry["args"]["key"]}
                circuit.measure(qubits, register)
                seen.update(qubits)
        return circuit

    return read


def _measurements(job: Job) -> list[dict[str, list[list[int]]]]:
    batch = []
    for circuit, memory in zip(job.circuits, job.memory, strict=True):
        columns = {r.name: [circuit.find_bit(bit).index for bit in r] for r in circuit.cregs}
        batch.append({circuit.metadata[name]: memory[:, places].tolist() for name, places in columns.items()})
    return batch


def _described(job: Job) -> dict[str, Any]:
    error = {"error_code": "execution_error", "message": job.reason, "source": "station_control"}
    errors = [error] if job.reason else []
    return {
        "id": job.id, "type": "circuit", "status": STATUS[job.status], "artifacts": [], "errors": errors,
        "messages": [], "timeline": [], "qc": {"id": str(uuid.uuid5(ROOT, "qc"))}, "tag": job.tag or None,
        "compilation": None, "execution": None, "queue_position": None, "runtime_ms": int(1000 * job.charged),
    }  # fmt: skip


def _error(status: int, code: str, message: str) -> Refused:
    return Refused(json_reply({"error_code": code, "message": message, "request_id": new_id()}, status))
