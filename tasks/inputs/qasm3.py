"""OpenQASM 3: its reference parser reads it, Qiskit's importer converts it, and this adds what is known beforehand.

Constants, classical variables that no measurement changes, loops and branches over them, functions of numbers, boxes,
includes and annotations are settled while reading, so that a circuit of gates is left.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import openqasm3
from openqasm3 import ast
from openqasm3.parser import QASM3ParsingError
from qiskit import QuantumCircuit, qasm2
from qiskit.circuit import Clbit, Gate
from qiskit.exceptions import QiskitError
from qiskit_qasm3_import import types
from qiskit_qasm3_import.converter import _STDGATES, ConvertVisitor
from qiskit_qasm3_import.data import Scope, Symbol
from qiskit_qasm3_import.exceptions import ConversionError, raise_from_node
from qiskit_qasm3_import.state import GateScope, LocalScope, State

from tasks.errors import InputError
from tasks.inputs.includes import Includes
from tasks.inputs.limits import MAX_GATES, MAX_LEVELS, checked_width
from tasks.inputs.qasm3_values import Resolver, number, typed

_ADVICE = "Qompass takes circuits of unitary gates with measurements only at the end"
_MAX_TURNED = 30_000  # statements gone through in loops: what Python does in two seconds
_MAX_MODIFIED = 10_000  # gates in one that is inverted, controlled or raised to a power: Qiskit goes through each
_MAX_MATRIX = 6  # qubits of a gate raised to a power that is no whole number
_INVALID = re.compile("not defined|ndefined|already|mismatched|incorrect number|out of range|uplicate|no value|itself")
_FURTHER = {gate.name: gate for gate in qasm2.LEGACY_CUSTOM_INSTRUCTIONS if gate.name not in (*_STDGATES, "delay")}


class _Break(Exception):
    """Leaves a loop."""


class _Continue(Exception):
    """Goes on with a loop's next turn."""


class _End(Exception):
    """Leaves the program."""


class _Defined:
    """A gate that a file defines, made for numbers as they come up.

    Attributes:
        node: its definition.
        gates: the gates that its body uses, as they were known where it is defined.
        reader: who makes it.
    """

    def __init__(self, node: ast.QuantumGateDefinition, gates: dict[str, Symbol], reader: _Reader) -> None:
        self.node, self.gates, self.reader = node, gates, reader

    def __call__(self, *parameters: float) -> Gate:
        """The gate with these parameters; gates that are the same share their definition."""
        gate = Gate(self.node.name.name, len(self.node.qubits), list(parameters))
        gate._definition = self.reader.definition(self, parameters)
        return gate


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


class _Reader(ConvertVisitor):
    """Qiskit's converter, with what can be settled beforehand settled.

    Attributes:
        stack: the files being read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.stack: tuple[Path, ...] = (path,)
        self._includes = Includes(path, ("stdgates.inc", "qelib1.inc"))
        self._made: dict[tuple[_Defined, tuple[float, ...]], QuantumCircuit] = {}
        self._sizes: dict[int, int] = {}  # gates in a definition, by its id
        self._turned = 0

    # --- gates

    def definition(self, gate: _Defined, parameters: tuple[float, ...]) -> QuantumCircuit:
        """What a gate is made of, smaller gates first, without going down the stack level by level."""
        waiting = [] if (gate, parameters) in self._made else [(gate, parameters)]
        while waiting:
            if len(waiting) > MAX_LEVELS:
                raise InputError(
                    f"{self.stack[-1]}: gates are defined in more than {MAX_LEVELS:,} levels: flatten them"
                )
            defined, numbers = waiting[-1]
            with GateScope(self._state) as inner:
                table = inner.symbol_table[len(inner.symbol_table) - 1].symbols
                table.update(defined.gates)
                for name, value in zip(defined.node.arguments, numbers, strict=True):
                    table[name.name] = Symbol(name.name, value, types.Float(const=True), Scope.GATE, defined.node)
                missing = self._missing(defined, inner)
                if missing is None:
                    inner.circuit = QuantumCircuit(len(defined.node.qubits))
                    for name, bit in zip(defined.node.qubits, inner.circuit.qubits, strict=True):
                        table[name.name] = Symbol(name.name, bit, types.Qubit(), Scope.GATE, defined.node)
                    self._block(defined.node.body, inner)
                    self._made[defined, numbers] = inner.circuit
                    self._sizes[id(inner.circuit)] = sum(
                        self._size(instruction.operation) for instruction in inner.circuit.data
                    )
            if missing is None:
                waiting.pop()
            else:
                waiting.append(missing)
        return self._made[gate, parameters]

    def _missing(self, defined: _Defined, inner: State) -> tuple[_Defined, tuple[float, ...]] | None:
        """A gate that the body uses and that is not made yet."""
        for statement in defined.node.body:
            if not isinstance(statement, ast.QuantumGate):
                continue
            symbol = defined.gates.get(statement.name.name)
            if symbol is None or not isinstance(symbol.data, _Defined):
                continue
            if len(statement.arguments) != len(symbol.data.node.arguments):
                raise_from_node(statement, "incorrect number of parameters")
            numbers = tuple(float(self._resolve_angle(argument, inner)) for argument in statement.arguments)
            if (symbol.data, numbers) not in self._made:
                return symbol.data, numbers
        return None

    def _size(self, gate: Any) -> int:
        return self._sizes.get(id(getattr(gate, "_definition", None)), 1)

    def _define_gate(
        self, name: str, definition: Any, n_parameters: int, n_qubits: int, definer: ast.QASMNode, context: State
    ) -> State:
        """The file's own definitions win over those of libraries, wherever these are included."""
        known = context.symbol_table.get(name, definer)
        if known is not None and isinstance(definer, ast.Include):
            return context
        self._free(name, context)
        return super()._define_gate(name, definition, n_parameters, n_qubits, definer, context)

    def _free(self, name: str, context: State) -> None:
        """Let the file give a name of a library's gate another meaning."""
        known = context.symbol_table[0].symbols.get(name)
        if known is not None and isinstance(known.definer, ast.Include) and context.scope is Scope.GLOBAL:
            del context.symbol_table[0].symbols[name]

    def visit_QuantumGateDefinition(self, node: ast.QuantumGateDefinition, context: State) -> State:
        """Known from here on; made when it is used."""
        used = {gate.name.name: gate for gate in _gates_in(node.body)}
        gates = {name: context.symbol_table.get(name, gate) for name, gate in used.items()}
        for name, symbol in gates.items():
            if symbol is None:
                raise_from_node(used[name], f"gate '{name}' is not defined.")
        defined = _Defined(node, gates, self)
        return self._define_gate(node.name.name, defined, len(node.arguments), len(node.qubits), node, context)

    def visit_QuantumGate(self, node: ast.QuantumGate, context: State) -> State:
        """A gate as Qiskit converts it, with the right number of parameters and qubits."""
        symbol = context.symbol_table.get(node.name.name, node)
        if symbol is None and node.name.name in _STDGATES:
            raise_from_node(node, f"gate '{node.name.name}' is not defined: include \"stdgates.inc\"")
        if symbol is not None and isinstance(symbol.type, types.Gate):
            if symbol.definer is not None and symbol.type.n_classical != len(node.arguments):
                raise_from_node(node, f"incorrect number of parameters of '{node.name.name}'")
            for modifier in node.modifiers:
                if modifier.argument is not None:
                    number(*Resolver(context).resolve(modifier.argument), modifier)
        return super().visit_QuantumGate(node, context)

    def _apply_gate_modifier(self, modifier: ast.QuantumGateModifier, gate: Gate, context: State) -> Gate:
        if gate.name.startswith("circuit-"):  # Qiskit's name for a phase
            gate.name = "gphase"
        size = self._size(gate)
        if size > _MAX_MODIFIED:
            raise_from_node(modifier, f"a modifier of a gate of more than {_MAX_MODIFIED:,} gates is not supported")
        if modifier.modifier in (ast.GateModifierName.ctrl, ast.GateModifierName.negctrl) and modifier.argument:
            controls = self._resolve_constant_int(modifier.argument, context)
            if not 1 <= controls <= self._state.circuit.num_qubits:
                raise_from_node(modifier, f"a number of controls that is out of range ({controls})")
        if modifier.modifier is ast.GateModifierName.pow and modifier.argument is not None:
            exponent = self._resolve_constant_float(modifier.argument, context)
            defined = self._sizes.get(id(getattr(gate, "_definition", None))) is not None
            if defined and exponent == int(exponent) and abs(exponent) * size <= _MAX_MODIFIED:
                repeated = QuantumCircuit(gate.num_qubits, name=f"{gate.name}_pow")
                for _ in range(abs(int(exponent))):
                    repeated.append(gate if exponent > 0 else gate.inverse(), repeated.qubits)
                return repeated.to_gate()
            if defined and gate.num_qubits > _MAX_MATRIX:
                raise_from_node(modifier, f"a power of a gate on more than {_MAX_MATRIX} qubits is not supported")
        return super()._apply_gate_modifier(modifier, gate, context)

    # --- statements

    def convert(self, node: ast.Program, *, source: str | None = None) -> State:
        """Convert a program; see the base class."""
        self._state = State(source)
        with contextlib.suppress(_End):
            self.visit(node, self._state)
        return self._state

    def _where(self, node: ast.QASMNode) -> str:
        return f"{self.stack[-1]}, line {node.span.start_line}" if node.span else str(self.stack[-1])

    def _block(self, statements: Sequence[ast.QASMNode], context: State) -> None:
        for statement in statements:
            if len(context.circuit.data) > MAX_GATES:
                raise InputError(f"{self._where(statement)}: more than {MAX_GATES:,} gates up to here: take fewer")
            self.visit(statement, context)

    def _turn(self, statements: Sequence[ast.QASMNode], context: State, node: ast.QASMNode) -> None:
        """One turn of a loop."""
        self._turned += 1 + len(statements)
        if self._turned > _MAX_TURNED:
            raise InputError(
                f"{self._where(node)}: more than {_MAX_TURNED:,} statements in the turns of loops: take fewer"
            )
        self._block(statements, context)

    def visit_Program(self, node: ast.Program, context: State) -> State:
        """Each statement in turn."""
        self._block(node.statements, context)
        return context

    def visit_CompoundStatement(self, node: ast.CompoundStatement, context: State) -> State:
        """The statements between braces."""
        with LocalScope(context) as inner:
            self._block(node.statements, inner)
        return context

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

    def visit_QubitDeclaration(self, node: ast.QubitDeclaration, context: State) -> State:
        """Qubits, as many as Qompass takes."""
        size = 1 if node.size is None else self._resolve_constant_int(node.size, context)
        if size < 1:
            raise_from_node(node, f"a register of {size} qubits is out of range")
        checked_width(f"{self._where(node)}: ", context.circuit.num_qubits + size)
        self._free(node.qubit.name, context)
        return super().visit_QubitDeclaration(node, context)

    def visit_ClassicalDeclaration(self, node: ast.ClassicalDeclaration, context: State) -> State:
        """Bits as Qiskit converts them; of other types, a variable whose value is known."""
        if isinstance(node.type, ast.BitType):
            size = 1 if node.type.size is None else self._resolve_constant_int(node.type.size, context)
            where = f"{self._where(node)}: "
            checked_width(where, 0, context.circuit.num_clbits + size)
            if node.init_expression is not None and not isinstance(node.init_expression, ast.QuantumMeasurement):
                if Resolver(context).resolve(node.init_expression)[0] not in (0, False):
                    raise_from_node(node, "bits that begin as 1 are not supported")
                node.init_expression = None
            self._free(node.identifier.name, context)
            return super().visit_ClassicalDeclaration(node, context)
        return self._variable(node, context)

    def visit_ConstantDeclaration(self, node: ast.ConstantDeclaration, context: State) -> State:
        """A constant."""
        return self._variable(node, context)

    def _variable(self, node: ast.ClassicalDeclaration | ast.ConstantDeclaration, context: State) -> State:
        name = node.identifier.name
        if isinstance(node.init_expression, ast.QuantumMeasurement):
            raise_from_node(node, f"classical control ('{name}' depends on a measurement) is not supported")
        if node.init_expression is None:
            value, kind = None, types.Float(const=True)
        else:
            value, kind = typed(*Resolver(context).resolve(node.init_expression), node.type, node)
        self._free(name, context)
        context.symbol_table.insert(Symbol(name, value, kind, context.scope, node))
        return context

    def visit_ClassicalAssignment(self, node: ast.ClassicalAssignment, context: State) -> State:
        """A variable's new value, where that is known."""
        name = node.lvalue.name if isinstance(node.lvalue, ast.Identifier) else node.lvalue.name.name
        symbol = context.symbol_table.get(name, node)
        if symbol is None:
            raise_from_node(node, f"Undefined symbol '{name}'.")
        known = isinstance(getattr(symbol.definer, "type", None), ast.ClassicalType)
        if not known or isinstance(symbol.definer.type, ast.BitType) or not isinstance(node.lvalue, ast.Identifier):
            raise_from_node(node, f"an assignment to '{name}' is not supported")
        value: ast.Expression = node.rvalue
        if node.op.name != "=":
            value = ast.BinaryExpression(ast.BinaryOperator[node.op.name[:-1]], node.lvalue, node.rvalue)
            value.span = node.span
        symbol.data, symbol.type = typed(*Resolver(context).resolve(value), symbol.definer.type, node)
        return context

    def visit_IODeclaration(self, node: ast.IODeclaration, context: State) -> State:
        """An output is a variable like others; an input has no value here."""
        if node.io_identifier is ast.IOKeyword.input:
            raise InputError(
                f"{self._where(node)}: the circuit has unbound parameters"
                f" ({node.identifier.name}): bind them with numbers, as in `const float {node.identifier.name} = 0.5;`"
            )
        declared = ast.ClassicalDeclaration(node.type, node.identifier)
        declared.span = node.span
        return self.visit_ClassicalDeclaration(declared, context)

    def visit_ForInLoop(self, node: ast.ForInLoop, context: State) -> State:
        """Turn by turn."""
        for value in self._values(node.set_declaration, context):
            with LocalScope(context) as inner:
                data, kind = typed(value, None, node.type, node)
                inner.symbol_table.insert(Symbol(node.identifier.name, data, kind, Scope.LOCAL, node))
                try:
                    self._turn(node.block, inner, node)
                except _Continue:
                    continue
                except _Break:
                    break
        return context

    def _values(self, node: Any, context: State) -> Sequence[Any]:
        """What a loop goes through."""
        resolver = Resolver(context)
        if isinstance(node, ast.RangeDefinition):
            if node.start is None or node.end is None:
                raise_from_node(node, "a loop without a first or last value is not supported")
            ends = [number(*resolver.resolve(part), node) for part in (node.start, node.end)]
            step = 1 if node.step is None else number(*resolver.resolve(node.step), node)
            if not all(isinstance(part, int) for part in (*ends, step)) or step == 0:
                raise_from_node(node, "a loop over a range of other than whole numbers is not supported")
            found = range(int(ends[0]), int(ends[1]) + (1 if step > 0 else -1), int(step))
            return found
        if isinstance(node, ast.DiscreteSet):
            return [number(*resolver.resolve(value), node) for value in node.values]
        value, _ = resolver.resolve(node)
        if not isinstance(value, tuple):
            raise_from_node(node, "a loop over anything but numbers is not supported")
        return value

    def visit_WhileLoop(self, node: ast.WhileLoop, context: State) -> State:
        """As long as the condition holds, where that is known."""
        while self._holds(node.while_condition, context):
            with LocalScope(context) as inner:
                try:
                    self._turn(node.block, inner, node)
                except _Continue:
                    continue
                except _Break:
                    break
        return context

    def visit_BranchingStatement(self, node: ast.BranchingStatement, context: State) -> State:
        """The branch that is taken, where that is known."""
        with LocalScope(context) as inner:
            self._block(node.if_block if self._holds(node.condition, context) else node.else_block, inner)
        return context

    def visit_SwitchStatement(self, node: ast.SwitchStatement, context: State) -> State:
        """The case that is taken, where that is known."""
        target = self._known(node.target, context)
        for values, block in node.cases:
            if target in [self._known(value, context) for value in values]:
                return self.visit(block, context)
        return context if node.default is None else self.visit(node.default, context)

    def _holds(self, node: ast.Expression, context: State) -> bool:
        return bool(self._known(node, context))

    def _known(self, node: ast.Expression, context: State) -> Any:
        value, kind = None, None
        with contextlib.suppress(ConversionError):
            value, kind = Resolver(context).resolve(node)
        if not isinstance(value, int | float) or kind is None:
            raise InputError(
                f"{self._where(node)}: classical control: a condition that is not known"
                f" before the circuit runs: {_ADVICE}"
            )
        return value

    def visit_BreakStatement(self, node: ast.BreakStatement, context: State) -> NoReturn:
        """Leave the loop."""
        raise _Break

    def visit_ContinueStatement(self, node: ast.ContinueStatement, context: State) -> NoReturn:
        """The next turn."""
        raise _Continue

    def visit_EndStatement(self, node: ast.EndStatement, context: State) -> NoReturn:
        """The end of the program."""
        raise _End

    def visit_Box(self, node: ast.Box, context: State) -> State:
        """What is in it; how long it takes makes no difference to the values."""
        with LocalScope(context) as inner:
            self._block(node.body, inner)
        return context

    def visit_DelayInstruction(self, node: ast.DelayInstruction, context: State) -> State:
        """A delay, however long: it makes no difference to the values."""
        for qubit in node.qubits:
            context.circuit.delay(0, self._resolve_generic(qubit, context, True)[0])
        return context

    def visit_Pragma(self, node: ast.Pragma, context: State) -> State:
        """Unknown ones change nothing, as the language says; one that asks for noise would."""
        if "noise" in node.command:
            raise_from_node(node, "a pragma that asks for noise is not supported")
        return context

    def visit_CalibrationGrammarDeclaration(self, node: ast.QASMNode, context: State) -> State:
        """How gates are played on a device changes no value."""
        return context

    visit_CalibrationDefinition = visit_CalibrationGrammarDeclaration

    def visit_SubroutineDefinition(self, node: ast.SubroutineDefinition, context: State) -> NoReturn:
        """Refused: a gate does the same."""
        raise_from_node(node, f"the subroutine '{node.name.name}' (def) is not supported: write it as a gate")

    def visit_QuantumMeasurementStatement(self, node: ast.QuantumMeasurementStatement, context: State) -> State:
        """A measurement, also one whose result goes nowhere."""
        if node.target is not None:
            return super().visit_QuantumMeasurementStatement(node, context)
        measured = self._resolve_generic(node.measure.qubit, context, True)[0]
        bits = [Clbit() for _ in range(1 if not isinstance(measured, Sequence) else len(measured))]
        context.circuit.add_bits(bits)
        context.circuit.measure(measured, bits if isinstance(measured, Sequence) else bits[0])
        return context

    def _resolve_generic(self, node: Any, context: State, strict: bool) -> tuple[Any, Any]:
        return Resolver(context, strict).resolve(node)


def _gates_in(statements: Sequence[Any]) -> Iterator[ast.QuantumGate]:
    """The gates used in a body, loops and boxes included."""
    for statement in statements:
        if isinstance(statement, ast.QuantumGate):
            yield statement
        for name in ("block", "body", "statements", "if_block", "else_block"):
            inside = getattr(statement, name, None)
            if isinstance(inside, list):
                yield from _gates_in(inside)


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
    return InputError(f"{place_named}: {what}: valid OpenQASM 3, but more than a circuit of gates: {_ADVICE}")
