"""One byte string per meaning: the reduced operations in an order and on qubits that no rewrite can change.

Operations are sorted by Foata level (the earliest layer that commutation allows), inside a level by a colour that
only depends on the commutation graph, angles and kinds; ties are broken by singling out measured bits in the caller's
order. Replayed in that order the list has exactly one form: new qubits are 0, 1, ... and enter as X.

What is serialised is itself a circuit (rotations and measurements on a few qubits from |0...0>), and its outcome
distribution is the original's up to the permutation and the inversion of bits that are returned beside it. Equal
bytes therefore mean equal distributions; missing an equality costs a run, never a wrong value.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.execution.cache.normal_form import MARK, MEASURE, ROTATION, Columns, Operation, replay

NORMAL_FORM_VERSION = 1
ANGLE_GRID = 1e-10
"""Angles are rounded to this in the bytes (radians); the exact ones are compared on a hit."""

_MASK = (1 << 64) - 1
_MAX_SINGLED_OUT = 24


@dataclass(frozen=True)
class CanonicalForm:
    """What a circuit means, in one form for all its spellings.

    Attributes:
        data: the serialised form; equal for circuits of equal meaning.
        angles: (rotation,) float64, the unrounded angles, in the order of ``data``.
        bits: for each canonical bit the classical bit of the circuit it stands for.
        inverted: for each canonical bit whether the circuit's bit is its inverse.
        num_bits: classical bits of the circuit; those not in ``bits`` are always 0.
        num_operations: how many operations are left (rotations, measurements, marks).
        num_qubits: how many qubits they act on.
    """

    data: bytes
    angles: np.ndarray
    bits: tuple[int, ...]
    inverted: tuple[bool, ...]
    num_bits: int
    num_operations: int
    num_qubits: int


def canonical_form(operations: list[Operation], num_qubits: int, num_bits: int) -> CanonicalForm:
    """Bring a reduced list into its canonical form.

    Args:
        operations: from ``Builder.finish``.
        num_qubits: virtual qubits they are written on.
        num_bits: classical bits of the circuit.
    """
    size = -1
    while size != len(operations):
        size = len(operations)
        operations = replay(operations, num_qubits, absorb=False)
    while True:
        order = canonical_order(operations, num_qubits)
        ordered = replay([operations[i] for i in order], num_qubits)
        if len(ordered) == len(operations):
            break
        operations = ordered  # introducing qubits brought equal Paulis together
    best = _serialise(ordered, num_bits)
    if not any(op.kind == MARK for op in ordered):
        mirrored = replay([operations[i] for i in order], num_qubits, conjugate=True)
        if len(mirrored) == len(ordered):
            best = min(best, _serialise(mirrored, num_bits), key=lambda form: form.data)
    return best


def canonical_order(operations: Sequence[Operation], num_qubits: int) -> list[int]:
    """Return the operations' indices by level, then colour; ties broken as the module says."""
    size = len(operations)
    if size == 0:
        return []
    columns = Columns(num_qubits)
    neighbours = np.zeros((size, size), dtype=np.uint64)
    levels: list[int] = []
    at_level: list[int] = []
    width = (size + 7) // 8
    rows = bytearray()
    for i, op in enumerate(operations):
        anti = columns.anticommuting(op.x, op.z)
        columns.toggle(i, op.x, op.z)
        level = len(at_level)
        while level and not at_level[level - 1] & anti:
            level -= 1
        if level == len(at_level):
            at_level.append(0)
        at_level[level] |= 1 << i
        levels.append(level)
        rows += anti.to_bytes(width, "little")
    lower = np.unpackbits(np.frombuffer(bytes(rows), dtype=np.uint8).reshape(size, width), axis=1, bitorder="little")
    neighbours[:] = lower[:, :size]
    neighbours |= neighbours.T
    level_array = np.array(levels, dtype=np.int64)
    seeds = [_seed(op, level) for op, level in zip(operations, levels, strict=True)]
    colour = np.array(seeds, dtype=np.uint64)
    colour = _refine(colour, neighbours)
    for round_number in range(_MAX_SINGLED_OUT):
        chosen = _first_tie(operations, level_array, colour)
        if chosen < 0:
            break
        colour[chosen] = _mix(int(colour[chosen]) ^ (0x9E3779B97F4A7C15 * (round_number + 1) & _MASK))
        colour = _refine(colour, neighbours)
    return sorted(range(size), key=lambda i: (levels[i], int(colour[i]), operations[i].x, operations[i].z, i))


def _seed(op: Operation, level: int) -> int:
    angle = abs(round(op.angle / ANGLE_GRID)) if op.kind == ROTATION else 0
    tag = op.tag if op.kind == MARK else 0
    return _mix(_mix(_mix(level * 4 + op.kind) ^ angle) ^ tag)


def _mix(value: int) -> int:
    """One round of splitmix64."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31


def _mix_array(values: np.ndarray) -> np.ndarray:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


def _refine(colour: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Refine colours by the sum over neighbours until no class splits any more."""
    classes = len(np.unique(colour))
    while classes < len(colour):
        colour = _mix_array(colour + _mix_array(neighbours @ _mix_array(colour)))
        now = len(np.unique(colour))
        if now <= classes:
            break
        classes = now
    return colour


def _first_tie(operations: Sequence[Operation], levels: np.ndarray, colour: np.ndarray) -> int:
    """Return the member to single out of the first class with several: a measured bit if there is such a class."""
    _, inverse, sizes = np.unique(colour, return_inverse=True, return_counts=True)
    tied = sizes[inverse] > 1
    if not tied.any():
        return -1
    candidates = np.flatnonzero(tied).tolist()
    bits = [i for i in candidates if operations[i].kind == MEASURE]
    pool = bits or candidates
    first = min(pool, key=lambda i: (levels[i], colour[i]))
    members = [i for i in pool if colour[i] == colour[first]]
    return int(min(members, key=lambda i: (operations[i].tag, operations[i].x, operations[i].z, i)))


def _serialise(operations: list[Operation], num_bits: int) -> CanonicalForm:
    num_qubits = max((max(op.x, op.z).bit_length() for op in operations), default=0)
    width = (num_qubits + 7) // 8
    out = bytearray(struct.pack("<HIIH", NORMAL_FORM_VERSION, len(operations), num_qubits, 0))
    angles, bits, inverted = [], [], []
    for op in operations:
        out.append(op.kind)
        out += op.x.to_bytes(width, "little") + op.z.to_bytes(width, "little")
        if op.kind == ROTATION:
            angles.append(op.angle)
            out += struct.pack("<q", round(op.angle / ANGLE_GRID))
        elif op.kind == MARK:
            out += struct.pack("<qB", op.tag, op.flipped)
        elif op.kind == MEASURE:
            bits.append(op.tag)
            inverted.append(op.flipped)
    return CanonicalForm(
        bytes(out),
        np.array(angles, dtype=np.float64),
        tuple(bits),
        tuple(inverted),
        num_bits,
        len(operations),
        num_qubits,
    )


def decode(form: CanonicalForm) -> list[Operation]:
    """Return the operations that a form's bytes describe, on the bits of the circuit that the form came from."""
    _, size, num_qubits, _ = struct.unpack_from("<HIIH", form.data)
    at = struct.calcsize("<HIIH")
    width = (num_qubits + 7) // 8
    out = []
    angle = bit = 0
    for _ in range(size):
        kind = form.data[at]
        x = int.from_bytes(form.data[at + 1 : at + 1 + width], "little")
        z = int.from_bytes(form.data[at + 1 + width : at + 1 + 2 * width], "little")
        at += 1 + 2 * width
        if kind == ROTATION:
            out.append(Operation(kind, x, z, float(form.angles[angle])))
            angle += 1
            at += 8
        elif kind == MARK:
            tag, flipped = struct.unpack_from("<qB", form.data, at)
            out.append(Operation(kind, x, z, flipped=bool(flipped), tag=tag))
            at += 9
        elif kind == MEASURE:
            out.append(Operation(kind, x, z, flipped=form.inverted[bit], tag=form.bits[bit]))
            bit += 1
        else:
            out.append(Operation(kind, x, z))
    return out
