"""What acts on a fragment's qubits, step by step: its gates, and openings of the branches of its legs.

Legs on one wire with no two-qubit gate between them act on one qubit only, where at most four operators are independent
(two vectors where the qubit is still |0>, one open qubit where it ends as an outgoing wire): they share one axis, and
``Branching.spread`` says what each combination of their branches is made of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from tasks.cutting.kinds import LegKind
from tasks.cutting.once import once_a_fragment
from tasks.cutting.plan import Fragment

_INDEPENDENT = 1e-12  # a singular value below this, relative to the largest, is rounding


@dataclass(frozen=True)
class Gate:
    """One-qubit gates on one qubit, or one two-qubit gate.

    Attributes:
        qubits: which, the most significant bit of the matrix first.
        matrix: (2**k, 2**k) complex.
    """

    qubits: tuple[int, ...]
    matrix: np.ndarray


@dataclass(frozen=True)
class Opening:
    """Where the state gets an axis of branches.

    Attributes:
        branching: which of the fragment's branchings.
        qubits: the one qubit it acts on.
        operators: (rank, 2, 2) complex, what each branch does to it.
    """

    branching: int
    qubits: tuple[int]
    operators: np.ndarray


@dataclass(frozen=True)
class Branching:
    """One axis of branches of an open-leg state, and the legs that it stands for.

    Attributes:
        legs: indices of the legs.
        chain: for each leg (bond, branch, next bond) complex: what its branches make of what those before it made; the
            first bond is 1, the last one the axis.
        qubit: the local qubit whose basis states are the branches, where an outgoing wire ends it; else None.
    """

    legs: tuple[int, ...]
    chain: tuple[np.ndarray, ...]
    qubit: int | None = None

    @property
    def rank(self) -> int:
        """Size of the axis."""
        return int(self.chain[-1].shape[2])

    @cached_property
    def spread(self) -> np.ndarray:
        """(branches of the legs, row-major, rank) complex: what each combination of branches is made of.

        As large as the root of what the legs make of a fragment's tensor: nothing for a plan to ask for.
        """
        first, *others = self.chain
        found = first[0]
        for one in others:
            found = np.tensordot(found, one, axes=1).reshape(-1, one.shape[2])
        return found


@once_a_fragment
def opened_steps(fragment: Fragment) -> tuple[list[Gate | Opening], list[Branching]]:
    """Gates and openings in the order of the circuit, the stretches of wire that hold legs made into one step each."""
    items: list[Gate | Opening] = []
    branchings: list[Branching] = []
    for part in _parts(fragment):
        if isinstance(part, Gate):
            items.append(part)
        else:
            part.close(items, branchings)
    return items, branchings


def branch_ranks(fragment: Fragment) -> tuple[list[int], int]:
    """Branches of each opening, and how many outgoing wires are left open; legs are not multiplied out for it."""
    stretches = [part for part in _parts(fragment) if isinstance(part, _Stretch) and part.has_legs]
    return [own.rank() for own in stretches if not own.ends], sum(own.ends for own in stretches)


def _parts(fragment: Fragment) -> Iterator[Gate | _Stretch]:
    """Two-qubit gates, and what happens on a qubit between two of them, in an order that keeps each qubit's."""
    legs_at: dict[int, list[int]] = {}
    for k, leg in sorted(enumerate(fragment.legs), key=lambda pair: (pair[1].position, pair[0])):
        legs_at.setdefault(leg.position, []).append(k)
    data = fragment.circuit.data
    number = {bit: q for q, bit in enumerate(fragment.circuit.qubits)}
    stretches = [_Stretch(q, first=True) for q in range(fragment.num_qubits)]
    for position in range(len(data) + 1):
        for k in legs_at.get(position, ()):
            leg = fragment.legs[k]
            stretches[leg.qubit].add_leg(k, leg.kind)
        if position == len(data):
            break
        instruction = data[position]
        qubits = tuple(number[bit] for bit in instruction.qubits)
        if len(qubits) == 1:
            stretches[qubits[0]].add_gate(instruction.matrix)
            continue
        for q in qubits:
            yield stretches[q]
            stretches[q] = _Stretch(q, first=False)
        yield Gate(qubits[::-1], instruction.matrix)  # Qiskit numbers bits from the first qubit up
    yield from stretches


class _Stretch:
    """What happens on a qubit between two of its two-qubit gates."""

    def __init__(self, qubit: int, *, first: bool):
        self._qubit = qubit
        self._first = first
        self._legs: list[int] = []
        self._events: list[np.ndarray | LegKind] = []
        self.ends = False

    @property
    def has_legs(self) -> bool:
        """Whether there are any."""
        return bool(self._legs)

    def add_gate(self, matrix: np.ndarray) -> None:
        """A one-qubit gate."""
        self._events.append(matrix)

    def add_leg(self, k: int, kind: LegKind) -> None:
        """Leg k."""
        self._legs.append(k)
        self._events.append(kind)
        self.ends |= kind.opens_qubit

    def close(self, items: list[Gate | Opening], branchings: list[Branching]) -> None:
        """The stretch as one step, appended where it has any."""
        if self._legs:
            chain, basis = self._spanned()
            if not self.ends:
                operators = np.zeros((len(basis), 2, 2), dtype=complex)
                operators[:, :, : basis.shape[2]] = basis  # only |0> is asked for where the qubit is still in it
                items.append(Opening(len(branchings), (self._qubit,), operators))
            branchings.append(Branching(tuple(self._legs), tuple(chain), self._qubit if self.ends else None))
        elif self._events:
            matrices = [event for event in self._events if not isinstance(event, LegKind)]
            items.append(Gate((self._qubit,), reduce(lambda done, matrix: matrix @ done, matrices)))

    def rank(self) -> int:
        """Independent ones of the branches of its legs."""
        return len(self._spanned()[1])

    def _spanned(self) -> tuple[list[np.ndarray], np.ndarray]:
        """A chain as ``Branching`` has it, and (rank, 2, start) complex, what its last bond stands for.

        ``start`` is 1 where the qubit is still |0>, else 2. Leg by leg no more is multiplied than is independent.
        """
        basis = np.eye(2, dtype=complex)[None, :, : 1 if self._first and not self.ends else 2]
        chain: list[np.ndarray] = []
        for event in self._events:
            if not isinstance(event, LegKind):
                basis = event @ basis
            elif event.opens_qubit:  # (bond, end, start): the open qubit's own basis states are the branches
                chain.append(basis)
            else:
                products = np.einsum("jab,ibc->ijac", event.branch_operators(), basis)
                spread, rows = _independent(products.reshape(-1, 2 * basis.shape[2]))
                chain.append(spread.reshape(*products.shape[:2], -1))
                basis = rows.reshape(-1, *basis.shape[1:])
        return chain, basis


def _independent(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, rank) and (rank, column) whose product are the rows; the rows themselves where they are independent."""
    left, sizes, right = np.linalg.svd(rows, full_matrices=False)
    rank = int((sizes > _INDEPENDENT * sizes[0]).sum())
    if rank == len(rows):
        return np.eye(rank, dtype=complex), rows
    return left[:, :rank] * sizes[:rank], right[:rank]
