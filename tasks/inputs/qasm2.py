"""OpenQASM 2: includes and redefinitions are settled in the text, Qiskit's own parser reads the rest.

What a file or its includes define wins over gates of the same name that ``qelib1.inc`` or Qiskit know. Included files
lie below the circuit's folder. Comments may be in blocks, as in OpenQASM 3.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from pathlib import Path

from qiskit import QuantumCircuit, qasm2
from qiskit.exceptions import QiskitError

from tasks.errors import InputError
from tasks.inputs.includes import Includes
from tasks.inputs.limits import MAX_LEVELS, checked_width

LIBRARY = "qelib1.inc"
_MAX_STATEMENT = 100_000  # characters; Qiskit's parser goes down a level of the stack for each sign in an expression

_COMMENT = re.compile(r'//|/\*|"')
_WORD = re.compile(r'"[^"\n]*"|\b(?:include|gate|opaque|qreg|creg)\b')
_INCLUDE = re.compile(r'include\s+"([^"\n]*)"\s*;?')
_NAME = re.compile(r"(?:gate|opaque)\s+(\w+)", re.ASCII)
# Qiskit's parser ends in a panic at a whole number that does not fit into 64 bits.
_TOO_LARGE = re.compile(r"\[\s*\d{19}|\bOPENQASM[\s\d.]*\d{19}", re.ASCII)
_REGISTER = re.compile(r"[qc]reg\s+\w+\s*\[\s*(\d+)\s*\]", re.ASCII)
# In Qiskit these are what `include "qelib1.inc"` defines; the others it knows without any include.
_LIBRARY_GATES = [gate for gate in qasm2.LEGACY_CUSTOM_INSTRUCTIONS if not gate.builtin and gate.name != "delay"]
_LIBRARY_NAMES = {gate.name for gate in qasm2.LEGACY_CUSTOM_INSTRUCTIONS}


@dataclass
class _Source:
    """The text of a circuit with its includes in place, piece by piece, and what it defines.

    Attributes:
        includes: of the circuit.
        pieces: (text, file, line of the file where it starts).
        defined: name of each gate that is defined, and the piece where.
        library: the piece that stands for ``qelib1.inc``, None without that include.
        widths: qubits and classical bits declared so far.
    """

    includes: Includes
    pieces: list[tuple[str, Path, int]] = field(default_factory=list)
    defined: dict[str, int] = field(default_factory=dict)
    library: int | None = None
    widths: dict[str, int] = field(default_factory=lambda: {"q": 0, "c": 0})


def read_qasm2(path: Path, text: str) -> QuantumCircuit:
    """The circuit that an OpenQASM 2 text describes.

    Args:
        path: where the text is from: included files are looked for in its folder.
        text: with a line feed at the end of each line.

    Raises:
        InputError: it is not valid, an include cannot be read, or it is too large; with file and line where known.
    """
    source = _Source(Includes(path, (LIBRARY,)))
    _add(source, path, without_comments(path, text), (path,))
    _check_order(source)
    whole = "\n".join(piece for piece, _, _ in source.pieces)
    if source.library is not None:
        declared = " ".join(_declared(gate) for gate in _LIBRARY_GATES if gate.name not in source.defined)
        whole = "\n".join(
            declared if index == source.library else piece for index, (piece, _, _) in enumerate(source.pieces)
        )
    _check_statements(path, whole)
    known = [
        gate
        for gate in qasm2.LEGACY_CUSTOM_INSTRUCTIONS
        if gate.name not in source.defined and (gate.builtin or source.library is not None)
    ]
    try:
        return qasm2.loads(whole, include_path=(), custom_instructions=known)
    except QiskitError as error:
        raise _malformed(path, source, str(error.message)) from error
    except RecursionError as error:
        raise InputError(f"{path}: gates are defined in more than {MAX_LEVELS:,} levels: flatten them") from error


def without_comments(path: Path, text: str) -> str:
    """The text with a blank for each comment; lines keep their numbers.

    Raises:
        InputError: a block comment does not end.
    """
    kept, position = [], 0
    while match := _COMMENT.search(text, position):
        start, end = match.span()
        if match.group() == '"':  # what is between quotes is no comment
            newline, closing = text.find("\n", end), text.find('"', end)
            end = closing + 1 if closing >= 0 and not 0 <= newline < closing else end
            kept.append(text[position:end])
        elif match.group() == "//":
            end = len(text) if (newline := text.find("\n", end)) < 0 else newline
            kept.append(text[position:start])
        else:
            closing = text.find("*/", end)
            if closing < 0:
                line = text.count("\n", 0, start) + 1
                raise InputError(f"{path}, line {line}: the comment that begins here has no end: add */")
            end = closing + 2
            kept += [text[position:start], " ", "\n" * text.count("\n", start, end)]
        position = end
    kept.append(text[position:])
    return "".join(kept)


def _add(source: _Source, path: Path, text: str, stack: tuple[Path, ...]) -> None:
    """Take a file's text into the source, and the texts that it includes where it includes them."""
    position, line = 0, 1

    def keep(end: int) -> None:
        nonlocal position, line
        source.pieces.append((text[position:end], path, line))
        line += text.count("\n", position, end)
        position = end

    for match in _WORD.finditer(text):
        word = match.group()
        if word == "include" and (named := _INCLUDE.match(text, match.start())):
            keep(match.start())
            where = f"{path}, line {line}"
            position = named.end()
            if named.group(1) == "stdgates.inc":
                raise InputError(f'{where}: stdgates.inc is OpenQASM 3: include "{LIBRARY}", or begin with OPENQASM 3;')
            inner = source.includes.read(named.group(1), stack, where)
            if inner is None:
                source.library = len(source.pieces) if source.library is None else source.library
                source.pieces.append(("", path, line))
            else:
                file, content = inner
                _add(source, file, without_comments(file, content), (*stack, file))
            line += text.count("\n", match.start(), position)
        elif word == "gate" and (named := _NAME.match(text, match.start())):
            keep(match.start())
            source.defined.setdefault(named.group(1), len(source.pieces))
        elif word in ("qreg", "creg") and (named := _REGISTER.match(text, match.start())):
            keep(match.start())
            size = int(named.group(1)) if len(named.group(1)) < 10 else 10**9
            source.widths[word[0]] += size
            checked_width(f"{path}, line {line}: ", source.widths["q"], source.widths["c"])
    if found := _TOO_LARGE.search(text):
        where = f"{path}, line {1 + text.count(chr(10), 0, found.end())}"
        raise InputError(f"{where}: a whole number that is out of range: correct the file")
    keep(len(text))


def _declared(gate: qasm2.CustomInstruction) -> str:
    """A definition in whose place Qiskit's parser takes its own gate; only the numbers of arguments count."""
    parameters = f"({','.join(f'p{index}' for index in range(gate.num_params))})" if gate.num_params else ""
    return f"gate {gate.name}{parameters} {','.join(f'q{index}' for index in range(gate.num_qubits))} {{}}"


def _check_order(source: _Source) -> None:
    """A known gate that the file defines anew means one thing: it is not used before."""
    for name in _LIBRARY_NAMES & source.defined.keys():
        used = re.compile(rf"(?:\A|[;{{}}])\s*{name}\b")
        for piece, path, line in source.pieces[: source.defined[name]]:
            if match := used.search(piece):
                raise InputError(
                    f"{path}, line {line + piece.count(chr(10), 0, match.end())}: '{name}' is used before it is defined"
                    " anew: give the new gate another name, or define it first"
                )


def _check_statements(path: Path, text: str) -> None:
    """Refuse what would take the parser down: a statement longer than any real one."""
    start = 0
    while start < len(text):
        end = text.find(";", start)
        end = len(text) if end < 0 else end
        if end - start > _MAX_STATEMENT and len(text[start:end].strip()) > _MAX_STATEMENT:
            raise InputError(f"{path}: a statement of more than {_MAX_STATEMENT:,} characters: correct the file")
        start = end + 1


def _malformed(path: Path, source: _Source, message: str) -> InputError:
    """One line out of the parser's message, with the file and line that it is about."""
    message = " ".join(message.split())
    place = re.match(r"<input>:(\d+),\d+: (.*)", message)
    where, what = str(path), message
    if place:
        what = place.group(2)
        starts = [1]
        for piece, _, _ in source.pieces:
            starts.append(starts[-1] + piece.count("\n") + 1)
        index = bisect.bisect_right(starts, int(place.group(1))) - 1
        _, file, line = source.pieces[min(index, len(source.pieces) - 1)]
        where = f"{file}, line {line + int(place.group(1)) - starts[index]}"
    name = re.match(r"'(\w+)' is not defined", what)
    if name and source.library is None and name.group(1) in _LIBRARY_NAMES:
        return InputError(f'{where}: {what}: add include "{LIBRARY}"; after the first line')
    what = what if len(what) <= 200 else f"{what[:197]}..."
    return InputError(f"{where}: not valid OpenQASM 2: {what or 'unexpected text'}: correct the file")
