"""Programs -> a provider's job and a provider's result -> counts, for each format that QRMI carries."""

from __future__ import annotations

import base64
import binascii
import io
import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, qasm3

from tasks.execution.qpu.errors import Fault, QpuError
from tasks.execution.qpu.programs import REGISTER, Program
from tasks.execution.qpu.target import IBM, QpuTarget
from tasks.model.tensor import VariantCounts

_MOST_RESULT_BYTES = 1 << 30  # a result that unpacks to more is not one of ours


def write_job(
    target: QpuTarget, programs: Sequence[Program], shots: Sequence[int], tag: str
) -> tuple[str, dict[str, Any]]:
    """A job in the provider's format: name of the ``qrmi.Payload`` and its arguments.

    Args:
        target: of the device.
        programs: what to run; at most as many as a job may have.
        shots: for each; all equal where the format has one number for the job (IQM).
        tag: what the provider's own listing should show, where it shows one.
    """
    if target.dialect == IBM:
        pubs = [[_qasm(program.circuit), None, count] for program, count in zip(programs, shots, strict=True)]
        return "QiskitPrimitive", {
            "input": json.dumps({"pubs": pubs, "version": 2, "support_qiskit": True}),
            "program_id": "sampler",
        }
    job = {
        "circuits": [
            {"name": program.digest, "instructions": _instructions(program.circuit, target), "metadata": None}
            for program in programs
        ],
        "calibration_set_id": target.epoch,
        "shots": max(shots),
    }
    return "IQMServer", {"iqmjson": json.dumps(job), "job_type": "circuit", "use_timeslot": None, "tag": tag}


def read_result(target: QpuTarget, programs: Sequence[Program], shots: Sequence[int], text: str) -> list[VariantCounts]:
    """Counts from the result of a job that ``write_job`` wrote.

    Raises:
        QpuError: the result is not what was asked for (``GARBLED``).
    """
    try:
        raw = json.loads(text)
        if target.dialect == IBM:
            bits = [_sampled(pub) for pub in raw["__value__"]["pub_results"]]
        else:
            bits = [_measured(entry, program) for entry, program in zip(raw["measurements"], programs, strict=True)]
        if len(bits) != len(programs):
            raise ValueError(f"{len(bits)} results for {len(programs)} circuits")
        return [
            _count(rows, len(program.measured), wanted)
            for rows, program, wanted in zip(bits, programs, shots, strict=True)
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, zlib.error, binascii.Error) as error:
        raise QpuError(
            Fault.GARBLED, target.resource, f"its result cannot be read: {type(error).__name__}: {str(error)[:200]}"
        ) from None


def _qasm(circuit: QuantumCircuit) -> str:
    return qasm3.dumps(circuit, disable_constants=True, allow_aliasing=True)


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


def _measured(entry: dict[str, Any], program: Program) -> np.ndarray:
    bits = len(program.measured)
    columns = [np.asarray(entry[f"{REGISTER}_{bits}_0_{bit}"], dtype=np.int64) for bit in range(bits)]
    if any(column.ndim != 2 or column.shape[1] != 1 for column in columns):
        raise ValueError("measurements are not one column a key")
    matrix = np.concatenate(columns, axis=1)
    if ((matrix != 0) & (matrix != 1)).any():
        raise ValueError("a measured bit is neither 0 nor 1")
    return np.packbits(matrix.astype(np.uint8), axis=1, bitorder="little")


def _count(rows: np.ndarray, bits: int, wanted: int) -> VariantCounts:
    if rows.shape[0] < wanted or rows.shape[1] != (bits + 7) // 8:
        raise ValueError(f"{rows.shape[0]} shots of {8 * rows.shape[1]} bits for {wanted} of {bits}")
    if bits % 8 and (rows[:, -1] >> (bits % 8)).any():
        raise ValueError("a bit beyond those measured is set")
    outcomes, counts = np.unique(rows, axis=0, return_counts=True)
    return VariantCounts(outcomes, counts.astype(np.int64), bits)
