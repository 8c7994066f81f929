"""The key of a fragment's whole tensor: the circuit, its legs as marks, and its observable factors as marks."""

from __future__ import annotations

import json

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.execution.cache.canonical import canonical_form
from tasks.execution.cache.circuit_reader import Reader, X, Y, Z
from tasks.execution.cache.errors import UnsupportedCircuit
from tasks.execution.cache.keys import AS_WRITTEN, BY_MEANING, Key, Target, exact_material, make_key, tolerance_material


def fragment_key(fragment: Fragment, target: Target) -> Key:
    """Return the key of the fragment's exact tensor.

    A tensor entry is <psi| (Paulis on legs, each on either side) (a factor) |psi>. Legs and factors keep their
    identity: fragments share a key only if their tensors are equal entry by entry.

    Args:
        fragment: the fragment.
        target: what computes the tensor.
    """
    legs = [(leg.kind, leg.rank) for leg in fragment.legs]
    head = json.dumps({"legs": legs, "factors": fragment.num_factors}, sort_keys=True).encode()
    parts = [b"tensor", target.digest_material(), head]
    try:
        reader = _read(fragment)
        form = canonical_form(reader.builder.finish(), reader.builder.num_qubits, 0)
    except UnsupportedCircuit:
        places = json.dumps([(leg.qubit, leg.position) for leg in fragment.legs]).encode()
        factors = np.packbits(np.stack([fragment.factors_x, fragment.factors_z])).tobytes()
        return make_key(AS_WRITTEN, [*parts, places, factors, exact_material(fragment.circuit)])
    return make_key(BY_MEANING, [*parts, tolerance_material(), form.data], form)


def _read(fragment: Fragment) -> Reader:
    circuit = fragment.circuit
    reader = Reader(circuit.num_qubits, 2 * sum(leg.kind == "wire_in" for leg in fragment.legs))
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
    if leg.kind == "wire_in":
        reader.open_input(leg.qubit, 2 * index, 2 * index + 1)
        return
    reader.mark(((Z, leg.qubit),), 2 * index)
    if leg.kind == "wire_out" or leg.rank == 4:
        reader.mark(((X, leg.qubit),), 2 * index + 1)
