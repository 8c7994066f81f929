"""Numbers in OpenQASM 3 that are known before a circuit runs: constants, operators, functions, arrays.

https://openqasm.com/language/types.html#built-in-constant-expression-functions
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from openqasm3 import ast
from qiskit.circuit import Qubit
from qiskit_qasm3_import import types
from qiskit_qasm3_import.exceptions import raise_from_node
from qiskit_qasm3_import.expression import ValueResolver
from qiskit_qasm3_import.state import physical_qubit_index

from tasks.inputs.limits import checked_width

_MAX_BITS = 1024  # of a whole number on the way to a value


def _divided(left: Any, right: Any) -> Any:
    """Whole numbers are divided as in C: towards zero."""
    if isinstance(left, int) and isinstance(right, int):
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    return left / right


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if base.bit_length() * exponent > _MAX_BITS:
            raise OverflowError
        return base**exponent
    return float(base) ** exponent


def _shifted(left: int, right: int) -> int:
    if left.bit_length() + right > _MAX_BITS:
        raise OverflowError
    return left << right


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": _divided, "%": math.fmod, "**": _power,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "&&": lambda left, right: bool(left and right), "||": lambda left, right: bool(left or right),
    "&": operator.and_, "|": operator.or_, "^": operator.xor, "<<": _shifted, ">>": operator.rshift,
}  # fmt: skip
_UNARY: dict[str, Callable[[Any], Any]] = {"-": operator.neg, "!": operator.not_}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "arccos": math.acos, "arcsin": math.asin, "arctan": math.atan, "ceiling": math.ceil, "cos": math.cos,
    "exp": math.exp, "floor": math.floor, "log": math.log, "mod": math.fmod, "pow": _power, "sin": math.sin,
    "sqrt": math.sqrt, "tan": math.tan, "popcount": lambda value: int(value).bit_count(),
}  # fmt: skip


def number(value: Any, kind: Any, node: ast.QASMNode) -> int | float:
    """The value, once it is known to be a number.

    Raises:
        ConversionError: it is not.
    """
    if value is None:
        raise_from_node(node, "a variable that has no value yet")
    if not isinstance(value, int | float):
        raise_from_node(node, "a value that is not known before the circuit runs is not supported")
    return value


def typed(
    value: Any, kind: Any, wanted: ast.ClassicalType, node: ast.QASMNode, bits: int | None = None
) -> tuple[Any, Any]:
    """A value as a variable of a type holds it, and Qiskit's name for that type.

    Args:
        value: the value.
        kind: its type.
        wanted: the variable's type.
        node: what is read, for messages.
        bits: of a whole number of that type, None where the type does not say.

    Raises:
        ConversionError: the value is none of a number, or does not fit, or the type is none of numbers.
    """
    if isinstance(value, tuple) and isinstance(wanted, ast.ArrayType):
        return value, types.Sequence(types.Float(const=True))
    found = number(value, kind, node)
    if isinstance(wanted, ast.BoolType):
        return bool(found), types.Bool(const=True)
    if isinstance(wanted, ast.IntType | ast.UintType):
        if not math.isfinite(found):
            raise_from_node(node, "a whole number that is out of range")
        return _held(int(found), wanted, bits, node), types.Int(const=True)
    if isinstance(wanted, ast.FloatType | ast.AngleType):
        return _float(found, node), types.Float(const=True)
    raise_from_node(node, f"a variable of type '{type(wanted).__name__[:-4].lower()}' is not supported")


def _held(value: int, wanted: ast.IntType | ast.UintType, bits: int | None, node: ast.QASMNode) -> int:
    """A whole number in so many bits: unsigned ones begin anew at 0, as the language says, others have to fit."""
    if bits is None:
        return value
    if isinstance(wanted, ast.UintType):
        return value % 2**bits
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise_from_node(node, f"{value} is out of range of int[{bits}]")
    return value


def _float(value: int | float, node: ast.QASMNode) -> float:
    try:
        return float(value)
    except OverflowError:
        raise_from_node(node, "a number that is out of range")


class Resolver(ValueResolver):
    """Qiskit's resolver, which knows bits and qubits, and numbers beyond it."""

    def visit_Identifier(self, node: ast.Identifier) -> tuple[Any, Any]:
        """What a name stands for; a physical qubit makes those below it too, so its number is bounded."""
        index = physical_qubit_index(node.name) if node.name.startswith("$") else None
        if index is not None:
            checked_width("", index + 1)
        value, kind = super().visit_Identifier(node)
        if value is None:
            raise_from_node(node, f"'{node.name}' has no value yet")
        return value, kind

    def visit_UnaryExpression(self, node: ast.UnaryExpression) -> tuple[Any, Any]:
        """``-`` and ``!`` of a number."""
        value, _ = self.visit(node.expression)
        if isinstance(value, int | float) and node.op.name in _UNARY:
            return self._typed(_UNARY[node.op.name], (value,), node)
        return super().visit_UnaryExpression(node)

    def visit_BinaryExpression(self, node: ast.BinaryExpression) -> tuple[Any, Any]:
        """An operator between numbers."""
        left, _ = self.visit(node.lhs)
        right, _ = self.visit(node.rhs)
        if not all(isinstance(value, int | float) for value in (left, right)):
            raise_from_node(node, "a value that is not known before the circuit runs is not supported")
        whole = isinstance(left, int) and isinstance(right, int)
        if node.op.name == "%" and whole and right:
            return self._typed(lambda: left - right * _divided(left, right), (), node)
        return self._typed(_BINARY[node.op.name], (left, right), node)

    def visit_FunctionCall(self, node: ast.FunctionCall) -> tuple[Any, Any]:
        """A built-in function of numbers."""
        name = node.name.name
        if name not in _FUNCTIONS:
            raise_from_node(node, f"the function or subroutine '{name:.40}' is not supported")
        values = tuple(number(*self.visit(argument), node) for argument in node.arguments)
        return self._typed(_FUNCTIONS[name], values, node)

    def visit_Cast(self, node: ast.Cast) -> tuple[Any, Any]:
        """A number as another type."""
        return self.typed(*self.visit(node.argument), node.type, node)

    def typed(self, value: Any, kind: Any, wanted: ast.ClassicalType, node: ast.QASMNode) -> tuple[Any, Any]:
        """``typed``, with as many bits as the type says."""
        size = wanted.size if isinstance(wanted, ast.IntType | ast.UintType) else None
        bits = None if size is None else number(*self.visit(size), node)
        if bits is not None and not (isinstance(bits, int) and 1 <= bits <= _MAX_BITS):
            raise_from_node(node, f"a number of {bits} bits is out of range")
        return typed(value, kind, wanted, node, bits)

    def visit_ArrayLiteral(self, node: ast.ArrayLiteral) -> tuple[Any, Any]:
        """Numbers between braces."""
        return tuple(self.visit(value)[0] for value in node.values), types.Sequence(types.Float(const=True))

    def visit_SizeOf(self, node: ast.SizeOf) -> tuple[Any, Any]:
        """How many elements a register or an array has."""
        value, _ = self.visit(node.target)
        if node.index is not None or isinstance(value, Qubit | int | float):
            raise_from_node(node, "sizeof of anything but a register or an array is not supported")
        return len(value), types.Int(const=True)

    def _index_collection(self, collection: Any, kind: Any, indexer: Any, base: ast.QASMNode) -> tuple[Any, Any]:
        if not isinstance(kind, types.Sequence):
            return super()._index_collection(collection, kind, indexer, base)
        for part in indexer if isinstance(indexer, list) else [indexer]:
            index, _ = self.visit(part)
            if not isinstance(collection, tuple) or not isinstance(index, int):
                raise_from_node(base, "an index of an array that is no whole number is not supported")
            if not -len(collection) <= index < len(collection):
                raise_from_node(base, f"index {index} is out of range")
            collection = collection[index]
        return (collection, kind) if isinstance(collection, tuple) else (collection, _kind(collection))

    def _typed(self, function: Callable[..., Any], values: tuple[Any, ...], node: ast.QASMNode) -> tuple[Any, Any]:
        try:
            value = function(*values)
        except ZeroDivisionError:
            raise_from_node(node, "division by zero is out of range")
        except (ArithmeticError, ValueError):
            raise_from_node(node, "a number that is out of range")
        except TypeError:
            raise_from_node(node, "incorrect number or type of operands")
        if not isinstance(value, int | float) or (isinstance(value, int) and value.bit_length() > _MAX_BITS):
            raise_from_node(node, "a number that is out of range")
        return value, _kind(value)


def _kind(value: Any) -> Any:
    if isinstance(value, bool):
        return types.Bool(const=True)
    return types.Int(const=True) if isinstance(value, int) else types.Float(const=True)
