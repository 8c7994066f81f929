"""A fragment in the Heisenberg picture: what its gates and legs do to a Pauli, and what following Paulis takes.

Going backwards from an observable factor, a Clifford gate makes one Pauli of one, with a sign; any other gate makes a
sum of a few (D. Gottesman, quant-ph/9807006; P. Rall et al., Phys. Rev. A 99, 062337 (2019), arXiv:1901.09070, for the
sums). A leg's basis consists of maps that take a Pauli to a Pauli or to nothing, so the entries of a Clifford fragment
are 0, +-1 or, where a wire begins, +-2: hundreds of qubits are nothing. With few other gates their sums stay short,
which is what is counted here.

Letters are coded 0, 1, 2, 3 for I, X, Z, Y (the X part, and twice the Z part); two of them (a, b) as ``a + 4 b``.
What may stand on a qubit is a set of letters beside I: 1 for X, 2 for Z, 4 for Y; of two qubits (a, b), ``a + 8 b``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import log2

import numpy as np

from scheduler_policies.machine import PAULI_JOIN_S, PAULI_ROW_S, PAULI_STEP_S
from tasks.cutting.kinds import LegKind
from tasks.cutting.once import once_a_fragment
from tasks.cutting.plan import Fragment

LETTERS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [0, -1]], [[0, -1j], [1j, 0]]])
"""(letter, 2, 2) complex."""

LETTER_SETS = np.array([0, 1, 2, 4], dtype=np.uint8)
"""(code,) of a letter alone."""
_LETTERS_IN = np.array([1.0, 2, 2, 3, 2, 3, 3, 4])  # (set,) I counted
_ROUNDING = 1e-12  # a coefficient below this is none
_MOST_BITS = 20.0  # log2 of the Paulis of one factor; a fragment that may need more is left to other methods


@dataclass(frozen=True)
class PauliMap:
    """What becomes of a Pauli on one or two qubits: a sum of at most ``most`` Paulis, some of them of a leg's entry.

    Attributes:
        count: (code,) int, of how many.
        codes: (code, place) uint8, which; what is beyond ``count`` has no meaning.
        coefficients: (code, place) float64.
        entries: (code, place) int, the leg's entry that each belongs to; 0 for a gate.
    """

    count: np.ndarray
    codes: np.ndarray
    coefficients: np.ndarray
    entries: np.ndarray

    @property
    def most(self) -> int:
        """Paulis that one can become."""
        return self.codes.shape[1]


@dataclass(frozen=True)
class PauliStep:
    """A gate or a leg.

    Attributes:
        qubits: one or two.
        map: what it does to a Pauli on them.
        leg: which leg, None for a gate.
    """

    qubits: tuple[int, ...]
    map: PauliMap
    leg: int | None = None


@dataclass(frozen=True)
class PauliProgram:
    """What to follow, from the end of the circuit to its beginning, and what it takes at most.

    Attributes:
        steps: in that order.
        clifford: whether no gate makes a sum of a Pauli.
        rows: (factor,) log2 of the Paulis that each factor becomes at most, over all entries of the legs.
        seconds: that the fragment's tensor takes on one typical core.
        bytes: peak memory, the tensor not counted.
    """

    steps: tuple[PauliStep, ...]
    clifford: bool
    rows: np.ndarray
    seconds: float
    bytes: int


ROWS_AT_ONCE = 1 << 14
"""Paulis that are followed together, where one factor does not need more."""
_HELD_AT_ONCE = 1 << 16  # with those of the factors that wait


def pauli_program(fragment: Fragment, most: float = np.inf) -> PauliProgram | None:
    """The program of a fragment.

    Args:
        fragment: the fragment.
        most: seconds.

    Returns:
        None where it takes more than that, or sums may become too long.
    """
    steps: list[PauliStep] = []
    codes = (fragment.factors_x + 2 * fragment.factors_z).T
    acting, likely = LETTER_SETS[codes], _LikelyLetters(codes)
    rows, largest = np.zeros(fragment.num_factors), np.zeros(fragment.num_factors)
    opened, seconds, together = 0.0, 0.0, 0.0
    tables: dict[int, LetterTable] = {}
    for step in _backwards(fragment):
        steps.append(step)
        own = list(step.qubits)
        if (table := tables.get(id(step.map))) is None:  # maps are kept, so that each has a name of its own
            table = tables[id(step.map)] = letter_table(step.map)
        sets = acting[own[0]] + 8 * acting[own[1]] if len(own) == 2 else acting[own[0]]
        acting[own] = table.after[:, sets]
        grown = table.most[sets]
        sums = bool(grown.any())
        opened += log2(fragment.legs[step.leg].dimension) if step.leg is not None else 0.0
        likely.take(own, table.paths, opened)
        if sums:
            rows = np.minimum(rows + grown, opened + np.log2(_LETTERS_IN[acting]).sum(axis=0))  # equal ones are joined
            largest = np.maximum(largest, rows)
            if rows.max(initial=0.0) > _MOST_BITS:
                return None
        followed = float(np.exp2(np.minimum(rows, likely.rows)).sum())
        together = max(together, followed)
        seconds += followed * PAULI_ROW_S * (fragment.num_qubits / 4 if sums else 1.0)
        if seconds > most:
            return None
    seconds += len(steps) * PAULI_STEP_S * max(1.0, together / ROWS_AT_ONCE) + together * PAULI_JOIN_S
    if seconds > most:
        return None
    held = max(float(np.exp2(largest.max(initial=0.0))), min(_HELD_AT_ONCE, float(np.exp2(largest).sum())))
    clifford = all(step.map.most == 1 for step in steps if step.leg is None)
    size = int(3 * held * (fragment.num_qubits + 24))
    return PauliProgram(tuple(steps), clifford, largest, seconds, size)


class _LikelyLetters:
    """About how many Paulis each factor is a sum of, as if their letters were independent of each other.

    So many Paulis that differ are of no more bits than the letters of all qubits (the entropy of all is at most the sum
    of each one's): beyond, some are equal and are joined.

    Attributes:
        rows: (factor,) log2 of the Paulis.
    """

    def __init__(self, codes: np.ndarray):
        self.rows = np.zeros(codes.shape[1])
        self._shares = np.eye(4)[codes].transpose(0, 2, 1)  # (qubit, letter, factor)
        self._bits = np.zeros(codes.shape)  # (qubit, factor) of these shares

    def take(self, own: list[int], paths: np.ndarray, opened: float) -> None:
        """A step on one or two qubits; ``opened``: bits of all entries of legs so far."""
        shares = self._shares[own]
        if len(own) == 2:
            shares = (shares[1][:, None] * shares[0][None]).reshape(1, 16, -1)
        found = paths @ shares[0]
        grown = np.maximum(found.sum(axis=0), _ROUNDING)
        table = (found / grown).reshape(*(4,) * len(own), -1)
        for k, q in enumerate(own):
            # The first qubit's letter is the last axis before the factors.
            self._shares[q] = each = table.sum(axis=k) if len(own) == 2 else table
            self._bits[q] = -(each * np.log2(np.maximum(each, _ROUNDING))).sum(axis=0)
        self.rows = np.minimum(self.rows + np.log2(grown), opened + self._bits.sum(axis=0))


@once_a_fragment
def is_clifford(fragment: Fragment) -> bool:
    """Whether all its gates are Clifford gates."""
    return all(unitary_map(item.matrix).most == 1 for item in fragment.circuit.data)


def _backwards(fragment: Fragment) -> Iterator[PauliStep]:
    """Gates and legs, the last first; each is looked at when it is asked for."""
    number = {bit: q for q, bit in enumerate(fragment.circuit.qubits)}
    legs_at: dict[int, list[int]] = {}
    for k, leg in enumerate(fragment.legs):
        legs_at.setdefault(leg.position, []).append(k)
    data = fragment.circuit.data
    for position in range(len(data), -1, -1):
        if position < len(data):
            item = data[position]
            yield PauliStep(tuple(number[bit] for bit in item.qubits), unitary_map(item.matrix))
        for k in reversed(legs_at.get(position, ())):
            leg = fragment.legs[k]
            yield PauliStep((leg.qubit,), leg_map(leg.kind), k)


def unitary_map(matrix: np.ndarray) -> PauliMap:
    """Of a gate U: Q -> U^dagger Q U; U as (2, 2) or (4, 4) complex, the first qubit its least significant bit."""
    return _of_matrix(np.ascontiguousarray(matrix, dtype=complex).tobytes(), len(matrix))


@lru_cache(maxsize=4096)
def _of_matrix(raw: bytes, size: int) -> PauliMap:
    matrix = np.frombuffer(raw, dtype=complex).reshape(size, size)
    paulis = LETTERS if size == 2 else np.einsum("bij,akl->baikjl", LETTERS, LETTERS).reshape(16, 4, 4)
    turned = matrix.conj().T @ paulis @ matrix
    spread = np.einsum("pij,qji->qp", paulis, turned).real / size  # (before, after)
    return _sparse(spread[:, :, None])


@lru_cache(maxsize=64)
def leg_map(kind: LegKind) -> PauliMap:
    """Of a leg: Q -> sum over j, k of the entry's change[j, k] B_k^dagger Q B_j, B_j what branch j does.

    Where the leg ends its qubit, the entry's operator on it; where it begins it, the value in |0>.
    """
    change = kind.basis_change().reshape(-1, kind.rank, kind.rank)
    if kind.opens_qubit:
        spread = np.zeros((4, 4, len(change)))
        # The branches are the qubit's basis states: what is asked is |k><j|.
        spread[0] = np.einsum("pab,eab->pe", LETTERS, change).real / 2
        return _sparse(spread)
    branches = kind.branch_operators()
    turned = np.einsum("ejk,kba,qbc,jcd->qead", change, branches.conj(), LETTERS, branches, optimize=True)
    if kind.prepares:
        spread = np.zeros((4, 4, len(change)))
        spread[:, 0] = turned[:, :, 0, 0].real
        return _sparse(spread)
    return _sparse(np.einsum("pij,qeji->qpe", LETTERS, turned).real / 2)


def _sparse(spread: np.ndarray) -> PauliMap:
    """From (before, after, entry) float64."""
    kept = np.abs(spread) > _ROUNDING
    before, after, entry = np.nonzero(kept)
    count = np.bincount(before, minlength=len(spread))
    shape = len(spread), max(1, int(count.max()))
    place = np.arange(len(before)) - (np.cumsum(count) - count)[before]
    codes, entries, values = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.int64), np.zeros(shape)
    codes[before, place], entries[before, place], values[before, place] = after, entry, spread[kept]
    return PauliMap(count, codes, values, entries)


@dataclass(frozen=True)
class LetterTable:
    """What becomes of sets of letters.

    Attributes:
        changed: (sets,) bool, whether any Pauli of theirs is.
        most: (sets,) float64, log2 of how many Paulis one of theirs can become.
        after: (qubit, sets) uint8, the sets afterwards.
        paths: (after, before) float64, how many ways lead from one Pauli to another.
    """

    changed: np.ndarray
    most: np.ndarray
    after: np.ndarray
    paths: np.ndarray


def letter_table(found: PauliMap) -> LetterTable:
    """The table of a gate or a leg."""
    codes = np.arange(len(found.count))
    same = (found.count == 1) & (found.codes[:, 0] == codes) & (np.abs(found.coefficients[:, 0] - 1) < _ROUNDING)
    return _table_of(found.count.tobytes(), found.codes.tobytes(), same.tobytes())


@lru_cache(maxsize=1024)
def _table_of(raw_count: bytes, raw_codes: bytes, raw_same: bytes) -> LetterTable:
    """Gates of many angles have few tables."""
    count, same = np.frombuffer(raw_count, dtype=np.int64), np.frombuffer(raw_same, dtype=bool)
    codes = np.arange(len(count))
    found = np.frombuffer(raw_codes, dtype=np.uint8).reshape(len(count), -1)
    there = np.arange(found.shape[1]) < count[:, None]
    shifts = range(0, len(codes).bit_length() - 1, 2)
    letters = [np.bitwise_or.reduce(np.where(there, LETTER_SETS[found >> k & 3], 0), axis=1) for k in shifts]
    sets = np.arange(8 ** len(letters))
    member = np.ones((len(sets), len(codes)), dtype=bool)
    for k, shift in enumerate(shifts):
        own = LETTER_SETS[codes >> shift & 3]
        member &= (own & ~(sets >> 3 * k & 7)[:, None]) == 0
    after = np.array([np.bitwise_or.reduce(np.where(member, own, 0), axis=1) for own in letters], dtype=np.uint8)
    most = np.log2(np.maximum(1, np.where(member, count, 0).max(axis=1)))
    paths = np.zeros((len(codes), len(codes)))
    np.add.at(paths, (found[there], np.nonzero(there)[0]), 1.0)
    return LetterTable((member & ~same).any(axis=1), most, after, paths)
