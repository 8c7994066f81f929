"""Observables, as text, JSON or Qiskit operators, become the arrays of :class:`tasks.model.problem.PauliTerms`.

Text is a Pauli label ``ZZIX`` (rightmost letter: qubit 0), sparse factors ``Z0 Z3``, or a sum of either with real
coefficients: ``0.5*Z0 Z3 - 1.2*X1 + 0.1``. A JSON file holds ``[["ZZIX", 0.5], ...]``, one observable of many terms,
or ``{"name": [["ZZIX", 0.5], ...], ...}``, many observables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp
from scipy.sparse import csr_array

from tasks.errors import InputError
from tasks.model.problem import PauliTerms

MAX_TERMS = 10_000
MAX_COEFFICIENT = 1e100  # far past any use, and sums of 10,000 such terms stay finite

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TERM = re.compile(
    rf"\s*(?P<sign>[+-]?)\s*(?P<coefficient>{_NUMBER}(?![\d.jiIXYZ]))?\s*(?P<star>\*?)\s*"
    r"(?P<paulis>[IXYZ]\d+(?:\s*\*?\s*[IXYZ]\d+)*(?![IXYZ])|[IXYZ]+(?!\d))?\s*",
    re.ASCII,
)
_FACTOR = re.compile(r"([IXYZ])(\d+)", re.ASCII)
_COMPLEX = re.compile(rf"{_NUMBER}\s*\*?\s*[ji]\b|\b[ji]\s*\*")


@dataclass(frozen=True)
class Observable:
    """One observable before its strings are merged with those of the others.

    Attributes:
        name: as the user wrote it.
        x: (term, qubit) bool, X part.
        z: (term, qubit) bool, Z part.
        coefficients: (term,) float64.
    """

    name: str
    x: np.ndarray
    z: np.ndarray
    coefficients: np.ndarray


def parse_text(text: str, num_qubits: int) -> Observable:
    """An observable written on one line.

    Raises:
        InputError: it cannot be read, has the wrong width, or a coefficient that is not a real finite number.
    """
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    if _COMPLEX.search(text):
        raise InputError(
            f"observable '{shown}' has a complex coefficient: Qompass takes Hermitian sums, real ones only"
        )
    labels: list[tuple[str, float]] = []
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        valid = match is not None and match.end() > position
        if match is not None and valid:
            number, paulis = match["coefficient"], match["paulis"]
            valid = bool(number or paulis) and (bool(match["star"]) == bool(number and paulis) or not match["star"])
            valid = valid and (position == 0 or bool(match["sign"]))
        if match is None or not valid:
            raise InputError(
                f"observable '{shown}' cannot be read at '{text[position:].strip()[:20]}':"
                " write it as ZZIX, as Z0 Z3, or as 0.5*Z0 Z3 - 1.2*X1 + 0.1"
            )
        value = float(number or 1) * (-1 if match["sign"] == "-" else 1)
        labels.append((paulis or "", value))
        position = match.end()
    if not labels:
        raise InputError("an observable is empty: write it as ZZIX, as Z0 Z3, or as 0.5*Z0 Z3 - 1.2*X1 + 0.1")
    return _from_pairs(text.strip(), labels, num_qubits, f"observable '{shown}'")


def read_observables(path: Path, num_qubits: int) -> list[Observable]:
    """The observables of a JSON file, in its order; one that is a bare list is named after the file.

    Raises:
        InputError: the file cannot be read or is not of the documented form, or has more than 10,000 terms.
    """
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: name a readable file of observables") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}: correct the file") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: correct the file") from error
    named = document if isinstance(document, dict) else {Path(path).name: document}
    total = sum(len(pairs) for pairs in named.values() if isinstance(pairs, list))
    if total > MAX_TERMS:
        raise InputError(f"{path}: {total:,} terms: Qompass takes up to {MAX_TERMS:,}; split them over several runs")
    if not named:
        raise InputError(f'{path}: holds no observable: write [["ZZIX", 0.5], ...]')
    return [_from_json(name, pairs, num_qubits, path) for name, pairs in named.items()]


def from_operator(operator: SparsePauliOp, num_qubits: int, name: str) -> Observable:
    """A Qiskit operator as an observable.

    Raises:
        InputError: it has the wrong width or a complex coefficient.
    """
    if operator.num_qubits != num_qubits:
        raise InputError(f"observable '{name}' acts on {operator.num_qubits} qubits, the circuit has {num_qubits}")
    coefficients = np.asarray(operator.coeffs, dtype=complex)
    if np.any(np.abs(coefficients.imag) > 1e-12 * np.maximum(1.0, np.abs(coefficients.real))):
        raise InputError(f"observable '{name}' has a complex coefficient: Qompass takes real ones only")
    if not np.all(np.isfinite(coefficients.real)):
        raise InputError(f"observable '{name}' has a coefficient that is not a finite number")
    return Observable(name, operator.paulis.x.copy(), operator.paulis.z.copy(), coefficients.real.copy())


def pauli_terms(observables: Sequence[Observable]) -> PauliTerms:
    """The distinct strings of all observables, in order of first appearance, and each observable as a sum of them."""
    x = np.concatenate([observable.x for observable in observables])
    z = np.concatenate([observable.z for observable in observables])
    rows = np.repeat(np.arange(len(observables)), [len(observable.coefficients) for observable in observables])
    packed = np.packbits(np.concatenate([x, z], axis=1), axis=1)
    keys = np.ascontiguousarray(packed).view([("", np.void, packed.shape[1])]).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    columns = np.argsort(order)[inverse.ravel()]
    values = np.concatenate([observable.coefficients for observable in observables])
    coefficients = csr_array((values, (rows, columns)), shape=(len(observables), len(first)))
    coefficients.sum_duplicates()
    kept = first[order]
    return PauliTerms(x[kept], z[kept], coefficients)


def _from_json(name: str, pairs: Any, num_qubits: int, path: Path) -> Observable:
    if not isinstance(pairs, list) or not pairs:
        raise InputError(f"{path}: observable '{name}' is not a list of terms: write [[\"ZZIX\", 0.5], ...]")
    for number, pair in enumerate(pairs):
        where = f"{path}: term {number} of '{name}'"
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise InputError(f'{where} is not a pair of a Pauli string and a number: write ["ZZIX", 0.5]')
        if isinstance(pair[1], bool) or not isinstance(pair[1], int | float):
            kind = "a complex coefficient" if isinstance(pair[1], str | list) else "no number for coefficient"
            raise InputError(f"{where} has {kind} ({json.dumps(pair[1])}): Qompass takes real numbers only")
    return _from_pairs(name, [(pair[0], pair[1]) for pair in pairs], num_qubits, f"{path}: observable '{name}'")


def _from_pairs(name: str, pairs: list[tuple[str, float]], num_qubits: int, where: str) -> Observable:
    """Arrays from (Pauli string, coefficient); a string is a label, sparse factors, or empty for the identity."""
    for string, value in pairs:
        if not abs(value) <= MAX_COEFFICIENT:
            raise InputError(f"{where}: the coefficient of '{string}' is not a number below {MAX_COEFFICIENT:g}")
    labels = [string if string.isalpha() else _dense(string, num_qubits, where) for string, _ in pairs]
    for label in labels:
        if len(label) != num_qubits:
            raise InputError(
                f"{where}: '{_short(label)}' is {len(label)} wide, the circuit has {num_qubits} qubits:"
                f" give one letter for each qubit, or name qubits as in Z0 Z{num_qubits - 1}"
            )
    letters = np.frombuffer("".join(labels).encode("ascii", "replace"), dtype=np.uint8)
    letters = letters.reshape(len(labels), num_qubits)[:, ::-1]
    is_y = letters == ord("Y")
    x, z = (letters == ord("X")) | is_y, (letters == ord("Z")) | is_y
    known = x | z | (letters == ord("I"))
    if not known.all():
        wrong = labels[int(np.argmin(known.all(axis=1)))]
        raise InputError(f"{where}: '{_short(wrong)}' is not a Pauli string: its letters are I, X, Y and Z")
    return Observable(name, x, z, np.array([value for _, value in pairs], dtype=float))


def _dense(string: str, num_qubits: int, where: str) -> str:
    """The label of sparse factors such as ``Z0 Z3``; the empty string is the identity."""
    letters = ["I"] * num_qubits
    seen = set()
    if _FACTOR.sub("", string).strip(" \t*"):
        raise InputError(f"{where}: '{_short(string)}' is not a Pauli string: write ZZIX, or Z0 Z3")
    for letter, digits in _FACTOR.findall(string):
        qubit = int(digits)
        if qubit >= num_qubits:
            raise InputError(f"{where}: '{letter}{digits}' names qubit {qubit}, the circuit has 0 to {num_qubits - 1}")
        if qubit in seen:
            raise InputError(f"{where}: '{_short(string)}' names qubit {qubit} twice: multiply the two Paulis out")
        seen.add(qubit)
        letters[num_qubits - 1 - qubit] = letter
    return "".join(letters)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
