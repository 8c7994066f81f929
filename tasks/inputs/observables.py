"""Observables, as text, JSON or Qiskit operators, become the arrays of :class:`tasks.model.problem.PauliTerms`.

Text is a Pauli label ``ZZIX`` (rightmost letter: qubit 0), sparse factors ``Z0 Z3``, or a sum of either with real
coefficients: ``0.5*Z0 Z3 - 1.2*X1 + 0.1``. A JSON file holds ``[["ZZIX", 0.5], ...]`` or ``{"ZZIX": 0.5, ...}``, one
observable of many terms, or ``{"name": [["ZZIX", 0.5], ...], ...}``, many observables. A coefficient may be written
as ``"0.5"``, ``"(0.5+0j)"`` or ``[0.5, 0.0]``.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.quantum_info import SparsePauliOp
from scipy.sparse import csr_array

from tasks.errors import InputError
from tasks.inputs.files import read_json
from tasks.model.problem import PauliTerms

MAX_TERMS = 10_000
MAX_COEFFICIENT = 1e50  # far past any use, and fourth powers of sums of 10,000 such terms stay finite
LEAST_LARGEST = (
    1e-50  # of an observable's coefficients, where not all are zero: of fourth powers of these something stays
)

_FORMS = "write it as ZZIX, as Z0 Z3, or as 0.5*Z0 Z3 - 1.2*X1 + 0.1"
# Every alternative takes each character once, so that no text makes it slow.
_TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|\([^()]*\))(?P<unit>\s*\*?\s*[ji]\b)?"
    r"|(?P<factor>[IXYZ]\d+)|(?P<label>[IXYZ]+)|(?P<sign>[+-])|(?P<star>\*)|(?P<blank>\s+)|(?P<imaginary>[ji]\b)",
    re.ASCII,
)
_FACTOR = re.compile(r"([IXYZ])(\d+)", re.ASCII)


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
    text = " ".join(text.replace("\u2212", "-").split())  # the minus sign of typeset text
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    pairs: list[tuple[str, float]] = []
    for start, sign, number, paulis in _terms(text, shown):
        if number is None and not paulis:
            raise _unreadable(text, start, shown)
        value = 1.0 if number is None else real(number, f"observable '{shown}'")
        pairs.append((" ".join(paulis), -value if sign == "-" else value))
    if not pairs:
        raise InputError(f"an observable is empty: {_FORMS}")
    return from_pairs(text.strip(), pairs, num_qubits, f"observable '{shown}'")


def _terms(text: str, shown: str) -> Iterator[tuple[int, str, str | None, list[str]]]:
    """The terms of a sum: where it starts, its sign, its number, its factors or label."""
    start, sign, number, star = 0, "", None, False
    paulis: list[str] = []
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise _unreadable(text, position, shown)
        kind = token.lastgroup
        if token["unit"] or kind == "imaginary":
            raise InputError(
                f"observable '{shown}' has a complex coefficient: Qompass takes Hermitian sums, real ones only"
            )
        if kind == "sign":
            if number is not None or paulis:
                if star:
                    raise _unreadable(text, position, shown)
                yield start, sign, number, paulis
            elif sign:
                raise _unreadable(text, position, shown)
            start, sign, number, paulis = position, token["sign"], None, []
        elif kind == "number":
            if number is not None or paulis:
                raise _unreadable(text, position, shown)
            number = token["number"]
        elif kind in ("factor", "label"):
            if paulis and (kind == "label" or paulis[-1].isalpha()):
                raise _unreadable(text, position, shown)
            paulis.append(token[kind])
            star = False
        elif kind == "star":
            if star or (number is None and not paulis):
                raise _unreadable(text, position, shown)
            star = True
        position = token.end()
    if star:
        raise _unreadable(text, len(text), shown)
    if number is not None or paulis or sign:
        yield start, sign, number, paulis


def _unreadable(text: str, position: int, shown: str) -> InputError:
    return InputError(f"observable '{shown}' cannot be read at '{text[position:].strip()[:20]}': {_FORMS}")


def real(value: Any, where: str) -> float:
    """A coefficient: a number, a number as text, or real and imaginary part with nothing in the second.

    Raises:
        InputError: it is complex, or no number.
    """
    shown = _short(str(value))
    found: Any = value
    try:
        if isinstance(value, str):
            found = complex(value.replace(" ", ""))
        elif isinstance(value, list | tuple) and len(value) == 2:
            found = complex(real(value[0], where), real(value[1], where))
        if isinstance(found, bool | np.bool_) or not isinstance(found, numbers.Number):
            raise ValueError
        found = complex(found)  # type: ignore[call-overload]
    except (ValueError, TypeError) as error:
        raise InputError(f"{where} has no number for coefficient ({shown}): Qompass takes real numbers only") from error
    except OverflowError as error:
        raise InputError(f"{where}: the coefficient {shown} is not a number below {MAX_COEFFICIENT:g}") from error
    if abs(found.imag) > 1e-12 * max(1.0, abs(found.real)):
        raise InputError(f"{where} has a complex coefficient ({shown}): Qompass takes real numbers only")
    if not (abs(found.real) <= MAX_COEFFICIENT and abs(found.imag) <= MAX_COEFFICIENT):
        raise InputError(f"{where}: the coefficient {shown} is not a number below {MAX_COEFFICIENT:g}")
    return float(found.real)


def read_observables(path: Path, num_qubits: int) -> list[Observable]:
    """The observables of a JSON file, in its order; one that is a bare list is named after the file.

    Raises:
        InputError: the file cannot be read or is not of the documented form, or has more than 10,000 terms.
    """
    document = read_json(path, "file of observables")
    if isinstance(document, dict) and document and all(not isinstance(v, list | dict) for v in document.values()):
        document = [list(pair) for pair in document.items()]  # {"ZZIX": 0.5}, as Qiskit's primitives take it
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
        raise InputError(
            f"observable '{name}' acts on {operator.num_qubits} qubits, the circuit has {num_qubits}",
            field="observables",
        )
    try:
        coefficients = np.asarray(operator.coeffs, dtype=complex)
    except (TypeError, ValueError) as error:  # parameters without a value
        raise InputError(
            f"observable '{name}' has a coefficient that is no number: bind its parameters", field="observables"
        ) from error
    if not np.all(np.isfinite(coefficients)) or np.any(np.abs(coefficients) > MAX_COEFFICIENT):
        raise InputError(
            f"observable '{name}' has a coefficient that is not a finite number below {MAX_COEFFICIENT:g}",
            field="observables",
        )
    if np.any(np.abs(coefficients.imag) > 1e-12 * np.maximum(1.0, np.abs(coefficients.real))):
        raise InputError(
            f"observable '{name}' has a complex coefficient: Qompass takes real ones only", field="observables"
        )
    _refuse_too_small(coefficients.real, f"observable '{name}'")
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
        raise InputError(f"{path}: observable '{name:.60}' is not a list of terms: write [[\"ZZIX\", 0.5], ...]")
    terms = []
    for number, pair in enumerate(pairs):
        where = f"{path}: term {number} of '{name:.60}'"
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise InputError(f'{where} is not a pair of a Pauli string and a number: write ["ZZIX", 0.5]')
        terms.append((pair[0], real(pair[1], where)))
    return from_pairs(name, terms, num_qubits, f"{path}: observable '{name:.60}'")


def from_pairs(name: str, pairs: list[tuple[str, float]], num_qubits: int, where: str) -> Observable:
    """Arrays from (Pauli string, coefficient); a string is a label, sparse factors, or empty for the identity."""
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
    coefficients = np.array([value for _, value in pairs], dtype=float)
    _refuse_too_small(coefficients, where)
    return Observable(name, x, z, coefficients)


def _refuse_too_small(coefficients: np.ndarray, where: str) -> None:
    if 0 < np.abs(coefficients).max(initial=0.0) < LEAST_LARGEST:
        raise InputError(f"{where}: all its coefficients are below {LEAST_LARGEST:g}: scale it", field="observables")


def _dense(string: str, num_qubits: int, where: str) -> str:
    """The label of sparse factors such as ``Z0 Z3``; the empty string is the identity."""
    letters = ["I"] * num_qubits
    seen = set()
    if _FACTOR.sub("", string).strip(" \t*"):
        raise InputError(f"{where}: '{_short(string)}' is not a Pauli string: write ZZIX, or Z0 Z3")
    for letter, digits in _FACTOR.findall(string):
        qubit = int(digits) if len(digits) < 10 else num_qubits
        if qubit >= num_qubits:
            raise InputError(
                f"{where}: '{letter}{digits[:20]}' names qubit {digits[:20]}, the circuit has 0 to {num_qubits - 1}"
            )
        if qubit in seen:
            raise InputError(f"{where}: '{_short(string)}' names qubit {qubit} twice: multiply the two Paulis out")
        seen.add(qubit)
        letters[num_qubits - 1 - qubit] = letter
    return "".join(letters)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
