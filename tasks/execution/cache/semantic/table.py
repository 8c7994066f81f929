"""Operations as columns: one integer a qubit for X, one for Z, one bit per operation; gates act on all at once.

In this form every new qubit is introduced: an operation whose Pauli P has an X part on an untouched qubit j is, by
Cliffords that are 1 while j is |0> (controlled Paulis, S and Z on j), turned into the same operation about X_j; the
Cliffords are pulled past everything that follows. And Z on a qubit that nothing has touched yet is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.execution.cache.semantic.frame import HALF_PI
from tasks.execution.cache.semantic.normal_form import ROTATION, Operation


@dataclass(frozen=True)
class Table:
    """Operations in order.

    Attributes:
        kinds: (operation,) uint8.
        angles: (operation,) float64, the size of a rotation's angle, 0 for the others.
        tags: (operation,) int64.
        x: for each qubit, which operations have X on it, operation i at bit i.
        z: likewise Z; X and Z both mean Y.
        signs: which operations are about minus their string (a rotation: have a negative angle).
    """

    kinds: np.ndarray
    angles: np.ndarray
    tags: np.ndarray
    x: tuple[int, ...]
    z: tuple[int, ...]
    signs: int

    @property
    def size(self) -> int:
        """Number of operations."""
        return len(self.kinds)

    def x_bits(self) -> np.ndarray:
        """(operation, qubit) uint8."""
        return _matrix(self.x, self.size)

    def z_bits(self) -> np.ndarray:
        """(operation, qubit) uint8."""
        return _matrix(self.z, self.size)

    def sign_bits(self) -> np.ndarray:
        """(operation,) uint8."""
        return _matrix((self.signs,), self.size)[:, 0]

    def operations(self) -> list[Operation]:
        """Return the operations one by one."""
        width = (len(self.x) + 7) // 8
        rows = [np.packbits(bits, axis=1, bitorder="little").tobytes() for bits in (self.x_bits(), self.z_bits())]
        signs = self.sign_bits().tolist()
        out = []
        for i, (kind, angle, tag) in enumerate(
            zip(self.kinds.tolist(), self.angles.tolist(), self.tags.tolist(), strict=True)
        ):
            x, z = (int.from_bytes(row[i * width : (i + 1) * width], "little") for row in rows)
            if kind == ROTATION:
                out.append(Operation(kind, x, z, -angle if signs[i] else angle))
            else:
                out.append(Operation(kind, x, z, 0.0, bool(signs[i]), tag))
        return out


def table_of(operations: Sequence[Operation], num_qubits: int) -> Table:
    """Put a list of operations into columns."""
    signs = [op.angle < 0 if op.kind == ROTATION else op.flipped for op in operations]
    return Table(
        np.array([op.kind for op in operations], dtype=np.uint8),
        np.array([abs(op.angle) for op in operations], dtype=np.float64),
        np.array([op.tag for op in operations], dtype=np.int64),
        _columns([op.x for op in operations], num_qubits),
        _columns([op.z for op in operations], num_qubits),
        sum(1 << i for i in range(len(operations)) if signs[i]),
    )


def reorder(table: Table, order: np.ndarray) -> Table:
    """Return the operations in another order."""
    moved = _integers(_matrix((*table.x, *table.z, table.signs), table.size)[order])
    n = len(table.x)
    return Table(table.kinds[order], table.angles[order], table.tags[order], moved[:n], moved[n : 2 * n], moved[-1])


def introduce(table: Table, *, conjugate: bool = False) -> Table:
    """Introduce the qubits one by one; the result is on qubits 0, 1, ... in order of introduction.

    Args:
        table: operations in a valid order.
        conjugate: introduce the complex conjugate instead; every outcome probability stays the same.
    """
    work = _Work(table)
    if conjugate:
        work.conjugate(_mask(table.kinds == ROTATION))
    quarters = _mask((table.kinds == ROTATION) & (np.abs(table.angles - HALF_PI / 2) < 1e-9))
    angles = table.angles.copy()
    untouched = list(range(len(table.x)))
    pivots: list[tuple[int, int]] = []
    position = 0
    while True:
        fresh = 0
        for q in untouched:
            fresh |= work.x[q]
        pivot = _lowest(fresh, table.size)
        quarter = _lowest(quarters & work.signs & -(1 << position), table.size)
        if quarter < pivot:
            # a rotation by -pi/4 is one by pi/4 and a Clifford; so are their neighbours, to the last digit
            angles[quarter] = HALF_PI - angles[quarter]
            for q in untouched:
                work.z[q] &= ~(1 << quarter)
            work.turn_back(quarter)
            position = quarter + 1
            continue
        if pivot == table.size:
            break
        qubit = next(q for q in untouched if work.x[q] >> pivot & 1)
        work.make_x(pivot, qubit, set(untouched))
        untouched.remove(qubit)
        pivots.append((qubit, pivot))
        position = pivot + 1
    x = tuple(work.x[q] for q, _ in pivots)
    z = tuple(work.z[q] & -(1 << first) for q, first in pivots)
    return Table(table.kinds, angles, table.tags, x, z, work.signs)


class _Work:
    """Columns that are being changed. Each gate g turns later operations L into g L g^dagger (Aaronson, Gottesman)."""

    def __init__(self, table: Table) -> None:
        self.x = list(table.x)
        self.z = list(table.z)
        self.signs = table.signs

    def conjugate(self, rotations: int) -> None:
        for x, z in zip(self.x, self.z, strict=True):
            self.signs ^= x & z
        self.signs ^= rotations

    def make_x(self, index: int, qubit: int, untouched: set[int]) -> None:
        """Turn operation ``index`` and the later ones by Cliffords controlled by ``qubit`` until it is X there."""
        mask = -(1 << index)
        for other in range(len(self.x)):
            if other == qubit:
                continue
            has_x, has_z = self.x[other] >> index & 1, self.z[other] >> index & 1
            if has_x and has_z and other not in untouched:
                self._s(other, mask)
                self._cx(qubit, other, mask)
                self._s(other, mask)
                self.signs ^= self.x[other] & mask  # S S = Z; undone, so that the whole is a controlled Y
            elif has_x:
                self._cx(qubit, other, mask)
            elif has_z and other not in untouched:
                self._cz(qubit, other, mask)
        if self.z[qubit] >> index & 1:
            self._s(qubit, mask)
        if self.signs >> index & 1:
            self.signs ^= self.x[qubit] & mask

    def turn_back(self, index: int) -> None:
        """Pull exp(+i pi/4 P) past the operations after ``index``, which is about -P, and make it about P."""
        mask = -(1 << index)
        letters = [(q, self.x[q] >> index & 1, self.z[q] >> index & 1) for q in range(len(self.x))]
        letters = [(q, has_x, has_z) for q, has_x, has_z in letters if has_x or has_z]
        if not letters:  # nothing but a phase
            self.signs &= ~(1 << index)
            return
        steps: list[tuple[str, int, int]] = []
        for q, has_x, has_z in letters:  # make every letter Z
            if has_x and has_z:
                steps.append(("s", q, q))
            if has_x:
                steps.append(("h", q, q))
        first = letters[0][0]
        steps += [("cx", q, first) for q, _, _ in letters[1:]]
        for step in steps:
            self._step(step, mask)
        rest = -(1 << (index + 1))
        self._s(first, rest)
        if not self.signs >> index & 1:  # it became +Z, so P is -Z: the inverse of S
            self.signs ^= self.x[first] & rest
        for step in reversed(steps):
            self._step(step, mask)
            if step[0] == "s":
                self.signs ^= self.x[step[1]] & mask
        self.signs &= ~(1 << index)

    def _step(self, step: tuple[str, int, int], mask: int) -> None:
        name, a, b = step
        if name == "s":
            self._s(a, mask)
        elif name == "h":
            self.signs ^= self.x[a] & self.z[a] & mask
            change = (self.x[a] ^ self.z[a]) & mask
            self.x[a] ^= change
            self.z[a] ^= change
        else:
            self._cx(a, b, mask)

    def _s(self, q: int, mask: int) -> None:
        self.signs ^= self.x[q] & self.z[q] & mask
        self.z[q] ^= self.x[q] & mask

    def _cx(self, a: int, b: int, mask: int) -> None:
        self.signs ^= self.x[a] & self.z[b] & ~(self.x[b] ^ self.z[a]) & mask
        self.x[b] ^= self.x[a] & mask
        self.z[a] ^= self.z[b] & mask

    def _cz(self, a: int, b: int, mask: int) -> None:
        self.signs ^= self.x[a] & self.x[b] & (self.z[a] ^ self.z[b]) & mask
        self.z[a] ^= self.x[b] & mask
        self.z[b] ^= self.x[a] & mask


def _lowest(bits: int, default: int) -> int:
    return (bits & -bits).bit_length() - 1 if bits else default


def _mask(chosen: np.ndarray) -> int:
    return int.from_bytes(np.packbits(chosen, bitorder="little").tobytes(), "little")


def _matrix(columns: Sequence[int], size: int) -> np.ndarray:
    """(operation, column) uint8 from one integer a column."""
    width = (size + 7) // 8
    raw = b"".join(column.to_bytes(width, "little") for column in columns)
    if not raw:
        return np.zeros((size, len(columns)), dtype=np.uint8)
    rows = np.frombuffer(raw, dtype=np.uint8).reshape(len(columns), width)
    return np.unpackbits(rows, axis=1, count=size, bitorder="little").T


def _integers(matrix: np.ndarray) -> tuple[int, ...]:
    """One integer a column from (operation, column) bits."""
    packed = np.packbits(matrix, axis=0, bitorder="little").T
    return tuple(int.from_bytes(row.tobytes(), "little") for row in packed)


def _columns(rows: Sequence[int], num_qubits: int) -> tuple[int, ...]:
    """One integer a qubit from one integer an operation."""
    return _integers(_matrix(rows, num_qubits).T) if rows else (0,) * num_qubits
