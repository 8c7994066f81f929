"""Gram matrices, as real ones, in the bases of all legs, and the way back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tasks.parametric.linear import along

_MERGED = 16  # entries of legs whose bases are changed at once


@dataclass(frozen=True)
class Bases:
    """Changes of bases of all legs as real products, neighbouring legs in one as long as they are small.

    Entry a of all legs is the real part of sum B_a G, where B_a = i^m C_a with C_a real, symmetric if m is even and
    antisymmetric if it is odd, and m the number of legs whose part is imaginary. So it is sum C_a (Re G + Im G) times
    1, -1, -1, 1 for m = 0, 1, 2, 3 modulo 4.

    Attributes:
        sizes: (group,) branches of the legs in a group.
        changes: (group,) (entries, branch and branch' of the group) float64.
        signs: (entry of all legs,).
    """

    sizes: tuple[int, ...]
    changes: tuple[np.ndarray, ...]
    signs: np.ndarray

    def entries(self, gram: np.ndarray) -> np.ndarray:
        """(set, factor, entry) float64 from (set, factor, b, b') float64, see ``grams``."""
        head, count = gram.shape[:2], len(self.sizes)
        order = [0, 1, *(2 + axis for k in range(count) for axis in (k, count + k))]
        moved = gram.reshape(*head, *self.sizes, *self.sizes).transpose(order)
        found = moved.reshape(*head, *(len(change) for change in self.changes))
        for axis, change in enumerate(self.changes):
            found = along(found, 2 + axis, change)
        return found.reshape(*head, -1) * self.signs

    def back(self, gradient: np.ndarray) -> np.ndarray:
        """The way back: (set, factor, b, b') from (set, factor, entry)."""
        head, count = gradient.shape[:2], len(self.sizes)
        found = (gradient * self.signs).reshape(*head, *(len(change) for change in self.changes))
        for axis, change in enumerate(self.changes):
            found = along(found, 2 + axis, change.T)
        order = [0, 1, *(2 + 2 * k for k in range(count)), *(3 + 2 * k for k in range(count))]
        moved = found.reshape(*head, *(size for size in self.sizes for _ in (0, 1))).transpose(order)
        size = math.prod(self.sizes)
        return moved.reshape(*head, size, size)


def real_bases(changes: Sequence[np.ndarray]) -> Bases:
    """Of legs in order, (entry, pair) complex each, see ``LegKind.basis_change``.

    Raises:
        ValueError: an element of a leg basis is neither real nor imaginary.
    """
    return _merged(tuple(change.tobytes() for change in changes), tuple(map(len, changes)))


@lru_cache(maxsize=256)
def _merged(raw: tuple[bytes, ...], entries: tuple[int, ...]) -> Bases:
    sizes: list[int] = []
    found: list[np.ndarray] = []
    turned = np.zeros(1, dtype=np.int64)
    for own, count in zip(raw[::-1], entries[::-1], strict=True):  # the last group is the largest: copied in one piece
        whole = np.frombuffer(own, dtype=complex).reshape(count, count)
        imaginary = np.asarray(whole.imag.any(axis=1))
        if whole.real[imaginary].any():
            raise ValueError("an element of a leg basis is neither real nor imaginary")
        turned = (imaginary[:, None] + turned).reshape(-1)
        rank = math.isqrt(count)
        change = (whole.real + whole.imag).reshape(count, rank, rank)
        if found and len(found[-1]) * count <= _MERGED:
            found[-1], sizes[-1] = np.kron(change, found[-1]), rank * sizes[-1]
        else:
            found.append(change)
            sizes.append(rank)
    changes = tuple(change.reshape(len(change), -1) for change in found[::-1])
    return Bases(tuple(sizes[::-1]), changes, np.array([1.0, -1.0, -1.0, 1.0])[turned % 4])
