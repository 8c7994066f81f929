"""A circuit file in JSON: pytket's (``Circuit.to_dict()``), or Qiskit's QPY as IBM's runtime encoder writes it."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Gate
from qiskit.circuit import library as gates
from qiskit.exceptions import QiskitError

from tasks.errors import InputError
from tasks.inputs.limits import MAX_GATES, checked_width
from tasks.inputs.qpy_file import read_qpy

_MOST_BYTES = 1 << 28  # of a circuit within the file
# pytket's operations: Qiskit's gate; their angles are half-turns (https://docs.quantinuum.com/tket/api-docs/optype.html).
_FIXED: dict[str, type[Gate]] = {
    "H": gates.HGate, "X": gates.XGate, "Y": gates.YGate, "Z": gates.ZGate, "S": gates.SGate, "Sdg": gates.SdgGate,
    "T": gates.TGate, "Tdg": gates.TdgGate, "SX": gates.SXGate, "SXdg": gates.SXdgGate, "CX": gates.CXGate,
    "CY": gates.CYGate, "CZ": gates.CZGate, "CH": gates.CHGate, "SWAP": gates.SwapGate, "ECR": gates.ECRGate,
    "CSX": gates.CSXGate, "CCX": gates.CCXGate, "CSWAP": gates.CSwapGate, "ISWAPMax": gates.iSwapGate,
    "CS": gates.CSGate, "CSdg": gates.CSdgGate,
}  # fmt: skip
_TURNED: dict[str, type[Gate]] = {
    "Rx": gates.RXGate, "Ry": gates.RYGate, "Rz": gates.RZGate, "U1": gates.U1Gate, "U2": gates.U2Gate,
    "U3": gates.U3Gate, "CRx": gates.CRXGate, "CRy": gates.CRYGate, "CRz": gates.CRZGate, "CU1": gates.CU1Gate,
    "CU3": gates.CU3Gate, "XXPhase": gates.RXXGate, "YYPhase": gates.RYYGate, "ZZPhase": gates.RZZGate,
    "PhasedX": gates.RGate,
}  # fmt: skip

_HALF_TURNS: dict[str, tuple[type[Gate], float]] = {
    "V": (gates.RXGate, 0.5), "Vdg": (gates.RXGate, -0.5), "ZZMax": (gates.RZZGate, 0.5),
}  # fmt: skip


def read_json_circuit(path: Path, content: bytes) -> QuantumCircuit:
    """The circuit in a JSON file.

    Raises:
        InputError: it is neither pytket's nor Qiskit's, or holds an operation that is not known.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    if isinstance(document, Mapping) and document.get("__type__") == "QuantumCircuit":
        return read_qpy(path, _unpacked(path, document.get("__value__")))
    if isinstance(document, Mapping) and {"commands", "qubits"} <= document.keys():
        try:
            return _of_tket(path, document)
        except (LookupError, TypeError, ValueError, AttributeError, QiskitError) as error:
            raise InputError(f"{path}: not a circuit as pytket writes it ({error!r})") from error
    raise InputError(
        f"{path}: JSON, but no circuit: give pytket's `Circuit.to_dict()`, or Qiskit's circuit as the encoder of IBM's"
        " runtime writes it"
    )


def _unpacked(path: Path, value: Any) -> bytes:
    try:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(value, validate=True), _MOST_BYTES)
    except (TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise InputError(f"{path}: the circuit within it is damaged: {error}") from error
    if unpacker.unconsumed_tail:
        raise InputError(f"{path}: the circuit within it has more than {_MOST_BYTES:,} bytes: give it as QPY")
    return content


def _of_tket(path: Path, document: Mapping[str, Any]) -> QuantumCircuit:
    qubits = {_unit(unit): place for place, unit in enumerate(document["qubits"])}
    bits = {_unit(unit): place for place, unit in enumerate(document.get("bits", []))}
    checked_width(f"{path}: ", len(qubits))
    moved = {_unit(a): _unit(b) for a, b in document.get("implicit_permutation", [])}
    circuit = QuantumCircuit(len(qubits), len(bits))
    commands = document["commands"]
    if len(commands) > MAX_GATES:
        raise InputError(f"{path}: the circuit has more than {MAX_GATES:,} gates: take a smaller one")
    for place, command in enumerate(commands):
        kind, arguments = command["op"]["type"], [_unit(unit) for unit in command["args"]]
        where = f"{path}: command {place} ({kind!s:.40})"
        if kind in ("Barrier", "noop"):
            continue
        if kind == "Measure":
            circuit.measure(qubits[arguments[0]], bits[arguments[1]])
            continue
        angles = [np.pi * _number(where, text) for text in command["op"].get("params", [])]
        own = [qubits[argument] for argument in arguments]
        if kind in _FIXED and not angles:
            circuit.append(_FIXED[kind](), own)
        elif kind in _TURNED:
            circuit.append(_TURNED[kind](*angles), own)
        elif kind in _HALF_TURNS and not angles:
            gate, angle = _HALF_TURNS[kind]
            circuit.append(gate(np.pi * angle), own)
        elif kind == "TK2" and len(angles) == 3:
            for angle, gate in zip(angles, (gates.RXXGate, gates.RYYGate, gates.RZZGate), strict=True):
                circuit.append(gate(angle), own)
        elif kind == "TK1" and len(angles) == 3:
            for angle, gate in zip(reversed(angles), (gates.RZGate, gates.RXGate, gates.RZGate), strict=True):
                circuit.append(gate(angle), own)
        else:
            known = ", ".join(sorted({*_FIXED, *_TURNED, *_HALF_TURNS, "TK1", "TK2"}))
            raise InputError(f"{where}: is not taken: rebase to some of {known}, or write OpenQASM 2")
    if any(a != b for a, b in moved.items()):
        raise InputError(f"{path}: has an implicit permutation: call `replace_implicit_wire_swaps()` before writing it")
    return circuit


def _unit(unit: Any) -> tuple[str, tuple[int, ...]]:
    return str(unit[0]), tuple(int(index) for index in unit[1])


def _number(where: str, text: Any) -> float:
    try:
        above, _, below = str(text).partition("/")
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{where}: the angle '{text!s:.40}' is no number: substitute its symbols") from None
