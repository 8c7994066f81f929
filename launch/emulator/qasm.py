"""Reads the OpenQASM 3 a transpiled circuit is written in: declarations, gates, measurements, resets, nothing else."""

from __future__ import annotations

import re

from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import Instruction
from qiskit.circuit.library import get_standard_gate_name_mapping

_GATES = get_standard_gate_name_mapping()
_BIT = re.compile(r"bit\[(\d+)\] (\w+)")
_MEASURE = re.compile(r"(\w+)\[(\d+)\] = measure (.+)")
_GATE = re.compile(r"(\w+)(?:\(([^)]*)\))? (.+)")
_QUBIT = re.compile(r"(?:\$|\w+\[)(\d+)\]?")


class NotIsa(ValueError):
    """The program is not one this device can run as it is."""


def read_isa(program: str, num_qubits: int, gates: set[str], dynamic: bool) -> QuantumCircuit:
    """The circuit of an OpenQASM 3 program on physical qubits.

    Raises:
        NotIsa: a gate outside ``gates``, a qubit the device has not, a qubit used after its measurement on a device
            that is not ``dynamic``, or a statement of another kind.
    """
    circuit, registers, measured = QuantumCircuit(num_qubits), {}, set()
    for raw in program.split(";"):
        line = " ".join(re.sub(r"//.*", "", raw).split())
        if not line or line.startswith(("OPENQASM", "include", "qubit[", "barrier")):
            continue
        if match := _BIT.fullmatch(line):
            registers[match[2]] = ClassicalRegister(int(match[1]), match[2])
            circuit.add_register(registers[match[2]])
            continue
        if match := _MEASURE.fullmatch(line):
            qubit = _qubits(match[3], num_qubits)[0]
            circuit.measure(qubit, registers[match[1]][int(match[2])])
            measured.add(qubit)
            continue
        match = _GATE.fullmatch(line)
        if match is None:
            raise NotIsa(f"statement {line[:60]!r} is not supported")
        name, qubits = match[1], _qubits(match[3], num_qubits)
        if not dynamic and measured & set(qubits):
            raise NotIsa(f"qubit {min(measured & set(qubits))} is used after its measurement")
        if name == "reset":
            circuit.reset(qubits[0])
        elif name in gates and name in _GATES:
            circuit.append(_gate(name, match[2]), qubits)
        else:
            raise NotIsa(f"The instruction {name} on qubits {tuple(qubits)} is not supported by the target system.")
    return circuit


def _gate(name: str, parameters: str | None) -> Instruction:
    values = [_number(part) for part in parameters.split(",")] if parameters else []
    return _GATES[name].base_class(*values)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise NotIsa(f"parameter {text[:40]!r} is not a number") from None


def _qubits(text: str, num_qubits: int) -> list[int]:
    found = [int(match[1]) for part in text.split(",") if (match := _QUBIT.fullmatch(part.strip()))]
    if not found or len(found) != len(text.split(",")) or max(found) >= num_qubits:
        raise NotIsa(f"qubits {text[:60]!r}: the device has {num_qubits} physical qubits")
    return found
