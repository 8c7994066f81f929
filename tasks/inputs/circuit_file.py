"""A circuit file, in OpenQASM 2, OpenQASM 3 or QPY, becomes a circuit of one- and two-qubit unitaries."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import qiskit
from qiskit import QuantumCircuit, qasm2, qpy
from qiskit.circuit import ControlFlowOp, ControlledGate, Gate, Operation, Qubit
from qiskit.circuit.library import UnitaryGate, get_standard_gate_name_mapping
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Operator
from qiskit.transpiler import PassManager
from qiskit.transpiler.passes import HighLevelSynthesis

from tasks.errors import InputError

MIN_QUBITS = 2
MAX_QUBITS = 1000

_STANDARD_GATES = {name: gate.base_class for name, gate in get_standard_gate_name_mapping().items()}
_ADVICE = "Qompass takes circuits of unitary gates with measurements only at the end"


def read_circuit(path: Path) -> QuantumCircuit:
    """The circuit in a file exactly as written; the content, not the name, says which format it is.

    Raises:
        InputError: the file cannot be read, or is none of OpenQASM 2, OpenQASM 3 and QPY (with the line where known).
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: name a readable circuit file") from error
    if content.startswith(b"QISKIT"):
        return _read_qpy(path, content)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: neither text nor QPY: give OpenQASM 2, OpenQASM 3 or QPY") from error
    if not text.strip():
        raise InputError(f"{path}: the file is empty: give OpenQASM 2, OpenQASM 3 or QPY")
    without_comments = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    version = re.match(r"\s*OPENQASM\s+(\d+)", without_comments)
    if (int(version.group(1)) == 3) if version else path.suffix == ".qasm3":
        return _read_qasm3(path, text)
    return _read_qasm2(path, text)


def unitary_circuit(circuit: QuantumCircuit) -> tuple[QuantumCircuit, tuple[str, ...]]:
    """The same circuit with only one- and two-qubit unitary gates, and sentences on what was changed.

    Barriers and delays go, final measurements go, larger and user-defined gates are replaced by their definitions.
    The result has one flat register; its qubits keep their order.

    Raises:
        InputError: too many or too few qubits, unbound parameters, or an instruction that is not unitary.
    """
    if circuit.num_qubits < MIN_QUBITS:
        raise InputError(
            f"the circuit has {_count(circuit.num_qubits, 'qubit')}: there is nothing to cut below {MIN_QUBITS}"
        )
    if circuit.num_qubits > MAX_QUBITS:
        raise InputError(f"the circuit has {circuit.num_qubits} qubits: Qompass takes up to {MAX_QUBITS}")
    if circuit.num_parameters:
        names = sorted(parameter.name for parameter in circuit.parameters)
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise InputError(
            f"the circuit has unbound parameters ({shown}): bind them with numbers before writing the file"
        )
    result = QuantumCircuit(circuit.num_qubits)
    index = {qubit: position for position, qubit in enumerate(circuit.qubits)}
    measured: dict[int, int] = {}
    delays = 0
    replaced: dict[str, int] = {}
    for position, instruction in enumerate(circuit.data):
        operation = instruction.operation
        qubits = [index[qubit] for qubit in instruction.qubits]
        if operation.name == "barrier":
            continue
        if operation.name == "delay":
            delays += 1
            continue
        if operation.name == "measure":
            measured[qubits[0]] = position
            continue
        where = f"instruction {position} ({operation.name} on {_listed(qubits)})"
        for qubit in qubits:
            if qubit in measured:
                raise InputError(
                    f"mid-circuit measurement: instruction {measured[qubit]} measures qubit {qubit}"
                    f" before {where}: {_ADVICE}"
                )
        if not _is_kept(operation) and _standard_form(operation) is None:
            replaced[operation.name] = replaced.get(operation.name, 0) + 1
        for part, part_qubits in _parts(operation, qubits, where):
            result.append(part, part_qubits)
    return result, _notes(len(measured), delays, replaced)


def _parts(operation: Operation, qubits: list[int], where: str) -> Iterator[tuple[Operation, list[int]]]:
    """The one- and two-qubit gates that an operation stands for, with the qubits they act on."""
    if isinstance(operation, ControlFlowOp) or operation.name == "store":
        raise InputError(f"classical control: {where}: {_ADVICE}")
    if operation.name in ("reset", "initialize"):
        raise InputError(f"reset: {where}: {_ADVICE}")
    if operation.name == "measure":
        raise InputError(f"mid-circuit measurement: inside {where}: {_ADVICE}")
    if operation.name in ("barrier", "delay"):
        return
    if _is_kept(operation):
        if any(not np.all(np.isfinite(parameter)) for parameter in operation.params):
            raise InputError(f"{where} has a parameter that is not a finite number: correct it")
        yield operation, qubits
        return
    standard = _standard_form(operation)
    if standard is not None:
        yield standard, qubits
        return
    inside = _definition(operation, where)
    local: dict[Qubit, int] = dict(zip(inside.qubits, qubits, strict=True))
    for instruction in inside.data:
        yield from _parts(instruction.operation, [local[qubit] for qubit in instruction.qubits], where)


def _is_kept(operation: Operation) -> bool:
    """Whether every simulator knows this gate as it is: a standard gate, or a matrix, on at most two qubits."""
    if operation.num_qubits > 2 or operation.num_clbits:
        return False
    if isinstance(operation, UnitaryGate):
        return True
    if isinstance(operation, ControlledGate) and operation.ctrl_state != 2**operation.num_ctrl_qubits - 1:
        return False
    return _STANDARD_GATES.get(operation.name) is getattr(operation, "base_class", None) is not None


def _standard_form(operation: Operation) -> Gate | None:
    """The standard gate that a gate defined in the file is: OpenQASM writers spell out rzz, which is cheaper to cut."""
    kind = _STANDARD_GATES.get(operation.name)
    definition = getattr(operation, "definition", None)
    if kind is None or operation.num_qubits > 2 or not isinstance(definition, QuantumCircuit):
        return None
    try:
        gate = kind(*operation.params)
        same = gate.num_qubits == operation.num_qubits and Operator(gate).equiv(Operator(definition))
    except (QiskitError, TypeError):  # another number of parameters, or not unitary: only the name is the same
        return None
    return gate if same else None


def _definition(operation: Operation, where: str) -> QuantumCircuit:
    """What an operation is made of; a small one without a definition is its matrix."""
    definition = getattr(operation, "definition", None)
    if isinstance(definition, QuantumCircuit):
        return definition
    alone = QuantumCircuit(operation.num_qubits, operation.num_clbits)
    try:
        if operation.num_qubits <= 2:
            alone.append(UnitaryGate(Operator(operation)), range(operation.num_qubits))
            return alone
        alone.append(operation, range(operation.num_qubits), range(operation.num_clbits))
        synthesised = PassManager([HighLevelSynthesis()]).run(alone)
    except (QiskitError, TypeError, ValueError) as error:
        raise InputError(
            f"unknown gate: {where} has neither a definition nor a matrix: define it in the file"
        ) from error
    if any(part.operation.name == operation.name for part in synthesised.data):
        raise InputError(f"unknown gate: {where} has neither a definition nor a matrix: define it in the file")
    return synthesised


def _notes(measurements: int, delays: int, replaced: dict[str, int]) -> tuple[str, ...]:
    notes = []
    if measurements:
        notes.append(f"{_count(measurements, 'final measurement')} dropped: the observables say what is measured")
    if delays:
        notes.append(f"{_count(delays, 'delay')} dropped")
    if replaced:
        shown = ", ".join(f"{count} {name}" for name, count in sorted(replaced.items()))
        notes.append(f"replaced by one- and two-qubit gates: {shown}")
    return tuple(notes)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(qubits: list[int]) -> str:
    return ("qubit " if len(qubits) == 1 else "qubits ") + ", ".join(map(str, qubits))


def _read_qasm2(path: Path, text: str) -> QuantumCircuit:
    # Qiskit's gates beyond qelib1.inc are known by name, but never against a definition that the file itself gives.
    defined = set(re.findall(r"\bgate\s+(\w+)", text))
    known = [gate for gate in qasm2.LEGACY_CUSTOM_INSTRUCTIONS if gate.name not in defined]
    try:
        return qasm2.loads(text, include_path=(path.parent,), custom_instructions=known)
    except QiskitError as error:
        raise _malformed(path, "OpenQASM 2", str(error.message)) from error


def _read_qasm3(path: Path, text: str) -> QuantumCircuit:
    from qiskit import qasm3  # its parser takes a while to load, and few circuits are OpenQASM 3

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # where the parser prints what the error below says
            return qasm3.loads(text)
    except QiskitError as error:
        raise _malformed(path, "OpenQASM 3", str(error.message), _qasm3_line(error)) from error
    except Exception as error:  # the importer lets errors of its own and of Python through (KeyError, TypeError)
        raise _malformed(path, "OpenQASM 3", str(error), _qasm3_line(error)) from error


def _qasm3_line(error: BaseException) -> int | None:
    """The line a parser error is about: in the offending token, or in the node the importer was working on."""
    line = None
    cause: BaseException | None = error
    while cause is not None:
        for part in (cause, *cause.args):
            line = line or getattr(getattr(part, "offendingToken", None), "line", None)
        cause = cause.__cause__ or cause.__context__
    frame = error.__traceback__
    while frame is not None and line is None:
        span = getattr(frame.tb_frame.f_locals.get("node"), "span", None)
        if span is not None and type(frame.tb_frame.f_locals["node"]).__name__ != "Program":
            return int(span.start_line)
        frame = frame.tb_next
    return line


def _read_qpy(path: Path, content: bytes) -> QuantumCircuit:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            circuits = qpy.load(io.BytesIO(content))
    except Exception as error:  # damaged bytes surface as any of struct.error, MemoryError, UnicodeDecodeError, ...
        raise InputError(
            f"{path}: this QPY file is damaged, or newer than Qiskit {qiskit.__version__} reads: write it again"
        ) from error
    if len(circuits) != 1 or not isinstance(circuits[0], QuantumCircuit):
        raise InputError(f"{path}: holds {len(circuits)} circuits: write the one to run into a file of its own")
    return circuits[0]


def _malformed(path: Path, language: str, message: str, line: int | None = None) -> InputError:
    """One line out of a parser's message, with the number of the offending line."""
    message = " ".join(message.strip("'\"").split())
    place = re.match(r"(?:<input>:|L)?(\d+)[,:]\s?C?\d+:\s*(.*)", message)
    where = place.group(1) if place else line
    what = place.group(2) if place else message
    place_named = f"{path}, line {where}" if where else str(path)
    return InputError(f"{place_named}: not valid {language}: {what or 'unexpected text'}: correct the file")
