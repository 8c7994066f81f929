"""Circuits of other packages: their own exporters or their own matrices say what they are, Qiskit's circuit holds it.

A package is asked only for a circuit of its own, so none of them has to be installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit.library import UnitaryGate

from tasks.errors import InputError
from tasks.inputs.json_file import read_json_circuit
from tasks.inputs.qasm2 import read_qasm2

_TEXT = Path("circuit")  # errors in an exported text name it like a file


def _of_cirq(circuit: Any) -> QuantumCircuit:
    return read_qasm2(_TEXT, circuit.to_qasm(precision=17))


def _of_pytket(circuit: Any) -> QuantumCircuit:
    from pytket.qasm import circuit_to_qasm_str

    plain = circuit.copy()
    plain.replace_implicit_wire_swaps()
    try:
        return read_json_circuit(_TEXT, json.dumps(plain.to_dict()).encode())
    except InputError:  # an operation that our reader does not know
        return read_qasm2(_TEXT, circuit_to_qasm_str(plain, maxwidth=max(32, plain.n_bits)))


def _of_pennylane(tape: Any) -> QuantumCircuit:
    import pennylane

    operations = pennylane.tape.QuantumScript(tape.operations)
    text = pennylane.to_openqasm(operations, wires=tape.wires, rotations=False, measure_all=False)
    return read_qasm2(_TEXT, text if isinstance(text, str) else text())


def _of_qibo(circuit: Any) -> QuantumCircuit:
    return read_qasm2(_TEXT, circuit.to_qasm())


def _of_braket(circuit: Any) -> QuantumCircuit:
    from braket.circuits import Gate

    made = QuantumCircuit(max((int(qubit) for qubit in circuit.qubits), default=-1) + 1)
    for place, item in enumerate(circuit.instructions):
        name = item.operator.name
        if name == "Measure":  # at the end: Braket itself allows none before
            continue
        if not isinstance(item.operator, Gate):
            raise InputError(f"instruction {place} ({name}): no unitary gate: leave it out", field="circuit")
        matrix = np.array(item.operator.to_matrix(), dtype=complex)
        if item.power != 1:
            values, vectors = np.linalg.eig(matrix)
            matrix = vectors @ np.diag(values**item.power) @ np.linalg.inv(vectors)
        gate: Any = UnitaryGate(matrix)
        state = list(item.control_state)
        if item.control:
            bits = "".join(str(int(bit)) for bit in reversed(state))
            gate = gate.control(len(item.control), ctrl_state=bits, annotated=False)
        # The first of Braket's targets is the most significant.
        made.append(gate, [*(int(q) for q in item.control), *(int(q) for q in reversed(list(item.target)))])
    return made


def _of_cudaq(kernel: Any) -> QuantumCircuit:
    import cudaq

    return read_qasm2(_TEXT, cudaq.translate(kernel, format="openqasm2"))


# The package of a class, and the class: what makes Qiskit's circuit of it.
_READERS: dict[tuple[str, str], Callable[[Any], QuantumCircuit]] = {
    ("cirq", "Circuit"): _of_cirq,
    ("cirq", "FrozenCircuit"): _of_cirq,
    ("pytket", "Circuit"): _of_pytket,
    ("pennylane", "QuantumScript"): _of_pennylane,
    ("pennylane", "QuantumTape"): _of_pennylane,
    ("qibo", "Circuit"): _of_qibo,
    ("braket", "Circuit"): _of_braket,
    ("cudaq", "PyKernel"): _of_cudaq,
    ("cudaq", "PyKernelDecorator"): _of_cudaq,
}
TAKEN = "a QuantumCircuit of Qiskit, or a circuit of Cirq, pytket, PennyLane (a tape), Qibo, Braket or CUDA-Q"


def qiskit_circuit(circuit: Any) -> QuantumCircuit:
    """Qiskit's circuit for one of another package.

    Qubits are numbered as the package orders them: Cirq and PennyLane by their sorted qubits or wires, the others as
    they are.

    Raises:
        InputError: it is of none that is known, or holds what its own exporter cannot say.
    """
    if isinstance(circuit, QuantumCircuit):
        return circuit
    for kind in type(circuit).__mro__:
        reader = _READERS.get((kind.__module__.split(".")[0], kind.__name__))
        if reader is None:
            continue
        try:
            return reader(circuit)
        except InputError:
            raise
        except Exception as error:  # whatever an exporter of another package raises, it cannot say this circuit
            reason = " ".join(str(error).split())[:200]
            package = kind.__module__.split(".")[0]
            raise InputError(
                f"`circuit`: {package} cannot export it: {reason}: give it without free parameters, and with gates that"
                " OpenQASM has",
                field="circuit",
            ) from error
    raise InputError(f"`circuit`: a {type(circuit).__name__} is not a circuit: give {TAKEN}", field="circuit")
