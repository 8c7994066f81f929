"""The key of a fragment's whole tensor: the circuit, its legs as marks, and its observable factors as marks."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.execution.cache.errors import UnsupportedCircuit
from tasks.execution.cache.keys import AS_WRITTEN, BY_MEANING, Key, Target, exact_material, make_key, tolerance_material
from tasks.execution.cache.semantic.canonical import canonical_form
from tasks.execution.cache.semantic.circuit_reader import Reader, X, Y, Z

_AXES = {"x": X, "z": Z}


def fragment_key(fragment: Fragment, target: Target, *, meaning: bool = True) -> Key:
    """Return the key of the fragment's exact tensor.

    A tensor entry is <psi| (Paulis on legs, each on either side) (a factor) |psi>. Legs and factors keep their
    identity: fragments share a key only if their tensors are equal entry by entry. Without legs and with one factor
    this is the key of one Pauli expectation value.

    Args:
        fragment: the fragment.
        target: what computes the tensor.
        meaning: by what the fragment means; else by the fragment as it is written.
    """
    parts = [b"tensor", target.digest_material()]
    if meaning:
        try:
            reader = _read(fragment)
            form = canonical_form(reader.builder.finish(), reader.builder.num_qubits, 0)
            return make_key(BY_MEANING, [*parts, _head(fragment), tolerance_material(), form.data], form)
        except UnsupportedCircuit:
            pass
    return make_key(AS_WRITTEN, [*parts, *_as_written(fragment)])


def fragment_digest(fragment: Fragment) -> str:
    """Return a digest of the fragment as written, for provenance."""
    return hashlib.blake2b(b"".join(_as_written(fragment)), digest_size=16).hexdigest()


def _head(fragment: Fragment) -> bytes:
    legs = [(leg.kind.name, leg.rank) for leg in fragment.legs]
    return json.dumps({"legs": legs, "factors": fragment.num_factors}, sort_keys=True).encode()


def _as_written(fragment: Fragment) -> list[bytes]:
    places = json.dumps([(leg.qubit, leg.position) for leg in fragment.legs]).encode()
    factors = np.packbits(np.stack([fragment.factors_x, fragment.factors_z])).tobytes()
    return [_head(fragment), places, factors, exact_material(fragment.circuit)]


def _read(fragment: Fragment) -> Reader:
    circuit = fragment.circuit
    reader = Reader(circuit.num_qubits, 2 * sum(leg.kind.prepares for leg in fragment.legs))
    qubit_at = {bit: i for i, bit in enumerate(circuit.qubits)}
    order = sorted(range(len(fragment.legs)), key=lambda k: (fragment.legs[k].position, k))
    for i, item in enumerate((*circuit.data, None)):
        while order and (item is None or fragment.legs[order[0]].position <= i):
            _open_leg(reader, fragment, order.pop(0))
        if item is not None:
            reader.gate(item.operation, [qubit_at[q] for q in item.qubits])
    first = 2 * len(fragment.legs)
    for k, (xs, zs) in enumerate(zip(fragment.factors_x, fragment.factors_z, strict=True)):
        letters = [(Y if xs[q] and zs[q] else X if xs[q] else Z, q) for q in np.flatnonzero(xs | zs).tolist()]
        reader.mark(letters, first + k)
    return reader


def _open_leg(reader: Reader, fragment: Fragment, index: int) -> None:
    leg = fragment.legs[index]
    if leg.kind.prepares:
        reader.open_input(leg.qubit, 2 * index, 2 * index + 1)
        return
    for k, axis in enumerate(leg.kind.marks):
        reader.mark(((_AXES[axis], leg.qubit),), 2 * index + k)
