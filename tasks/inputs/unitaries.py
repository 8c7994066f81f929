"""A circuit as Qiskit has it becomes one of one- and two-qubit unitaries, and sentences on what was changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from qiskit import QuantumCircuit

from tasks.errors import InputError
from tasks.inputs.definitions import ADVICE, LOOKS, Block, DefinitionReader, gates_of, looks_only, opened
from tasks.inputs.limits import MAX_GATES, MIN_QUBITS, checked_width
from tasks.model.problem import Readout


def unitary_circuit(circuit: QuantumCircuit) -> tuple[QuantumCircuit, tuple[str, ...], Readout | None]:
    """The same circuit with only one- and two-qubit unitary gates.

    Barriers, delays, Aer's ``save_*`` and resets of qubits that nothing has acted on go; final measurements go;
    boxes and loops are opened; larger and user-defined gates are replaced by their definitions.

    Returns:
        the circuit, of one flat register, its qubits in order; sentences on what was changed; which qubits are
        measured into which classical bits, None without a measurement.

    Raises:
        InputError: too many or too few qubits or gates, unbound parameters, or an instruction that is not unitary.
    """
    if circuit.num_qubits < MIN_QUBITS:
        raise InputError(
            f"the circuit has {_count(circuit.num_qubits, 'qubit')}: there is nothing to cut below {MIN_QUBITS}"
        )
    checked_width("", circuit.num_qubits)
    if circuit.num_parameters:
        names = sorted(parameter.name for parameter in circuit.parameters)
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise InputError(
            f"the circuit has unbound parameters ({shown}): bind them with numbers before writing the file"
        )
    result = QuantumCircuit(circuit.num_qubits)
    reader = DefinitionReader()
    measured: dict[int, int] = {}  # qubit: the instruction that measures it
    bits: list[int | None] = [None] * circuit.num_clbits
    acted: set[int] = set()
    counts: Counter[str] = Counter()
    replaced: Counter[str] = Counter()
    total = 0
    for position, (operation, qubits, clbits) in enumerate(opened(circuit)):
        name = operation.name
        if name == "barrier":
            continue
        if name == "delay" or looks_only(operation):
            counts[name] += 1
            continue
        if name == "measure":
            measured[qubits[0]] = position
            bits[clbits[0]] = qubits[0]
            continue
        where = f"instruction {position} ({name:.60} on {_listed(qubits)})"
        for qubit in qubits:
            if qubit in measured:
                raise InputError(
                    f"mid-circuit measurement: instruction {measured[qubit]} measures qubit {qubit}"
                    f" before {where}: {ADVICE}"
                )
        part = reader.part(operation, where)
        if isinstance(part, Block):
            replaced[name] += 1
            counts["approximated"] += part.approximated
            total += part.size
        else:
            total += 1
        if total > MAX_GATES:
            raise InputError(f"{where}: the circuit has more than {MAX_GATES:,} gates up to here: take a smaller one")
        for gate, gate_qubits in gates_of(part, qubits):
            if gate.name == "reset":
                if gate_qubits[0] in acted:
                    raise InputError(f"reset: {where}, on which earlier instructions act: {ADVICE}")
                counts["reset"] += 1
                continue
            acted.update(gate_qubits)
            result.append(gate, gate_qubits, copy=False)
    readout = Readout(tuple(bits), tuple(len(register) for register in _registers(circuit))) if measured else None
    return result, _notes(len(measured), counts, replaced), readout


def _registers(circuit: QuantumCircuit) -> Iterable[Any]:
    """The classical registers where each bit is in one, in their order; else none."""
    in_order = [bit for register in circuit.cregs for bit in register]
    return circuit.cregs if in_order == circuit.clbits else []


def _notes(measurements: int, counts: Counter[str], replaced: Counter[str]) -> tuple[str, ...]:
    notes = []
    if measurements:
        notes.append(f"{_count(measurements, 'final measurement')} dropped: the observables say what is measured")
    if counts["delay"]:
        notes.append(f"{_count(counts['delay'], 'delay')} dropped")
    if counts["reset"]:
        notes.append(f"{_count(counts['reset'], 'reset')} of qubits still in |0> dropped")
    saved = [name for name in LOOKS if counts[name]]
    if saved:
        notes.append(f"dropped: {', '.join(f'{counts[name]} {name}' for name in saved)} (they only look at the state)")
    if replaced:
        shown = ", ".join(f"{count} {name}" for name, count in sorted(replaced.items()))
        notes.append(f"replaced by one- and two-qubit gates: {shown}")
    if counts["approximated"]:
        notes.append(
            f"{_count(counts['approximated'], 'PauliEvolution')} approximated by the product formula of its synthesis:"
            " its terms do not commute, more repetitions make the error smaller"
        )
    return tuple(notes)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(qubits: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, qubits[:8])) + (f" and {len(qubits) - 8} more" if len(qubits) > 8 else "")
    return ("qubit " if len(qubits) == 1 else "qubits ") + shown
