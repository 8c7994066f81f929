"""Products of many matrix pairs, gathered from two stacks: the arithmetic that contraction spends its time in."""

from __future__ import annotations

import numpy as np

# Below this many multiply-adds a group, one Python step a group costs more than gathering everything for one call.
_GROUP_FLOPS = 50_000
# From this many rows and multiply-adds on, a product is as fast alone as stacked, and nothing is gathered for it.
TALL = 64
LARGE_FLOPS = 1 << 19
# Gathered operands of one batched call; small enough to stay near the cache, large enough to hide the call.
_CHUNK_BYTES = 8 << 20
# Gathered arrays that are still in a core's cache when they are multiplied.
_CACHE_BYTES = 1 << 18

SCRATCH_BYTES = 4 * _CHUNK_BYTES
"""What the products need beside their operands and results."""


def alone(m: int, n: int, k: int) -> bool:
    """Whether a product of these sizes is so large that nothing is gained by stacking several."""
    return m >= TALL and m * n * k >= LARGE_FLOPS


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
    if alone(m, n, k):
        out = np.empty((products, m, n))
        for product, (row_a, row_b) in enumerate(zip(rows_a.tolist(), rows_b.tolist(), strict=True)):
            np.matmul(a[row_a], b[row_b].T, out=out[product])
        return out
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


def placed_products(matrices: np.ndarray, wide: np.ndarray, rows_a: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
    """Multiply ``matrices[rows_a[i]]`` onto the middle axis of ``wide[rows_b[i]]`` for every i, copying neither.

    Args:
        matrices: (row, n, k) float64.
        wide: (row, before, k, after) float64.
        rows_a: (product,) int, rows of ``matrices``.
        rows_b: (product,) int, rows of ``wide``.

    Returns:
        (product, before, n, after) float64.
    """
    products = rows_b.shape[0]
    _, before, k, after = wide.shape
    out = np.empty((products, before, matrices.shape[1], after))
    step = max(1, _CACHE_BYTES // (8 * before * k * after))
    for start in range(0, products, step):
        stop = min(start + step, products)
        rows = rows_b[start:stop]
        run = rows[-1] - rows[0] == stop - start - 1 and (np.diff(rows) == 1).all()
        array = wide[rows[0] : rows[-1] + 1] if run else wide[rows]
        np.matmul(matrices[rows_a[start:stop], None], array, out=out[start:stop])
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
