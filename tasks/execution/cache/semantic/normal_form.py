"""Operations on Paulis, reduced: merged through what commutes, the dead dropped.

The state starts as |0...0>. Everything is an operation on a Pauli: a rotation exp(-i theta/2 P), a measurement of P
into a bit, a measurement whose bit nobody reads, or a *mark*: a Pauli that is part of the question (an observable,
a leg of a fragment) and is inserted or not. Clifford gates are no operations; they live in the frame.

What is dropped is dropped exactly: a rotation about a product of Z before anything that anticommutes with it (a phase),
one about a Pauli that has just been measured or is measured next, and everything that commutes with all that matters
after it (the light cone, trailing phases, idle qubits).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tasks.execution.cache.semantic.frame import (
    ANGLE_TOLERANCE,
    Frame,
    Pauli,
    hermitian,
    is_negative,
    split_angle,
)

ROTATION, MEASURE, DEPHASE, MARK = 0, 1, 2, 3


class Operation(NamedTuple):
    """One operation of the reduced list.

    Attributes:
        kind: ROTATION, MEASURE, DEPHASE (a measurement whose bit is not read) or MARK.
        x: X bits of its Pauli over virtual qubits.
        z: Z bits; X and Z both set means Y.
        angle: of a rotation, in radians, in (-pi/4, pi/4].
        flipped: the Pauli is minus the string: the bit is inverted, the mark has a sign.
        tag: the classical bit of a measurement, the identity of a mark; -1 for the others.
    """

    kind: int
    x: int
    z: int
    angle: float = 0.0
    flipped: bool = False
    tag: int = -1


class Columns:
    """Which operations have X, and which Z, on each qubit, one bit per operation: commutation by a few XORs."""

    __slots__ = ("x", "z")

    def __init__(self, num_qubits: int) -> None:
        self.x = [0] * num_qubits
        self.z = [0] * num_qubits

    def toggle(self, index: int, x: int, z: int) -> None:
        """Add operation ``index``, or take it out again."""
        bit = 1 << index
        for column, bits in ((self.x, x), (self.z, z)):
            while bits:
                low = bits & -bits
                column[low.bit_length() - 1] ^= bit
                bits ^= low

    def anticommuting(self, x: int, z: int) -> int:
        """Return the bit set of operations that anticommute with the given Pauli."""
        out = 0
        for column, bits in ((self.z, x), (self.x, z)):
            while bits:
                low = bits & -bits
                out ^= column[low.bit_length() - 1]
                bits ^= low
        return out


class Builder:
    """Takes operations in order and keeps the reduced list, on the qubits as they are.

    Args:
        num_qubits: all start in |0>.

    Attributes:
        frame: the Cliffords pulled past everything that follows.
        operations: what is left; None where something merged or cancelled.
    """

    def __init__(self, num_qubits: int) -> None:
        self.frame = Frame(num_qubits)
        self.operations: list[Operation | None] = []
        self._columns = Columns(num_qubits)
        self._anti: list[int] = []  # for each operation the earlier ones that anticommute with it
        self._latest: dict[tuple[int, int], int] = {}

    @property
    def num_qubits(self) -> int:
        """Qubits that the operations are written on."""
        return len(self.frame.xs)

    def rotate(self, image: Pauli, theta: float) -> None:
        """Append exp(-i theta/2 P), P given by its image under the frame, |theta| <= pi/4."""
        x, z = image[0], image[1]
        anti = self._columns.anticommuting(x, z)
        if not x and not anti:
            return  # the state still is an eigenstate of this product of Z: a phase
        if is_negative(image):
            theta = -theta
        before = self._latest.get((x, z), -1)
        if before >= 0 and not anti >> before:
            found = self.operations[before]
            assert found is not None
            if found.kind != ROTATION:
                return  # P has just been measured, the state is an eigenstate of it: a phase
            theta += found.angle
            self._remove(before)
        turns, rest = split_angle(theta)
        if turns:
            self.frame.turn(hermitian(x, z), turns)
        if abs(rest) > ANGLE_TOLERANCE:
            self._append(Operation(ROTATION, x, z, rest), anti)

    def ask(self, kind: int, image: Pauli, tag: int = -1) -> None:
        """Append a measurement, dephasing or mark of the Pauli whose image is given."""
        x, z = image[0], image[1]
        anti = self._columns.anticommuting(x, z)
        if kind == DEPHASE and not x and not anti:
            return
        before = self._latest.get((x, z), -1)
        if kind != MARK and before >= 0 and not anti >> before:
            found = self.operations[before]
            assert found is not None
            if found.kind == MEASURE and kind == DEPHASE:
                return
            if found.kind != MEASURE:
                # a rotation about the very Pauli that is measured, or a measurement that nobody reads before one more
                self._remove(before)
        self._append(Operation(kind, x, z, 0.0, is_negative(image), tag), anti)

    def finish(self) -> list[Operation]:
        """Return the operations that can influence a bit or a mark (the light cone), in order."""
        kept: list[Operation] = []
        matters = 0
        for index in range(len(self.operations) - 1, -1, -1):
            op = self.operations[index]
            if op is not None and (op.kind in (MEASURE, MARK) or matters >> index & 1):
                matters |= self._anti[index]
                kept.append(op)
        kept.reverse()
        return kept

    def _append(self, op: Operation, anti: int) -> None:
        index = len(self.operations)
        self._columns.toggle(index, op.x, op.z)
        self.operations.append(op)
        self._anti.append(anti)
        if op.kind != MARK:
            self._latest[op.x, op.z] = index

    def _remove(self, index: int) -> None:
        op = self.operations[index]
        assert op is not None
        self._columns.toggle(index, op.x, op.z)
        self.operations[index] = None
        if self._latest.get((op.x, op.z)) == index:
            del self._latest[op.x, op.z]


def reduce_again(operations: Iterable[Operation], num_qubits: int) -> list[Operation]:
    """Run a list of operations through a fresh builder."""
    builder = Builder(num_qubits)
    for op in operations:
        x, z, s = builder.frame.image(hermitian(op.x, op.z))
        if op.kind == ROTATION:
            builder.rotate((x, z, s), op.angle)
        else:
            builder.ask(op.kind, (x, z, s ^ 2 if op.flipped else s), op.tag)
    return builder.finish()
