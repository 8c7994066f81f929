"""IBM Quantum System: a machine on a site's own premises. No sessions, no queue to see, results in an S3 store."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.execution.qpu.vendors.ibm import IbmComputeService, at_most

_MOST_JOB_SECONDS = 86400


class IbmSystem(IbmComputeService):
    """``ibm-quantum-system``: the compute service's jobs and targets.

    A job that waits is said to run, so nothing is known of a queue to leave; and the client deletes a job that it
    stops, so one that has a result is left alone.
    """

    sessions = False
    session_variable = ""

    def bounded(self, environment: Mapping[str, str], seconds: int) -> Mapping[str, str]:
        """See ``Vendor.bounded``: the longest run of a job, which is also how long the store takes its result."""
        return at_most(environment, "QRMI_JOB_TIMEOUT_SECONDS", seconds, _MOST_JOB_SECONDS)
