"""A fragment as the steps of its open-leg simulation: gates fused into blocks, legs opened as late as may be.

A leg's branches differ only after the leg, so the state need not carry them before: everything that does not follow
from a leg comes first. Legs on one wire with no two-qubit gate between them act on one qubit only, where at most four
operators are independent (two vectors where the qubit is still |0>, one open qubit where it ends as an outgoing wire):
they share one axis, and ``Branching.spread`` says what each combination of their branches is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from tasks.cutting.plan import Fragment

_INDEPENDENT = 1e-12  # a singular value below this, relative to the largest, is rounding
# Nanoseconds an amplitude for a block of 1, 2, ... qubits, and microseconds a block, on one 2 GHz core (limit.md).
_AMPLITUDE_NS = (2.4, 2.4, 3.5, 5.5, 9.5, 15.0)
_BLOCK_US = 20.0


@dataclass(frozen=True)
class Gate:
    """A unitary on a few qubits.

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
        spread: (branches of those legs, row-major, rank) complex: what each combination of their branches is made of.
        qubit: the local qubit whose basis states are the branches, where an outgoing wire ends it; else None.
    """

    legs: tuple[int, ...]
    spread: np.ndarray
    qubit: int | None = None

    @property
    def rank(self) -> int:
        """Size of the axis."""
        return int(self.spread.shape[1])


@dataclass(frozen=True)
class Steps:
    """What to simulate.

    Attributes:
        items: gates and openings, in order.
        branchings: the axes of branches.
        place_of: (qubit,) where each qubit stands in an order in which neighbours of the circuit are near each other.
    """

    items: tuple[Gate | Opening, ...]
    branchings: tuple[Branching, ...]
    place_of: tuple[int, ...]


def steps_of(fragment: Fragment) -> Steps:
    """The steps of a fragment's open-leg simulation, gates not yet fused."""
    items, branchings = _merged(fragment)
    return Steps(tuple(_opened_late(items)), tuple(branchings), _places(fragment.num_qubits, items))


def _merged(fragment: Fragment) -> tuple[list[Gate | Opening], list[Branching]]:
    """Gates and openings in the order of the circuit, the stretches of wire that hold legs made into one step each."""
    legs_at: dict[int, list[int]] = {}
    for k, leg in sorted(enumerate(fragment.legs), key=lambda pair: (pair[1].position, pair[0])):
        legs_at.setdefault(leg.position, []).append(k)
    data = fragment.circuit.data
    number = {bit: q for q, bit in enumerate(fragment.circuit.qubits)}
    items: list[Gate | Opening] = []
    branchings: list[Branching] = []
    stretches = [_Stretch(q) for q in range(fragment.num_qubits)]
    for position in range(len(data) + 1):
        for k in legs_at.get(position, ()):
            leg = fragment.legs[k]
            stretches[leg.qubit].add_leg(k, leg.kind)
        if position == len(data):
            break
        instruction = data[position]
        qubits = tuple(number[bit] for bit in instruction.qubits)
        # Aer and Qiskit number a matrix's bits from its first qubit up.
        matrix = np.asarray(instruction.operation.to_matrix(), dtype=complex)
        if len(qubits) == 1:
            stretches[qubits[0]].add_gate(matrix)
            continue
        for q in qubits:
            stretches[q].close(items, branchings)
        items.append(Gate(qubits[::-1], matrix))
    for stretch in stretches:
        stretch.close(items, branchings)
    return items, branchings


class _Stretch:
    """What happens on a qubit between two of its two-qubit gates."""

    def __init__(self, qubit: int):
        self._qubit = qubit
        self._first = True
        self._start()

    def _start(self) -> None:
        self._legs: list[int] = []
        self._sizes: list[int] = []
        self._products = np.eye(2, dtype=complex)[None]  # (branches, 2, 2)
        self._ends = False

    def add_gate(self, matrix: np.ndarray) -> None:
        self._products = matrix @ self._products

    def add_leg(self, k: int, kind) -> None:
        self._legs.append(k)
        if kind.opens_qubit:
            self._ends = True
            return
        operators = kind.branch_operators()
        self._products = np.einsum("jab,ibc->ijac", operators, self._products).reshape(-1, 2, 2)

    def close(self, items: list[Gate | Opening], branchings: list[Branching]) -> None:
        products = self._products
        if self._ends:
            # (branches, end, start): the open qubit's own basis states are the branches.
            branchings.append(Branching(tuple(self._legs), products.reshape(-1, 2), self._qubit))
        elif self._legs:
            rows = products[:, :, 0] if self._first else products.reshape(-1, 4)
            spread, basis = _independent(rows)
            operators = np.zeros((len(basis), 2, 2), dtype=complex)
            if self._first:
                operators[:, :, 0] = basis  # the qubit is still |0>
            else:
                operators[:] = basis.reshape(-1, 2, 2)
            items.append(Opening(len(branchings), (self._qubit,), operators))
            branchings.append(Branching(tuple(self._legs), spread))
        elif not np.array_equal(products[0], np.eye(2)):
            items.append(Gate((self._qubit,), products[0]))
        self._first = False
        self._start()


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


def _places(qubits: int, items: Sequence[Gate | Opening]) -> tuple[int, ...]:
    """(qubit,) its place in an order that keeps neighbours near."""
    pairs = np.array([item.qubits for item in items if len(item.qubits) == 2], dtype=np.int64).reshape(-1, 2)
    joined = np.concatenate([pairs, pairs[:, ::-1]])
    graph = csr_array((np.ones(len(joined)), joined.T), shape=(qubits, qubits))
    order = reverse_cuthill_mckee(graph, symmetric_mode=True) if qubits else np.zeros(0, dtype=int)
    places = np.empty(qubits, dtype=int)
    places[order] = np.arange(qubits)
    return tuple(places.tolist())


def fused(steps: Steps, qubits: int) -> list[Gate | Opening]:
    """The steps with gates fused into blocks, of whichever size is predicted to be the quickest."""
    best: list[Gate | Opening] = []
    least = np.inf
    for most in (6, 5, 4) if qubits > 5 else (max(qubits, 1),):
        tried = _fused(steps, most)
        seconds = _seconds(tried, steps, qubits)
        if seconds < least:
            best, least = tried, seconds
    return [_multiplied(item) if isinstance(item, list) else item for item in best]


def _seconds(items: Sequence, steps: Steps, qubits: int) -> float:
    total, branches = 0.0, 1
    touched: set[int] = set()
    for item in items:
        if isinstance(item, Opening):
            touched.update(item.qubits)
            branches *= len(item.operators)
            total += 1e-9 * 2.0 ** len(touched) * branches * _AMPLITUDE_NS[0]
        else:
            support = {q for gate in item for q in gate.qubits}
            touched |= support
            total += 1e-6 * _BLOCK_US + 1e-9 * 2.0 ** len(touched) * branches * _AMPLITUDE_NS[len(support) - 1]
    return total


def _fused(steps: Steps, most: int) -> list:
    """Openings, and lists of gates that act together on at most ``most`` qubits."""
    out: list = []
    run: list[Gate] = []
    for item in (*steps.items, None):
        if isinstance(item, Gate):
            run.append(item)
            continue
        left = run
        while left:
            block, left = _next_block(left, most, steps.place_of)
            out.append(block)
        run = []
        if item is not None:
            out.append(item)
    return out


def _next_block(gates: Sequence[Gate], most: int, place_of: Sequence[int]) -> tuple[list[Gate], list[Gate]]:
    """As many of the gates as can come first on a window of ``most`` neighbouring qubits, and the others."""
    block, rest = [gates[0]], []
    support, blocked = set(gates[0].qubits), set[int]()
    width = len(place_of)
    for number, gate in enumerate(gates[1:], start=1):
        own = gate.qubits
        free = not any(q in blocked for q in own)
        if free and all(q in support for q in own):
            block.append(gate)
            continue
        if free and len(support) < most:
            union = support.union(own)
            places = [place_of[q] for q in union]
            if len(union) <= most and (max(places) - min(places) < most or not support.isdisjoint(own)):
                support = union
                block.append(gate)
                continue
        blocked.update(own)
        rest.append(gate)
        if len(blocked) == width:
            rest.extend(gates[number + 1 :])
            break
    return block, rest


def _multiplied(gates: Sequence[Gate]) -> Gate:
    """One gate that does what several do, one after the other."""
    if len(gates) == 1:
        return gates[0]
    qubits = tuple(dict.fromkeys(q for gate in gates for q in gate.qubits))
    size = len(qubits)
    axis_of = {q: axis for axis, q in enumerate(qubits)}
    matrix = np.eye(1 << size, dtype=complex).reshape((2,) * size + (1 << size,))
    for gate in gates:
        axes = [axis_of[q] for q in gate.qubits]
        own = gate.matrix.reshape((2,) * (2 * len(axes)))
        product = np.tensordot(own, matrix, axes=(range(len(axes), 2 * len(axes)), axes))
        matrix = np.moveaxis(product, range(len(axes)), axes)
    return Gate(qubits, np.ascontiguousarray(matrix.reshape(1 << size, 1 << size)))


def open_size(steps: Steps, qubits: int) -> int:
    """Amplitudes of the whole open-leg state."""
    own = sum(branching.qubit is not None for branching in steps.branchings)
    return (1 << (qubits - own)) * prod(branching.rank for branching in steps.branchings)
