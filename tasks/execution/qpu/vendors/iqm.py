"""IQM Server: jobs of native gates on named qubits, under a calibration set that the job names; no sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Measure, Parameter
from qiskit.circuit.library import CZGate, RGate
from qiskit.transpiler import InstructionProperties, Target

from scheduler_policies.device import DeviceLimits, GateRate
from tasks.execution.qpu.programs import REGISTER, Program
from tasks.execution.qpu.target import QpuTarget, timestamp
from tasks.execution.qpu.vendors.vendor import JobClient, Vendor

_PRX_SECONDS, _CZ_SECONDS, _READ_SECONDS = 40e-9, 60e-9, 1e-6  # typical of IQM's chips, which do not report them


class IqmServer(Vendor):
    """``iqm-server``: one number of shots a job, and a tag by which a job can be found."""

    tags = True
    # The client asks for a job's status before it cancels, and the service holds that back for 30 s.
    stop_seconds = 40.0

    def cancel(self, client: JobClient, job: str) -> bool:
        """See ``Vendor.cancel``: the status of a job that has ended is not held back."""
        client.stop(job)
        return client.task_status(job) == "Completed"

    def read_target(self, resource: str, raw: Mapping[str, Any]) -> QpuTarget:
        """See ``Vendor.read_target``: ``dynamic_quantum_architecture`` and ``quality_metrics``."""
        return _target(resource, raw)

    def write_job(
        self, target: QpuTarget, programs: Sequence[Program], shots: Sequence[int], tag: str
    ) -> tuple[str, dict[str, Any]]:
        """See ``Vendor.write_job``: a circuit job of IQM Server's interface, version 1."""
        job = {
            "circuits": [
                {"name": program.digest, "instructions": _instructions(program.circuit, target), "metadata": None}
                for program in programs
            ],
            "calibration_set_id": target.epoch,
            "shots": max(shots),
        }
        return "IQMServer", {"iqmjson": json.dumps(job), "job_type": "circuit", "use_timeslot": None, "tag": tag}

    def read_bits(self, raw: Any, programs: Sequence[Program]) -> list[np.ndarray]:
        """See ``Vendor.read_bits``: the artifact ``measurements``."""
        return [_measured(entry, program) for entry, program in zip(raw["measurements"], programs, strict=True)]


def _instructions(circuit: QuantumCircuit, target: QpuTarget) -> list[dict[str, Any]]:
    written = []
    for entry in circuit.data:
        locus = [target.names[circuit.find_bit(bit).index] for bit in entry.qubits]
        name = entry.operation.name
        if name == "r":
            angle, phase = (float(value) for value in entry.operation.params)
            written.append({"name": "prx", "locus": locus, "args": {"angle": angle, "phase": phase}})
        elif name == "cz":
            written.append({"name": "cz", "locus": locus, "args": {}})
        elif name == "measure":
            bit = circuit.find_bit(entry.clbits[0]).index
            key = f"{REGISTER}_{circuit.num_clbits}_0_{bit}"
            written.append({"name": "measure", "locus": locus, "args": {"key": key}})
    return written


def _measured(entry: dict[str, Any], program: Program) -> np.ndarray:
    bits = len(program.measured)
    columns = [np.asarray(entry[f"{REGISTER}_{bits}_0_{bit}"], dtype=np.int64) for bit in range(bits)]
    if any(column.ndim != 2 or column.shape[1] != 1 for column in columns):
        raise ValueError("measurements are not one column a key")
    matrix = np.concatenate(columns, axis=1)
    if ((matrix != 0) & (matrix != 1)).any():
        raise ValueError("a measured bit is neither 0 nor 1")
    return np.packbits(matrix.astype(np.uint8), axis=1, bitorder="little")


def _target(resource: str, raw: Mapping[str, Any]) -> QpuTarget:
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
    limits = DeviceLimits(False, False, shots_per_job=100_000, circuits_per_job=200, common_shots=True)
    stamp = str(metrics.get("created_timestamp") or raw.get("calibration_set", {}).get("created_timestamp") or "")
    epoch = str(architecture["calibration_set_id"])
    return QpuTarget(
        resource, target, epoch, timestamp(stamp), tuple(gates), tuple(readout), _READ_SECONDS, limits, names,
        pinned=True,
    )  # fmt: skip


def _fidelity(observed: Mapping[str, float], gate: str, locus: list[str]) -> float:
    wanted = {"__".join(locus), "__".join(reversed(locus)), "__".join(sorted(locus))}
    for field, value in observed.items():
        parts = field.split(":")[0].split(".")
        if gate in parts and parts[-1].startswith("fidelity") and wanted & set(parts):
            return min(max(value, 0.0), 1.0)
    return 1.0
