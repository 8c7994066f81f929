"""One simulation of a fragment with all its legs left open, from which every variant and the whole tensor follow.

The state grows as it goes: a qubit is added where a gate first touches it, an axis of branches where a leg is opened.
Blocks of gates are matrix products on views of the array, in parts that stay in a core's cache: two to six times as
fast on a core as Aer's state vector, whose ancillas are all there from the first gate on (results/benchmarks/limit.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.execution.errors import ExecutionError
from tasks.execution.simulators.products import Workers, multiply
from tasks.execution.simulators.steps import Branching, Gate, Opening, fused, steps_of


@dataclass(frozen=True)
class OpenState:
    """All branches of a fragment's state.

    Attributes:
        amplitudes: (2**rest, branch) complex128; the branch index is row-major over ``branchings``.
        rest: the local qubits that the row index stands for, the most significant first.
        branchings: the axes of branches.
    """

    amplitudes: np.ndarray
    rest: tuple[int, ...]
    branchings: tuple[Branching, ...]


def open_state(fragment: Fragment, *, threads: int = 1) -> OpenState:
    """Simulate a fragment with open legs.

    Not normalised: branch j holds sigma_j |psi>, or the state grown from input |j>, itself. At its peak it holds the
    state once more, or half of it.

    Args:
        fragment: what to run.
        threads: how many threads share the work.

    Raises:
        ExecutionError: there is not enough memory.
    """
    steps = steps_of(fragment)
    try:
        with Workers(threads) as workers:
            state = _State(workers)
            for item in fused(steps, fragment.num_qubits):
                if isinstance(item, Gate):
                    state.apply(item, steps.place_of)
                else:
                    state.open(item, steps.place_of)
            return state.finished(fragment.num_qubits, steps.branchings)
    except MemoryError as error:
        raise ExecutionError(
            f"fragment {fragment.index} ({fragment.num_qubits} qubits, {len(fragment.legs)} legs open): not enough "
            "memory for its state; give it more memory or cut further"
        ) from error


class _State:
    """The array of a simulation and what its axes are: qubits, the most significant first, then all branches."""

    def __init__(self, workers: Workers):
        self._workers = workers
        self._array = np.ones(1, dtype=complex)
        self._order: list[int] = []
        self._opened: list[tuple[int, int]] = []  # (branching, rank), in the order of the axes

    def open(self, opening: Opening, place_of: tuple[int, ...]) -> None:
        """Add an axis of branches."""
        (qubit,) = opening.qubits
        if qubit not in self._order:
            self._add_qubits((qubit,), place_of)
        operators = opening.operators
        after = self._after([qubit])
        old = self._array.reshape(-1, 2, after)
        rank = len(operators)
        new = np.empty((*old.shape, rank), dtype=complex)
        for j, operator in enumerate(operators):
            for row in range(2):
                if operator[row, 1 - row] == 0:
                    np.multiply(old[:, row], operator[row, row], out=new[:, row, :, j])
                else:
                    new[:, row, :, j] = operator[row, 0] * old[:, 0] + operator[row, 1] * old[:, 1]
        self._array = new.reshape(-1)
        self._opened.append((opening.branching, rank))

    def apply(self, gate: Gate, place_of: tuple[int, ...]) -> None:
        """Apply a unitary; qubits that nothing has touched yet are added by it."""
        qubits, matrix = gate.qubits, gate.matrix
        new = [q for q in qubits if q not in self._order]
        if new:
            self._add_qubits(tuple(new), place_of)
        self._bring_together(qubits)
        own = [q for q in self._order if q in qubits]
        if list(qubits) != own:
            axes = [qubits.index(q) for q in own]
            size = len(axes)
            matrix = matrix.reshape((2,) * (2 * size)).transpose([*axes, *(size + a for a in axes)])
            matrix = np.ascontiguousarray(matrix.reshape(1 << size, 1 << size))
        multiply(self._array, matrix, self._after(own), self._workers)

    def _add_qubits(self, new: tuple[int, ...], place_of: tuple[int, ...]) -> None:
        """Put qubits in |0> where their place is."""
        for qubit in sorted(new, key=lambda q: place_of[q]):
            later = [k for k, q in enumerate(self._order) if place_of[q] > place_of[qubit]]
            at = later[0] if later else len(self._order)
            after = self._branches << (len(self._order) - at)
            grown = np.zeros((len(self._array) // after, 2, after), dtype=complex)
            grown[:, 0] = self._array.reshape(-1, after)
            self._array = grown.reshape(-1)
            self._order.insert(at, qubit)

    def _bring_together(self, qubits: tuple[int, ...]) -> None:
        """Move the axes of qubits next to each other, beside the last of them."""
        at = sorted(self._order.index(q) for q in qubits)
        if at[-1] - at[0] == len(at) - 1:
            return
        between = [k for k in range(at[0], at[-1]) if k not in at]
        first, last = at[0], at[-1] + 1
        order = [*range(first), *between, *at, *range(last, len(self._order))]
        shape = (2,) * len(order) + (self._branches,)
        moved = self._array.reshape(shape).transpose([*order, len(order)])
        self._array = np.ascontiguousarray(moved).reshape(-1)
        self._order = [self._order[k] for k in order]

    def finished(self, width: int, branchings: tuple[Branching, ...]) -> OpenState:
        """The state with the axes of all branches last, in order."""
        untouched = [q for q in range(width) if q not in self._order]
        if untouched:
            self._add_qubits(tuple(untouched), tuple(range(width)))
        opened = [branchings[index] for index, _ in self._opened]
        ends = [one for one in branchings if one.qubit is not None]
        width = len(self._order)
        gone = [self._order.index(q) for one in ends if (q := one.qubit) is not None]
        kept = [axis for axis in range(width) if axis not in gone]
        rest = tuple(self._order[axis] for axis in kept)
        array = self._array.reshape((2,) * width + (self._branches,))
        self._array = self._array[:0]
        moved = np.ascontiguousarray(array.transpose([*kept, width, *gone]))
        return OpenState(moved.reshape(1 << len(rest), -1), rest, (*opened, *ends))

    @property
    def _branches(self) -> int:
        return prod(rank for _, rank in self._opened)

    def _after(self, qubits: list[int]) -> int:
        """Amplitudes that differ only in what stands behind the last of these axes."""
        last = max(self._order.index(q) for q in qubits)
        return self._branches << (len(self._order) - last - 1)
