"""Rows of a sweep as circuits with their angles, in groups that share a plan."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from apps.sweep.structure import lifted
from apps.sweep.table import Row, number_of
from tasks.errors import InputError, QompassError
from tasks.inputs.circuit_file import circuit_of
from tasks.inputs.files import read_bytes
from tasks.inputs.observables import parse_text

_CIRCUITS_KEPT = 64
_NAMED = re.compile(rb"\{([A-Za-z_]\w*)\}")


@dataclass
class Group:
    """Rows whose circuits differ in angles alone and whose observables are the same.

    Attributes:
        circuit: with free parameters.
        observable: of all.
        rows: their numbers.
        angles: (parameter,) of each.
    """

    circuit: QuantumCircuit
    observable: SparsePauliOp
    rows: list[int] = field(default_factory=list)
    angles: list[np.ndarray] = field(default_factory=list)


class Reader:
    """Circuits of rows; a file is read once while it is among the last that were asked for.

    Args:
        folder: where names of files begin.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._content = lru_cache(_CIRCUITS_KEPT)(self._read)
        self._parsed = lru_cache(_CIRCUITS_KEPT)(lambda name: circuit_of(self.path(name), self._content(name)))
        self.digests: dict[str, str] = {}

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self._folder / name

    def _read(self, name: str) -> bytes:
        content = read_bytes(self.path(name), "circuit file")
        self.digests[name] = hashlib.sha256(content).hexdigest()
        return content

    def circuit(self, row: Row) -> QuantumCircuit:
        """A row's circuit, without free parameters.

        Parameters are those of a QPY file, or words between braces in text: ``rx({theta}) q[0];``.

        Raises:
            InputError: the file cannot be read, or the row's parameters are not the circuit's.
        """
        if "" in row.parameters:
            raise InputError(f"the row is malformed: {row.parameters['']}")
        if not row.circuit:
            raise InputError("no circuit is named")
        values = {name: number_of(value, name) for name, value in row.parameters.items()}
        content = self._content(row.circuit)
        named = {name.decode() for name in _NAMED.findall(content)} if not content.startswith(b"QISKIT") else set()
        if named:
            _check_same(row, named, values)
            filled = _NAMED.sub(lambda match: repr(values[match[1].decode()]).encode(), content)
            return circuit_of(self.path(row.circuit), filled)
        circuit = self._parsed(row.circuit)
        _check_same(row, {parameter.name for parameter in circuit.parameters}, values)
        return circuit.assign_parameters(values) if values else circuit


def _check_same(row: Row, wanted: set[str], given: Mapping[str, float]) -> None:
    if missing := sorted(wanted - given.keys()):
        raise InputError(f"{row.circuit}: parameter '{missing[0]:.40}' has no value")
    if unknown := sorted(given.keys() - wanted):
        raise InputError(f"{row.circuit}: has no parameter '{unknown[0]:.40}'")


def grouped(rows: Sequence[Row], reader: Reader) -> tuple[list[Group], dict[int, str]]:
    """Rows that share a plan, and what is wrong with the rows that cannot be read."""
    groups: dict[tuple[str, str], Group] = {}
    broken: dict[int, str] = {}
    observables: dict[tuple[str, int], SparsePauliOp] = {}
    for row in rows:
        try:
            found = lifted(reader.circuit(row))
            width = found.circuit.num_qubits
            if (row.observable, width) not in observables:
                observables[row.observable, width] = _observable(row.observable, width)
            key = (found.key, row.observable)
            if key not in groups:
                groups[key] = Group(found.circuit, observables[row.observable, width])
            groups[key].rows.append(row.number)
            groups[key].angles.append(found.angles)
        except QompassError as error:
            broken[row.number] = str(error)
    return list(groups.values()), broken


def _observable(text: str, width: int) -> SparsePauliOp:
    if not text:
        raise InputError("no observable is given")
    own = parse_text(text, width)
    labels = ["".join("IXZY"[x + 2 * z] for x, z in zip(xs[::-1], zs[::-1], strict=True))
              for xs, zs in zip(own.x.astype(int), own.z.astype(int), strict=True)]  # fmt: skip
    return SparsePauliOp(labels, own.coefficients)
