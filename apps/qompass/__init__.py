"""Qompass in Python: what a quantum circuit too wide for any one device would have measured.

>>> from qompass import estimate
>>> estimate(circuit, ["Z0 Z39", "0.5*X1 - Y2"], max_qubits=12)  # doctest: +SKIP
[Estimate(observable='Z0 Z39', value=..., std_error=0.0), Estimate(observable='0.5*X1 - Y2', value=..., std_error=0.0)]

A program that calls ``estimate`` often starts the engine once: ``with engine(): ...``.
"""

from .checkout import check_packages as check_packages  # first: it says which file hides a package of ours
from .devices import devices
from .face import Estimate, InputError, Options, Plan, QompassError, engine, estimate, plan, sample
from .job import QompassJob
from .primitives import QompassEstimator, QompassSampler
from .session import Session

__all__ = [
    "Estimate",
    "InputError",
    "Options",
    "Plan",
    "QompassError",
    "QompassEstimator",
    "QompassJob",
    "QompassSampler",
    "Session",
    "devices",
    "engine",
    "estimate",
    "plan",
    "sample",
]
