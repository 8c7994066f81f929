"""A two-qubit gate as a sum of products: its operator-Schmidt form, leg basis and bond matrix.

KAK: U = (left_1 x left_0) . sum_j c_j sigma_j x sigma_j . (right_1 x right_0), sigma = I, X, Y, Z (Qiskit's
``TwoQubitWeylDecomposition``; Tucci, arXiv:quant-ph/0507171). A gate with one angle (CX, CZ, rzz, ...) is turned
so that its two terms are I and Z, whence rank 2; the angle of a standard one is read off its matrix directly.

Leg basis, real because every element keeps Hermiticity: the maps
    R_jj  = sigma_j . sigma_j,
    R+_jk = (sigma_j . sigma_k + sigma_k . sigma_j) / 2,
    R-_jk = i (sigma_j . sigma_k - sigma_k . sigma_j) / 2      for j < k,
ordered R_00 ... R_rr, then R+_jk, R-_jk for (j, k) = (0, 1), (0, 2), ...; rank 2 has dimension 4, rank 4 has 16.
"""

from __future__ import annotations

from cmath import phase, rect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations, product
from math import atan2, cos, hypot, sin, sqrt

import numpy as np
from qiskit.circuit import Gate
from qiskit.exceptions import QiskitError
from qiskit.synthesis import TwoQubitWeylDecomposition

from tasks.cutting.errors import CuttingError

PAULIS = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=complex
)  # I, X, Y, Z
_HADAMARD = np.array([[1, 1], [1, -1]], dtype=complex) / np.sqrt(2)
TO_Z = (np.eye(2, dtype=complex), _HADAMARD, _HADAMARD @ np.diag([1, -1j]))
"""One-qubit unitaries that turn the Z, X and Y axes to Z."""

_UNITARY_TO = 1e-6  # a singular value further from 1 than this is no rounding, not even in single precision
_EXACT_TO = 1e-10  # a form reproduces its gate to this, or to the gate's own distance from a unitary
_DROPPED = 1e-12  # a Weyl angle below this is rounding
_BLOCK_TO = 1e-14


@dataclass(frozen=True)
class SchmidtForm:
    """A severed gate: what stays on each side, and how the sides are joined.

    Attributes:
        rank: 2 (terms I, Z) or 4 (terms I, X, Y, Z).
        coefficients: (rank,) complex, c_j.
        before: (2, 2, 2) complex, the one-qubit unitaries applied before the severed part on the gate's qubits 0 and 1.
        after: (2, 2, 2) complex, those applied after it.
    """

    rank: int
    coefficients: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def sigmas(self) -> np.ndarray:
        """(rank, 2, 2) complex, the operators of the terms."""
        return schmidt_operators(self.rank)

    def bond(self) -> np.ndarray:
        """(dim, dim) float64: W with U rho U^dagger = sum_ab W[a, b] R_a x R_b (between the local unitaries)."""
        rank, c = self.rank, self.coefficients
        bond = np.zeros((rank**2, rank**2))
        bond[range(rank), range(rank)] = np.abs(c) ** 2
        for index, (j, k) in enumerate(combinations(range(rank), 2)):
            # c_j c_k* (R+ - iR-) x (R+ - iR-) and its conjugate.
            z = c[j] * np.conj(c[k])
            plus, minus = rank + 2 * index, rank + 2 * index + 1
            bond[plus, plus] += 2 * z.real
            bond[minus, minus] -= 2 * z.real
            bond[plus, minus] += 2 * z.imag
            bond[minus, plus] += 2 * z.imag
        return bond

    def rebuilt(self) -> np.ndarray:
        """(4, 4) complex: the gate as the form has it, qubit 0 the right factor of each product."""
        zero, one = self.after[:, None] @ self.sigmas @ self.before[:, None]
        return np.einsum("j,jab,jcd->acbd", self.coefficients, one, zero).reshape(4, 4)

    def kappa(self) -> float:
        """Sampling factor of the best known decomposition, 1 + 2 sum_{j != k} |c_j c_k|.

        Equals 1 + 2|sin t| for rzz(t), 3 for CX and 7 for SWAP (Schmitt, Piveteau, Sutter, arXiv:2312.11638).
        """
        return float(1 + 4 * sum(a * b for a, b in combinations(np.abs(self.coefficients), 2)))


@dataclass(frozen=True)
class Copied:
    """In the place of a form: gates severed as one by a copy of a qubit that they leave diagonal along an axis.

    Attributes:
        axis: index into ``TO_Z``.
    """

    axis: int = 0

    @property
    def rank(self) -> int:
        """Of its legs."""
        return 2

    def kappa(self) -> float:
        """Sampling factor: that of one controlled gate, the far side of which may be anything."""
        return 3.0

    def bond(self) -> np.ndarray:
        """(4, 4) float64: leg basis of I and Z on the qubit, Paulis of its copy (see ``tasks/cutting/joined.py``)."""
        return np.array([[0.5, 0.5, 0, 0], [0.5, -0.5, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])


def schmidt_operators(rank: int) -> np.ndarray:
    """(rank, 2, 2) complex: I, Z for rank 2; I, X, Y, Z for rank 4."""
    return PAULIS[[0, 3]] if rank == 2 else PAULIS


@lru_cache(maxsize=8)
def basis_change(rank: int) -> np.ndarray:
    """(rank**2, rank**2) complex: leg-basis entries from the entries of sigma_j . sigma_k, row-major in (j, k)."""
    change = np.zeros((rank**2, rank, rank), dtype=complex)
    for j in range(rank):
        change[j, j, j] = 1
    for index, (j, k) in enumerate(combinations(range(rank), 2)):
        plus, minus = rank + 2 * index, rank + 2 * index + 1
        change[plus, j, k] = change[plus, k, j] = 0.5
        change[minus, j, k], change[minus, k, j] = 0.5j, -0.5j
    return change.reshape(rank**2, rank**2)


def schmidt_form(gate: Gate, where: str = "the gate") -> SchmidtForm:
    """Split a two-qubit unitary gate.

    Args:
        gate: a two-qubit gate with numeric parameters.
        where: how an error names it ("instruction 7 (cx)").

    Raises:
        CuttingError: the gate has no usable decomposition.
    """
    form = find_form(gate)
    if form is None:
        raise CuttingError(
            f"{where} cannot be cut: its matrix is not unitary to {_UNITARY_TO:g}, so no sum of products reproduces "
            "it; cut another gate"
        )
    return form


def find_form(gate: Gate) -> SchmidtForm | None:
    """The form of a two-qubit gate, None where it has no usable one: such a gate stays whole."""
    return form_of_matrix(np.asarray(gate.to_matrix()))


def form_of_matrix(unitary: np.ndarray) -> SchmidtForm | None:
    """The same for a gate's (4, 4) matrix, its qubit 0 the right factor of products."""
    return _form_of_matrix(np.ascontiguousarray(unitary, dtype=complex).tobytes())


@lru_cache(maxsize=1 << 14)
def _form_of_matrix(raw: bytes) -> SchmidtForm | None:
    # A circuit has many gates of few kinds, so forms are kept by matrix.
    given = np.frombuffer(raw, dtype=complex).reshape(4, 4)
    if not np.isfinite(given).all():
        return None
    left, stretch, right = np.linalg.svd(given)
    off = float(np.abs(stretch - 1).max())
    if off > _UNITARY_TO:
        return None
    # Single precision, or angles of 1e5 and more, leave a matrix that is unitary to a few digits only.
    unitary = left @ right
    exact = max(_EXACT_TO, 8 * off)
    forms = chain(_controlled_form(unitary), _weyl_forms(unitary, max(_DROPPED, 2 * off)))
    return next((form for form in forms if np.abs(form.rebuilt() - unitary).max() < exact), None)


def _controlled_form(unitary: np.ndarray) -> Iterator[SchmidtForm]:
    """The form of a gate that does one thing or another to a qubit as the other one is +1 or -1 along Z, X or Y.

    These are the standard gates of one angle (cx, cp, cu, rzz, rzx, ecr, ...). The angle follows from the two 2 x 2
    blocks A and B, with A^dagger B = e^(i alpha) w exp(-i omega Z) w^dagger, to the last digit however small it is or
    however near a multiple of pi: C(A^dagger B) = phase . w . exp(-i omega/2 Z_t) exp(i omega/2 Z_c Z_t) . w^dagger.
    """
    whole = unitary.reshape(2, 2, 2, 2)  # rows (qubit 1, qubit 0), columns (qubit 1, qubit 0)
    for control, number in product((0, 1), range(len(TO_Z))):
        axis = TO_Z[number]
        ordered = whole if control else whole.transpose(1, 0, 3, 2)
        parts = np.einsum("ab,bcde,fd->acfe", axis, ordered, axis.conj()) if number else ordered
        if max(np.abs(parts[0, :, 1]).max(), np.abs(parts[1, :, 0]).max()) > _BLOCK_TO:
            continue
        one = parts[0, :, 0]
        (a, b), (c, d) = (one.conj().T @ parts[1, :, 1]).tolist()
        alpha = phase(a * d - b * c) / 2
        turn = rect(1.0, -alpha)
        a, b, c, d = turn * a, turn * b, turn * c, turn * d
        omega, w = _eigenbasis(((b + c).imag / -2, (b - c).real / -2, (a - d).imag / -2), (a + d).real / 2)
        before = [axis, w.conj().T]
        after = [
            axis.conj().T * np.array([1, rect(1.0, alpha)]),
            (one @ w) * np.array([rect(1.0, -omega / 2), rect(1.0, omega / 2)]),
        ]
        turned = slice(None) if control == 0 else slice(None, None, -1)
        coefficients = np.array([cos(omega / 2), 1j * sin(omega / 2)])
        yield SchmidtForm(2, coefficients, np.array(before[turned]), np.array(after[turned]))
        return


def _eigenbasis(vector: tuple[float, float, float], cosine: float) -> tuple[float, np.ndarray]:
    """Omega and w of cosine - i (vector . sigma) = w exp(-i omega Z) w^dagger."""
    sine = hypot(*vector)
    if sine == 0:
        return atan2(0.0, cosine), np.eye(2, dtype=complex)
    sign = -1.0 if vector[2] < 0 else 1.0
    x, y, z = (sign * part / sine for part in vector)
    w = np.array([[1 + z, -(x - 1j * y)], [x + 1j * y, 1 + z]]) / sqrt(2 * (1 + z))
    return atan2(sign * sine, cosine), w


def _weyl_forms(unitary: np.ndarray, dropped: float) -> Iterator[SchmidtForm]:
    """Forms from the Weyl angles: that of rank 2 where two of them are below ``dropped``, then that of rank 4."""
    try:
        # At its default fidelity it moves angles that nearly coincide, or nearly vanish, onto each other.
        weyl = TwoQubitWeylDecomposition(unitary, fidelity=None)
    except QiskitError:  # its search for a common eigenbasis failed
        return
    turn = rect(1.0, weyl.global_phase)
    before, after = np.stack([weyl.K2r, weyl.K2l]), np.stack([weyl.K1r * turn, weyl.K1l])
    if max(abs(weyl.b), abs(weyl.c)) < dropped:  # one angle: exp(i a XX), turned to ZZ
        one = np.array([np.cos(weyl.a), 1j * np.sin(weyl.a)])
        yield SchmidtForm(2, one, _HADAMARD @ before, after @ _HADAMARD)
    # exp(i a XX) exp(i b YY) exp(i c ZZ) multiplied out, with XX.YY = -ZZ and so on.
    cosines, sines = np.cos([weyl.a, weyl.b, weyl.c]), np.sin([weyl.a, weyl.b, weyl.c])
    all_cos, all_sin = cosines.prod(), sines.prod()
    others = [
        1j * sines[k] * cosines[k - 2] * cosines[k - 1] + cosines[k] * sines[k - 2] * sines[k - 1] for k in range(3)
    ]
    yield SchmidtForm(4, np.array([all_cos + 1j * all_sin, *others]), before, after)
