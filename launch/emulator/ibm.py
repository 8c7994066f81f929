"""The part of IBM Quantum's REST interface, and of its IAM, that QRMI's ``ibm-quantum-compute-service`` client speaks.

Paths, fields and status codes as qrmi 0.26.4 was seen to use them; results are ``text/plain`` in the encoding of
qiskit-ibm-runtime.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import zlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import BitArray

from launch.emulator.jobs import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING, TOO_LONG, Device, Job, new_id
from launch.emulator.options import IBM, DeviceOptions
from launch.emulator.qasm import read_isa
from launch.emulator.reply import Refused, Reply, Request, json_reply

CRN = "crn:v1:emulator"
STATUS = {
    QUEUED: "Queued", RUNNING: "Running", COMPLETED: "Completed", FAILED: "Failed", CANCELLED: "Cancelled",
    TOO_LONG: "Cancelled - Ran too long",
}  # fmt: skip


class TokenService:
    """What IBM's services have in common: access tokens for a key, and devices by name."""

    def __init__(self, devices: dict[str, Device], token: str) -> None:
        self.devices, self._key = devices, token
        self._tokens: dict[str, float] = {}
        self._lock = threading.Lock()

    def refusal(self, status: int, code: int, message: str) -> Refused:
        """The interface's way of saying no."""
        return _error(status, code, message)

    def token(self, request: Request) -> Reply:
        """An access token for the account's key."""
        form = parse_qs(request.body.decode())
        if form.get("apikey", [""])[0] != self._key:
            return json_reply({"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."}, 400)
        ttl = min(device.options.token_ttl for device in self.devices.values())
        token = "emulator-" + new_id()
        with self._lock:
            self._tokens[token] = time.time() + ttl
        life = {"expiration": int(time.time()) + ttl, "expires_in": ttl}
        return json_reply({"access_token": token, "token_type": "Bearer", **life})

    def expire_tokens(self) -> None:
        """Make every access token given out invalid."""
        with self._lock:
            self._tokens.clear()

    def authorise(self, request: Request) -> None:
        """Refuse a request without a token that lives."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0.0) < time.time():
            raise self.refusal(401, 1202, "The token is invalid or has expired.")
        if request.headers.get("service-crn") != CRN:
            raise self.refusal(403, 1203, "The service instance is not yours.")

    def device(self, name: str) -> Device:
        """The device of this name."""
        if name not in self.devices:
            raise self.refusal(404, 1211, f"Backend {name} not found.")
        return self.devices[name]

    def target(self, device: Device, part: list[str]) -> Reply | None:
        """The part of a device's target that a path ends with, None where that is none."""
        if part == ["configuration"]:
            return json_reply(device.chip.configuration)
        return json_reply(device.chip.properties()) if part == ["properties"] else None

    def job(self, job: str) -> tuple[Device, Job]:
        """The job of this id, and its device."""
        for device in self.devices.values():
            if job in device.jobs:
                return device, device.jobs[job]
        raise self.refusal(404, 1291, "Job not found.")

    @staticmethod
    def created(job: Job) -> str:
        """When a job was created, in ISO 8601."""
        return datetime.fromtimestamp(job.created, timezone.utc).isoformat()


class IbmService(TokenService):
    """The service of one or more IBM-like devices that share an account."""

    kind = IBM

    def __init__(self, devices: dict[str, Device], token: str) -> None:
        super().__init__(devices, token)
        self.sessions: dict[str, dict[str, Any]] = {}

    @staticmethod
    def environment(options: DeviceOptions, url: str, token: str) -> dict[str, str]:
        """The variables that QRMI wants for a device."""
        return {
            "QRMI_IBM_QCS_ENDPOINT": url,
            "QRMI_IBM_QCS_IAM_ENDPOINT": url,
            "QRMI_IBM_QCS_IAM_APIKEY": token,
            "QRMI_IBM_QCS_SERVICE_CRN": CRN,
            "QRMI_IBM_QCS_SESSION_MODE": "dedicated",
            "QRMI_IBM_QCS_SESSION_MAX_TTL": "28800",
        }

    def step(self, request: Request) -> str:
        """The step a request belongs to, by which faults are asked for."""
        parts = request.path.strip("/").split("/")
        if parts[0] == "identity":
            return "token"
        if parts[0] == "sessions":
            return "session" if len(parts) == 1 or request.method == "GET" else "release"
        if parts[0] == "backends":
            return parts[2] if len(parts) > 2 and parts[2] in {"configuration", "properties"} else "backends"
        if request.method == "POST":
            return "job_create" if len(parts) == 1 else "job_cancel"
        if len(parts) == 1:
            return "release"  # jobs of a session are listed only on release
        return "result" if parts[-1] == "results" else "job_get"

    def serve(self, request: Request) -> Reply:
        """Answer one request."""
        parts = request.path.strip("/").split("/")
        if parts == ["identity", "token"]:
            return self.token(request)
        self.authorise(request)
        handler = {"backends": self._backends, "sessions": self._sessions, "jobs": self._jobs}.get(parts[0])
        if handler is None:
            raise _error(404, 1000, f"no such path {request.path}")
        return handler(request, parts[1:])

    def _backends(self, request: Request, parts: list[str]) -> Reply:
        if not parts:
            return json_reply({"devices": [self._listed(device) for device in self.devices.values()]})
        device = self.device(parts[0])
        if found := self.target(device, parts[1:]):
            return found
        status = {"state": device.reachable, "status": "active" if device.reachable else "internal"}
        return json_reply(status | {"message": "", "length_queue": len(device.pending()), "backend_version": "1"})

    def _listed(self, device: Device) -> dict[str, Any]:
        return {
            "name": device.options.name,
            "status": {"name": "online" if device.reachable else "offline", "reason": "available"},
            "is_simulator": False,
            "qubits": device.chip.qubits,
            "queue_length": len(device.pending()),
        }

    def _sessions(self, request: Request, parts: list[str]) -> Reply:
        if not parts:
            asked = request.json()
            device = self.device(asked.get("backend") or asked.get("backend_name"))
            session = {
                "id": new_id(), "backend_name": device.options.name, "mode": asked["mode"], "state": "open",
                "max_ttl": asked.get("max_ttl", 28800), "active_ttl": asked.get("max_ttl", 28800),
                "accepting_jobs": True, "opened": time.time(),
            }  # fmt: skip
            self.sessions[str(session["id"])] = session
            return json_reply(session)
        known = self.sessions.get(parts[0])
        if known is None:
            raise _error(404, 1210, "Session not found.")
        self._expire(known)
        if request.method == "DELETE":
            known.update(state="closed", accepting_jobs=False)
            for job in self.device(known["backend_name"]).pending(known["id"]):
                self.device(known["backend_name"]).cancel(job)
            return Reply(204)
        if request.method == "PATCH":
            known["accepting_jobs"] = bool(request.json()["accepting_jobs"])
            if not known["accepting_jobs"]:
                known["state"] = "closed"
            return Reply(204)
        return json_reply(known)

    def _expire(self, session: dict[str, Any]) -> None:
        left = session["max_ttl"] - (time.time() - session["opened"])
        session["active_ttl"] = max(0, int(left))
        if left <= 0:
            session.update(state="closed", accepting_jobs=False)

    def _jobs(self, request: Request, parts: list[str]) -> Reply:
        if not parts:
            return self._create(request) if request.method == "POST" else self._list(request)
        device, job = self.job(parts[0])
        if parts[1:] == ["cancel"]:
            device.cancel(job)
            return Reply(204)
        if parts[1:] == ["logs"]:
            return Reply(200, job.reason.encode(), "text/plain")
        if parts[1:] == ["results"]:
            if job.status != COMPLETED:
                raise _error(404, 1293, "The job has no results.")
            return Reply(200, encode_results(job).encode(), "text/plain")
        return json_reply(self._described(job, device))

    def _create(self, request: Request) -> Reply:
        asked = request.json()
        device = self.device(asked["backend"])
        session = self.sessions.get(asked.get("session_id") or "")
        if asked.get("session_id"):
            if session is None:
                raise _error(404, 1210, "Session not found.")
            self._expire(session)
            if not session["accepting_jobs"]:
                raise _error(409, 1217, "The session is closed and accepts no more jobs.")
        work = sampler_work(asked["params"], asked["program_id"], device, self.refusal)
        job = Job(new_id(), work, session=asked.get("session_id") or "")
        device.submit(job)
        return json_reply({"id": job.id, "backend": device.options.name, "session_id": job.session or None})

    def _list(self, request: Request) -> Reply:
        session, only_pending = request.query.get("session_id"), request.query.get("pending") == "true"
        found = [
            self._described(job, device)
            for device in self.devices.values()
            for job in (device.pending(session) if only_pending else device.jobs.values())
            if session in (None, job.session)
        ]
        return json_reply({"jobs": found, "count": len(found), "offset": 0, "limit": 200})

    def _described(self, job: Job, device: Device) -> dict[str, Any]:
        status = STATUS[job.status]
        state: dict[str, Any] = {"status": status.split(" - ")[0]}
        if job.reason:
            state |= {"reason": job.reason, "reason_code": 1517}
        return {
            "id": job.id, "backend": device.options.name, "state": state, "status": status,
            "program": {"id": "sampler"}, "created": self.created(job),
            "cost": 600, "session_id": job.session or None,
        }  # fmt: skip


def sampler_work(
    params: dict[str, Any], program: str, device: Device, refusal: Callable[[int, int, str], Refused]
) -> list[tuple[Callable[[], QuantumCircuit], int]]:
    """The circuits and shots of a sampler job, or a refusal."""
    if program != "sampler":
        raise refusal(400, 1219, "This service runs the sampler only.")
    pubs, default = params["pubs"], params.get("shots") or 1024
    if not pubs or len(pubs) > device.options.circuits:
        raise refusal(400, 1221, f"A job has 1 to {device.options.circuits} circuits, not {len(pubs)}.")
    work = []
    for pub in pubs:
        shots = (pub[2] if len(pub) > 2 else None) or default
        if not 0 < shots <= device.options.shots:
            raise refusal(400, 1222, f"A circuit takes 1 to {device.options.shots} shots, not {shots}.")
        work.append((_reader(str(pub[0]), device), int(shots)))
    return work


def _reader(program: str, device: Device) -> Any:
    def read() -> QuantumCircuit:
        return read_isa(program, device.chip.qubits, device.chip.gates, device.options.dynamic)

    return read


def encode_results(job: Job) -> str:
    """The results of a job as qiskit-ibm-runtime, which takes seconds to import, encodes a sampler's."""
    pubs = []
    for circuit, memory in zip(job.circuits, job.memory, strict=True):
        fields = {}
        for register in circuit.cregs:
            columns = [circuit.find_bit(bit).index for bit in register]
            bits = BitArray.from_bool_array(memory[:, columns].astype(bool), order="little")
            fields[register.name] = _typed("BitArray", array=_array(bits.array), num_bits=bits.num_bits)
        data = _typed("DataBin", field_names=list(fields), shape=[], fields=fields)
        pubs.append(_typed("SamplerPubResult", data=data, metadata={}))
    return json.dumps(_typed("PrimitiveResult", pub_results=pubs, metadata={}))


def _typed(name: str, **value: Any) -> dict[str, Any]:
    return {"__type__": name, "__value__": value}


def _array(array: np.ndarray) -> dict[str, Any]:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return {"__type__": "ndarray", "__value__": base64.b64encode(zlib.compress(file.getvalue())).decode()}


def _error(status: int, code: int, message: str) -> Refused:
    return Refused(json_reply({"errors": [{"code": code, "message": message}], "trace": new_id()}, status))
