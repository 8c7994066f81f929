"""A circuit file, in OpenQASM 2, OpenQASM 3, QPY or JSON, becomes Qiskit's circuit exactly as written."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from qiskit import QuantumCircuit

from tasks.errors import InputError
from tasks.inputs.files import read_bytes, text_of
from tasks.inputs.json_file import read_json_circuit
from tasks.inputs.qasm2 import read_qasm2, without_comments
from tasks.inputs.qpy_file import read_qpy

_KINDS = "OpenQASM 2, OpenQASM 3, QPY, or JSON of pytket or Qiskit"


def read_circuit(path: Path) -> QuantumCircuit:
    """The circuit in a file; the content, not the name, says which format it is.

    Raises:
        InputError: the file cannot be read, is none of OpenQASM 2, OpenQASM 3, QPY and JSON, or holds a circuit that is
            too large; with the line where known.
    """
    path = Path(path)
    return circuit_of(path, read_bytes(path, "circuit file"))


def circuit_of(path: Path, content: bytes) -> QuantumCircuit:
    """The circuit that the content of a file states; see ``read_circuit``.

    Raises:
        InputError: it states none that can be used.
    """
    if content.startswith(b"QISKIT"):
        return read_qpy(path, content)
    unmarked = content.removeprefix(codecs.BOM_UTF8)
    if unmarked.lstrip()[:1] == b"{":
        return read_json_circuit(path, unmarked)
    text = text_of(path, content, _KINDS)
    if not text.strip():
        raise InputError(f"{path}: the file is empty: give {_KINDS}")
    plain = without_comments(path, text)
    version = re.match(r"\s*OPENQASM\s+(\d{1,9})", plain)
    if version:
        third = int(version.group(1)) == 3
    else:
        third = path.suffix == ".qasm3" or bool(re.search(r'"stdgates\.inc"|(?:^|[;\s])qubit\s*[\[\w]', plain))
    if not third:
        return read_qasm2(path, text)
    from tasks.inputs.qasm3 import read_qasm3  # its parser takes a while to load, and few circuits are OpenQASM 3

    return read_qasm3(path, text)
