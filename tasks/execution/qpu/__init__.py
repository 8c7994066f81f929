"""QPUs through QRMI: which there are, what they can do, and variants run on them."""

from tasks.execution.qpu.devices import QpuReport, describe_qpu, list_qpus, qpu_report
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.queue_monitor import QueueMonitor
from tasks.execution.qpu.records import CircuitRequest, CircuitResult, JobRecord, QpuOptions, QpuRun
from tasks.execution.qpu.resources import QpuResource, qpu_resource, qpu_resources
from tasks.execution.qpu.run import run_requests
from tasks.execution.qpu.target import QpuTarget

__all__ = [
    "CircuitRequest",
    "CircuitResult",
    "Fault",
    "JobRecord",
    "QpuError",
    "QpuOptions",
    "QpuReport",
    "QpuResource",
    "QpuRun",
    "QpuTarget",
    "QueueMonitor",
    "describe_qpu",
    "list_qpus",
    "qpu_report",
    "qpu_resource",
    "qpu_resources",
    "run_requests",
]
