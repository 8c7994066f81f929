"""A backend or sampler of Qiskit that a process of the user's answers for (``tasks.execution.qpu.served``)."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qiskit import qpy

from tasks.execution.qpu.programs import Program
from tasks.execution.qpu.target import QpuTarget
from tasks.execution.qpu.vendors.ibm import IbmComputeService


class QiskitBackend(IbmComputeService):
    """``qiskit-backend``: targets in IBM's form, jobs in QPY, no sessions."""

    sessions = False
    session_variable = ""
    worker = "backend_worker.py"
    package = ""

    def bounded(self, environment: Mapping[str, str], seconds: int) -> Mapping[str, str]:
        """See ``Vendor.bounded``: its jobs end with their owner."""
        return environment

    def write_job(
        self, target: QpuTarget, programs: Sequence[Program], shots: Sequence[int], tag: str
    ) -> tuple[str, dict[str, Any]]:
        """See ``Vendor.write_job``; the tag seeds simulators."""
        stream = io.BytesIO()
        qpy.dump([program.circuit for program in programs], stream)
        return "qpy", {"qpy": base64.b64encode(stream.getvalue()).decode(), "shots": list(shots), "tag": tag}

    def read_bits(self, raw: Any, programs: Sequence[Program]) -> list[np.ndarray]:
        """See ``Vendor.read_bits``: packed bytes in base 64."""
        found = []
        for text, program in zip(raw, programs, strict=True):
            flat = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
            found.append(flat.reshape(-1, (len(program.measured) + 7) // 8))
        return found
