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
from math import log2, prod, sqrt

import numpy as np

from scheduler_policies.machine import PAULI_JOIN_S, PAULI_JOIN_STEP_S, PAULI_ROW_S, PAULI_STEP_S
from tasks.cutting.kinds import LegKind
from tasks.cutting.once import once_a_fragment
from tasks.cutting.pauli_rows import JOINED_AT, PauliMap, Rows
from tasks.cutting.plan import Fragment

LETTERS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [0, -1]], [[0, -1j], [1j, 0]]])
"""(letter, 2, 2) complex."""

LETTER_SETS = np.array([0, 1, 2, 4], dtype=np.uint8)
"""(code,) of a letter alone."""
_LETTERS_IN = np.array([1.0, 2, 2, 3, 2, 3, 3, 4])  # (set,) I counted
_ROUNDING = 1e-12  # a coefficient below this is none
_SAMPLED, _MOST_SAMPLED = 8, 1 << 11  # factors that are followed for how many Paulis there are, and these at most
_MOST_BITS = 20.0  # log2 of the Paulis of one factor; a fragment that may need more is left to other methods


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
    codes = (fragment.factors_x + 2 * fragment.factors_z).T
    if (found := _bounded(fragment, codes)) is None:
        return None
    steps, bounds = found
    seconds = _seconds(fragment, codes, steps, bounds, most)
    if seconds > most:
        return None
    largest = np.maximum.reduce(bounds, axis=0, initial=0.0) if bounds else np.zeros(fragment.num_factors)
    held = max(float(np.exp2(largest.max(initial=0.0))), min(_HELD_AT_ONCE, float(np.exp2(largest).sum())))
    clifford = all(step.map.most == 1 for step in steps if step.leg is None)
    size = int(3 * held * (fragment.num_qubits + 24))
    return PauliProgram(tuple(steps), clifford, largest, seconds, size)


def _bounded(fragment: Fragment, codes: np.ndarray) -> tuple[list[PauliStep], list[np.ndarray]] | None:
    """All steps and, of each, (factor,) log2 of the Paulis that each factor is once it is done, at most.

    None where they are too many. ``codes``: (qubit, factor) letters of the factors.
    """
    steps: list[PauliStep] = []
    bounds: list[np.ndarray] = []
    acting, opened, rows = LETTER_SETS[codes], 0.0, np.zeros(fragment.num_factors)
    tables: dict[int, LetterTable] = {}
    for step in _backwards(fragment):
        own = list(step.qubits)
        if (table := tables.get(id(step.map))) is None:  # maps are kept, so that each has a name of its own
            table = tables[id(step.map)] = letter_table(step.map)
        sets = acting[own[0]] + 8 * acting[own[1]] if len(own) == 2 else acting[own[0]]
        acting[own] = table.after[:, sets]
        grown = table.most[sets]
        opened += log2(fragment.legs[step.leg].dimension) if step.leg is not None else 0.0
        if grown.any():
            rows = np.minimum(rows + grown, opened + np.log2(_LETTERS_IN[acting]).sum(axis=0))  # equal ones are joined
            if rows.max(initial=0.0) > _MOST_BITS:
                return None
        steps.append(step)
        bounds.append(rows)
    return steps, bounds


def _seconds(
    fragment: Fragment, codes: np.ndarray, steps: list[PauliStep], bounds: list[np.ndarray], most: float
) -> float:
    """What the steps take; any number above ``most`` where it is more.

    Args:
        fragment: the fragment.
        codes: (qubit, factor) letters of its factors.
        steps: in their order.
        bounds: (step,) (factor,) log2 of the Paulis that each is once it is done, at most.
        most: seconds.
    """
    sample, together = _Sample(fragment, codes), 0.0
    each = PAULI_ROW_S * fragment.num_qubits / 6  # of a Pauli that is copied
    fixed, seconds = len(steps) * PAULI_STEP_S, 0.0
    for step, bound in zip(steps, bounds, strict=True):
        sample.take(step, bound)
        together = max(together, sample.made)
        seconds += sample.made * (each if sample.copied else PAULI_ROW_S)
        if sample.joined:
            fixed += PAULI_JOIN_STEP_S
            seconds += sample.made * PAULI_JOIN_S
        if fixed + seconds > most:
            break
    return fixed * max(1.0, min(together / ROWS_AT_ONCE, fragment.num_factors)) + seconds


class _Sample:
    """Some factors that are followed, fewer as they become many Paulis, and how many all factors are.

    Of the bits of their bounds all are taken to have the part that these have; of that they are as far off as these.
    Where none is followed any more, steps go on to make as many of one Pauli as they did. What is left once equal ones
    are joined is halfway, in bits, between that part of the bounds and what grows on as before.

    Attributes:
        made: Paulis of all factors after a step, before equal ones are joined.
        copied: whether the step made more or fewer of them.
        joined: whether equal ones were joined.
    """

    def __init__(self, fragment: Fragment, codes: np.ndarray):
        self._number = number = min(_SAMPLED, fragment.num_factors)
        self._factors = np.arange(number) * fragment.num_factors // max(1, number)  # none: no more of them is seen
        self._slots = np.arange(number)  # which of those at first they are
        shape = *(leg.dimension for leg in fragment.legs), number
        self._strides = [prod(shape[k + 1 :]) for k in range(len(fragment.legs))]
        self._rows = Rows(codes[:, self._factors].astype(np.uint8), np.arange(number))
        self._bounds = np.zeros(fragment.num_factors)
        self._part, self._off = 0.0, 1.0
        self._bits, self._sums = 0.0, 0  # by which sums made Paulis more, and how many of them were seen
        self._seen, self._guessed = 0.0, 0  # log2 of the Paulis of a factor when it was left, and sums since
        self._left = self.made = float(fragment.num_factors)
        self.copied = self.joined = False

    def take(self, step: PauliStep, bounds: np.ndarray) -> None:
        """A step; ``bounds``: (factor,) log2 of the Paulis that each is by then, at most."""
        grown = bounds is not self._bounds
        self._bounds = bounds
        if not len(self._factors):
            self._guess(grown)
            return
        before, compared = len(self._rows.places), self._rows.compared
        self._rows.take(step.qubits, step.map, 0 if step.leg is None else self._strides[step.leg])
        made, left = self._rows.compared - compared, len(self._rows.places)
        self.joined, self.copied = made > 0, made > 0 or left != before
        if grown or self.copied:
            self._bits += log2(max(1, made or left) / max(1, before))
            self._sums += grown
            mean = float(np.exp2(bounds[self._factors]).mean())
            self._part = log2(max(1.0, left / len(self._factors))) / max(1.0, log2(mean))
            likely = np.exp2(self._part * bounds)
            seen, total = float(likely[self._factors].sum()), float(likely.sum())
            self._off, self._left, self.made = left / seen, left * total / seen, (made or left) * total / seen
        if left > _MOST_SAMPLED:
            self._thin()

    def _guess(self, grown: bool) -> None:
        """A step that may make sums, none of which is followed."""
        self.made = self._left if self.joined else self.made
        self.copied = grown
        self._guessed += grown
        self.made *= 2 ** (self._bits / max(1, self._sums)) if grown else 1.0
        self.joined = self.made > JOINED_AT * self._left
        if self.joined:
            part = self._off * float(np.exp2(self._part * self._bounds).sum())
            bits = self._seen * (1 + self._guessed / max(1, self._sums))
            further = max(part, float(np.exp2(np.minimum(self._bounds, bits)).sum()))
            self._left = min(self.made, sqrt(part * further))

    def _thin(self) -> None:
        """Of two factors of like bounds the one with the larger is followed further; none after the last."""
        kept = np.zeros(self._number, dtype=bool)
        kept[self._slots[np.argsort(self._bounds[self._factors], kind="stable")[1::2]]] = True
        self._rows = self._rows.those(kept[self._rows.places % self._number])
        self._factors, self._slots = self._factors[kept[self._slots]], np.flatnonzero(kept)
        self._seen = log2(self._left / len(self._bounds))


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
    """

    changed: np.ndarray
    most: np.ndarray
    after: np.ndarray


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
    return LetterTable((member & ~same).any(axis=1), most, after)
