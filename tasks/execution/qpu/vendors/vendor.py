"""What a vendor of QPUs is to Qompass: how its targets are read, its jobs written, its results read, its jobs ended."""

from __future__ import annotations

import binascii
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.programs import Program
from tasks.execution.qpu.target import QpuTarget
from tasks.model.tensor import VariantCounts


class JobClient(Protocol):
    """What a vendor asks of a client."""

    def task_status(self, job: str) -> str:
        """``Queued``, ``Running``, ``Completed``, ``Failed`` or ``Cancelled``."""

    def stop(self, job: str) -> None:
        """Cancel a job that has not finished."""


class Vendor(ABC):
    """One kind of QPU service, without state: everything that differs by type is asked of it.

    Args:
        qrmi_type: name of the type in ``qrmi.ResourceType``.

    Attributes:
        sessions: whether jobs run in sessions that can be closed, which cancels what has not run.
        session_variable: the resource's variable that names a session which somebody else has opened, "" for none.
        tags: whether the service shows the tag of a job, by which a user can find it.
        worker: the script beside ``client`` that talks to it.
        package: what that imports, "" where nothing more than Qompass.
        stop_seconds: how long it may take to cancel a job and close a session.
    """

    sessions = False
    session_variable = ""
    tags = False
    worker = "qrmi_worker.py"
    package = "qrmi"
    stop_seconds = 10.0

    def __init__(self, qrmi_type: str) -> None:
        self.qrmi_type = qrmi_type

    def bounded(self, environment: Mapping[str, str], seconds: int) -> Mapping[str, str]:
        """The resource's variables such that nothing of ours outlives a run by much, if nobody is left to end it.

        Args:
            environment: as declared.
            seconds: longest that a session or job is wanted.
        """
        return environment

    def complete(self, raw: Mapping[str, Any]) -> bool:
        """Whether a target has all its parts; without error rates it can still be run on, for want of a better one."""
        return True

    def cancel(self, client: JobClient, job: str) -> bool:
        """Cancel a job; whether it had a result already, which then can still be had.

        Raises:
            QpuError: it cannot be asked for, or the service does not know it.
        """
        if client.task_status(job) == "Completed":
            return True
        client.stop(job)
        return False

    def target(self, resource: str, raw: Mapping[str, Any]) -> QpuTarget:
        """A device as its service describes it.

        Args:
            resource: name of the QPU.
            raw: what ``QpuClient.target`` returned.

        Raises:
            QpuError: it is incomplete (a provider that is down says so here), of another format, or lacks an
                entangling gate or a measurement.
        """
        try:
            found = self.read_target(resource, raw)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise QpuError(
                Fault.GARBLED, resource, f"its target cannot be read ({reason}); is it of a new format?"
            ) from None
        if not any(len(gate.qubits) == 1 for gate in found.gates) or "measure" not in found.target.operation_names:
            raise QpuError(Fault.UNFIT, resource, "its target has no one-qubit gate or no measurement")
        return found

    def counts(
        self, target: QpuTarget, programs: Sequence[Program], shots: Sequence[int], text: str
    ) -> list[VariantCounts]:
        """Counts from the result of a job that ``write_job`` wrote.

        Args:
            target: of the device.
            programs: that were run.
            shots: (program,) that were asked for.
            text: what ``QpuClient.result`` returned.

        Raises:
            QpuError: the result is not what was asked for (``GARBLED``).
        """
        try:
            bits = self.read_bits(json.loads(text), programs)
            if len(bits) != len(programs):
                raise ValueError(f"{len(bits)} results for {len(programs)} circuits")
            return [
                _count(rows, len(program.measured), wanted)
                for rows, program, wanted in zip(bits, programs, shots, strict=True)
            ]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, zlib.error, binascii.Error) as error:
            raise QpuError(
                Fault.GARBLED, target.resource, f"its result cannot be read: {type(error).__name__}: {str(error)[:200]}"
            ) from None

    @abstractmethod
    def read_target(self, resource: str, raw: Mapping[str, Any]) -> QpuTarget:
        """``target`` without its checks; may raise whatever malformed data makes of itself."""

    @abstractmethod
    def write_job(
        self, target: QpuTarget, programs: Sequence[Program], shots: Sequence[int], tag: str
    ) -> tuple[str, dict[str, Any]]:
        """A job in the service's format: name of the ``qrmi.Payload`` and its arguments.

        Args:
            target: of the device.
            programs: what to run; at most as many as a job may have.
            shots: (program,); all equal where the target says that a job has one number of shots.
            tag: what the service's own listing should show, where it shows one.
        """

    @abstractmethod
    def read_bits(self, raw: Any, programs: Sequence[Program]) -> list[np.ndarray]:
        """(program,) arrays (shot, byte) uint8, bits packed as ``VariantCounts`` packs them; raises as ``read_target``.

        Args:
            raw: the result, as JSON values.
            programs: that were run.
        """


def _count(rows: np.ndarray, bits: int, wanted: int) -> VariantCounts:
    if rows.shape[0] < wanted or rows.shape[1] != (bits + 7) // 8:
        raise ValueError(f"{rows.shape[0]} shots of {8 * rows.shape[1]} bits for {wanted} of {bits}")
    if bits % 8 and (rows[:, -1] >> (bits % 8)).any():
        raise ValueError("a bit beyond those measured is set")
    outcomes, counts = np.unique(rows, axis=0, return_counts=True)
    return VariantCounts(outcomes, counts.astype(np.int64), bits)
