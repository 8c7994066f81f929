"""Qiskit's primitives on circuits too wide for one device: ``Estimator`` and ``Sampler``, cut underneath.

They take the PUBs that Qiskit defines (https://quantum.cloud.ibm.com/docs/guides/primitive-input-output), broadcast as
it says, and give its results. What does not depend on parameter values is done once for a circuit; what has to be run
of all PUBs of a call shares one graph of tasks.
"""

from .estimator import QompassEstimator
from .sampler import QompassSampler

__all__ = ["QompassEstimator", "QompassSampler"]
