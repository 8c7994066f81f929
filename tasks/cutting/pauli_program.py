"""A fragment in the Heisenberg picture: what its gates and legs do to a Pauli, and what following Paulis takes.

Going backwards from an observable factor, a Clifford gate makes one Pauli of one, with a sign; any other gate makes a
sum of a few (D. Gottesman, quant-ph/9807006; P. Rall et al., Phys. Rev. A 99, 062337 (2019), arXiv:1901.09070, for the
sums). A leg's basis consists of maps that take a Pauli to a Pauli or to nothing, so the entries of a Clifford fragment
are 0, +-1 or, where a wire begins, +-2: hundreds of qubits are nothing. With few other gates their sums stay short,
which is what is counted here.

Letters are coded 0, 1, 2, 3 for I, X, Z, Y (the X part, and twice the Z part); two of them (a, b) as ``a + 4 b``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import log2

import numpy as np

from scheduler_policies.machine import PAULI_ROW_S, PAULI_STEP_S
from tasks.cutting.kinds import LegKind
from tasks.cutting.once import once_a_fragment
from tasks.cutting.plan import Fragment

LETTERS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [0, -1]], [[0, -1j], [1j, 0]]])
"""(letter, 2, 2) complex."""

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


ROWS_AT_ONCE = 1 << 16
"""Paulis that are followed together, where one factor does not need more."""


def pauli_program(fragment: Fragment, most: float = np.inf) -> PauliProgram | None:
    """The program of a fragment.

    Args:
        fragment: the fragment.
        most: seconds.

    Returns:
        None where it takes more than that, or sums may become too long.
    """
    steps: list[PauliStep] = []
    support = fragment.factors_x.T | fragment.factors_z.T  # (qubit, factor)
    rows = np.zeros(fragment.num_factors)
    opened = 0.0
    total = float(fragment.num_factors)
    seconds = (len(fragment.circuit.data) + len(fragment.legs)) * PAULI_STEP_S
    for step in _backwards(fragment):
        steps.append(step)
        own = list(step.qubits)
        if step.leg is not None:
            opened += log2(step.map.most)
            rows += log2(step.map.most)
            support[own] = True
        elif len(own) == 2 or step.map.most > 1:
            touched = support[own].any(axis=0)
            support[own] |= touched
            rows[touched] += log2(step.map.most)
        if step.map.most > 1:
            np.minimum(rows, opened + 2.0 * support.sum(axis=0), out=rows)  # equal Paulis are joined
            if rows.max(initial=0.0) > _MOST_BITS:
                return None
            total = float(np.exp2(rows).sum())
        seconds += total * PAULI_ROW_S * (1.0 if step.map.most == 1 else fragment.num_qubits / 4)
        if seconds > most:
            return None
    held = max(float(np.exp2(rows.max(initial=0.0))), min(ROWS_AT_ONCE, total))
    clifford = all(step.map.most == 1 for step in steps if step.leg is None)
    size = int(3 * held * (fragment.num_qubits + 24))
    return PauliProgram(tuple(steps), clifford, rows, seconds, size)


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
