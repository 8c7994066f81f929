"""Products of many matrix pairs, gathered from two stacks: the arithmetic that contraction spends its time in."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.model.arrays import HERE, Arrays

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


def alone(m: float, n: float, k: float) -> bool:
    """Whether a product of these sizes is so large that nothing is gained by stacking several."""
    return m >= TALL and m * n * k >= LARGE_FLOPS


def gathered_products(a: Any, b: Any, rows_a: np.ndarray, rows_b: np.ndarray, library: Arrays = HERE) -> Any:
    """Multiply ``a[rows_a[i]] @ b[rows_b[i]].T`` for every i.

    Args:
        a: (row, m, k) float64.
        b: (row, n, k) float64.
        rows_a: (product,) int, rows of ``a``.
        rows_b: (product,) int, rows of ``b``, in ascending order.
        library: what the arrays are of.

    Returns:
        (product, m, n) float64.
    """
    products = rows_a.shape[0]
    m, k = a.shape[1:]
    n = b.shape[1]
    if products == 0:
        return library.empty((0, m, n))
    if library is not HERE:
        return _products_there(a, b, rows_a, rows_b, library)
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


def _products_there(a: Any, b: Any, rows_a: np.ndarray, rows_b: np.ndarray, library: Arrays) -> Any:
    """The same on a device that takes many products at once, and for which all are worth gathering."""
    xp = library.xp
    products, (m, k), n = rows_a.shape[0], a.shape[1:], b.shape[1]
    if b.shape[0] == 1:
        left = a if _is_range(rows_a, a.shape[0]) else xp.take(a, library.put(rows_a), axis=0)
        wide = xp.matmul(xp.reshape(left, (products * m, k)), xp.matrix_transpose(b[0, ...]))
        return xp.reshape(wide, (products, m, n))
    out = library.empty((products, m, n))
    step = max(1, (library.part or 1) // max(m * k, n * k, m * n, 1))
    for start in range(0, products, step):
        stop = min(start + step, products)
        left = xp.take(a, library.put(rows_a[start:stop]), axis=0)
        right = xp.take(b, library.put(rows_b[start:stop]), axis=0)
        out[start:stop, ...] = xp.matmul(left, xp.matrix_transpose(right))
    return out


def placed_products(matrices: Any, wide: Any, rows_a: np.ndarray, rows_b: np.ndarray, library: Arrays = HERE) -> Any:
    """Multiply ``matrices[rows_a[i]]`` onto the middle axis of ``wide[rows_b[i]]`` for every i, copying neither.

    Args:
        matrices: (row, n, k) float64.
        wide: (row, before, k, after) float64.
        rows_a: (product,) int, rows of ``matrices``.
        rows_b: (product,) int, rows of ``wide``.
        library: what the arrays are of.

    Returns:
        (product, before, n, after) float64.
    """
    xp = library.xp
    products = rows_b.shape[0]
    _, before, k, after = wide.shape
    out = library.empty((products, before, matrices.shape[1], after))
    step = max(1, (library.part or _CACHE_BYTES // 8) // (before * k * after))
    for start in range(0, products, step):
        stop = min(start + step, products)
        if library is not HERE:
            own = xp.take(matrices, library.put(rows_a[start:stop]), axis=0)
            taken = xp.take(wide, library.put(rows_b[start:stop]), axis=0)
            out[start:stop, ...] = xp.matmul(xp.expand_dims(own, axis=1), taken)
            continue
        rows = rows_b[start:stop]
        run = rows[-1] - rows[0] == stop - start - 1 and (np.diff(rows) == 1).all()
        array = wide[rows[0] : rows[-1] + 1] if run else wide[rows]
        np.matmul(matrices[rows_a[start:stop], None], array, out=out[start:stop])
    return out


def summed_products(
    a: Any,
    b: Any,
    rows_a: np.ndarray,
    rows_b: np.ndarray,
    targets: np.ndarray,
    num_targets: int,
    library: Arrays = HERE,
) -> Any:
    """Add ``a[rows_a[i]] @ b[rows_b[i]].T`` into row ``targets[i]`` for every i.

    Args:
        a: (row, m, k) float64.
        b: (row, n, k) float64.
        rows_a: (product,) int.
        rows_b: (product,) int, in any order.
        targets: (product,) int; every target row is named at least once.
        num_targets: number of rows of the result.
        library: what the arrays are of.

    Returns:
        (target, m, n) float64.
    """
    if targets.shape[0] == num_targets:  # one product each: no sum to take
        order = np.lexsort((targets, rows_b))
        products = gathered_products(a, b, rows_a[order], rows_b[order], library)
        return (
            products
            if np.array_equal(targets[order], np.arange(num_targets))
            else _placed(products, targets[order], library)
        )
    order = np.argsort(targets, kind="stable")
    bounds = np.searchsorted(targets[order], np.arange(num_targets + 1))
    out = library.empty((num_targets, a.shape[1], b.shape[1]))
    step = max(1, (library.part or _CHUNK_BYTES // 8) // (a.shape[1] * b.shape[1]))
    first = 0
    while first < num_targets:
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + step, side="right")) - 1)
        chunk = order[bounds[first] : bounds[last]]
        by_b = np.argsort(rows_b[chunk], kind="stable")
        found = gathered_products(a, b, rows_a[chunk[by_b]], rows_b[chunk[by_b]], library)
        products = _placed(found, by_b, library)
        starts = bounds[first : last + 1] - bounds[first]
        if library is HERE:
            out[first:last] = np.add.reduceat(products, starts[:-1], axis=0)
        else:
            out[first:last, ...] = _run_sums(products, np.diff(starts), library)
        first = last
    return out


def _placed(products: Any, places: np.ndarray, library: Arrays) -> Any:
    """Every product at its place; each place is named once."""
    if library is not HERE:
        return library.xp.take(products, library.put(np.argsort(places)), axis=0)
    out = np.empty(products.shape)
    out[places] = products
    return out


def _run_sums(products: Any, counts: np.ndarray, library: Arrays) -> Any:
    """(run, m, n): sums over runs of so many rows each, at least one.

    Pairs of neighbours are added, then pairs of those: the standard of array libraries has no sum over runs.
    """
    xp = library.xp
    while counts.max() > 1:
        pairs = (counts + 1) // 2
        run = np.repeat(np.arange(len(counts)), pairs)
        within = 2 * (np.arange(len(run)) - np.repeat(np.cumsum(pairs) - pairs, pairs))
        first = (np.cumsum(counts) - counts)[run] + within
        paired = within + 1 < counts[run]
        second = xp.take(products, library.put(first + paired), axis=0)
        products = xp.take(products, library.put(first), axis=0) + second * library.put(
            paired.astype(float)[:, None, None]
        )
        counts = pairs
    return products


def _is_range(rows: np.ndarray, size: int) -> bool:
    """Whether ``rows`` is 0, 1, ..., size - 1, so that gathering would only copy."""
    return rows.shape[0] == size and bool((rows == np.arange(size)).all())
