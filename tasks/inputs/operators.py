"""Observables as Python programs have them: text, Qiskit's operators, dictionaries and pairs, one or several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Operator, Pauli, PauliList, SparseObservable, SparsePauliOp

from tasks.errors import InputError
from tasks.inputs.observables import MAX_TERMS, Observable, from_operator, from_pairs, parse_text, real

_MAX_OPERATOR = 7  # qubits of a matrix: it has up to 4^n Pauli terms

OneObservable: TypeAlias = (
    "str | SparsePauliOp | Pauli | SparseObservable | Operator | Mapping[str, float] | Iterable[tuple[str, float]]"
)
Observables: TypeAlias = "OneObservable | PauliList | Iterable[OneObservable]"

_TAKEN = "text, a SparsePauliOp, Pauli, SparseObservable or Operator, {label: coefficient}, or a sequence of these"


def parse_observables(observables: Any, num_qubits: int) -> list[Observable]:
    """The observables that an argument states, in order.

    Raises:
        InputError: it states none, or one cannot be used.
    """
    several = _several(observables)
    if not several:
        raise InputError("no observable is given: pass at least one")
    parsed = [_parsed(observable, num_qubits) for observable in several]
    names = [observable.name for observable in parsed]
    return [  # a name made here says little of a long operator: number those that are the same
        observable
        if isinstance(given, str) or names.count(observable.name) == 1
        else Observable(f"{observable.name} (number {index})", observable.x, observable.z, observable.coefficients)
        for index, (given, observable) in enumerate(zip(several, parsed, strict=True))
    ]


def _several(observables: Any) -> list[Any]:
    if isinstance(observables, str | SparsePauliOp | Pauli | SparseObservable | Operator | Mapping):
        return [observables]
    if isinstance(observables, PauliList):
        return list(observables)
    if not isinstance(observables, Iterable) or isinstance(observables, bytes | bytearray):
        raise InputError(f"`observables`: a {type(observables).__name__} is no observable: give {_TAKEN}")
    if isinstance(observables, set | frozenset):
        raise InputError("`observables`: a set has no order, in which estimates could be told apart: give a list")
    flat = observables.ravel() if hasattr(observables, "ravel") else observables
    several = list(flat.tolist() if hasattr(flat, "tolist") else flat)
    one = several and (all(map(_is_pair, several)) or all(map(_is_sparse, several)))
    return [several] if one else several


def _is_pair(entry: Any) -> bool:
    """Whether it is (label, coefficient), not two observables in text."""
    several = isinstance(entry, tuple | list) and len(entry) == 2
    return several and isinstance(entry[0], str) and not isinstance(entry[1], str)


def _is_sparse(entry: Any) -> bool:
    """Whether it is (letters, qubits, coefficient), as ``SparsePauliOp.to_sparse_list`` gives it."""
    if not isinstance(entry, tuple | list) or len(entry) != 3 or not isinstance(entry[0], str):
        return False
    return isinstance(entry[1], tuple | list) and len(entry[0]) == len(entry[1])


def _parsed(observable: Any, num_qubits: int) -> Observable:
    if isinstance(observable, str):
        return parse_text(str(observable), num_qubits)
    terms: list[tuple[str, Any]] | None = None
    if isinstance(observable, Mapping):
        if observable and all(isinstance(label, Pauli) for label in observable):
            values = [real(value, f"the term '{label!s:.40}' of an observable") for label, value in observable.items()]
            observable = SparsePauliOp(PauliList(list(observable)), values)
        elif observable and all(isinstance(label, str) for label in observable):
            terms = list(observable.items())
        else:
            raise InputError("`observables`: a dictionary has Pauli strings and numbers: write {'ZZIX': 0.5}")
    elif isinstance(observable, list | tuple) and observable and all(_is_pair(entry) for entry in observable):
        terms = list(observable)
    elif isinstance(observable, list | tuple) and observable and all(_is_sparse(entry) for entry in observable):
        terms = [(" ".join(map("{}{}".format, text, places)), value) for text, places, value in observable]
    if terms is not None:
        pairs = [(label, real(value, f"the term '{label:.40}' of an observable")) for label, value in terms]
        name = " + ".join(f"{value:g}*{label}" for label, value in pairs[:4])
        if len(pairs) > 4 or len(name) > 120:
            name = f"operator of {len(pairs)} terms on {num_qubits} qubits"
        return from_pairs(name, pairs, num_qubits, f"observable '{name}'")
    operator = _operator(observable)
    return from_operator(operator, num_qubits, _name(operator))


def _operator(observable: Any) -> SparsePauliOp:
    """Any of Qiskit's operators as a sum of Pauli strings."""
    try:
        if isinstance(observable, SparsePauliOp):
            return observable
        if isinstance(observable, Pauli):
            return SparsePauliOp(observable)
        if isinstance(observable, SparseObservable):
            projectors = np.array([sum(bit not in "XYZ" for bit in term.bit_labels()) for term in observable])
            if projectors.max(initial=0) > 13 or float(np.exp2(projectors).sum()) > MAX_TERMS:
                raise InputError(f"an observable of projectors stands for more than {MAX_TERMS:,} Pauli terms")
            return SparsePauliOp.from_sparse_observable(observable)
        if isinstance(observable, Operator):
            if observable.num_qubits is None or observable.num_qubits > _MAX_OPERATOR:
                raise InputError(
                    f"an Operator on more than {_MAX_OPERATOR} qubits, or on none: give it as a SparsePauliOp"
                )
            return SparsePauliOp.from_operator(observable)
    except (QiskitError, TypeError, ValueError) as error:
        raise InputError(f"`observables`: this {type(observable).__name__} cannot be read: give {_TAKEN}") from error
    raise InputError(f"`observables`: a {type(observable).__name__} is no observable: give {_TAKEN}")


def _name(operator: SparsePauliOp) -> str:
    """A sum as text while it is short; otherwise how large it is."""
    if operator.size > 4 or operator.num_qubits > 24:
        return f"operator of {operator.size} terms on {operator.num_qubits} qubits"
    try:
        numbers = [(label, complex(value)) for label, value in operator.to_list()]
        return " + ".join(f"{value if value.imag else value.real:g}*{label}" for label, value in numbers)
    except TypeError:  # a parameter without a value
        return f"operator of {operator.size} terms on {operator.num_qubits} qubits"
