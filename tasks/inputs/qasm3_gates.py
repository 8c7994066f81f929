"""Gates of OpenQASM 3: definitions, made for numbers as they come up, uses and modifiers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openqasm3 import ast
from qiskit import QuantumCircuit
from qiskit.circuit import Gate
from qiskit.circuit.library import CUGate
from qiskit_qasm3_import import types
from qiskit_qasm3_import.converter import _STDGATES, ConvertVisitor
from qiskit_qasm3_import.data import Scope, Symbol
from qiskit_qasm3_import.exceptions import raise_from_node
from qiskit_qasm3_import.state import GateScope, State

from tasks.errors import InputError
from tasks.inputs.limits import MAX_GATES, MAX_LEVELS
from tasks.inputs.qasm3_values import Resolver, number

_MAX_MODIFIED = 10_000  # gates in one that is inverted, controlled or raised to a power: Qiskit goes through each
_MAX_MATRIX = 6  # qubits of a gate raised to a power that is no whole number


class _Defined:
    """A gate that a file defines, made for numbers as they come up.

    Attributes:
        node: its definition.
        gates: the gates that its body uses, as they were known where it is defined.
        reader: who makes it.
    """

    def __init__(self, node: ast.QuantumGateDefinition, gates: dict[str, Symbol], reader: GateReader) -> None:
        self.node, self.gates, self.reader = node, gates, reader

    def __call__(self, *parameters: float) -> Gate:
        """The gate with these parameters; gates that are the same share their definition."""
        gate = Gate(self.node.name.name, len(self.node.qubits), list(parameters))
        gate._definition = self.reader.definition(self, parameters)
        return gate


class GateReader(ConvertVisitor):
    """Qiskit's converter, with gates that share their definitions and are counted before they are made.

    Attributes:
        stack: the files being read.
    """

    _state: State

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.stack: tuple[Path, ...] = (path,)
        self._made: dict[tuple[_Defined, tuple[float, ...]], QuantumCircuit] = {}
        self._sizes: dict[int, int] = {}  # gates in a definition, by its id

    def _where(self, node: ast.QASMNode) -> str:
        return f"{self.stack[-1]}, line {node.span.start_line}" if node.span else str(self.stack[-1])

    def _block(self, statements: Sequence[ast.QASMNode], context: State) -> None:
        for statement in statements:
            if len(context.circuit.data) > MAX_GATES:
                raise InputError(f"{self._where(statement)}: more than {MAX_GATES:,} gates up to here: take fewer")
            self.visit(statement, context)

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
        if modifier.modifier in (ast.GateModifierName.ctrl, ast.GateModifierName.negctrl):
            controls = 1 if modifier.argument is None else self._resolve_constant_int(modifier.argument, context)
            if not 1 <= controls <= self._state.circuit.num_qubits:
                raise_from_node(modifier, f"a number of controls that is out of range ({controls})")
            gate = _phase_apart(gate)
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

    def _resolve_generic(self, node: Any, context: State, strict: bool) -> tuple[Any, Any]:
        return Resolver(context, strict).resolve(node)


def _phase_apart(gate: Gate) -> Gate:
    """A gate to be controlled: Qiskit's inverse of a controlled ``cu`` forgets the phase that is its fourth angle."""
    if not isinstance(gate, CUGate):
        return gate
    *angles, phase = gate.params
    parts = QuantumCircuit(2, name="cu")
    parts.p(phase, 0)
    parts.cu(*angles, 0, 0, 1)
    return parts.to_gate()


def _gates_in(statements: Sequence[Any]) -> Iterator[ast.QuantumGate]:
    """The gates used in a body, loops and boxes included."""
    for statement in statements:
        if isinstance(statement, ast.QuantumGate):
            yield statement
        for name in ("block", "body", "statements", "if_block", "else_block"):
            inside = getattr(statement, name, None)
            if isinstance(inside, list):
                yield from _gates_in(inside)
