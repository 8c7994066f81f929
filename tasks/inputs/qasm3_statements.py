"""Statements of OpenQASM 3 that are settled while reading: variables, loops and branches whose values are known."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from openqasm3 import ast
from qiskit.circuit import Clbit
from qiskit_qasm3_import import types
from qiskit_qasm3_import.data import Scope, Symbol
from qiskit_qasm3_import.exceptions import ConversionError, raise_from_node
from qiskit_qasm3_import.state import LocalScope, State

from tasks.errors import InputError
from tasks.inputs.definitions import ADVICE
from tasks.inputs.limits import checked_width
from tasks.inputs.qasm3_gates import GateReader
from tasks.inputs.qasm3_values import Resolver, number

_MAX_TURNED = 30_000  # statements gone through in loops: what Python does in two seconds


class _Break(Exception):
    """Leaves a loop."""


class _Continue(Exception):
    """Goes on with a loop's next turn."""


class ProgramEnd(Exception):
    """Leaves the program."""


class StatementReader(GateReader):
    """A reader of gates that also settles what no measurement changes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._turned = 0

    def _turn(self, statements: Sequence[ast.QASMNode], context: State, node: ast.QASMNode) -> None:
        """One turn of a loop."""
        self._turned += 1 + len(statements)
        if self._turned > _MAX_TURNED:
            raise InputError(
                f"{self._where(node)}: more than {_MAX_TURNED:,} statements in the turns of loops: take fewer"
            )
        self._block(statements, context)

    def _scoped(self, statements: Sequence[ast.QASMNode], context: State) -> State:
        """Statements whose names are their own."""
        with LocalScope(context) as inner:
            self._block(statements, inner)
        return context

    def visit_Program(self, node: ast.Program, context: State) -> State:
        """Each statement in turn."""
        self._block(node.statements, context)
        return context

    def visit_CompoundStatement(self, node: ast.CompoundStatement, context: State) -> State:
        """The statements between braces."""
        return self._scoped(node.statements, context)

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
        if node.init_expression is None or isinstance(node.type, ast.DurationType | ast.StretchType):
            value, kind = None, types.Float(const=True)  # how long something takes makes no difference to the values
        else:
            resolver = Resolver(context)
            value, kind = resolver.typed(*resolver.resolve(node.init_expression), node.type, node)
        self._free(name, context)
        context.symbol_table.insert(Symbol(name, value, kind, context.scope, node))
        return context

    def visit_AliasStatement(self, node: ast.AliasStatement, context: State) -> State:
        """A further name of qubits or bits, also of a single one, and one that a library's gate has."""
        self._free(node.target.name, context)
        value, kind = self._resolve_generic(node.value, context, True)
        if isinstance(kind, types.Qubit | types.Bit):
            context.symbol_table.insert(Symbol(node.target.name, value, kind, context.scope, node))
            return context
        return super().visit_AliasStatement(node, context)

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
        resolver = Resolver(context)
        symbol.data, symbol.type = resolver.typed(*resolver.resolve(value), symbol.definer.type, node)
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
                data, kind = Resolver(inner).typed(value, None, node.type, node)
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
        return self._scoped(node.if_block if self._holds(node.condition, context) else node.else_block, context)

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
                f" before the circuit runs: {ADVICE}"
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
        raise ProgramEnd

    def visit_Box(self, node: ast.Box, context: State) -> State:
        """What is in it; how long it takes makes no difference to the values."""
        return self._scoped(node.body, context)

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
        measured, kind = self._resolve_generic(node.measure.qubit, context, True)
        several = isinstance(kind, types.QubitArray)
        bits = [Clbit() for _ in range(len(measured) if several else 1)]
        context.circuit.add_bits(bits)
        context.circuit.measure(measured, bits if several else bits[0])
        return context
