"""Products of many matrix pairs, gathered from two stacks: the arithmetic that contraction spends its time in."""

from __future__ import annotations

import numpy as np

# Below this many multiply-adds a group, one Python step a group costs more than gathering everything for one call.
_GROUP_FLOPS = 50_000
# Gathered operands of one batched call; small enough to stay near the cache, large enough to hide the call.
_CHUNK_BYTES = 8 << 20

SCRATCH_BYTES = 4 * _CHUNK_BYTES
"""What the products need beside their operands and results."""


def gathered_products(a: np.ndarray, b: np.ndarray, rows_a: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
    """Multiply ``a[rows_a[i]] @ b[rows_b[i]].T`` for every i.

    Args:
        a: (row, m, k) float64.
        b: (row, n, k) float64.
        rows_a: (product,) int, rows of ``a``.
        rows_b: (product,) int, rows of ``b``, in ascending order.

    Returns:
        (product, m, n) float64.
    """
    products = rows_a.shape[0]
    m, k = a.shape[1:]
    n = b.shape[1]
    if products == 0:
        return np.zeros((0, m, n))
    if b.shape[0] == 1:
        left = a if _is_range(rows_a, a.shape[0]) else a[rows_a]
        return (left.reshape(products * m, k) @ b[0].T).reshape(products, m, n)
    out = np.empty((products, m, n))
    used, starts = np.unique(rows_b, return_index=True)
    if m * n * k * products >= _GROUP_FLOPS * used.size:
        stops = np.append(starts[1:], products)
        for row, start, stop in zip(used.tolist(), starts.tolist(), stops.tolist(), strict=True):
            rows = rows_a[start:stop]
            left = a if _is_range(rows, a.shape[0]) else a[rows]
            np.matmul(left.reshape(-1, k), b[row].T, out=out[start:stop].reshape(-1, n))
        return out
    step = max(1, _CHUNK_BYTES // (8 * (m * k + n * k)))
    for start in range(0, products, step):
        stop = min(start + step, products)
        np.matmul(a[rows_a[start:stop]], b[rows_b[start:stop]].transpose(0, 2, 1), out=out[start:stop])
    return out


def summed_products(
    a: np.ndarray,
    b: np.ndarray,
    rows_a: np.ndarray,
    rows_b: np.ndarray,
    targets: np.ndarray,
    num_targets: int,
) -> np.ndarray:
    """Add ``a[rows_a[i]] @ b[rows_b[i]].T`` into row ``targets[i]`` for every i.

    Args:
        a: (row, m, k) float64.
        b: (row, n, k) float64.
        rows_a: (product,) int.
        rows_b: (product,) int, in any order.
        targets: (product,) int; every target row is named at least once.
        num_targets: number of rows of the result.

    Returns:
        (target, m, n) float64.
    """
    if targets.shape[0] == num_targets:  # one product each: no sum to take
        order = np.lexsort((targets, rows_b))
        products = gathered_products(a, b, rows_a[order], rows_b[order])
        if np.array_equal(targets[order], np.arange(num_targets)):
            return products
        out = np.empty((num_targets, *products.shape[1:]))
        out[targets[order]] = products
        return out
    order = np.argsort(targets, kind="stable")
    bounds = np.searchsorted(targets[order], np.arange(num_targets + 1))
    out = np.empty((num_targets, a.shape[1], b.shape[1]))
    step = max(1, _CHUNK_BYTES // (8 * a.shape[1] * b.shape[1]))
    first = 0
    while first < num_targets:
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + step, side="right")) - 1)
        chunk = order[bounds[first] : bounds[last]]
        by_b = np.argsort(rows_b[chunk], kind="stable")
        products = np.empty((chunk.size, a.shape[1], b.shape[1]))
        products[by_b] = gathered_products(a, b, rows_a[chunk[by_b]], rows_b[chunk[by_b]])
        out[first:last] = np.add.reduceat(products, bounds[first:last] - bounds[first], axis=0)
        first = last
    return out


def _is_range(rows: np.ndarray, size: int) -> bool:
    """Whether ``rows`` is 0, 1, ..., size - 1, so that gathering would only copy."""
    return rows.shape[0] == size and bool((rows == np.arange(size)).all())
