"""Single-qubit rotations as quaternions ``w - i (x X + y Y + z Z)``, their Euler angles, and two-qubit matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from qiskit.synthesis import TwoQubitWeylDecomposition

from tasks.execution.cache.semantic.frame import ANGLE_TOLERANCE

X, Y, Z = 0, 1, 2
PI = math.pi
Quaternion = tuple[float, float, float, float]
LETTERS = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def quaternion(axis: int, theta: float) -> Quaternion:
    """Return exp(-i theta/2 P), P the letter ``axis``."""
    s = math.sin(theta / 2)
    return (math.cos(theta / 2), s if axis == X else 0.0, s if axis == Y else 0.0, s if axis == Z else 0.0)


def compose(second: Sequence[float], first: Sequence[float]) -> Quaternion:
    """Return the rotation ``first`` followed by ``second``."""
    a, b, c, d = second
    e, f, g, h = first
    return (
        a * e - b * f - c * g - d * h,
        a * f + b * e + c * h - d * g,
        a * g - b * h + c * e + d * f,
        a * h + b * g - c * f + d * e,
    )


def euler(q: Sequence[float], entering: int, leaving: int) -> tuple[tuple[int, float], ...]:
    """Split an SU(2) element into rotations in order, the first about ``entering``, the last about ``leaving``."""
    if entering != leaving:
        middle = 3 - entering - leaving
        # R_leaving(a) = R_m(pi/2) R_entering(+-a) R_m(-pi/2): strip R_m(pi/2), split, and put it back
        inner = compose(quaternion(middle, -PI / 2), q)
        return (*_symmetric_euler(inner, entering, middle), (middle, PI / 2))
    return _symmetric_euler(q, entering, (entering + 1) % 3)


def _symmetric_euler(q: Sequence[float], outer: int, inner: int) -> tuple[tuple[int, float], ...]:
    third = 3 - outer - inner
    sign = 1.0 if (inner - outer) % 3 == 1 else -1.0
    w, o, i, t = q[0], q[1 + outer], q[1 + inner], sign * q[1 + third]
    plain, crossed = math.hypot(w, o), math.hypot(i, t)
    total = 2 * math.atan2(o, w) if plain > ANGLE_TOLERANCE else 0.0
    difference = 2 * math.atan2(t, i) if crossed > ANGLE_TOLERANCE else 0.0
    if plain <= ANGLE_TOLERANCE:
        total = -difference  # only one of the outer angles matters: the last is zero
    if crossed <= ANGLE_TOLERANCE:
        difference = -total
    last, first = (total + difference) / 2, (total - difference) / 2
    return ((outer, first), (inner, 2 * math.atan2(crossed, plain)), (outer, last))


def quaternion_of(matrix: np.ndarray) -> Quaternion:
    """Return a 2 x 2 unitary up to its phase."""
    u = matrix / np.sqrt(complex(np.linalg.det(matrix)))
    return (
        float((u[0, 0] + u[1, 1]).real) / 2,
        -float((u[0, 1] + u[1, 0]).imag) / 2,
        float((u[1, 0] - u[0, 1]).real) / 2,
        -float((u[0, 0] - u[1, 1]).imag) / 2,
    )


def matrix_of(q: Sequence[float]) -> np.ndarray:
    """Return the 2 x 2 unitary of a quaternion.

    Returns:
        (2, 2) complex128.
    """
    return q[0] * np.eye(2) - 1j * np.tensordot(np.asarray(q[1:4]), LETTERS, axes=1)


def pair_matrix(first: int, second: int, theta: float) -> np.ndarray:
    """Return exp(-i theta/2 P Q), P on the lower qubit, Q on the higher one."""
    return math.cos(theta / 2) * np.eye(4) - 1j * math.sin(theta / 2) * np.kron(LETTERS[second], LETTERS[first])


def weyl_parts(
    matrix: np.ndarray,
) -> tuple[tuple[float, float, float], tuple[Quaternion, Quaternion], tuple[Quaternion, Quaternion]]:
    """Split a two-qubit unitary (KAK).

    Returns:
        angles of the rotations about XX, YY, ZZ, and the single-qubit parts (lower, higher) before and after them.
    """
    parts = TwoQubitWeylDecomposition(matrix, fidelity=None)
    angles = (-2 * float(parts.a), -2 * float(parts.b), -2 * float(parts.c))
    before = quaternion_of(np.asarray(parts.K2r)), quaternion_of(np.asarray(parts.K2l))
    after = quaternion_of(np.asarray(parts.K1r)), quaternion_of(np.asarray(parts.K1l))
    return angles, before, after


def weyl_error(
    matrix: np.ndarray,
    angles: Sequence[float],
    before: Sequence[Sequence[float]],
    after: Sequence[Sequence[float]],
) -> float:
    """Return how far the parts are from the matrix, up to a phase."""
    rebuilt = np.kron(matrix_of(before[1]), matrix_of(before[0]))
    for axis, angle in enumerate(angles):
        rebuilt = pair_matrix(axis, axis, angle) @ rebuilt
    rebuilt = np.kron(matrix_of(after[1]), matrix_of(after[0])) @ rebuilt
    phase = np.trace(rebuilt.conj().T @ matrix) / 4
    return float(np.abs(matrix - phase * rebuilt).max())
