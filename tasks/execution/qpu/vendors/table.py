"""Which vendors there are. A new one is a file of its own in this folder and a line here."""

from __future__ import annotations

from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.vendors.backend import QiskitBackend
from tasks.execution.qpu.vendors.ibm import IbmComputeService
from tasks.execution.qpu.vendors.ibm_system import IbmSystem
from tasks.execution.qpu.vendors.iqm import IqmServer
from tasks.execution.qpu.vendors.vendor import Vendor

VENDORS: dict[str, Vendor] = {
    "ibm-quantum-compute-service": IbmComputeService("IBMQuantumComputeService"),
    "qiskit-runtime-service": IbmComputeService("IBMQiskitRuntimeService"),  # the older name of the same interface
    "ibm-quantum-system": IbmSystem("IBMQuantumSystem"),
    "iqm-server": IqmServer("IQMServer"),
    "qiskit-backend": QiskitBackend(""),  # none of QRMI's
}
SERVED = next(name for name, vendor in VENDORS.items() if isinstance(vendor, QiskitBackend))
"""The type of what this process itself answers for."""


def vendor_of(resource_type: str, name: str = "any") -> Vendor:
    """The vendor behind a QRMI resource type.

    Args:
        resource_type: as in ``QRMI_JOB_QPU_TYPES``.
        name: of the QPU, for the message.

    Raises:
        QpuError: there is none of that type.
    """
    if resource_type not in VENDORS:
        known = ", ".join(VENDORS)
        raise QpuError(Fault.CONFIGURATION, name, f"its type is {resource_type!r}; Qompass runs on {known}")
    return VENDORS[resource_type]
