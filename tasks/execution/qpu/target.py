"""A QPU as its target describes it: what transpilation, policies and mitigation need, whatever the vendor's format."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from qiskit.transpiler import Target

from scheduler_policies.device import DeviceLimits, GateRate


@dataclass(frozen=True)
class QpuTarget:
    """What a QPU can do and how well, at one calibration.

    Attributes:
        resource: name of the QPU.
        target: for Qiskit's transpiler, on physical qubits 0 .. n-1; broken qubits and gates are left out.
        epoch: names this calibration; changes when the device is recalibrated.
        calibrated: when, in Unix seconds; 0 where it is not said.
        gates: error and duration of each gate.
        readout: (qubit,) pairs (probability of 1 given 0, probability of 0 given 1).
        readout_seconds: duration of a measurement.
        limits: what it cannot do.
        names: the device's own names of its qubits.
        shot_seconds: delay between shots, None where it is not said.
        named: whether the epoch tells one calibration from every other: not where it has neither name nor date.
        pinned: whether a job names the calibration that it runs under.
    """

    resource: str
    target: Target
    epoch: str
    calibrated: float
    gates: tuple[GateRate, ...]
    readout: tuple[tuple[float, float], ...]
    readout_seconds: float
    limits: DeviceLimits
    names: tuple[str, ...]
    shot_seconds: float | None = None
    named: bool = True
    pinned: bool = False

    @property
    def num_qubits(self) -> int:
        """Number of physical qubits."""
        return len(self.names)

    @property
    def basis_gates(self) -> tuple[str, ...]:
        """Names of its unitary gates."""
        return tuple(sorted({gate.name for gate in self.gates}))

    @property
    def coupling(self) -> tuple[tuple[int, int], ...]:
        """Directed pairs of qubits that have a working two-qubit gate."""
        return tuple(sorted({(g.qubits[0], g.qubits[1]) for g in self.gates if len(g.qubits) == 2 and g.error < 1}))

    def age(self, now: float | None = None) -> float:
        """Seconds since the calibration; 0 where it is not said."""
        return max(0.0, (time.time() if now is None else now) - self.calibrated) if self.calibrated else 0.0


def timestamp(text: str) -> float:
    """Unix seconds of a date in ISO 8601, 0 where it is none."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def digest(*parts: Any) -> str:
    """Names values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def expected_flips(target: QpuTarget, qubits: tuple[int, ...], shots: int, value: int) -> float:
    """How many bits should be read wrongly in ``shots`` shots of ``qubits`` all in state ``value``."""
    return math.fsum(target.readout[qubit][value] for qubit in qubits) * shots
