"""What a circuit means, by one function: a form that is the same for all circuits whose results must be the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qiskit import QuantumCircuit
from qiskit.circuit import Measure, Reset

from tasks.execution.cache.semantic.canonical import CanonicalForm, form_of
from tasks.execution.cache.semantic.circuit_reader import Reader
from tasks.execution.errors import UnsupportedCircuit


@dataclass(frozen=True)
class Mark:
    """A Pauli that is part of the question (an end of a leg, an observable factor) and is inserted or not.

    Attributes:
        position: index of the instruction that it comes before.
        letters: (axis, qubit) of each letter; axis 0: X, 1: Y, 2: Z.
        tag: its identity: forms are equal only if marks of equal tags are equal.
    """

    position: int
    letters: tuple[tuple[int, int], ...]
    tag: int


@dataclass(frozen=True)
class OpenInput:
    """A qubit that starts in any state: as one half of a Bell pair, X and Z of the other half are marks.

    Attributes:
        position: index of the instruction before which it starts.
        qubit: the qubit.
        tag_x: identity of the X mark.
        tag_z: identity of the Z mark.
    """

    position: int
    qubit: int
    tag_x: int
    tag_z: int


def canonical_form(circuit: QuantumCircuit, insertions: Sequence[Mark | OpenInput] = ()) -> CanonicalForm:
    """Return the canonical form of a circuit's question: the distribution of its bits, and <psi|marks|psi>.

    Args:
        circuit: gates, measurements, resets.
        insertions: marks and open inputs, in order of position.

    Raises:
        UnsupportedCircuit: control flow, unbound parameters, gates without a definition, or too many operations.
    """
    data = circuit.data
    qubit_at = {bit: i for i, bit in enumerate(circuit.qubits)}
    bit_at = {bit: i for i, bit in enumerate(circuit.clbits)}
    last_write = {item.clbits[0]: i for i, item in enumerate(data) if item.clbits}
    resets = sum(not item.is_standard_gate() and isinstance(item.operation, Reset) for item in data)
    reader = Reader(circuit.num_qubits, resets + 2 * sum(isinstance(it, OpenInput) for it in insertions))
    waiting = list(insertions)
    for i, item in enumerate(data):
        while waiting and waiting[0].position <= i:
            _insert(reader, waiting.pop(0))
        qubits = [qubit_at[bit] for bit in item.qubits]
        if item.is_standard_gate() and reader.named(item, qubits):
            continue
        operation = item.operation
        if isinstance(operation, Measure):
            bit = item.clbits[0]
            reader.measure(qubits[0], bit_at[bit] if last_write[bit] == i else None)
        elif isinstance(operation, Reset):
            reader.reset(qubits[0])
        elif item.clbits or getattr(operation, "blocks", None):
            raise UnsupportedCircuit(
                f"{operation.name}: classical control is not read; the circuit is not shared by its meaning"
            )
        else:
            reader.gate(operation, qubits)
    for insertion in waiting:
        _insert(reader, insertion)
    builder = reader.builder
    return form_of(builder.finish(), builder.num_qubits, circuit.num_clbits)


def _insert(reader: Reader, insertion: Mark | OpenInput) -> None:
    if isinstance(insertion, OpenInput):
        reader.open_input(insertion.qubit, insertion.tag_x, insertion.tag_z)
    else:
        reader.mark(insertion.letters, insertion.tag)
