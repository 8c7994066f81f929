"""A two-qubit gate as a sum of products: its operator-Schmidt form, leg basis and bond matrix.

KAK: U = (left_1 x left_0) . sum_j c_j sigma_j x sigma_j . (right_1 x right_0), sigma = I, X, Y, Z (Qiskit's
``TwoQubitWeylDecomposition``; Tucci, arXiv:quant-ph/0507171). A gate with one angle (CX, CZ, rzz, ...) is turned
so that its two terms are I and Z, whence rank 2.

Leg basis, real because every element keeps Hermiticity: the maps
    R_jj  = sigma_j . sigma_j,
    R+_jk = (sigma_j . sigma_k + sigma_k . sigma_j) / 2,
    R-_jk = i (sigma_j . sigma_k - sigma_k . sigma_j) / 2      for j < k,
ordered R_00 ... R_rr, then R+_jk, R-_jk for (j, k) = (0, 1), (0, 2), ...; rank 2 has dimension 4, rank 4 has 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from qiskit.circuit import Gate
from qiskit.synthesis import TwoQubitWeylDecomposition

from tasks.cutting.errors import CuttingError

PAULIS = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=complex
)  # I, X, Y, Z
_HADAMARD = np.array([[1, 1], [1, -1]], dtype=complex) / np.sqrt(2)


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

    def kappa(self) -> float:
        """Sampling factor of the best known decomposition, 1 + 2 sum_{j != k} |c_j c_k|.

        Equals 1 + 2|sin t| for rzz(t), 3 for CX and 7 for SWAP (Schmitt, Piveteau, Sutter, arXiv:2312.11638).
        """
        magnitude = np.abs(self.coefficients)
        return float(1 + 2 * (magnitude.sum() ** 2 - (magnitude**2).sum()))


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
    form = _schmidt_of_matrix(np.asarray(gate.to_matrix(), dtype=complex).tobytes())
    if form is None:
        raise CuttingError(f"{where} cannot be cut: its KAK decomposition does not reproduce it; cut another gate")
    return form


@lru_cache(maxsize=4096)
def _schmidt_of_matrix(raw: bytes) -> SchmidtForm | None:
    # A circuit has many gates of few kinds, so forms are kept by matrix.
    unitary = np.frombuffer(raw, dtype=complex).reshape(4, 4)
    weyl = TwoQubitWeylDecomposition(unitary)
    angles = (weyl.a, weyl.b, weyl.c)
    before, after = np.stack([weyl.K2r, weyl.K2l]), np.stack([weyl.K1r, weyl.K1l])
    if max(abs(angles[1]), abs(angles[2])) < 1e-9:  # one angle: exp(i a XX), turned to ZZ
        form = SchmidtForm(
            2,
            np.array([np.cos(weyl.a), 1j * np.sin(weyl.a)]),
            _HADAMARD @ before,
            after @ _HADAMARD,
        )
    else:
        core = np.eye(4, dtype=complex)
        for angle, pauli in zip(angles, PAULIS[1:], strict=True):
            pair = np.kron(pauli, pauli)
            core = core @ (np.cos(angle) * np.eye(4) + 1j * np.sin(angle) * pair)
        coefficients = np.array([np.trace(np.kron(s, s) @ core) / 4 for s in PAULIS])
        form = SchmidtForm(4, coefficients, before, after)
    rebuilt = sum(
        c * np.kron(form.after[1] @ s @ form.before[1], form.after[0] @ s @ form.before[0])
        for c, s in zip(form.coefficients, form.sigmas, strict=True)
    )
    phase = np.trace(rebuilt.conj().T @ unitary) / 4
    return form if np.abs(unitary - phase * rebuilt).max() < 1e-9 else None
