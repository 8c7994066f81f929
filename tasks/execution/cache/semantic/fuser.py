"""Gates on qubits as rotations about Paulis: single-qubit runs fused, two-qubit gates as one Pauli-pair rotation.

Every two-qubit gate is exp(-i theta/2 P Q) with single-qubit gates around it (CX, CZ and CY have theta = -pi/2). A run
of single-qubit gates between two of them is one SU(2) element; it becomes at most three rotations, the first about the
letter that commutes with the gate before, the last about the letter that commutes with the gate after, so that
rotations which a rewrite moved across those gates come back to one place.

Several two-qubit gates in a row on one pair are one SU(4) element. Where its KAK form has two or three angles that are
no multiples of pi/2, it is read as that form, because a compiler may have spelled it anew; else gate by gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tasks.execution.cache.semantic.frame import ANGLE_TOLERANCE, multiply, split_angle
from tasks.execution.cache.semantic.normal_form import Builder
from tasks.execution.cache.semantic.rotations import (
    Quaternion,
    Z,
    compose,
    euler,
    matrix_of,
    pair_matrix,
    quaternion,
    weyl_error,
    weyl_parts,
)


class PairStep(NamedTuple):
    """A two-qubit step of a block: a Pauli-pair rotation, or with no axes any unitary (lower qubit first)."""

    axes: tuple[tuple[int, int], ...]
    theta: float
    given: np.ndarray | None = None

    def matrix(self) -> np.ndarray:
        """(4, 4) complex, the lower qubit the less significant."""
        if self.given is not None:
            return self.given
        (first, a), (second, b) = self.axes
        return pair_matrix(first, second, self.theta) if a < b else pair_matrix(second, first, self.theta)


@dataclass(slots=True)
class _Block:
    """Consecutive steps on one pair of qubits, and the runs that were held on them before."""

    qubits: tuple[int, int]
    before: tuple[tuple[float, ...] | None, tuple[float, ...] | None]
    steps: list[PairStep | tuple[int, Quaternion]] = field(default_factory=list)


class Fuser:
    """Feeds gates to a :class:`Builder`.

    Args:
        num_qubits: qubits of the circuit.
        num_fresh: how many further qubits resets and open inputs will need.

    Attributes:
        builder: what has been fed.
    """

    def __init__(self, num_qubits: int, num_fresh: int) -> None:
        self.builder = Builder(num_qubits + num_fresh)
        self._frame = self.builder.frame
        self._at = list(range(num_qubits))  # qubit of the circuit -> row of the frame
        self._fresh = num_qubits
        self._pending: list[tuple[float, ...] | None] = [None] * num_qubits
        self._entered = [Z] * num_qubits  # the letter that commutes with the gate before
        self._blocks: dict[int, _Block] = {}  # by qubit; both qubits of a block have it

    def turn(self, axis: int, qubit: int, theta: float) -> None:
        """Append a single-qubit rotation."""
        held = self._pending[qubit]
        if held is None:
            self._pending[qubit] = (axis, theta)
        elif len(held) == 2 and held[0] == axis:
            self._pending[qubit] = (axis, held[1] + theta)
        else:
            self._pending[qubit] = compose(quaternion(axis, theta), _as_quaternion(held))

    def turn_pair(self, axes: tuple[tuple[int, int], ...], theta: float) -> None:
        """Append exp(-i theta/2 P), P given as two (axis, qubit) letters."""
        self._join_block(axes[0][1], axes[1][1], PairStep(axes, theta))

    def flush(self, qubit: int, leaving: int) -> None:
        """Emit what is held on a qubit; ``leaving`` is the letter that commutes with what comes next."""
        self._close_block(qubit)
        self._flush_run(qubit, leaving)

    def _flush_run(self, qubit: int, leaving: int) -> None:
        held = self._pending[qubit]
        if held is None:
            return
        self._pending[qubit] = None
        if len(held) == 2:
            self._emit(((int(held[0]), qubit),), held[1])
            return
        for axis, theta in euler(held, self._entered[qubit], leaving):
            self._emit(((axis, qubit),), theta)

    def _join_block(self, a: int, b: int, step: PairStep) -> None:
        """Add a step to the block of consecutive two-qubit steps on this pair, or begin a new one."""
        block = self._blocks.get(a)
        if block is None or block is not self._blocks.get(b):
            self._close_block(a)
            self._close_block(b)
            low, high = (a, b) if a < b else (b, a)
            block = _Block((low, high), (self._pending[low], self._pending[high]))
            self._blocks[a] = self._blocks[b] = block
        else:
            for q in (a, b):
                held = self._pending[q]
                if held is not None:
                    block.steps.append((q, _as_quaternion(held)))
        self._pending[a] = self._pending[b] = None
        block.steps.append(step)

    def _close_block(self, qubit: int) -> None:
        """Emit the block that a qubit is in: by its KAK form where that is the only one that all spellings share."""
        block = self._blocks.get(qubit)
        if block is None:
            return
        low, high = block.qubits
        del self._blocks[low], self._blocks[high]
        after = self._pending[low], self._pending[high]
        self._pending[low], self._pending[high] = block.before
        if not self._emit_weyl(block):
            for step in block.steps:
                if isinstance(step, PairStep):
                    self._emit_step(block, step)
                else:
                    self._hold(step[0], step[1])
        for q, held in zip(block.qubits, after, strict=True):
            if held is not None:
                if self._pending[q] is None:
                    self._pending[q] = held
                else:
                    self._hold(q, _as_quaternion(held))

    def _emit_weyl(self, block: _Block) -> bool:
        if len(block.steps) == 1 and block.steps[0][0]:  # the step of a pair, with axes
            return False
        pairs = [step for step in block.steps if isinstance(step, PairStep)]
        if len(pairs) < 2 and pairs[0].axes:
            return False
        low, high = block.qubits
        matrix = np.eye(4, dtype=complex)
        for step in block.steps:
            if isinstance(step, PairStep):
                matrix = step.matrix() @ matrix
            else:
                one = matrix_of(step[1])
                matrix = (np.kron(np.eye(2), one) if step[0] == low else np.kron(one, np.eye(2))) @ matrix
        angles, before, after = weyl_parts(matrix)
        generic = [angle for angle in angles if abs(split_angle(angle)[1]) > 1e-6]
        if len(generic) < 2 or weyl_error(matrix, angles, before, after) > 5 * ANGLE_TOLERANCE:
            return False
        self._emit_parts(low, high, angles, before, after)
        return True

    def _emit_step(self, block: _Block, step: PairStep) -> None:
        if step.axes:
            for axis, qubit in step.axes:
                self._flush_run(qubit, axis)
                self._entered[qubit] = axis
            self._emit(step.axes, step.theta)
        else:
            angles, before, after = weyl_parts(step.matrix())
            self._emit_parts(*block.qubits, angles, before, after)

    def _emit_parts(
        self,
        low: int,
        high: int,
        angles: Sequence[float],
        before: Sequence[Quaternion],
        after: Sequence[Quaternion],
    ) -> None:
        self._hold(low, before[0])
        self._hold(high, before[1])
        for axis, angle in enumerate(angles):
            if abs(angle) > ANGLE_TOLERANCE:
                for qubit in (low, high):
                    self._flush_run(qubit, axis)
                    self._entered[qubit] = axis
                self._emit(((axis, low), (axis, high)), angle)
        self._hold(low, after[0])
        self._hold(high, after[1])

    def _hold(self, qubit: int, then: Quaternion) -> None:
        """Put a single-qubit gate after what is held on a qubit."""
        held = self._pending[qubit]
        self._pending[qubit] = then if held is None else compose(then, _as_quaternion(held))

    def swap(self, a: int, b: int) -> None:
        """Append a SWAP: the qubits change names."""
        self._close_block(a)
        self._close_block(b)
        self._at[a], self._at[b] = self._at[b], self._at[a]
        self._pending[a], self._pending[b] = self._pending[b], self._pending[a]
        self._entered[a], self._entered[b] = self._entered[b], self._entered[a]

    def _emit(self, axes: tuple[tuple[int, int], ...], theta: float) -> None:
        turns, rest = split_angle(theta)
        if not turns and abs(rest) <= ANGLE_TOLERANCE:
            return
        (axis, qubit), *more = axes
        image = self._frame.letter(axis, self._at[qubit])
        for axis, qubit in more:
            image = multiply(image, self._frame.letter(axis, self._at[qubit]))
        if turns:
            self._frame.turn_physical(tuple((axis, self._at[qubit]) for axis, qubit in axes), image, turns)
        if abs(rest) > ANGLE_TOLERANCE:
            self.builder.rotate(image, rest)


def _as_quaternion(held: Sequence[float]) -> Quaternion:
    """Return what is held on a qubit, one rotation (axis, angle) or a quaternion, as a quaternion."""
    if len(held) == 2:
        return quaternion(int(held[0]), held[1])
    return held[0], held[1], held[2], held[3]
