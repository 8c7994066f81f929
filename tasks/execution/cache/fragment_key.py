"""The key of a fragment's whole tensor: the circuit, its legs as marks, and its observable factors as marks."""

from __future__ import annotations

import json

from tasks.cutting.plan import Fragment
from tasks.execution.as_written import fragment_material
from tasks.execution.cache.keys import AS_WRITTEN, BY_MEANING, Key, Target, make_key, tolerance_material
from tasks.execution.cache.semantic import Mark, OpenInput, canonical_form
from tasks.execution.errors import UnsupportedCircuit

_AXES = {"x": 0, "y": 1, "z": 2}


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
    parts = [b"tensor", target.material]
    if meaning:
        try:
            form = canonical_form(fragment.circuit, _question(fragment))
            return make_key(BY_MEANING, [*parts, _shape(fragment), tolerance_material(), form.data], form)
        except UnsupportedCircuit:
            pass
    return make_key(AS_WRITTEN, [*parts, fragment_material(fragment)])


def _shape(fragment: Fragment) -> bytes:
    legs = [(leg.kind.name, leg.rank) for leg in fragment.legs]
    return json.dumps({"legs": legs, "factors": fragment.num_factors}, sort_keys=True).encode()


def _question(fragment: Fragment) -> list[Mark | OpenInput]:
    """Legs where they are, then every observable factor at the end."""
    out: list[Mark | OpenInput] = []
    for k in sorted(range(len(fragment.legs)), key=lambda k: (fragment.legs[k].position, k)):
        leg = fragment.legs[k]
        if leg.kind.prepares:
            out.append(OpenInput(leg.position, leg.qubit, 2 * k, 2 * k + 1))
        else:
            out += [Mark(leg.position, ((_AXES[axis], leg.qubit),), 2 * k + n) for n, axis in enumerate(leg.kind.marks)]
    end, first = len(fragment.circuit.data), 2 * len(fragment.legs)
    for k, (xs, zs) in enumerate(zip(fragment.factors_x, fragment.factors_z, strict=True)):
        letters = [
            (_AXES["y" if xs[q] and zs[q] else "x" if xs[q] else "z"], q) for q in range(len(xs)) if xs[q] or zs[q]
        ]
        out.append(Mark(end, tuple(letters), first + k))
    return out
