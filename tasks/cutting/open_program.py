"""What one simulation of a fragment with open legs does, step by step, and how much it holds.

A leg's branches differ only after the leg, so the state need not carry them before: everything that does not follow
from a leg comes first. Legs on one wire with no two-qubit gate between them act on one qubit only, where at most four
operators are independent (two vectors where the qubit is still |0>, one open qubit where it ends as an outgoing wire):
they share one axis, and ``Branching.spread`` says what each combination of their branches is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TypeAlias

import numpy as np
from qiskit.circuit import Operation
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from tasks.cutting.kinds import LegKind
from tasks.cutting.once import once_a_fragment
from tasks.cutting.plan import Fragment

_INDEPENDENT = 1e-12  # a singular value below this, relative to the largest, is rounding
# Nanoseconds an amplitude for a block of 1, 2, ... qubits, and microseconds a block, on one 2 GHz core.
_AMPLITUDE_NS = (2.4, 2.4, 3.5, 5.5, 9.5, 15.0)
_BLOCK_US = 20.0
_LARGE = 14  # qubits from which blocks of 6 are never the quickest


@dataclass(frozen=True)
class Gate:
    """One-qubit gates on one qubit, or one two-qubit gate.

    Attributes:
        qubits: which, the most significant bit of the matrix first.
        operations: what they do, one after the other.
    """

    qubits: tuple[int, ...]
    operations: tuple[Operation, ...]

    def matrix(self) -> np.ndarray:
        """(2**k, 2**k) complex."""
        first, *others = (np.asarray(operation.to_matrix(), dtype=complex) for operation in self.operations)
        for other in others:
            first = other @ first
        return first


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
            own, axes = gate.matrix(), [axis_of[q] for q in gate.qubits]
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
    items = _opened_late(merged)
    width = fragment.num_qubits
    places = line_order(width, items)
    least, best = np.inf, _Layout(places)
    for most in (6, 5) if width < _LARGE else (5, 4):
        layout = _Layout(places)
        for item in _fused(items, most, places):
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
            stretches[qubits[0]].add_gate(instruction.operation)
            continue
        for q in qubits:
            yield stretches[q]
            stretches[q] = _Stretch(q, first=False)
        yield Gate(qubits[::-1], (instruction.operation,))  # Qiskit numbers bits from the first qubit up
    yield from stretches


class _Stretch:
    """What happens on a qubit between two of its two-qubit gates."""

    def __init__(self, qubit: int, *, first: bool):
        self._qubit = qubit
        self._first = first
        self._legs: list[int] = []
        self._events: list[Operation | LegKind] = []
        self.ends = False

    @property
    def has_legs(self) -> bool:
        """Whether there are any."""
        return bool(self._legs)

    def add_gate(self, operation: Operation) -> None:
        """A one-qubit gate."""
        self._events.append(operation)

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
            items.append(Gate((self._qubit,), tuple(self._events)))

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
                basis = np.asarray(event.to_matrix(), dtype=complex) @ basis
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


def _opened_late(items: Sequence[Gate | Opening]) -> list[Gate | Opening]:
    """The same steps, openings only where nothing else is left to do, those first that make most work possible."""
    out: list[Gate | Opening] = []
    left = list(items)
    while left:
        left = _take_ready(left, out, set())
        openings = [k for k, item in enumerate(left) if isinstance(item, Opening)]
        ready = [k for k in openings if not any(set(left[k].qubits) & set(item.qubits) for item in left[:k])]
        if not ready:
            break
        most = max(ready, key=lambda k: (len(left) - len(_take_ready(left, [], {id(left[k])})), -k))
        out.append(left.pop(most))
    return out


def _take_ready(left: Sequence[Gate | Opening], out: list, allowed: set[int]) -> list[Gate | Opening]:
    """Move what waits for no opening but the allowed ones to ``out``; what is left."""
    blocked: set[int] = set()
    rest: list[Gate | Opening] = []
    for item in left:
        waits = isinstance(item, Opening) and id(item) not in allowed
        if waits or any(q in blocked for q in item.qubits):
            blocked.update(item.qubits)
            rest.append(item)
        else:
            out.append(item)
    return rest


def line_order(qubits: int, items: Sequence[Gate | Opening]) -> tuple[int, ...]:
    """(qubit,) its place in an order that keeps neighbours near."""
    return line_of_pairs(qubits, [item.qubits for item in items if len(item.qubits) == 2])


def line_of_pairs(qubits: int, joined_pairs: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The same, of the pairs of qubits that gates join."""
    pairs = np.array(joined_pairs, dtype=np.int64).reshape(-1, 2)
    joined = np.concatenate([pairs, pairs[:, ::-1]])
    graph = csr_array((np.ones(len(joined)), joined.T), shape=(qubits, qubits))
    order = reverse_cuthill_mckee(graph, symmetric_mode=True) if qubits else np.zeros(0, dtype=int)
    places = np.empty(qubits, dtype=int)
    places[order] = np.arange(qubits)
    return tuple(places.tolist())


def _fused(items: Sequence[Gate | Opening], most: int, place_of: Sequence[int]) -> list[Opening | list[Gate]]:
    """Openings, and lists of gates that act together on at most ``most`` qubits."""
    out: list[Opening | list[Gate]] = []
    run: list[_Placed] = []
    for item in (*items, None):
        if isinstance(item, Gate):
            run.append((sum(1 << place_of[q] for q in item.qubits), item))
            continue
        left = run
        while left:
            block, left = _next_block(left, most, (1 << len(place_of)) - 1)
            out.append(block)
        run = []
        if item is not None:
            out.append(item)
    return out


_Placed: TypeAlias = tuple[int, Gate]  # a gate, behind the bits of its qubits' places


def _next_block(gates: Sequence[_Placed], most: int, everywhere: int) -> tuple[list[Gate], list[_Placed]]:
    """As many of the gates as can come first on a window of ``most`` neighbouring qubits, and the others."""
    support, first = gates[0]
    block, rest = [first], []
    blocked = 0
    for number in range(1, len(gates)):
        own, gate = gates[number]
        if not own & blocked:
            union = support | own
            if union == support:
                block.append(gate)
                continue
            if union.bit_count() <= most:
                window = union.bit_length() - (union & -union).bit_length()
                if window < most or own & support:
                    support = union
                    block.append(gate)
                    continue
        blocked |= own
        rest.append(gates[number])
        # Where nothing is free of what no room is left for, no gate that follows can come first.
        free = everywhere if support.bit_count() < most else support
        if not free & ~blocked:
            rest.extend(gates[number + 1 :])
            break
    return block, rest
