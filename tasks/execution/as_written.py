"""A circuit or a fragment as it is written, byte for byte: the one digest by which results are named and found again.

What an operation is decides, never its name: a file may define its own ``h``. Circuits with equal bytes have the same
instructions with the same parameters on the same qubits and bits, in the same order.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Barrier, Delay, Instruction, Measure, Qubit, Reset
from qiskit.circuit.library import UnitaryGate

from tasks.cutting.once import once_a_fragment
from tasks.cutting.plan import Fragment
from tasks.execution.errors import UnsupportedCircuit

FORM_VERSION = 2
_GLIMPSED = 6  # instructions
_MEASURE, _MEASURES = struct.pack("<H", 7) + b"measure;", (Measure, type(Measure()))
_NUMBER = struct.Struct("<d").pack


def circuit_digest(circuit: QuantumCircuit) -> str:
    """Return 32 hex digits that name a circuit as written.

    Raises:
        UnsupportedCircuit: as ``circuit_material``.
    """
    return material_digest(circuit_material(circuit))


def material_digest(material: bytes) -> str:
    """Return 32 hex digits that name a circuit by what ``circuit_material`` says of it."""
    return hashlib.blake2b(material, digest_size=16).hexdigest()


@once_a_fragment
def fragment_digest(fragment: Fragment) -> str:
    """Return 32 hex digits that name a fragment as written: its gates, legs and observable factors."""
    return hashlib.blake2b(fragment_material(fragment), digest_size=16).hexdigest()


def fragment_material(fragment: Fragment) -> bytes:
    """Return a fragment as written, byte for byte."""
    legs = [(leg.kind.name, leg.rank, leg.qubit, leg.position) for leg in fragment.legs]
    shape = json.dumps({"legs": legs, "factors": fragment.num_factors}).encode()
    factors = np.packbits(np.stack([fragment.factors_x, fragment.factors_z])).tobytes()
    return b"".join((_framed(b"l", shape), _framed(b"o", factors), circuit_material(fragment.circuit)))


def is_standard(operation: Instruction) -> bool:
    """Say whether the operation is Qiskit's own gate of that name, so that its name and parameters define it."""
    return getattr(operation, "_standard_gate", None) is not None


def circuit_material(circuit: QuantumCircuit) -> bytes:
    """Return the circuit as written, byte for byte: instructions, parameters, qubits and bits in order.

    Raises:
        UnsupportedCircuit: an instruction whose content cannot be put down in bytes (control flow, free parameters).
    """
    at = {bit: i for i, bit in enumerate(circuit.qubits)}
    bit_at = {bit: i for i, bit in enumerate(circuit.clbits)}
    out = [struct.pack("<HII", FORM_VERSION, circuit.num_qubits, circuit.num_clbits)]
    heads: dict[str, bytes] = {}
    placed: dict[tuple[Qubit, ...], bytes] = {}
    for item in circuit.data:
        if item.is_standard_gate() and ((name := item.name) in heads or is_standard(item.operation)):
            head = heads.get(name) or heads.setdefault(name, _head(name))
            numbers = item.params
            out.append(
                (_plain_material(head, numbers) if numbers else head + b";") or _instruction_material(item.operation)
            )
        else:
            operation = item.operation
            out.append(_MEASURE if type(operation) in _MEASURES else _instruction_material(operation))
        qubits = item.qubits
        if bits := item.clbits:
            out.append(_places([at[q] for q in qubits] + [bit_at[c] for c in bits]))
        else:
            places = placed.get(qubits)
            if places is None:
                places = placed[qubits] = _places([at[q] for q in qubits])
            out.append(places)
    return b"".join(out)


def _places(places: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(places) + 1}i", len(places), *places)


def glimpse(circuit: QuantumCircuit) -> bytes:
    """Return 8 bytes that equal circuits have alike, from a few instructions, in a tenth of a digest's time."""
    data = circuit.data
    seen: list[object] = [len(data)]
    for place in range(len(data) - 1, -1, -max(1, len(data) // _GLIMPSED)):
        item = data[place]
        seen += (item.name, *item.params)
    return hashlib.blake2b(repr(seen).encode(), digest_size=8).digest()


def _plain_material(head: bytes, parameters: Sequence[object]) -> bytes:
    """What ``_instruction_material`` says of a standard gate, from its name and numbers; b"" if they are no numbers."""
    try:
        if len(parameters) == 1:
            return head + b"f" + _NUMBER(parameters[0]) + b";"
        return b"".join((head, *(b"f" + _NUMBER(value) for value in parameters), b";"))
    except (TypeError, struct.error):
        return b""


def _head(name: str) -> bytes:
    encoded = name.encode()
    return struct.pack("<H", len(encoded)) + encoded


def _instruction_material(operation: Instruction) -> bytes:
    out = [_head(operation.name)]
    for value in operation.params:
        if isinstance(value, str):  # the letters of a PauliGate
            out.append(_framed(b"s", value.encode()))
            continue
        if isinstance(value, np.ndarray):
            out.append(_framed(b"a", np.ascontiguousarray(value, dtype="<c16").tobytes()))
            continue
        try:
            out.append(b"f" + struct.pack("<d", float(value)))
        except (TypeError, ValueError):
            raise UnsupportedCircuit(f"{operation.name}: a parameter is not a number; bind it first") from None
    # By class: a gate that only borrows one of these names has a definition, and is that.
    if not is_standard(operation) and not isinstance(operation, Measure | Reset | Barrier | Delay | UnitaryGate):
        definition = getattr(operation, "definition", None)
        if definition is None or getattr(operation, "blocks", None):
            raise UnsupportedCircuit(f"{operation.name}: no definition to compare; the circuit is not cached")
        out.append(_framed(b"d", circuit_material(definition)))
    if isinstance(operation, Delay):
        out.append(str(operation.unit).encode())
    return b"".join(out) + b";"


def _framed(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data
