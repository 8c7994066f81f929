"""IBM's sampler interface: the compute service, with sessions; its jobs and targets are those of all IBM services."""

from __future__ import annotations

import base64
import io
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, qasm3
from qiskit.circuit import Measure, Reset
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.transpiler import InstructionProperties, Target

from scheduler_policies.device import DeviceLimits, GateRate
from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.programs import REGISTER, Program
from tasks.execution.qpu.target import QpuTarget, digest, timestamp
from tasks.execution.qpu.vendors.vendor import Vendor

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_MOST_RESULT_BYTES = 1 << 30  # a result that unpacks to more is not one of ours
_MOST_SESSION_SECONDS = 28800


class IbmComputeService(Vendor):
    """``ibm-quantum-compute-service``: OpenQASM 3, shots for each circuit, sessions that end with their jobs."""

    sessions = True
    session_variable = "QRMI_IBM_QCS_SESSION_ID"

    def bounded(self, environment: Mapping[str, str], seconds: int) -> Mapping[str, str]:
        """See ``Vendor.bounded``: the longest life of a session."""
        return at_most(environment, "QRMI_IBM_QCS_SESSION_MAX_TTL", seconds, _MOST_SESSION_SECONDS)

    def complete(self, raw: Mapping[str, Any]) -> bool:
        """See ``Vendor.complete``: the client makes null of every part that it could not fetch."""
        return raw.get("configuration") is not None and raw.get("properties") is not None

    def read_target(self, resource: str, raw: Mapping[str, Any]) -> QpuTarget:
        """See ``Vendor.read_target``: IBM's ``configuration`` and ``properties``."""
        if raw.get("configuration") is None:
            raise QpuError(Fault.UNAVAILABLE, resource, "its target has no configuration: the service did not give it")
        return _target(resource, raw)

    def write_job(
        self, target: QpuTarget, programs: Sequence[Program], shots: Sequence[int], tag: str
    ) -> tuple[str, dict[str, Any]]:
        """See ``Vendor.write_job``: PUBs of the sampler primitive, version 2."""
        pubs = [[_qasm(program.circuit), None, count] for program, count in zip(programs, shots, strict=True)]
        job = {"pubs": pubs, "version": 2, "support_qiskit": True}
        return "QiskitPrimitive", {"input": json.dumps(job), "program_id": "sampler"}

    def read_bits(self, raw: Any, programs: Sequence[Program]) -> list[np.ndarray]:
        """See ``Vendor.read_bits``: a ``PrimitiveResult`` as qiskit-ibm-runtime encodes it."""
        return [_sampled(pub) for pub in raw["__value__"]["pub_results"]]


def at_most(environment: Mapping[str, str], variable: str, seconds: int, otherwise: int) -> dict[str, str]:
    """Variables with one that holds seconds lowered to ``seconds``; ``otherwise`` is what it means if it is missing."""
    allowed = environment.get(variable, "")
    return {**environment, variable: str(min(int(allowed) if allowed.isdigit() else otherwise, seconds))}


def _qasm(circuit: QuantumCircuit) -> str:
    return qasm3.dumps(circuit, disable_constants=True, allow_aliasing=True)


def _sampled(pub: dict[str, Any]) -> np.ndarray:
    """(shot, byte) uint8 of a sampler's result, bits as ``VariantCounts`` packs them.

    Read by hand: the runtime's own decoder makes whatever object of whatever module a result names.
    """
    fields = pub["__value__"]["data"]["__value__"]["fields"]
    packed = fields[REGISTER]["__value__"]["array"]
    if packed["__type__"] != "ndarray":
        raise ValueError("the samples are not an array")
    unpack = zlib.decompressobj()
    raw = unpack.decompress(base64.b64decode(packed["__value__"], validate=True), _MOST_RESULT_BYTES)
    array = np.load(io.BytesIO(raw), allow_pickle=False)
    if array.dtype != np.uint8 or array.ndim != 2:
        raise ValueError(f"the samples are {array.dtype} of shape {array.shape}")
    # Big-endian bytes of big-endian bits: reversed bytes are little-endian throughout.
    return np.ascontiguousarray(array[:, ::-1])


def _target(resource: str, raw: Mapping[str, Any]) -> QpuTarget:
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
    epoch = digest(named, [[g.name, g.qubits, g.error] for g in gates], readout)
    names = tuple(f"${qubit}" for qubit in range(size))
    delay = configuration.get("default_rep_delay")  # microseconds
    return QpuTarget(
        resource, target, epoch, timestamp(stamp), tuple(gates), tuple(readout), read_seconds, limits, names,
        shot_seconds=None if delay is None else float(delay) * 1e-6, named=timestamp(stamp) > 0,
    )  # fmt: skip


def _seconds(entry: Mapping[str, Any] | None) -> float:
    return float(entry["value"]) * _UNITS.get(str(entry.get("unit", "ns")), 1e-9) if entry else 0.0


def _positive(value: Any) -> int | None:
    return int(value) if value and int(value) > 0 else None
