"""OpenQASM 3: its reference parser reads it, Qiskit's importer converts it, and this adds what is known beforehand.

Constants, classical variables that no measurement changes, loops and branches over them, functions of numbers, boxes,
includes and annotations are settled while reading, so that a circuit of gates is left.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import openqasm3
from openqasm3 import ast
from openqasm3.parser import QASM3ParsingError
from qiskit import QuantumCircuit, qasm2
from qiskit.exceptions import QiskitError
from qiskit_qasm3_import.converter import _STDGATES
from qiskit_qasm3_import.exceptions import ConversionError
from qiskit_qasm3_import.state import State

from tasks.errors import InputError
from tasks.inputs.definitions import ADVICE
from tasks.inputs.includes import Includes
from tasks.inputs.qasm3_statements import ProgramEnd, StatementReader

_INVALID = re.compile("not defined|ndefined|already|mismatched|incorrect number|out of range|uplicate|no value|itself")
_FURTHER = {gate.name: gate for gate in qasm2.LEGACY_CUSTOM_INSTRUCTIONS if gate.name not in (*_STDGATES, "delay")}


def read_qasm3(path: Path, text: str) -> QuantumCircuit:
    """The circuit that an OpenQASM 3 text describes.

    Args:
        path: where the text is from: included files are looked for in its folder.
        text: with a line feed at the end of each line.

    Raises:
        InputError: it is not valid, or valid but more than a circuit of gates, or too large; with file and line.
    """
    reader = _Reader(path)
    try:
        program = _parsed(text)
        return reader.convert(program, source=text).circuit
    except InputError:
        raise
    except ConversionError as error:
        raise _refused(reader.stack[-1], str(error.message), _line(error)) from error
    except RecursionError as error:
        raise InputError(f"{reader.stack[-1]}: brackets or blocks are nested too deeply: flatten them") from error
    except (QASM3ParsingError, QiskitError, LookupError, TypeError, ValueError) as error:  # Python's: the importer's
        raise _refused(reader.stack[-1], str(getattr(error, "message", error)), _line(error), True) from error


def _parsed(text: str) -> ast.Program:
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # where the parser prints what its error says
            return openqasm3.parse(text)
    except AttributeError as error:  # the parser's own, of a text that ends before it begins
        if re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL).strip():
            raise QASM3ParsingError("unexpected end of the text") from error
        return ast.Program([])


class _Reader(StatementReader):
    """A reader of whole programs and of what they include."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._includes = Includes(path, ("stdgates.inc", "qelib1.inc"))

    def convert(self, node: ast.Program, *, source: str | None = None) -> State:
        """Convert a program; see the base class."""
        self._state = State(source)
        with contextlib.suppress(ProgramEnd):
            self.visit(node, self._state)
        return self._state

    def visit_Include(self, node: ast.Include, context: State) -> State:
        """A library, or a file below the circuit's folder."""
        found = self._includes.read(node.filename, self.stack, self._where(node))
        if found is not None:
            file, text = found
            self.stack = (*self.stack, file)
            self._block(_parsed(text).statements, context)
            self.stack = self.stack[:-1]
            return context
        for name, (builder, parameters, qubits) in _STDGATES.items():
            self._define_gate(name, builder, parameters, qubits, node, context)
        if node.filename == "qelib1.inc":
            for gate in _FURTHER.values():
                self._define_gate(gate.name, gate.constructor, gate.num_params, gate.num_qubits, node, context)
        return context


def _line(error: BaseException) -> int | None:
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


def _refused(path: Path, message: str, line: int | None, invalid: bool = False) -> InputError:
    """One line that says what is not valid, or valid and not taken."""
    message = " ".join(message.split())
    if message[:1] in "'\"" and message[:1] == message[-1:]:  # as Python shows the key of a KeyError
        message = message[1:-1]
    place = re.match(r"(?:<input>:|L)?(\d+)[,:]\s?C?\d+:\s*(.*)", message)
    where = place.group(1) if place else line
    what = (place.group(2) if place else message).rstrip(".")
    what = what if len(what) <= 200 else f"{what[:197]}..."
    place_named = f"{path}, line {where}" if where else str(path)
    if invalid or _INVALID.search(what):
        return InputError(f"{place_named}: not valid OpenQASM 3: {what or 'unexpected text'}: correct the file")
    return InputError(f"{place_named}: {what}: valid OpenQASM 3, but more than a circuit of gates: {ADVICE}")
