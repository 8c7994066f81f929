"""A QPU's target as QRMI hands it over, read into what transpilation, policies and mitigation need.

Two formats are read: IBM's (``configuration`` and ``properties``) and IQM's (``dynamic_quantum_architecture`` and
``quality_metrics``).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from qiskit.circuit import Measure, Parameter, Reset
from qiskit.circuit.library import CZGate, RGate, get_standard_gate_name_mapping
from qiskit.transpiler import InstructionProperties, Target

from scheduler_policies.device import DeviceLimits, GateRate
from tasks.execution.qpu.errors import Fault, QpuError

IBM, IQM = "ibm", "iqm"
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_PRX_SECONDS, _CZ_SECONDS, _READ_SECONDS = 40e-9, 60e-9, 1e-6  # typical of IQM's chips, which do not report them


@dataclass(frozen=True)
class QpuTarget:
    """What a QPU can do and how well, at one calibration.

    Attributes:
        resource: name of the QPU.
        dialect: ``ibm`` or ``iqm``: the format its jobs are written in.
        target: for Qiskit's transpiler, on physical qubits 0 .. n-1; broken qubits and gates are left out.
        epoch: names this calibration; changes when the device is recalibrated.
        calibrated: when, in Unix seconds; 0 where it is not said.
        gates: error and duration of each gate.
        readout: (qubit,) pairs (probability of 1 given 0, probability of 0 given 1).
        readout_seconds: duration of a measurement.
        limits: what it cannot do.
        names: the device's own names of its qubits.
        shot_seconds: delay between shots, None where it is not said.
    """

    resource: str
    dialect: str
    target: Target
    epoch: str
    calibrated: float
    gates: tuple[GateRate, ...]
    readout: tuple[tuple[float, float], ...]
    readout_seconds: float
    limits: DeviceLimits
    names: tuple[str, ...]
    shot_seconds: float | None = None

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

    @property
    def named(self) -> bool:
        """Whether the epoch tells one calibration from every other: not where it has neither name nor date."""
        return self.dialect == IQM or self.calibrated > 0

    def age(self, now: float | None = None) -> float:
        """Seconds since the calibration; 0 where it is not said."""
        return max(0.0, (time.time() if now is None else now) - self.calibrated) if self.calibrated else 0.0


def read_target(resource: str, raw: Mapping[str, Any]) -> QpuTarget:
    """Read what ``QpuClient.target`` returned.

    Raises:
        QpuError: it is incomplete (a provider that is down says so here), of neither format, or lacks an entangling
            gate or a measurement.
    """
    try:
        if "dynamic_quantum_architecture" in raw:
            found = _read_iqm(resource, raw)
        elif raw.get("configuration") is None:
            # The client folds every failure to fetch the parts into null.
            raise QpuError(Fault.UNAVAILABLE, resource, "its target has no configuration: the service did not give it")
        else:
            found = _read_ibm(resource, raw)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise QpuError(
            Fault.GARBLED, resource, f"its target cannot be read ({reason}); is it of a new format?"
        ) from None
    if not any(len(gate.qubits) == 1 for gate in found.gates) or "measure" not in found.target.operation_names:
        raise QpuError(Fault.UNFIT, resource, "its target has no one-qubit gate or no measurement")
    return found


def _read_ibm(resource: str, raw: Mapping[str, Any]) -> QpuTarget:
    configuration, properties = raw["configuration"], raw.get("properties") or {}
    size = int(configuration["n_qubits"])
    standard = get_standard_gate_name_mapping()
    broken = {
        qubit
        for qubit, entries in enumerate(properties.get("qubits", []))
        if any(entry["name"] == "operational" and not entry["value"] for entry in entries)
    }
    rates = {}
    for gate in properties.get("gates", []):
        values = {entry["name"]: entry for entry in gate["parameters"]}
        error = float(values["gate_error"]["value"]) if "gate_error" in values else 0.0
        if not values.get("operational", {}).get("value", 1) or broken & set(gate["qubits"]):
            error = 1.0
        rates[gate["gate"], tuple(gate["qubits"])] = (min(max(error, 0.0), 1.0), _seconds(values.get("gate_length")))
    target, gates = Target(num_qubits=size), []
    for name in configuration["basis_gates"]:
        if name not in standard or name in {"reset", "delay", "measure"}:
            continue
        operation = standard[name]
        if operation.num_qubits == 1:
            places = [(qubit,) for qubit in range(size)]
        else:
            listed = next((g.get("coupling_map") for g in configuration["gates"] if g["name"] == name), None)
            places = [tuple(pair) for pair in (listed or configuration["coupling_map"])]
        entries: dict[tuple[int, ...], InstructionProperties] = {}
        for place in places:
            error, seconds = rates.get((name, place), (0.0, 0.0))
            gates.append(GateRate(name, place, error, seconds))
            if error < 1.0 and not broken & set(place):
                entries[place] = InstructionProperties(duration=seconds, error=error)
        if entries:
            target.add_instruction(operation, entries, name=name)
    readout, wrong, read_seconds = [], [], 0.0
    for qubit in range(size):
        listed_qubits = properties.get("qubits", [])
        values = {entry["name"]: entry for entry in (listed_qubits[qubit] if qubit < len(listed_qubits) else [])}
        both = float(values["readout_error"]["value"]) if "readout_error" in values else 0.0
        pair = [float(values[k]["value"]) if k in values else both for k in ("prob_meas1_prep0", "prob_meas0_prep1")]
        readout.append((pair[0], pair[1]))
        wrong.append(both if "readout_error" in values else sum(pair) / 2)
        read_seconds = max(read_seconds, _seconds(values.get("readout_length")))
    working = [qubit for qubit in range(size) if qubit not in broken]
    measured = {(q,): InstructionProperties(duration=read_seconds, error=wrong[q]) for q in working}
    target.add_instruction(Measure(), measured)
    supported = configuration.get("supported_instructions") or []
    if "reset" in supported:
        target.add_instruction(Reset(), {(q,): None for q in working})
    limits = DeviceLimits(
        mid_circuit_measurement="reset" in supported or "qasm3" in (configuration.get("supported_features") or []),
        reset="reset" in supported,
        shots_per_job=_positive(configuration.get("max_shots")),
        circuits_per_job=_positive(configuration.get("max_experiments")),
    )
    stamp = str(properties.get("last_update_date") or "")
    # Without properties nothing tells calibrations apart, so one is not believed for longer than an hour.
    named = stamp or time.strftime("%Y-%m-%d %H", time.gmtime())
    epoch = _digest(named, [[g.name, g.qubits, g.error] for g in gates], readout)
    names = tuple(f"${qubit}" for qubit in range(size))
    delay = configuration.get("default_rep_delay")  # microseconds
    return QpuTarget(
        resource, IBM, target, epoch, _timestamp(stamp), tuple(gates), tuple(readout), read_seconds, limits, names,
        shot_seconds=None if delay is None else float(delay) * 1e-6,
    )  # fmt: skip


def _read_iqm(resource: str, raw: Mapping[str, Any]) -> QpuTarget:
    architecture, metrics = raw["dynamic_quantum_architecture"], raw.get("quality_metrics") or {}
    names = tuple(architecture["qubits"])
    index = {name: position for position, name in enumerate(names)}
    observed = {
        entry["dut_field"]: float(entry["value"])
        for entry in metrics.get("observations", [])
        if not entry.get("invalid") and isinstance(entry.get("value"), (int, float))
    }
    loci: dict[str, set[tuple[int, ...]]] = {}
    for gate, described in architecture["gates"].items():
        for implementation in described["implementations"].values():
            for locus in implementation["loci"]:
                if all(name in index for name in locus):
                    loci.setdefault(gate, set()).add(tuple(index[name] for name in locus))
    angle, phase = Parameter("angle"), Parameter("phase")
    target, gates = Target(num_qubits=len(names)), []
    for gate, name, operation, seconds in (
        ("prx", "r", RGate(angle, phase), _PRX_SECONDS),
        ("cz", "cz", CZGate(), _CZ_SECONDS),
    ):
        if gate not in loci:
            continue
        entries = {}
        for place in sorted(loci[gate]):
            error = 1.0 - _fidelity(observed, gate, [names[qubit] for qubit in place])
            gates.append(GateRate(name, place, error, seconds))
            entries[place] = InstructionProperties(duration=seconds, error=error)
        target.add_instruction(operation, entries, name=name)
    readout = [(0.0, 0.0)] * len(names)
    for name, qubit in index.items():
        known = {
            field.rpartition(".")[2]: value
            for field, value in observed.items()
            if f".{name}." in field and ".measure." in field
        }
        both = 1.0 - known.get("fidelity", 1.0)
        readout[qubit] = (known.get("error_0_to_1", both), known.get("error_1_to_0", both))
    if "measure" in loci:
        measured = {
            place: InstructionProperties(duration=_READ_SECONDS, error=sum(readout[place[0]]) / 2)
            for place in sorted(loci["measure"])
            if len(place) == 1
        }
        target.add_instruction(Measure(), measured)
    # A measurement that a later gate of the same qubit may follow needs classical control on this interface.
    limits = DeviceLimits(mid_circuit_measurement=False, reset=False, shots_per_job=100_000, circuits_per_job=200)
    stamp = str(metrics.get("created_timestamp") or raw.get("calibration_set", {}).get("created_timestamp") or "")
    epoch = str(architecture["calibration_set_id"])
    return QpuTarget(
        resource, IQM, target, epoch, _timestamp(stamp), tuple(gates), tuple(readout), _READ_SECONDS, limits, names
    )


def _fidelity(observed: Mapping[str, float], gate: str, locus: list[str]) -> float:
    wanted = {"__".join(locus), "__".join(reversed(locus)), "__".join(sorted(locus))}
    for field, value in observed.items():
        parts = field.split(":")[0].split(".")
        if gate in parts and parts[-1].startswith("fidelity") and wanted & set(parts):
            return min(max(value, 0.0), 1.0)
    return 1.0


def _seconds(entry: Mapping[str, Any] | None) -> float:
    return float(entry["value"]) * _UNITS.get(str(entry.get("unit", "ns")), 1e-9) if entry else 0.0


def _positive(value: Any) -> int | None:
    return int(value) if value and int(value) > 0 else None


def _timestamp(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def expected_flips(target: QpuTarget, qubits: tuple[int, ...], shots: int, value: int) -> float:
    """How many bits should be read wrongly in ``shots`` shots of ``qubits`` all in state ``value``."""
    return math.fsum(target.readout[qubit][value] for qubit in qubits) * shots
