"""Sums of floating-point numbers that do not depend on the order, or on who adds what.

Each sum is kept as a fixed-point integer wide enough for every float64, cut into 32-bit limbs. Integers add exactly, so
slices summed on 1, 2 or 4 ranks give the same bits, and no rounding error grows with the number of slices.
"""

from __future__ import annotations

import math

import numpy as np

_LIMB_BITS = 32
_OFFSET = 1152  # limb j counts units of 2**(32 j - 1152), which is below the smallest float64
_LIMBS = 72
_LOW = np.int64((1 << _LIMB_BITS) - 1)


class ExactSum:
    """Exact running sums of vectors.

    Attributes:
        limbs: (entry, limb) int64; adding two of these arrays adds the sums. Good for 2**30 additions.
    """

    def __init__(self, entries: int) -> None:
        self.limbs = np.zeros((entries, _LIMBS), dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        """Add (entry,) float64.

        Raises:
            FloatingPointError: if an entry is infinite or not a number.
        """
        if not np.isfinite(values).all():
            raise FloatingPointError("a partial sum overflowed")
        mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64))
        whole = np.ldexp(mantissa, 53).astype(np.int64)
        sign = np.sign(whole)
        whole = np.abs(whole)
        limb, shift = np.divmod(exponent.astype(np.int64) - 53 + _OFFSET, _LIMB_BITS)
        low = (whole & _LOW) << shift
        high = (whole >> _LIMB_BITS) << shift
        rows = np.arange(self.limbs.shape[0])
        self.limbs[rows, limb] += sign * (low & _LOW)
        self.limbs[rows, limb + 1] += sign * ((low >> _LIMB_BITS) + (high & _LOW))
        self.limbs[rows, limb + 2] += sign * (high >> _LIMB_BITS)

    def result(self) -> np.ndarray:
        """The sums, each rounded once: (entry,) float64."""
        scale = _LIMB_BITS * np.arange(_LIMBS) - _OFFSET
        # a limb may hold more than 53 bits; its two halves do not
        sign, size = np.sign(self.limbs), np.abs(self.limbs)
        low = np.ldexp((sign * (size & _LOW)).astype(np.float64), scale)
        high = np.ldexp((sign * (size >> _LIMB_BITS)).astype(np.float64), scale + _LIMB_BITS)
        parts = np.concatenate([low, high], axis=1)
        return np.array([math.fsum(row[row != 0].tolist()) for row in parts])
