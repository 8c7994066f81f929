"""What goes wrong on the way to a QPU and back, one name each; the fault table of the README lists what follows."""

from __future__ import annotations

from enum import Enum

from tasks.errors import QompassError


class Fault(str, Enum):
    """The kinds of failure an application decides upon.

    ``again`` tells whether the same work may be given to the same device again without a change by the user.
    """

    CONFIGURATION = "configuration"  # a resource, variable or file is missing or unreadable
    SECRET = "secret"  # a token file that others can read
    AUTHENTICATION = "authentication"  # the token is wrong or has expired
    UNFIT = "unfit"  # too many qubits, a basis gate missing, no room for an ancilla
    REJECTED = "rejected"  # the service refused the job
    FAILED = "failed"  # the job ended as failed or was cancelled by the service
    LOST = "lost"  # the service does not know the job any more, or its answer to the submission never came
    UNAVAILABLE = "unavailable"  # the service cannot be reached, or answers with an error of its own
    TIME_LIMIT = "time limit"  # no answer, or no result, within the time allowed
    GARBLED = "garbled"  # an answer that is not what the interface promises
    IMPLAUSIBLE = "implausible"  # counts that this device cannot have measured
    LEFT = "left"  # nothing failed: it waited, and was cancelled to go elsewhere

    @property
    def again(self) -> bool:
        """Whether trying again on the same device can help."""
        return self in {
            Fault.FAILED,
            Fault.LOST,
            Fault.UNAVAILABLE,
            Fault.TIME_LIMIT,
            Fault.GARBLED,
            Fault.IMPLAUSIBLE,
        }


class QpuError(QompassError):
    """Work could not be done on a QPU.

    Attributes:
        fault: the kind of failure.
        resource: name of the QPU.
    """

    def __init__(self, fault: Fault, resource: str, message: str) -> None:
        super().__init__(f"QPU {resource}: {message}")
        self.fault = fault
        self.resource = resource
