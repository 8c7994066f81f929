"""What the user gives becomes a validated problem, or one clear line: circuit, observables, cuts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qiskit import QuantumCircuit, QuantumRegister

from tasks.cutting.cuts import Cut, GateCut, WireCut
from tasks.errors import InputError
from tasks.inputs.circuit_file import read_circuit
from tasks.inputs.elsewhere import qiskit_circuit
from tasks.inputs.files import read_json
from tasks.inputs.observables import Observable, parse_text, pauli_terms, read_observables
from tasks.inputs.operators import Observables, parse_observables
from tasks.inputs.unitaries import unitary_circuit
from tasks.model.problem import Problem, Readout


def read_problem(
    circuit_file: Path,
    observables: Sequence[str],
    observables_file: Path | None = None,
    *,
    every_qubit: bool = False,
) -> Problem:
    """The problem that a circuit file and observables in text and in a JSON file state; the text ones come first.

    Args:
        circuit_file: OpenQASM 2, OpenQASM 3 or QPY.
        observables: in text.
        observables_file: JSON.
        every_qubit: where no observable is given, take Z on every qubit instead of refusing.

    Raises:
        InputError: any of them is malformed, or they do not fit together; the message names the file.
    """
    circuit = read_circuit(Path(circuit_file))
    try:
        unitaries, notes, readout = unitary_circuit(circuit)
    except InputError as error:
        raise InputError(f"{circuit_file}: {error}") from error
    parsed = [parse_text(text, unitaries.num_qubits) for text in observables]
    if observables_file is not None:
        parsed += read_observables(Path(observables_file), unitaries.num_qubits)
    if not parsed and every_qubit:
        parsed = [parse_text("Z" * unitaries.num_qubits, unitaries.num_qubits)]
    if not parsed:
        raise InputError("no observable is given: add `observable` 'Z0 Z1', or `observables` FILE", field="observables")
    return _problem(unitaries, parsed, notes, readout)


def make_problem(circuit: Any, observables: Observables | None, *, every_qubit: bool = False) -> Problem:
    """The problem that a Qiskit circuit and observables, one or several, state.

    Args:
        circuit: unitary; final measurements are dropped. One of another package is taken, too (``elsewhere``).
        observables: text as on the command line, a Qiskit ``SparsePauliOp``, ``Pauli``, ``SparseObservable`` or
            ``Operator``, a dictionary ``{label: coefficient}``, a list of pairs (label, coefficient); several of
            them in a sequence, or a ``PauliList``.
        every_qubit: take Z on every qubit, whatever ``observables`` is.

    Raises:
        InputError: the circuit or an observable cannot be used; ``field`` says which argument.
    """
    unitaries, notes, readout = unitary_circuit(qiskit_circuit(circuit))
    try:
        wanted = "Z" * unitaries.num_qubits if every_qubit else observables
        parsed = parse_observables(wanted, unitaries.num_qubits)
    except InputError as error:
        error.field = error.field or "observables"
        raise
    return _problem(unitaries, parsed, notes, readout)


def at_least_two_qubits(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit, with an idle qubit beside its own where it has only one: a problem has two."""
    if circuit.num_qubits != 1:
        return circuit
    wider = circuit.copy_empty_like()
    wider.add_register(QuantumRegister(1, "idle"))
    for item in circuit.data:
        wider.append(item)
    return wider


def read_cuts(path: Path, circuit: QuantumCircuit) -> tuple[Cut, ...]:
    """The cuts that ``{"gates": [instruction, ...], "wires": [{"instruction": i, "qubit": q}, ...]}`` names.

    A gate can be ``{"instruction": i, "kind": "hadamard"}`` instead, to say how it is cut; a wire takes a kind, too.
    ``{"instruction": i, "with": [j, k]}`` severs later gates together with it, as one cut.

    Indices are those of the problem's circuit, the one ``qompass plan --instructions`` lists: barriers and final
    measurements are not counted, larger gates count as what they are replaced by. A wire is cut just before the
    instruction named.

    Raises:
        InputError: the file is malformed, or names a gate or a wire that cannot be cut.
    """
    document = read_json(path, "file of cuts")
    form = '{"gates": [instruction, ...], "wires": [{"instruction": i, "qubit": q}, ...]}'
    if not isinstance(document, dict) or not set(document) <= {"gates", "wires"}:
        raise InputError(f"{path}: not a file of cuts: write {form}")
    gates, wires = document.get("gates", []), document.get("wires", [])
    if not isinstance(gates, list) or not isinstance(wires, list):
        raise InputError(f"{path}: 'gates' and 'wires' are lists: write {form}")
    cuts: list[Cut] = []
    for entry in gates:
        plain = {"kind": "", "with": []}
        named = {**plain, **(entry if isinstance(entry, dict) else {"instruction": entry})}
        right = set(named) == {"instruction", *plain} and isinstance(named["kind"], str)
        if not right or not isinstance(named["with"], list):
            raise InputError(f"{path}: gate {json.dumps(entry)[:60]} is malformed: write {form}")
        gates_of = sorted(_gate(path, circuit, index) for index in (named["instruction"], *named["with"]))
        cuts.append(GateCut(gates_of[0], named["kind"], tuple(gates_of[1:])))
    for entry in wires:
        named = {"kind": "", **entry} if isinstance(entry, dict) else {}
        if set(named) != {"instruction", "qubit", "kind"} or not isinstance(named["kind"], str):
            raise InputError(f"{path}: wire {json.dumps(entry)[:60]} is malformed: write {form}")
        cuts.append(_wire(path, circuit, named["instruction"], named["qubit"], named["kind"]))
    places = [(cut.instruction, cut.wire) for cut in cuts]
    if len(set(places)) < len(places):
        twice = next(cut for position, cut in enumerate(cuts) if places[position] in places[:position])
        raise InputError(f"{path}: {twice.section}: {json.dumps(twice.entry())} is named twice: name each cut once")
    return tuple(cuts)


def _problem(
    circuit: QuantumCircuit, observables: Sequence[Observable], notes: tuple[str, ...], readout: Readout | None
) -> Problem:
    names = tuple(observable.name for observable in observables)
    if len(set(names)) < len(names):
        twice = next(name for position, name in enumerate(names) if name in names[:position])
        raise InputError(f"observable '{twice:.60}' is given twice: give each name once", field="observables")
    return Problem(circuit, pauli_terms(observables), names, notes, readout)


def _gate(path: Path, circuit: QuantumCircuit, index: Any) -> int:
    instruction = _instruction(path, circuit, index)
    operation = circuit.data[instruction].operation
    if operation.num_qubits != 2:
        raise InputError(
            f"{path}: instruction {instruction} is '{operation.name}' on one qubit: only a two-qubit gate can be cut;"
            " `qompass plan CIRCUIT` with `instructions` lists them"
        )
    return instruction


def _wire(path: Path, circuit: QuantumCircuit, index: Any, qubit: Any, kind: str) -> WireCut:
    instruction = _instruction(path, circuit, index)
    if isinstance(qubit, bool) or not isinstance(qubit, int) or not 0 <= qubit < circuit.num_qubits:
        raise InputError(f"{path}: qubit {json.dumps(qubit)} is not one of 0 to {circuit.num_qubits - 1}")
    wire = circuit.qubits[qubit]
    if wire not in circuit.data[instruction].qubits:
        raise InputError(
            f"{path}: instruction {instruction} ('{circuit.data[instruction].operation.name}') does not act on qubit"
            f" {qubit}: name the instruction that the wire leads into"
        )
    if not any(wire in earlier.qubits for earlier in circuit.data[:instruction]):
        raise InputError(
            f"{path}: nothing acts on qubit {qubit} before instruction {instruction}: there is no wire to cut"
        )
    return WireCut(instruction, qubit, kind)


def _instruction(path: Path, circuit: QuantumCircuit, index: Any) -> int:
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(circuit.data):
        raise InputError(
            f"{path}: there is no instruction {json.dumps(index)[:40]}: the circuit has 0 to {len(circuit.data) - 1};"
            " `qompass plan CIRCUIT` with `instructions` lists them"
        )
    return index
