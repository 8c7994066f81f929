"""The part of IBM Quantum System's REST interface that QRMI's ``ibm-quantum-system`` client speaks, and its S3 store.

Paths, fields and status codes as qrmi 0.26.4 was seen to use them: jobs get an id from the client, and their input,
results and logs are objects in a store, named by presigned addresses. Of a request to the store only the key's id is
checked, not its signature.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from launch.emulator.ibm import CRN, TokenService, encode_results, sampler_work
from launch.emulator.jobs import CANCELLED, COMPLETED, FAILED, PENDING, QUEUED, RUNNING, TOO_LONG, Device, Job, new_id
from launch.emulator.options import SYSTEM, DeviceOptions
from launch.emulator.reply import Refused, Reply, Request, json_reply

STATUS = {
    QUEUED: "Running", RUNNING: "Running", COMPLETED: "Completed", FAILED: "Failed", CANCELLED: "Cancelled",
    TOO_LONG: "Cancelled",
}  # fmt: skip
ACCESS_KEY, BUCKET = "emulator", "jobs"


class SystemService(TokenService):
    """One site's system, with its store."""

    kind = SYSTEM

    def __init__(self, devices: dict[str, Device], token: str) -> None:
        super().__init__(devices, token)
        self._objects: dict[str, bytes] = {}

    @staticmethod
    def environment(options: DeviceOptions, url: str, token: str) -> dict[str, str]:
        """The variables that QRMI wants for a device."""
        return {
            "QRMI_IBM_QS_ENDPOINT": url,
            "QRMI_IBM_QS_IAM_ENDPOINT": url,
            "QRMI_IBM_QS_IAM_APIKEY": token,
            "QRMI_IBM_QS_SERVICE_CRN": CRN,
            "QRMI_IBM_QS_AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY": token,
            "QRMI_IBM_QS_S3_ENDPOINT": f"{url}/s3/",  # the client joins the bucket to it as it is
            "QRMI_IBM_QS_S3_BUCKET": BUCKET,
            "QRMI_IBM_QS_S3_REGION": "us-east",
            "QRMI_JOB_TIMEOUT_SECONDS": "3600",
        }

    def step(self, request: Request) -> str:
        """The step a request belongs to, by which faults are asked for."""
        parts = request.path.strip("/").split("/")
        if parts[0] == "identity":
            return "token"
        if parts[0] == "s3":
            return "result" if request.method == "GET" else "job_input"
        if parts[1:2] == ["backends"]:
            return parts[3] if len(parts) > 3 else "backends"
        if request.method == "GET":
            return "job_get" if len(parts) > 2 else "backends"  # the list is asked for with a device's state
        return "job_create" if len(parts) == 2 else "job_cancel"

    def serve(self, request: Request) -> Reply:
        """Answer one request."""
        parts = request.path.strip("/").split("/")
        if parts == ["identity", "token"]:
            return self.token(request)
        if parts[0] == "s3":
            return self._store(request, "/".join(parts[1:]))
        self.authorise(request)
        if parts[1:2] == ["backends"] and len(parts) > 2:
            return self._backend(parts[2:])
        if parts[1:] == ["jobs"]:
            return self._create(request) if request.method == "POST" else self._list()
        if parts[1:2] == ["jobs"]:
            return self._job(request, parts)
        raise _error(404, "1000", f"no such path {request.path}")

    def refusal(self, status: int, code: int, message: str) -> Refused:
        """The interface's way of saying no."""
        return _error(status, str(code), message)

    def _backend(self, parts: list[str]) -> Reply:
        device = self.device(parts[0])
        if found := self.target(device, parts[1:]):
            return found
        if parts[1:] == ["lanes"]:
            return json_reply({"hpc_workload_manager": {"lanes": 1}, "ibm_quantum_compute": {"lanes": 0}})
        status = "online" if device.reachable else "offline"
        return json_reply({"name": parts[0], "status": status, "version": "1", "locked": False})

    def _store(self, request: Request, name: str) -> Reply:
        claimed = request.headers.get("authorization", "") + request.query.get("X-Amz-Credential", "")
        if f"{ACCESS_KEY}/" not in claimed:
            return Reply(403, b"<Error><Code>InvalidAccessKeyId</Code></Error>", "application/xml")
        if request.method == "PUT":
            self._objects[name] = request.body
            return Reply(200)
        found = self._objects.get(name) or self._made(name)
        if found is None:
            return Reply(404, b"<Error><Code>NoSuchKey</Code></Error>", "application/xml")
        return Reply(200, found, "application/octet-stream")

    def _made(self, name: str) -> bytes | None:
        """What a job has written into the store."""
        for device in self.devices.values():
            for job in list(device.jobs.values()):
                if name == job.extra["results"] and job.status == COMPLETED:
                    return encode_results(job).encode()
                if name == job.extra["logs"] and job.status not in PENDING:
                    return job.reason.encode()
        return None

    def _create(self, request: Request) -> Reply:
        asked = request.json()
        device, storage = self.device(asked["backend"]), asked["storage"]
        places = {name: urlsplit(storage[name]["presigned_url"]).path.partition("/s3/")[2] for name in storage}
        if places["input"] not in self._objects:
            raise _error(400, "1220", "The input cannot be read from its address.")
        if asked["id"] in device.jobs:
            raise _error(409, "1223", "There is a job of this id.")
        work = sampler_work(json.loads(self._objects[places["input"]]), asked["program_id"], device, self.refusal)
        job = Job(asked["id"], work)
        job.extra |= places
        device.submit(job)
        return Reply(204)

    def _list(self) -> Reply:
        jobs = [(job, device) for device in self.devices.values() for job in list(device.jobs.values())]
        return json_reply({"jobs": [_described(job, device) for job, device in jobs]})

    def _job(self, request: Request, parts: list[str]) -> Reply:
        device, job = self.job(parts[2])
        if parts[3:] == ["cancel"]:
            device.cancel(job)
            return Reply(204)
        if request.method == "DELETE":
            if job.status in PENDING and not job.stop.is_set():
                raise _error(409, "1292", "The job has not ended.")
            del device.jobs[job.id]
            return Reply(204)
        return json_reply(_described(job, device))


def _described(job: Job, device: Device) -> dict[str, Any]:
    reason = {"reason_code": 1517, "reason_message": job.reason, "reason_solution": ""} if job.reason else {}
    return {
        "id": job.id, "backend": device.options.name, "status": STATUS[job.status], "program_id": "sampler",
        "created_time": TokenService.created(job), "storage": {}, **reason,
    }  # fmt: skip


def _error(status: int, code: str, message: str) -> Refused:
    errors = [{"code": code, "message": message, "more_info": ""}]
    return Refused(json_reply({"errors": errors, "status_code": status, "trace": new_id()}, status))
