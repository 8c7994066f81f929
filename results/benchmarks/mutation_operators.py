"""One-line mutants of a source file: which places can be changed, and the text with the change in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARE = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
_LOGS = {"log", "logger", "logging", "_log", "warnings"}


@dataclass(frozen=True)
class Mutant:
    """One change of one line.

    Attributes:
        file: relative to the project's root.
        line: where it is, from 1.
        operator: what kind of change.
        before, after: the changed piece of source.
        start, end: the piece's place in the file, in bytes.
    """

    file: str
    line: int
    operator: str
    before: str
    after: str
    start: int
    end: int

    def compiles(self, source: bytes) -> bool:
        """Whether the file with the change is still Python."""
        try:
            ast.parse(self.applied(source))
        except SyntaxError:
            return False
        return True

    def applied(self, source: bytes) -> bytes:
        """The file's content with the change."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def mutants_of(file: str, source: bytes) -> list[Mutant]:
    """Every mutant of a file, in the order of the file; a few do not compile."""
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    found = []
    for node, operator, after in _changes(ast.parse(source)):
        if node.lineno != node.end_lineno:
            continue
        start, end = offsets[node.lineno - 1] + node.col_offset, offsets[node.lineno - 1] + (node.end_col_offset or 0)
        mutant = Mutant(file, node.lineno, operator, source[start:end].decode(), after, start, end)
        if mutant.before != mutant.after:
            found.append(mutant)
    return sorted(set(found), key=lambda mutant: (mutant.start, mutant.end, mutant.operator, mutant.after))


def _changes(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    """Node to replace, operator, new text."""
    for node in _behaviour(tree):
        if isinstance(node, ast.Compare):
            for place, operator in enumerate(node.ops):
                ops = [*node.ops[:place], _COMPARE[type(operator)](), *node.ops[place + 1 :]]
                yield node, "comparison", _text(ast.Compare(node.left, ops, node.comparators))
        elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            yield node, "arithmetic", _text(ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right))
        elif isinstance(node, ast.BoolOp):
            swapped = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield node, "boolean", _text(ast.BoolOp(swapped, node.values))
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            yield node, "negation dropped", _text(node.operand)
        elif isinstance(node, ast.Constant):
            for value in _other_constants(node.value):
                yield node, "constant", f"({value!r})"
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in _NAMES:
                function = node.func
                other = ast.Name(_NAMES[name])
                called = ast.Attribute(function.value, _NAMES[name]) if isinstance(function, ast.Attribute) else other
                yield node, "min/max/any/all", _text(ast.Call(called, node.args, node.keywords))
            for place, keyword in enumerate(node.keywords):
                if keyword.arg not in (None, "strict"):  # zip(strict=True) is there for bugs, of which there are none
                    fewer = [*node.keywords[:place], *node.keywords[place + 1 :]]
                    yield node, "keyword dropped", _text(ast.Call(node.func, node.args, fewer))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node, "call deleted", "pass"
        elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
            yield node, "return changed", "return None"
        elif isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
            opposite = ast.AugAssign(node.target, _ARITHMETIC[type(node.op)](), node.value)
            yield node, "augmented assignment", ast.unparse(opposite)
            yield node, "augmented assignment", ast.unparse(ast.Assign([node.target], node.value, lineno=0))
        if isinstance(node, (ast.If, ast.While, ast.IfExp)):
            yield node.test, "condition negated", _text(ast.UnaryOp(ast.Not(), node.test))
        if isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield test, "condition negated", _text(ast.UnaryOp(ast.Not(), test))


def _behaviour(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that decides what the program does: no annotation, message, decorator, log call or assertion."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, (ast.JoinedStr, ast.Raise, ast.Assert)):
                continue
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _root_name(node.value) in _LOGS:
                continue
            yield node
            yield from _behaviour(node)


def _other_constants(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1, value - 1] if abs(value) <= 10 else [value * 2, type(value)(value / 2)]
    return []


def _text(node: ast.expr) -> str:
    return f"({ast.unparse(ast.fix_missing_locations(node))})"


def _root_name(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
