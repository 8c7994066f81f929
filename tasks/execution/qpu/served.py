"""Backends and samplers of Qiskit as devices beside QRMI's: their owner's process answers for them on a socket.

What QRMI is for a service, a small process that relays lines of JSON is here (``backend_worker``), so that everything
above it (leases, journal, mitigation, policies, records) is the same. A backend that is called by name needs no owner:
the relaying process makes it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import socketserver
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, qpy
from qiskit.circuit.library import get_standard_gate_name_mapping

from tasks.execution.backends import NamedSampler
from tasks.execution.qpu.programs import REGISTER
from tasks.execution.qpu.resources import qpu_resources
from tasks.execution.qpu.vendors import SERVED

SOCKET = "QRMI_SOCKET"
_ANYWHERE = ("rz", "sx", "x", "cx", "cz", "ecr")  # what is asked of a simulator, which has every gate on all qubits
_WIDEST = 20  # qubits of a simulator that are offered
_CIRCUITS = 300  # of a job


class JobUnknown(Exception):
    """There is no such job here."""


class Served:
    """Answers the questions that QRMI's client answers for a service.

    Args:
        sampler: runs jobs, one after the other.

    Attributes:
        qubits: how many it has.
    """

    def __init__(self, sampler: NamedSampler) -> None:
        self._sampler = sampler
        self.qubits = int(described(sampler)["configuration"]["n_qubits"])
        self._jobs: dict[str, Future[list[str]]] = {}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="qompass-backend")

    def answer(self, line: str | bytes) -> str:
        """One line of JSON for another: ``{"verb", "arguments"}`` to ``{"value"}`` or ``{"error", "message"}``."""
        request = json.loads(line)
        try:
            return json.dumps({"value": getattr(self, f"_{request['verb']}")(*request["arguments"])})
        except Exception as error:  # every failure of a backend is an answer, to be judged by who asked
            name = "TaskNotFoundError" if isinstance(error, JobUnknown) else type(error).__name__
            return json.dumps({"error": name, "message": str(error) or name})

    def close(self) -> None:
        """End with the job that runs."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _open(self) -> None:
        """Nothing is to be renewed."""

    def _status(self) -> dict[str, Any]:
        waiting = sum(not job.done() for job in self._jobs.values())
        return {"status": "online", "status_reason": "", "pending_job_count": waiting}

    def _target(self) -> str:
        return json.dumps(described(self._sampler))

    def _task_start(self, kind: str, fields: dict[str, Any]) -> str:
        circuits = qpy.load(io.BytesIO(base64.b64decode(fields[kind])))
        name = uuid.uuid4().hex
        self._jobs[name] = self._pool.submit(self._run, circuits, fields["shots"], fields["tag"])
        return name

    def _run(self, circuits: list[QuantumCircuit], shots: list[int], tag: str) -> list[str]:
        seed = int.from_bytes(hashlib.sha256(tag.encode()).digest()[:4], "big") >> 1
        result = self._sampler.run([(own, None, n) for own, n in zip(circuits, shots, strict=True)], seed)
        # Big-endian bytes of big-endian bits: reversed bytes are little-endian throughout.
        found = [np.ascontiguousarray(own.data[REGISTER].array[:, ::-1]) for own in result]
        return [base64.b64encode(own.tobytes()).decode() for own in found]

    def _job(self, name: str) -> Future[list[str]]:
        if name not in self._jobs:
            raise JobUnknown(f"there is no job {name:.40}")
        return self._jobs[name]

    def _task_status(self, name: str) -> str:
        job = self._job(name)
        if job.cancelled():
            return "Cancelled"
        if not job.done():
            return "Running" if job.running() else "Queued"
        return "Failed" if job.exception() else "Completed"

    def _task_result(self, name: str) -> str:
        return json.dumps(self._job(name).result())

    def _task_stop(self, name: str) -> None:
        self._job(name).cancel()

    def _task_logs(self, name: str) -> str:
        job = self._job(name)
        return str(job.exception() or "") if job.done() and not job.cancelled() else ""


def described(sampler: NamedSampler) -> dict[str, Any]:
    """A backend's target in the form of IBM's ``configuration`` and ``properties``."""
    backend, standard = sampler.backend, get_standard_gate_name_mapping()
    target = None if backend is None else backend.target
    size = _WIDEST if target is None or target.num_qubits is None else int(target.num_qubits)
    names, properties = list(_ANYWHERE[:4]), {}
    if target is not None:
        properties = {name: target[name] or {} for name in target.operation_names if name in standard}
        names = [name for name in properties if standard[name].num_qubits in (1, 2) and name not in ("reset", "delay")]
    pairs = {name: properties.get(name, {}) for name in names if standard[name].num_qubits == 2}
    couplings = {name: [list(place) for place in own if place is not None] for name, own in pairs.items()}
    if not any(couplings.values()):  # a simulator, which has every gate everywhere
        size = min(size, _WIDEST)
        names = [name for name in names if name in _ANYWHERE]
        every = [[a, b] for a in range(size) for b in range(size) if a != b]
        couplings = {name: every for name in names if name in pairs}
    rates = [
        {"gate": name, "qubits": list(place), "parameters": _parameters("gate_error", "gate_length", known)}
        for name in names
        for place, known in properties.get(name, {}).items()
        if place is not None
    ]
    measured = properties.get("measure", {}) if target is None else dict(target["measure"] or {})
    read = [_parameters("readout_error", "readout_length", measured.get((qubit,))) for qubit in range(size)]
    written = backend.properties() if backend is not None and hasattr(backend, "properties") else None
    stamp = getattr(written, "last_update_date", None)
    reset = target is not None and "reset" in target.operation_names
    return {
        "configuration": {
            "n_qubits": size, "basis_gates": [name for name in names if name != "measure"],
            "gates": [{"name": name, "coupling_map": pairs} for name, pairs in couplings.items()],
            "coupling_map": next(iter(couplings.values()), []), "supported_features": ["qasm3"],
            "supported_instructions": ["reset"] if reset else [], "max_experiments": _CIRCUITS,
            "max_shots": getattr(getattr(backend, "configuration", dict)(), "max_shots", None),
        },
        "properties": {
            "qubits": read, "gates": rates, "last_update_date": stamp.isoformat() if stamp is not None else "",
        },
    }  # fmt: skip


def _parameters(error: str, seconds: str, known: Any) -> list[dict[str, Any]]:
    found = [] if getattr(known, "error", None) is None else [{"name": error, "value": float(known.error)}]
    if getattr(known, "duration", None) is not None:
        found.append({"name": seconds, "value": float(known.duration), "unit": "s"})
    return found


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        served: Served = self.server.served  # type: ignore[attr-defined]
        for line in self.rfile:
            self.wfile.write(served.answer(line).encode() + b"\n")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextlib.contextmanager
def serving(backends: Mapping[str, Any], seed: int = 0) -> Iterator[dict[str, int]]:
    """Let this process and those that it starts reach some backends as QPUs, as long as the block lasts.

    Args:
        backends: by the name that a resources file calls them: what ``NamedSampler`` takes.
        seed: of simulators.

    Yields:
        their numbers of qubits.

    Raises:
        InputError: one is no backend.
        QpuError: the QPUs that are here already cannot be read.
    """
    found = {name: Served(NamedSampler(device, seed)) for name, device in backends.items()}
    known = {name: resource.type for name, resource in qpu_resources().items()} | dict.fromkeys(found, SERVED)
    before = dict(os.environ)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qompass-")))  # its owner's alone
        for number, (name, served) in enumerate(found.items()):
            server = _Server(str(folder / str(number)), _Connection)
            server.served = served  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            for done in (served.close, server.server_close, server.shutdown):
                stack.callback(done)
            os.environ[f"{name}_{SOCKET}"] = str(folder / str(number))
            stack.callback(os.environ.pop, f"{name}_{SOCKET}", None)
        separator = os.environ.get("QRMI_LIST_DELIMITER", ",")
        for variable, values in (("QRMI_JOB_QPU_RESOURCES", known), ("QRMI_JOB_QPU_TYPES", known.values())):
            os.environ[variable] = separator.join(values)
            stack.callback(_put_back, variable, before.get(variable))
        yield {name: served.qubits for name, served in found.items()}


def _put_back(variable: str, value: str | None) -> None:
    os.environ.pop(variable, None)
    if value is not None:
        os.environ[variable] = value
