"""Operations on Paulis, reduced: merged through what commutes, qubits introduced one by one, the dead dropped.

The state starts as |0...0>. Everything is an operation on a Pauli: a rotation exp(-i theta/2 P), a measurement of P
into a bit, a measurement whose bit nobody reads, or a *mark*: a Pauli that is part of the question (an observable,
a leg of a fragment) and is inserted or not. Clifford gates are no operations; they live in the frame.

Two rules do most of the work, both exact:

* a qubit that no operation has touched is |0>, so Z on it is 1 and is left out of a Pauli;
* an operation whose Pauli P has an X part on an untouched qubit j acts as the same operation about X_j followed by a
  Clifford V that is 1 on everything before (``Frame.absorb``); V is pulled to the end. So every new qubit enters as a
  rotation or measurement of X on a fresh |0>, and at once commutes with all that came before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.execution.cache.frame import (
    ANGLE_TOLERANCE,
    Frame,
    Pauli,
    hermitian,
    is_negative,
    split_angle,
)

ROTATION, MEASURE, DEPHASE, MARK = 0, 1, 2, 3


@dataclass(frozen=True)
class Operation:
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
    """Takes operations in order and keeps the reduced list.

    Args:
        num_qubits: virtual qubits; all start in |0>.
        absorb: introduce qubits one by one, as the module says. Without it every Pauli stays an operator on the
            original qubits, and so what commutes with what does not depend on the order in which things came.
    """

    def __init__(self, num_qubits: int, *, absorb: bool = False) -> None:
        self.frame = Frame(num_qubits)
        self.touched = 0 if absorb else (1 << num_qubits) - 1
        self.columns = Columns(num_qubits)
        self.operations: list[Operation | None] = []
        self._latest: dict[tuple[int, int], int] = {}

    def rotate(self, image: Pauli, theta: float) -> None:
        """Append exp(-i theta/2 P), P given by its image under the frame, |theta| <= pi/4."""
        fresh = image[0] & ~self.touched
        if fresh:
            qubit = (fresh & -fresh).bit_length() - 1
            self.frame.absorb(image, qubit)
            if theta < 0:
                self.frame.flip(qubit)
            self._introduce(Operation(ROTATION, 1 << qubit, 0, abs(theta)), qubit)
            return
        x, z = image[0], image[1] & self.touched
        if not x and not self.columns.anticommuting(x, z):
            return  # the state is still an eigenstate of this product of Z: a phase
        if is_negative((x, z, image[2])):
            theta = -theta
        before = self._adjacent(x, z)
        if before >= 0:
            found = self.operations[before]
            assert found is not None
            if found.kind in (MEASURE, DEPHASE):
                return  # the state is an eigenstate of P: a phase
            if found.kind == ROTATION:
                theta += found.angle
                self._remove(before)
        turns, rest = split_angle(theta)
        if turns:
            self.frame.turn((x, z, hermitian(x, z)[2]), turns)
        if abs(rest) > ANGLE_TOLERANCE:
            self._append(Operation(ROTATION, x, z, rest))

    def ask(self, kind: int, image: Pauli, tag: int = -1) -> None:
        """Append a measurement, dephasing or mark of the Pauli whose image is given."""
        fresh = image[0] & ~self.touched
        if fresh:
            qubit = (fresh & -fresh).bit_length() - 1
            self.frame.absorb(image, qubit)
            self._introduce(Operation(kind, 1 << qubit, 0, tag=tag), qubit)
            return
        x, z = image[0], image[1] & self.touched
        if kind == DEPHASE and not x and not self.columns.anticommuting(x, z):
            return
        if kind != MARK and x | z:
            before = self._adjacent(x, z)
            found = self.operations[before] if before >= 0 else None
            if found is not None and found.kind == ROTATION:
                self._remove(before)  # a rotation about the very Pauli that is measured next
            elif found is not None and found.kind == DEPHASE:
                self._remove(before)  # measuring again makes the unread measurement superfluous
            elif found is not None and found.kind == MEASURE and kind == DEPHASE:
                return
        self._append(Operation(kind, x, z, 0.0, is_negative((x, z, image[2])), tag))

    def finish(self) -> list[Operation]:
        """Return the operations that can influence a bit or a mark (the light cone), in order."""
        kept: list[Operation] = []
        later = Columns(len(self.frame.xs))
        for op in reversed(self.operations):
            if op is None:
                continue
            if op.kind in (ROTATION, DEPHASE) and not later.anticommuting(op.x, op.z):
                continue
            later.toggle(len(kept), op.x, op.z)
            kept.append(op)
        kept.reverse()
        return kept

    def _introduce(self, op: Operation, qubit: int) -> None:
        self.touched |= 1 << qubit
        self._append(op)

    def _append(self, op: Operation) -> None:
        index = len(self.operations)
        self.columns.toggle(index, op.x, op.z)
        self.operations.append(op)
        if op.kind != MARK:
            self._latest[op.x, op.z] = index

    def _adjacent(self, x: int, z: int) -> int:
        """Return the last operation about the same Pauli if all after it commute with it, else -1."""
        before = self._latest.get((x, z), -1)
        if before >= 0 and self.columns.anticommuting(x, z) >> before:
            return -1
        return before

    def _remove(self, index: int) -> None:
        op = self.operations[index]
        assert op is not None
        self.columns.toggle(index, op.x, op.z)
        self.operations[index] = None
        if self._latest.get((op.x, op.z)) == index:
            del self._latest[op.x, op.z]


def replay(
    operations: Iterable[Operation], num_qubits: int, *, absorb: bool = True, conjugate: bool = False
) -> list[Operation]:
    """Run a list of operations through a fresh builder.

    Args:
        operations: in an order that is valid for them.
        num_qubits: virtual qubits they are written on.
        absorb: introduce qubits one by one and number them by first use.
        conjugate: replay the complex conjugate instead; every outcome probability stays the same.

    Returns:
        The reduced list, with ``absorb`` on qubits 0, 1, ... in order of introduction.
    """
    builder = Builder(num_qubits, absorb=absorb)
    for op in operations:
        p = hermitian(op.x, op.z)
        negate = op.flipped
        if conjugate and (op.x & op.z).bit_count() & 1:
            negate = not negate
        if op.kind == ROTATION:
            angle = -op.angle if conjugate else op.angle
            builder.rotate(builder.frame.image(p), -angle if negate else angle)
        else:
            x, z, s = builder.frame.image(p)
            builder.ask(op.kind, (x, z, s ^ 2 if negate else s), op.tag)
    reduced = builder.finish()
    return _renumber(reduced) if absorb else reduced


def _renumber(operations: list[Operation]) -> list[Operation]:
    """Number qubits 0, 1, ... by first X. Z before the first X on a qubit acts on |0> and is left out."""
    place: dict[int, int] = {}
    placed = 0
    out = []
    for op in operations:
        bits = op.x & ~placed
        placed |= bits
        while bits:
            low = bits & -bits
            place[low.bit_length() - 1] = len(place)
            bits ^= low
        out.append(
            Operation(op.kind, _moved(op.x, place), _moved(op.z, place), op.angle, op.flipped, op.tag)
        )
    return out


def _moved(bits: int, place: dict[int, int]) -> int:
    out = 0
    while bits:
        low = bits & -bits
        qubit = place.get(low.bit_length() - 1)
        if qubit is not None:
            out |= 1 << qubit
        bits ^= low
    return out


__all__ = [
    "DEPHASE",
    "MARK",
    "MEASURE",
    "ROTATION",
    "Builder",
    "Columns",
    "Operation",
    "replay",
]
