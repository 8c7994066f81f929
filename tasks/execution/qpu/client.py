"""Calls to a QPU service through QRMI, each with a time limit and with failures sorted into kinds."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import selectors
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.resources import QpuResource
from tasks.execution.qpu.tokens import redact

log = logging.getLogger(__name__)

CALL_SECONDS = 60.0
RELEASE_WAIT = 25.0
_KINDS = {
    "AuthenticationFailedError": Fault.AUTHENTICATION,
    "ConfigError": Fault.CONFIGURATION,
    "EnvVarNotSetError": Fault.CONFIGURATION,
    "ResourceNotFoundError": Fault.CONFIGURATION,
    "UnsupportedResourceTypeError": Fault.CONFIGURATION,
    "TaskNotFoundError": Fault.LOST,
    "TaskNotReadyError": Fault.FAILED,
    "InvalidInputError": Fault.REJECTED,
    "UnsupportedPayloadError": Fault.REJECTED,
}
# What the client says in errors that have no class of their own, in the order in which they are tried.
_PHRASES = (
    ("invalid JSON", Fault.GARBLED),
    ("error decoding response body", Fault.GARBLED),
    ("error in serde", Fault.GARBLED),
    ("error sending request", Fault.UNAVAILABLE),
    ("status code 5", Fault.UNAVAILABLE),
    ("response body: 5", Fault.UNAVAILABLE),
    ("response body: 404", Fault.CONFIGURATION),
    ("response body: 409", Fault.REJECTED),
    ("response body: 4", Fault.REJECTED),
    ("status code 4", Fault.REJECTED),
)


class QpuClient:
    """A QPU service as one process talks to it; a context manager that releases on the way out.

    Args:
        resource: the QPU.
        call_seconds: time limit of one call unless the call says otherwise.
    """

    def __init__(self, resource: QpuResource, call_seconds: float = CALL_SECONDS) -> None:
        self.resource = resource
        self._limit = self._within = call_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._buffer = b""
        self.calls = 0

    def __enter__(self) -> QpuClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def status(self) -> dict[str, Any]:
        """State of the QPU: ``status`` (online, paused, offline), ``healthy``, ``pending_job_count``, ...

        Raises:
            QpuError: as every call here: what failed is in its ``fault``.
        """
        return dict(self._call("status"))

    def target(self) -> dict[str, Any]:
        """The QPU's target, in its provider's own format."""
        try:
            return dict(json.loads(self._call("target")))
        except (ValueError, TypeError):
            raise self._error(Fault.GARBLED, "its target is not JSON") from None

    def acquire(self) -> str:
        """Open a session; returns what ``release`` wants."""
        return str(self._call("acquire"))

    def release(self, token: str) -> None:
        """Close a session; jobs of it that have not run are cancelled by services that have sessions."""
        self._call("release", token)

    def start(self, kind: str, fields: dict[str, Any], within: float | None = None) -> str:
        """Submit a job; returns its id. After any failure but a refusal the job may exist all the same.

        Args:
            kind: name of the ``qrmi.Payload``.
            fields: its arguments.
            within: time limit of this call in seconds.
        """
        return str(self._call("task_start", kind, fields, within=within))

    def task_status(self, job: str, within: float | None = None) -> str:
        """``Queued``, ``Running``, ``Completed``, ``Failed`` or ``Cancelled``; waits for a change where a service can.

        Args:
            job: its id.
            within: time limit of this call in seconds.
        """
        return str(self._call("task_status", job, within=within))

    def result(self, job: str, within: float | None = None) -> str:
        """The result of a completed job, in its provider's own format; ``within`` as in ``task_status``."""
        return str(self._call("task_result", job, within=within))

    def stop(self, job: str) -> None:
        """Cancel a job that has not finished."""
        self._call("task_stop", job)

    def logs(self, job: str) -> str:
        """What the service says about a job."""
        return str(self._call("task_logs", job))

    def close(self) -> None:
        """End the process that talks to the service; it releases what it still holds. Safe to call twice."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=RELEASE_WAIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def abandon(self) -> None:
        """End the process at once, with whatever call it is in."""
        with self._lock:
            self._kill()

    def _call(self, verb: str, *arguments: Any, within: float | None = None) -> Any:
        with self._lock:
            self.calls += 1
            self._within = self._limit if within is None else min(within, self._limit)
            fresh = self._process is None
            try:
                return self._exchange(verb, list(arguments))
            except QpuError as error:
                # The client keeps an access token until shortly before its end. If the service ended it earlier, a
                # fresh client asks for another one; a token that is wrong stays wrong.
                if error.fault is not Fault.AUTHENTICATION or fresh or self._process is None:
                    raise
                self._exchange("open", [])
                return self._exchange(verb, list(arguments))

    def _exchange(self, verb: str, arguments: list[Any]) -> Any:
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"verb": verb, "arguments": arguments}).encode() + b"\n")
            process.stdin.flush()
            line = self._read_line(process)
        except BrokenPipeError:
            line = b""
        if line is None:
            self._kill()
            raise self._error(Fault.TIME_LIMIT, f"{verb} was not answered within {self._within:.3g} s")
        if not line:
            self._kill()
            raise self._error(Fault.UNAVAILABLE, f"the client process ended during {verb}; is qrmi installed?")
        reply = json.loads(line)
        if "error" not in reply:
            return reply.get("value")
        fault, message = sort_failure(reply["error"], reply["message"], reply.get("renewal", ""))
        raise self._error(fault, f"{verb}: {message}")

    def _read_line(self, process: subprocess.Popen[bytes]) -> bytes | None:
        assert process.stdout is not None
        end = time.monotonic() + self._within
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return None
                chunk = os.read(process.stdout.fileno(), 1 << 20)
                if not chunk:
                    return b""
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _start(self) -> subprocess.Popen[bytes]:
        vendor = self.resource.vendor
        if vendor.package and importlib.util.find_spec(vendor.package) is None:
            raise self._error(
                Fault.CONFIGURATION,
                "QPUs need the package qrmi, which needs Python 3.11 or newer: pip install 'qompass[qpu]'",
            )
        command = [sys.executable, "-P", str(Path(__file__).with_name(vendor.worker))]
        # Its own session: a signal to the run's process group must not keep it from releasing. In the root folder:
        # COMPSs removes the one a task was started in when the task ends, and Python does not start without one.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            cwd=os.sep,
        )  # fmt: skip
        self._buffer = b""
        opening = {
            "name": self.resource.name,
            "type": vendor.qrmi_type,
            "environment": dict(self.resource.environment),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(opening).encode() + b"\n")
        return self._process

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        log.debug("the client process left a request unread")

    def _error(self, fault: Fault, message: str) -> QpuError:
        return QpuError(fault, self.resource.name, redact(message, self.resource.secrets))


def sort_failure(kind: str, message: str, renewal: str = "") -> tuple[Fault, str]:
    """The fault behind an exception of the client, and one line about it.

    Args:
        kind: name of the exception's class.
        message: its text.
        renewal: what the client logged when it could not renew its access token, "" where it could.
    """
    if renewal and not any(f"Status({code}" in renewal for code in (400, 401, 403)):
        return Fault.UNAVAILABLE, "no access token: the identity service cannot be reached or answers with an error"
    text = " ".join(message.split())[:400]
    for phrase, fault in _PHRASES:
        if phrase in text:
            return fault, text
    return _KINDS.get(kind, Fault.UNAVAILABLE), text
