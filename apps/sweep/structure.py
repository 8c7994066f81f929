"""Circuits that differ in their angles alone become one circuit with free parameters and a set of values each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, ParameterVector

from tasks.inputs.unitaries import unitary_circuit
from tasks.parametric.elementary import PARTS


@dataclass(frozen=True)
class Lifted:
    """A circuit with its angles taken out.

    Attributes:
        key: the same for circuits that differ in angles alone.
        circuit: with a free parameter for each angle.
        angles: (parameter,) float64, what was there.
    """

    key: str
    circuit: QuantumCircuit
    angles: np.ndarray


def lifted(circuit: QuantumCircuit) -> Lifted:
    """Take the angles out of a circuit that has no free parameters.

    Raises:
        InputError: the circuit cannot be used.
    """
    flat, _, _ = unitary_circuit(circuit)
    places = [
        (number, which)
        for number, item in enumerate(flat.data)
        if item.operation.name in PARTS
        for which, value in enumerate(item.operation.params)
        if isinstance(value, float | int | np.floating)
    ]
    free = ParameterVector("a", len(places))
    angles = np.array([float(flat.data[number].operation.params[which]) for number, which in places])
    digest = hashlib.sha256(f"{flat.num_qubits}".encode())
    made = flat.copy_empty_like()
    named = dict(zip(places, free, strict=True))
    for number, item in enumerate(flat.data):
        operation, qubits = item.operation, [flat.find_bit(qubit).index for qubit in item.qubits]
        kept = [value for which, value in enumerate(operation.params) if (number, which) not in named]
        digest.update(f"{operation.name} {qubits} {len(operation.params)}".encode())
        for value in kept:
            digest.update(np.asarray(value).tobytes())
        if len(kept) < len(operation.params):
            values = [named.get((number, which), value) for which, value in enumerate(operation.params)]
            operation = operation.base_class(*values)
        made._append(CircuitInstruction(operation, item.qubits, item.clbits))
    return Lifted(digest.hexdigest(), made, angles)
