"""What one simulation of a fragment with open legs does, step by step, and how much it holds.

A leg's branches differ only after the leg, so the state need not carry them before: everything that does not follow
from a leg comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np

from tasks.cutting.once import once_a_fragment
from tasks.cutting.openings import Branching, Gate, Opening, opened_steps
from tasks.cutting.plan import Fragment
from tasks.cutting.step_order import fused, line_order, opened_late

# Nanoseconds an amplitude for a block of 1, 2, ... qubits, and microseconds a block, on one 2 GHz core.
_AMPLITUDE_NS = (3.6, 3.6, 5.2, 8.2, 14.0, 22.0)
_BLOCK_US = 50.0
_LARGE = 14  # qubits from which blocks of 6 are never the quickest


@dataclass(frozen=True)
class Grow:
    """Add a qubit in |0>: (before, after) -> (before, 2, after)."""

    after: int


@dataclass(frozen=True)
class Reorder:
    """Transpose an array of the given shape."""

    shape: tuple[int, ...]
    order: tuple[int, ...]


@dataclass(frozen=True)
class Multiply:
    """Multiply one axis by the product of gates: (before, 2**k, after) -> the same.

    Attributes:
        gates: one after the other.
        qubits: those of the axis, the most significant first.
        after: entries behind the axis.
    """

    gates: tuple[Gate, ...]
    qubits: tuple[int, ...]
    after: int

    def matrix(self) -> np.ndarray:
        """(2**k, 2**k) complex, row-major over the qubits."""
        size = len(self.qubits)
        axis_of = {q: axis for axis, q in enumerate(self.qubits)}
        matrix = np.eye(1 << size, dtype=complex)
        for gate in self.gates:
            own, axes = gate.matrix, [axis_of[q] for q in gate.qubits]
            if len(axes) == 2 and axes[0] > axes[1]:
                own, axes = own.reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4), axes[::-1]
            if axes[-1] - axes[0] == len(axes) - 1:
                matrix = np.matmul(own, matrix.reshape(1 << axes[0], len(own), -1))
            else:
                view = matrix.reshape(1 << axes[0], 2, 1 << (axes[1] - axes[0] - 1), 2, -1).transpose(1, 3, 0, 2, 4)
                matrix = np.matmul(own, view.reshape(4, -1)).reshape(view.shape).transpose(2, 0, 3, 1, 4)
        return np.ascontiguousarray(matrix.reshape(1 << size, 1 << size))


@dataclass(frozen=True)
class Branch:
    """Open legs: (before, 2, after) -> (before, 2, after, rank), ``operators[j]`` on the qubit for branch j."""

    operators: np.ndarray
    after: int


Step: TypeAlias = Grow | Reorder | Multiply | Branch


@dataclass(frozen=True)
class OpenProgram:
    """What to do with an array of one amplitude, 1.

    Attributes:
        steps: what is done to it, in order.
        rest: the local qubits that the rows of the last array stand for, the most significant first.
        branchings: what its columns stand for, row-major.
        amplitudes: of the last array.
        peak: amplitudes held at a time, at most, parts in a cache not counted.
        seconds: that its blocks of gates and its moves of axes take on one 2 GHz core.
    """

    steps: tuple[Step, ...]
    rest: tuple[int, ...]
    branchings: tuple[Branching, ...]
    amplitudes: int
    peak: int
    seconds: float

    @property
    def branches(self) -> int:
        """Columns of the last array."""
        return prod(one.rank for one in self.branchings)


@once_a_fragment
def open_program(fragment: Fragment) -> OpenProgram:
    """The program of a fragment's open-leg simulation."""
    merged, branchings = opened_steps(fragment)
    items = opened_late(merged)
    width = fragment.num_qubits
    places = line_order(width, items)
    least, best = np.inf, _Layout(places)
    for most in (6, 5) if width < _LARGE else (5, 4):
        layout = _Layout(places)
        for item in fused(items, most, places):
            layout.add(item)
        if layout.nanoseconds < least:
            least, best = layout.nanoseconds, layout
    return best.program(width, branchings)


class _Layout:
    """The axes of the array: qubits, the most significant first, then all branches."""

    def __init__(self, place_of: Sequence[int]):
        self.nanoseconds = 0.0
        self._place_of = place_of
        self._order: list[int] = []
        self._opened: list[int] = []
        self._branches = 1
        self._steps: list[Step] = []
        self._peak = 1

    @property
    def _size(self) -> int:
        return self._branches << len(self._order)

    def add(self, item: Opening | list[Gate]) -> None:
        """Append the steps of an opening, or of gates that act together."""
        if isinstance(item, Opening):
            (qubit,) = item.qubits
            self._grow([qubit])
            self._steps.append(Branch(item.operators, self._after([qubit])))
            self._opened.append(item.branching)
            old = self._size
            self._branches *= len(item.operators)
            self._hold(old + self._size)
            self.nanoseconds += self._size * _AMPLITUDE_NS[0]
            return
        qubits = list(dict.fromkeys(q for gate in item for q in gate.qubits))
        self._grow(qubits)
        self._bring_together(qubits)
        own = tuple(q for q in self._order if q in qubits)
        self._steps.append(Multiply(tuple(item), own, self._after(own)))
        self.nanoseconds += 1e3 * _BLOCK_US + self._size * _AMPLITUDE_NS[len(own) - 1]

    def _hold(self, amplitudes: int) -> None:
        self._peak = max(self._peak, amplitudes)

    def _after(self, qubits: Sequence[int]) -> int:
        """Amplitudes that differ only in what stands behind the last of these axes."""
        last = max(self._order.index(q) for q in qubits)
        return self._branches << (len(self._order) - last - 1)

    def _grow(self, qubits: Sequence[int]) -> None:
        """Put those that are not there yet where their place is."""
        for qubit in sorted(set(qubits) - set(self._order), key=lambda q: self._place_of[q]):
            at = next(
                (k for k, q in enumerate(self._order) if self._place_of[q] > self._place_of[qubit]), len(self._order)
            )
            self._steps.append(Grow(self._branches << (len(self._order) - at)))
            self._order.insert(at, qubit)
            self._hold(self._size + self._size // 2)

    def _bring_together(self, qubits: Sequence[int]) -> None:
        """Move the axes of qubits next to each other, beside the last of them."""
        at = sorted(self._order.index(q) for q in qubits)
        if at[-1] - at[0] == len(at) - 1:
            return
        between = [k for k in range(at[0], at[-1]) if k not in at]
        order = [*range(at[0]), *between, *at, *range(at[-1] + 1, len(self._order))]
        self._reorder([*order, len(order)])
        self._order = [self._order[k] for k in order]

    def _reorder(self, order: Sequence[int]) -> None:
        shape = (2,) * len(self._order) + (self._branches,)
        self._steps.append(Reorder(shape, tuple(order)))
        self._hold(2 * self._size)
        self.nanoseconds += self._size * _AMPLITUDE_NS[0]

    def program(self, width: int, branchings: Sequence[Branching]) -> OpenProgram:
        """The program, when all is added: branches that are basis states of a qubit are moved behind the others."""
        self._grow(range(width))
        opened = [branchings[index] for index in self._opened]
        ends = [one for one in branchings if one.qubit is not None]
        gone = [self._order.index(q) for one in ends if (q := one.qubit) is not None]
        kept = [axis for axis in range(width) if axis not in gone]
        order = [*kept, width, *gone]
        if order != list(range(width + 1)):
            self._reorder(order)
        rest = tuple(self._order[axis] for axis in kept)
        return OpenProgram(tuple(self._steps), rest, (*opened, *ends), self._size, self._peak, 1e-9 * self.nanoseconds)
