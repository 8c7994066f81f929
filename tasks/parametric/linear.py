"""A matrix on one axis of an array.

Whether numpy takes one way to a product or another depends on how its arrays lie, and with it the last bit: so that a
set alone gives what it gives in company, they lie in one piece.
"""

from __future__ import annotations

import math

import numpy as np


def along(array: np.ndarray, axis: int, matrix: np.ndarray) -> np.ndarray:
    """Multiply ``matrix`` (new, old) into an axis, where it stands."""
    array, shape = np.ascontiguousarray(array), array.shape
    if axis == array.ndim - 1:
        return array @ matrix.T
    flat = array.reshape(math.prod(shape[:axis]), shape[axis], -1)
    return np.matmul(matrix, flat).reshape(*shape[:axis], len(matrix), *shape[axis + 1 :])


def along_sets(array: np.ndarray, axis: int, matrices: np.ndarray) -> np.ndarray:
    """The same for arrays that have sets on their first axis: ``matrices`` (set or 1, new, old)."""
    shape = array.shape
    flat = np.ascontiguousarray(array).reshape(shape[0], math.prod(shape[1:axis]), shape[axis], -1)
    product = np.matmul(np.ascontiguousarray(matrices)[:, None], flat)
    return product.reshape(shape[0], *shape[1:axis], matrices.shape[1], *shape[axis + 1 :])
