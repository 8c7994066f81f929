"""Paulis as integers, and the Clifford frame that carries them: the arithmetic under the normal form.

A Pauli is ``(x, z, s)``: the operator ``i**s X^x Z^z`` with ``x`` and ``z`` bit masks over qubits. Python integers are
the bit packing: one XOR handles every qubit (or, in the columns of :mod:`normal_form`, every operation) at once, and at
the sizes that are cut (up to some hundreds of bits) they cost less than one numpy call.
"""

from __future__ import annotations

import math

Pauli = tuple[int, int, int]

HALF_PI = math.pi / 2
ANGLE_TOLERANCE = 5e-14
"""Angles below this (radians) are zero; it bounds what dropping one rotation changes in any probability."""


def multiply(a: Pauli, b: Pauli) -> Pauli:
    """Return the product ``a b``, phase included."""
    return a[0] ^ b[0], a[1] ^ b[1], (a[2] + b[2] + 2 * (a[1] & b[0]).bit_count()) & 3


def anticommute(a: Pauli, b: Pauli) -> bool:
    """Say whether ``a b = -b a``."""
    return bool(((a[0] & b[1]).bit_count() + (a[1] & b[0]).bit_count()) & 1)


def is_negative(p: Pauli) -> bool:
    """Say whether a Hermitian Pauli carries a minus sign before its I, X, Y, Z letters."""
    return bool((p[2] - (p[0] & p[1]).bit_count()) & 2)


def hermitian(x: int, z: int) -> Pauli:
    """Return the Pauli string with these bits, X and Z both set meaning Y, and no sign."""
    return x, z, (x & z).bit_count() & 3


def split_angle(theta: float) -> tuple[int, float]:
    """Split an angle into quarter turns and a rest in (-pi/4, pi/4], the boundary decided with a tolerance.

    Returns:
        (k, rest) with theta = k pi/2 + rest.
    """
    k = math.ceil(theta / HALF_PI - 0.5 - 1e-9)
    return k & 3, theta - k * HALF_PI


class Frame:
    """The images ``C^dagger X_q C`` and ``C^dagger Z_q C`` of every qubit's Paulis under the Cliffords pulled so far.

    Attributes:
        xs: image of each X_q.
        zs: image of each Z_q.
    """

    __slots__ = ("xs", "zs")

    def __init__(self, num_qubits: int) -> None:
        self.xs: list[Pauli] = [(1 << q, 0, 0) for q in range(num_qubits)]
        self.zs: list[Pauli] = [(0, 1 << q, 0) for q in range(num_qubits)]

    def letter(self, axis: int, qubit: int) -> Pauli:
        """Return the image of the single-qubit Pauli ``axis`` (0: X, 1: Y, 2: Z)."""
        if axis == 2:
            return self.zs[qubit]
        if axis == 0:
            return self.xs[qubit]
        x, z, s = multiply(self.xs[qubit], self.zs[qubit])
        return x, z, (s + 1) & 3

    def image(self, p: Pauli) -> Pauli:
        """Return ``C^dagger p C``."""
        out: Pauli = (0, 0, p[2])
        x, z = p[0], p[1]
        for rows, bits in ((self.xs, x), (self.zs, z)):
            while bits:
                low = bits & -bits
                out = multiply(out, rows[low.bit_length() - 1])
                bits ^= low
        return out

    def turn_physical(self, axes: tuple[tuple[int, int], ...], image: Pauli, k: int) -> None:
        """Append the gate exp(-i k pi/4 P) to the circuit; only the rows of P's own qubits change.

        Args:
            axes: (axis, qubit) of each letter of P.
            image: the image of P.
            k: quarter turns, 1 to 3.
        """
        for axis, qubit in axes:
            if axis != 0:
                self.xs[qubit] = _turned(self.xs[qubit], image, k)
            if axis != 2:
                self.zs[qubit] = _turned(self.zs[qubit], image, k)

    def turn(self, p: Pauli, k: int) -> None:
        """Pull exp(-i k pi/4 p), p given by its image, past everything that follows."""
        for rows in (self.xs, self.zs):
            for q, row in enumerate(rows):
                if anticommute(row, p):
                    rows[q] = _turned(row, p, k)


def _turned(row: Pauli, p: Pauli, k: int) -> Pauli:
    """Return exp(i k pi/4 p) row exp(-i k pi/4 p) for anticommuting row and p."""
    if k == 2:
        return row[0], row[1], row[2] ^ 2
    x, z, s = multiply(p, row)
    return x, z, (s + k) & 3
