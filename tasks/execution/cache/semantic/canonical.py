"""One byte string per meaning: the reduced operations in an order and on qubits that no rewrite can change.

Operations are sorted by Foata level (the earliest layer that commutation allows), inside a level by a colour that
only depends on the commutation graph, angles and kinds; ties are broken by singling out measured bits in the caller's
order. In that order the list has exactly one form (:mod:`table`): new qubits are 0, 1, ... and enter as X.

What is serialised is itself a circuit (rotations and measurements on a few qubits from |0...0>), and its outcome
distribution is the original's up to the permutation and the inversion of bits that are returned beside it. Equal
bytes therefore mean equal distributions; missing an equality costs a run, never a wrong value.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from tasks.execution.cache.semantic.normal_form import MARK, MEASURE, ROTATION, Operation, reduce_again
from tasks.execution.cache.semantic.table import Table, introduce, reorder, table_of
from tasks.execution.errors import UnsupportedCircuit

NORMAL_FORM_VERSION = 1
ANGLE_GRID = 1e-10
"""Angles are rounded to this in the bytes (radians); the exact ones are compared on a hit."""

MOST_OPERATIONS = 4000
_MAX_SINGLED_OUT = 24
_HEAD = struct.Struct("<HII")


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


def form_of(operations: list[Operation], num_qubits: int, num_bits: int) -> CanonicalForm:
    """Bring a reduced list into its canonical form.

    Args:
        operations: from ``Builder.finish``.
        num_qubits: virtual qubits they are written on.
        num_bits: classical bits of the circuit.

    Raises:
        UnsupportedCircuit: more than MOST_OPERATIONS are left; memory grows with their square.
    """
    if len(operations) > MOST_OPERATIONS:
        raise UnsupportedCircuit(
            f"{len(operations)} rotations and measurements are left of a circuit, more than the {MOST_OPERATIONS} that "
            "are put in order; it is shared as written only"
        )
    while True:
        table = table_of(operations, num_qubits)
        ordered = reorder(table, canonical_order(table))
        introduced = introduce(ordered)
        if not _can_shrink(introduced):
            break
        # introducing qubits brought equal Paulis together: merge them and begin again
        shorter = reduce_again(introduced.operations(), len(introduced.x))
        if len(shorter) >= len(operations):
            break
        operations, num_qubits = shorter, len(introduced.x)
    best = _serialise(introduced, num_bits)
    if not (introduced.kinds == MARK).any():
        best = min(best, _serialise(introduce(introduced, conjugate=True), num_bits), key=lambda form: form.data)
    return best


def canonical_order(table: Table) -> np.ndarray:
    """Return the operations' indices by level, then colour; ties broken as the module says."""
    anti = anticommutation(table)
    levels = _foata_levels(anti)
    rotations = table.kinds == ROTATION
    angles = np.where(rotations, np.rint(table.angles / ANGLE_GRID), 0).astype(np.uint64)
    tags = np.where(table.kinds == MARK, table.tags + 1, 0).astype(np.uint64)
    seeds = _mix(_mix(_mix(levels.astype(np.uint64) * np.uint64(4) + table.kinds) ^ angles) ^ tags)
    neighbours = anti.astype(np.uint64)
    colour = _refine(seeds, neighbours)
    rows: list[tuple[int, bytes]] | None = None
    for round_number in range(_MAX_SINGLED_OUT):
        tied = _tied(colour)
        if not tied.any():
            break
        rows = rows or _rows(table)
        chosen = _single_out(tied, table.kinds == MEASURE, levels, colour, rows)
        colour[chosen] = _mix(colour[chosen : chosen + 1] ^ np.uint64(round_number + 1))[0]
        colour = _refine(colour, neighbours)
    else:
        rows = rows or _rows(table)
    if rows is None:
        return np.lexsort((colour, levels))
    return np.array(sorted(range(table.size), key=lambda i: (levels[i], colour[i], rows[i])), dtype=np.int64)


def anticommutation(table: Table) -> np.ndarray:
    """(operation, operation) uint8: 1 where two do not commute."""
    x, z = _words(table.x_bits()), _words(table.z_bits())
    odd = np.zeros((table.size, table.size), dtype=np.uint8)
    for x_word, z_word in zip(x.T, z.T, strict=True):
        odd ^= np.bitwise_count(x_word[:, None] & z_word[None, :])
    return (odd ^ odd.T) & np.uint8(1)


def _words(bits: np.ndarray) -> np.ndarray:
    """(operation, word) uint64 from (operation, qubit) bits."""
    packed = np.packbits(bits, axis=1, bitorder="little")
    padded = np.zeros((len(bits), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)


def _foata_levels(anti: np.ndarray) -> np.ndarray:
    """(operation,) int64: one more than the highest level among earlier operations that do not commute with it."""
    at_level: list[int] = []
    levels = np.empty(len(anti), dtype=np.int64)
    for i, row in enumerate(_bit_rows(anti)):
        level = len(at_level)
        while level and not at_level[level - 1] & row:
            level -= 1
        if level == len(at_level):
            at_level.append(0)
        at_level[level] |= 1 << i
        levels[i] = level
    return levels


def _bit_rows(matrix: np.ndarray) -> list[int]:
    """One integer a row, column j at bit j."""
    width = (matrix.shape[1] + 7) // 8
    packed = np.packbits(matrix, axis=1, bitorder="little").tobytes()
    return [int.from_bytes(packed[i * width : (i + 1) * width], "little") for i in range(len(matrix))]


def _rows(table: Table) -> list[tuple[int, bytes]]:
    """For each operation what tells it apart when colours do not: its tag, then its Pauli."""
    bits = np.packbits(np.hstack([table.x_bits(), table.z_bits()]), axis=1)
    return [(tag, row.tobytes()) for tag, row in zip(table.tags.tolist(), bits, strict=True)]


def _mix(values: np.ndarray) -> np.ndarray:
    """One round of splitmix64 on each."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


def _refine(colour: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Refine colours by the sum over neighbours until no class splits any more."""
    classes = len(np.unique(colour))
    while classes < len(colour):
        refined = _mix(colour + _mix(neighbours @ _mix(colour)))
        now = len(np.unique(refined))
        if now <= classes:
            break
        colour, classes = refined, now
    return colour


def _tied(colour: np.ndarray) -> np.ndarray:
    _, inverse, sizes = np.unique(colour, return_inverse=True, return_counts=True)
    return sizes[inverse] > 1


def _single_out(
    tied: np.ndarray, measured: np.ndarray, levels: np.ndarray, colour: np.ndarray, rows: list[tuple[int, bytes]]
) -> int:
    """Return the member to single out of the first class with several: of measured bits if there is such a class."""
    pool = np.flatnonzero(tied & measured if (tied & measured).any() else tied)
    first = pool[np.lexsort((colour[pool], levels[pool]))[0]]
    return int(min(pool[colour[pool] == colour[first]], key=lambda i: rows[i]))


def _can_shrink(table: Table) -> bool:
    """Say whether two rotations about the same Pauli can merge, or one is nothing but a phase."""
    earlier = _bit_rows(np.tril(anticommutation(table), -1))  # of each operation, those that do not commute with it
    x_bits = table.x_bits()
    bits = np.packbits(np.hstack([x_bits, table.z_bits()]), axis=1)
    latest: dict[bytes, int] = {}
    phases = set(np.flatnonzero(~x_bits.any(axis=1)).tolist())
    for i in np.flatnonzero(table.kinds == ROTATION).tolist():
        row = bits[i].tobytes()
        before = latest.get(row, -1)
        if (before >= 0 and not earlier[i] >> before) or (i in phases and not earlier[i]):
            return True
        latest[row] = i
    return False


def _serialise(table: Table, num_bits: int) -> CanonicalForm:
    signs = table.sign_bits()
    rotations, marks, measured = (table.kinds == kind for kind in (ROTATION, MARK, MEASURE))
    angles = np.where(signs[rotations], -table.angles[rotations], table.angles[rotations])
    data = b"".join(
        (
            _HEAD.pack(NORMAL_FORM_VERSION, table.size, len(table.x)),
            table.kinds.tobytes(),
            np.packbits(table.x_bits(), axis=None).tobytes(),
            np.packbits(table.z_bits(), axis=None).tobytes(),
            np.rint(angles / ANGLE_GRID).astype("<i8").tobytes(),
            table.tags[marks].astype("<i8").tobytes(),
            signs[marks].tobytes(),
        )
    )
    bits, inverted = table.tags[measured].tolist(), signs[measured].astype(bool).tolist()
    return CanonicalForm(data, angles, tuple(bits), tuple(inverted), num_bits, table.size, len(table.x))


def operations_of(form: CanonicalForm) -> list[Operation]:
    """Return the operations that a form's bytes describe, on the bits of the circuit that the form came from."""
    _, size, num_qubits = _HEAD.unpack_from(form.data)
    at = _HEAD.size
    kinds = np.frombuffer(form.data, np.uint8, size, at)
    at += size
    length = (size * num_qubits + 7) // 8
    x, z = (
        np.unpackbits(np.frombuffer(form.data, np.uint8, length, at + k * length), count=size * num_qubits)
        .reshape(size, num_qubits)
        .dot(2 ** np.arange(num_qubits, dtype=object))
        .tolist()
        for k in (0, 1)
    )
    at += 2 * length + 8 * len(form.angles)
    marks = int((kinds == MARK).sum())
    tags = iter(np.frombuffer(form.data, "<i8", marks, at).tolist())
    signs = iter(np.frombuffer(form.data, np.uint8, marks, at + 8 * marks).tolist())
    angles, bits = iter(form.angles.tolist()), iter(zip(form.bits, form.inverted, strict=True))
    out = []
    for i, kind in enumerate(kinds.tolist()):
        if kind == ROTATION:
            out.append(Operation(kind, int(x[i]), int(z[i]), next(angles)))
        elif kind == MARK:
            out.append(Operation(kind, int(x[i]), int(z[i]), 0.0, bool(next(signs)), next(tags)))
        elif kind == MEASURE:
            bit, flipped = next(bits)
            out.append(Operation(kind, int(x[i]), int(z[i]), 0.0, flipped, bit))
        else:
            out.append(Operation(kind, int(x[i]), int(z[i])))
    return out
