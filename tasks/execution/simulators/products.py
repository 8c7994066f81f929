"""Products of a small matrix with one axis of a large array, in place and in parts that stay in a core's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from scheduler_policies.machine import PART

_SHORTEST = 8  # a product over fewer columns than this takes what stands behind the axis into its matrix
_WIDEST = 64  # as long as that matrix is no larger


class Workers:
    """Threads that share the parts of a product; none where there is one thread only."""

    def __init__(self, threads: int = 1):
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def each(self, work: Callable[[Iterator[slice]], None], total: int, step: int) -> None:
        """Do slices of ``step`` up to ``total``; each thread calls ``work`` once with its share of them."""
        parts = [slice(a, min(a + step, total)) for a in range(0, total, step)]
        if self._pool is None or len(parts) < 2:
            work(iter(parts))
            return
        shares = [iter(parts[k :: self._threads]) for k in range(self._threads)]
        for done in [self._pool.submit(work, share) for share in shares]:
            done.result()


def multiply_axis(array: np.ndarray, matrix: np.ndarray, after: int, workers: Workers) -> None:
    """Replace a contiguous array by its product with a square matrix.

    Args:
        array: of any shape; read as (before, axis, after).
        matrix: (axis, axis) complex.
        after: entries behind the axis.
        workers: who does it.
    """
    size = len(matrix)
    if after < _SHORTEST and size * after <= _WIDEST:
        # Few columns a product: one matrix from the right instead.
        rows = array.reshape(-1, size * after)
        turned = np.ascontiguousarray(np.kron(matrix, np.eye(after)).T)
        _by_rows(rows, workers, lambda own, out: np.matmul(own, turned, out=out))
        return
    view = array.reshape(-1, size, after)
    if size * after <= PART:
        _by_rows(view, workers, lambda own, out: np.matmul(matrix, own, out=out))
        return
    step = PART // size

    def columns(parts: Iterator[slice]) -> None:
        out = np.empty((size, step), dtype=complex)
        for part in parts:
            for block in view:
                own = block[:, part]
                own[...] = np.matmul(matrix, own, out=out[:, : own.shape[1]])

    workers.each(columns, after, step)


def _by_rows(view: np.ndarray, workers: Workers, product: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    step = max(1, PART // (view.size // len(view)))

    def rows(parts: Iterator[slice]) -> None:
        out = np.empty((min(step, len(view)), *view.shape[1:]), dtype=complex)
        for part in parts:
            own = view[part]
            own[...] = product(own, out[: len(own)])

    workers.each(rows, len(view), step)
