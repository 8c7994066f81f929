"""The expressions of Argo that the workflow uses: tags, `when`, `depends`, and of expr what retries and keys need.

As variables.md, conditionals.md, enhanced-depends-logic.md and retries.md in the documentation of Argo 4.1 have it.
What is not known here is an error, not a guess.
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_TAG = re.compile(r"\{\{(=?)(.*?)\}\}")
_WORDS = (("&&", " and "), ("||", " or "), ("!=", "\0"), ("!", " not "), ("\0", "!="))
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda one, some: one in some,
}


def filled(value: Any, scope: Mapping[str, str], prefixes: tuple[str, ...] = ("",)) -> Any:
    """A document with its tags replaced, as Argo does: in its JSON text. Tags that begin otherwise stay."""

    def of(match: re.Match[str]) -> str:
        expression, text = match[1], json.loads(f'"{match[2]}"').strip()
        if expression:
            try:
                found = str(evaluated(text, nested(scope)))
            except KeyError:
                return match[0]
        elif text in scope:
            found = scope[text]
        elif text.startswith(prefixes):
            raise AssertionError(f"{{{{{text}}}}} is not known here: {sorted(scope)}")
        else:
            return match[0]
        return json.dumps(found)[1:-1]

    return json.loads(_TAG.sub(of, json.dumps(value)))


def nested(scope: Mapping[str, str]) -> dict[str, Any]:
    """Dotted names as dictionaries in dictionaries."""
    tree: dict[str, Any] = {}
    for name, value in scope.items():
        *path, last = name.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = value
    return tree


def evaluated(text: str, names: Mapping[str, Any]) -> Any:
    """The value of an expression of expr, in the small part of it that is used."""
    for theirs, ours in _WORDS:
        text = text.replace(theirs, ours)
    return _value(ast.parse(text.strip(), mode="eval").body, names)


def _value(node: ast.AST, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return names[node.id]
        case ast.Attribute():
            return _value(node.value, names)[node.attr]
        case ast.List():
            return [_value(element, names) for element in node.elts]
        case ast.BoolOp(op=ast.And()):
            return all(_value(part, names) for part in node.values)
        case ast.BoolOp(op=ast.Or()):
            return any(_value(part, names) for part in node.values)
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, names)
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, names)
        case ast.BinOp(op=ast.Add()):
            return _value(node.left, names) + _value(node.right, names)
        case ast.Compare(ops=[how], comparators=[right]):
            return _COMPARED[type(how)](_value(node.left, names), _value(right, names))
        case ast.Call(func=ast.Name(id="asInt"), args=[argument]):
            return int(_value(argument, names))
    raise AssertionError(f"not in the part of expr that is known here: {ast.dump(node)}")


def holds(when: str) -> bool:
    """Whether a `when`, filled, holds: two words compared."""
    match = re.fullmatch(r"\s*(\S+)\s*(==|!=)\s*(\S+)\s*", when)
    assert match, f"not a comparison of two words: {when}"
    return (match[1] == match[3]) == (match[2] == "==")


def depends_on(depends: str) -> set[str]:
    """The tasks that a `depends` names."""
    return {word.partition(".")[0] for word in re.findall(r"[\w-]+(?:\.\w+)?", depends)}


def satisfied(depends: str, results: Mapping[str, str]) -> bool:
    """Whether a `depends` holds; a task without a result in it may have succeeded or been skipped."""

    def word(match: re.Match[str]) -> str:
        name, _, wanted = match[0].partition(".")
        return str(results[name] in ((wanted,) if wanted else ("Succeeded", "Skipped")))

    return bool(evaluated(re.sub(r"[\w-]+(?:\.\w+)?", word, depends), {"True": True, "False": False}))
