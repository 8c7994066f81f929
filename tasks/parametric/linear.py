"""One matrix on one axis of an array."""

from __future__ import annotations

import math

import numpy as np


def along(array: np.ndarray, axis: int, matrix: np.ndarray) -> np.ndarray:
    """Multiply ``matrix`` (new, old) into an axis, where it stands."""
    shape = array.shape
    flat = array.reshape(math.prod(shape[:axis]), shape[axis], -1)
    return np.matmul(matrix, flat).reshape(*shape[:axis], len(matrix), *shape[axis + 1 :])
