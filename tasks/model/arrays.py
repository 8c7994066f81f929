"""Arrays of one library on one device, by the standard that numpy, CuPy and PyTorch follow (data-apis.org/array-api).

What is written with ``Arrays.xp`` runs with each of them: here, which costs numpy nothing, or on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class Arrays:
    """An array library on one device.

    Args:
        library: a namespace of the array API standard.
        device: of that library; None takes its usual one.
        smallest: numbers from which work on an array pays there.
        smallest_flops: floating-point operations from which a contraction does.

    Attributes:
        xp: the library's functions.
        device: of the library.
        part: numbers that an operation takes at a time, or None: as many as stay in a core's cache.
    """

    part: int | None = 1 << 22

    def __init__(self, library: Any, device: Any = None, *, smallest: float = 0.0, smallest_flops: float = 0.0):
        self.xp = library
        self.smallest, self.smallest_flops = smallest, smallest_flops
        self.device = device

    def put(self, array: np.ndarray) -> Any:
        """An array of the host on the device."""
        return self.xp.asarray(array, device=self.device)

    def fetch(self, array: Any) -> np.ndarray:
        """An array of the device on the host."""
        if hasattr(array, "get"):  # CuPy
            return np.asarray(array.get())
        return np.asarray(array.cpu().numpy() if hasattr(array, "cpu") else array)

    def empty(self, shape: tuple[int, ...]) -> Any:
        """Numbers (float64) that nobody has set."""
        return self.xp.empty(shape, dtype=self.xp.float64, device=self.device)

    def real_parts(self, array: Any) -> Any:
        """(.., 2 n) float64 of (.., n) complex: real and imaginary parts in turn."""
        if hasattr(array, "view"):  # CuPy, PyTorch
            return array.view(self.xp.float64)
        parts = self.xp.stack([self.xp.real(array), self.xp.imag(array)], axis=-1)
        return self.xp.reshape(parts, (*array.shape[:-1], 2 * array.shape[-1]))


class _Here(Arrays):
    """Numpy's arrays: nothing is moved."""

    part = None

    def put(self, array: np.ndarray) -> np.ndarray:
        return array

    def fetch(self, array: np.ndarray) -> np.ndarray:
        return array

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.empty(shape)

    def real_parts(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array).view(np.float64)


HERE = _Here(np)
"""Those of the host."""
