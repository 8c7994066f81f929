"""Several two-qubit gates severed as one cut: a run on one pair of qubits, or gates that a copy of one qubit controls.

A *run* is the product of gates on one pair. What acts on the pair between them is either one-qubit gates, which belong
to the product, or diagonal along one axis on each qubit as the gates are, so that all of it commutes: one form (KAK)
then stands for all of them, and its kappa is at most the product of theirs.

A *copy*: from its first gate to its last nothing acts on qubit c but what is diagonal along one axis of it, so all of
it is U = sum_z P_z x V_z. With a second qubit in |+> in the place of c in these gates,
    |+><+| x rho  ->  1/2 sum_zy |z><y| x V_z rho V_y^dagger,
whose Paulis on that qubit are all that U rho U^dagger = sum_zy (P_z . P_y) x (V_z . V_y^dagger) needs. That is one cut
of kappa 3 however many gates and other qubits there are, whatever acts on these in between. It is the cat state with
which gates are shared out between processors (Eisert, Jacobs, Papadopoulos, Plenio, quant-ph/0005101), measured.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from qiskit.circuit import Gate, Operation

from tasks.cutting.errors import CuttingError
from tasks.cutting.schmidt import TO_Z, Copied, SchmidtForm, form_of_matrix

AXES = range(len(TO_Z))
"""Z, X, Y."""
_DIAGONAL_TO = 1e-12
_GENERIC = (0.7390851, 1.1326474, 0.5671433, 1.2020569)  # angles at which no gate is diagonal that is not at others

Acting = tuple[Operation, Sequence[int]]
"""An instruction: what acts, and on which qubits."""


@dataclass(frozen=True)
class Together:
    """Gates to be severed as one.

    Attributes:
        members: their instructions, in order.
        absorbed: instructions of one-qubit gates that belong to a run.
        form: of the run, or that it is a copy.
        qubits: of the run, as its first gate has them; of a copy the qubit that is copied.
    """

    members: tuple[int, ...]
    absorbed: tuple[int, ...]
    form: SchmidtForm | Copied
    qubits: tuple[int, ...]


def joined_gates(instructions: Sequence[Acting], members: Sequence[int], matters: np.ndarray) -> Together:
    """How gates are severed as one: as a run where they can be, else as a copy.

    Args:
        instructions: of the circuit.
        members: two or more of its two-qubit gates, in order.
        matters: (instruction,) bool, those that are there.

    Raises:
        CuttingError: they are neither.
    """
    between = [i for i in range(members[0] + 1, members[-1]) if matters[i] and i not in members]
    pair = tuple(instructions[members[0]][1])
    common = set(pair).intersection(*(instructions[i][1] for i in members))
    if len(common) == 2:
        inside = [i for i in between if set(instructions[i][1]) & common]
        absorbed = inside if all(len(instructions[i][1]) == 1 for i in inside) else []
        if absorbed == inside or _all_diagonal(instructions, [*members, *inside], common):
            form = form_of_matrix(run_matrix(instructions, sorted([*members, *absorbed]), pair))
            if form is not None:
                return Together(tuple(members), tuple(absorbed), form, pair)
    for qubit in [q for q in pair if q in common]:
        inside = [i for i in between if qubit in instructions[i][1]]
        for axis in AXES:
            if all(_is_diagonal(instructions[i], qubit, axis) for i in [*members, *inside]):
                return Together(tuple(members), (), Copied(axis), (qubit,))
    raise CuttingError(
        f"instructions {', '.join(map(str, members))} cannot be severed as one: they share no qubit that all of "
        "them, and whatever acts on it between them, leave diagonal along one axis, nor are they a run on one pair of "
        "qubits; name them one by one"
    )


def run_matrix(instructions: Sequence[Acting], run: Sequence[int], pair: Sequence[int]) -> np.ndarray:
    """(4, 4) complex: the product of gates on a pair or one of its qubits, the first of the pair the right factor."""
    product = np.eye(4, dtype=complex)
    for i in run:
        operation, qubits = instructions[i]
        matrix = np.asarray(operation.to_matrix(), dtype=complex)
        if len(qubits) == 1:
            factors = (np.eye(2), matrix) if qubits[0] == pair[0] else (matrix, np.eye(2))
            matrix = np.kron(*factors)
        elif qubits[0] != pair[0]:
            matrix = matrix.reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4)
        product = matrix @ product
    return product


def lasting_axes(gate: Gate, end: int) -> tuple[bool, ...]:
    """(axis,) whether a gate is diagonal along it on one of its qubits, whatever the values of its angles are."""
    return _lasting(gate.base_class, len(gate.params), end) if _has_angles(gate) else _axes(_raw(gate), end)


def generic(gate: Gate) -> Gate:
    """The gate at angles that leave it nothing that others do not; itself where it has none, or is more than these."""
    return (_generic(gate.base_class, len(gate.params)) if _has_angles(gate) else None) or gate


def _has_angles(gate: Gate) -> bool:
    return 0 < len(gate.params) <= len(_GENERIC) and all(isinstance(value, int | float) for value in gate.params)


@lru_cache(maxsize=512)
def _generic(kind: Hashable, angles: int) -> Gate | None:
    assert isinstance(kind, type)
    try:
        gate: Gate = kind(*_GENERIC[:angles])
        gate.to_matrix()
    except (TypeError, AttributeError):  # a gate that is not made of its angles alone
        return None
    return gate


@lru_cache(maxsize=512)
def _lasting(kind: Hashable, angles: int, end: int) -> tuple[bool, ...]:
    gate = _generic(kind, angles)
    return (False,) * len(AXES) if gate is None else _axes(_raw(gate), end)


def _is_diagonal(instruction: Acting, qubit: int, axis: int) -> bool:
    operation, qubits = instruction
    return _axes(_raw(operation), list(qubits).index(qubit))[axis]


def _all_diagonal(instructions: Sequence[Acting], those: Sequence[int], qubits: set[int]) -> bool:
    """Whether all that act on a qubit leave it diagonal along one axis, for each of the qubits."""
    acting = {q: [i for i in those if q in instructions[i][1]] for q in qubits}
    return all(any(all(_is_diagonal(instructions[i], q, x) for i in own) for x in AXES) for q, own in acting.items())


def _raw(operation: Operation) -> bytes:
    return np.ascontiguousarray(operation.to_matrix(), dtype=complex).tobytes()


@lru_cache(maxsize=4096)
def _axes(raw: bytes, end: int) -> tuple[bool, ...]:
    flat = np.frombuffer(raw, dtype=complex)
    if len(flat) == 4:
        own = flat.reshape(2, 1, 2, 1)
    else:
        whole = flat.reshape(2, 2, 2, 2)  # rows (qubit 1, qubit 0), columns (qubit 1, qubit 0)
        own = whole if end else whole.transpose(1, 0, 3, 2)
    found = []
    for turn in TO_Z:
        parts = np.einsum("ab,bcde,fd->acfe", turn, own, turn.conj())
        found.append(max(np.abs(parts[0, :, 1]).max(), np.abs(parts[1, :, 0]).max()) < _DIAGONAL_TO)
    return tuple(map(bool, found))
