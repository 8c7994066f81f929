"""Products of a small matrix with one axis of a large array, in place and in parts that stay in a core's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from scheduler_policies.machine import PART
from tasks.runtime.cores import Cores

_SHARED_FROM = 1 << 17  # amplitudes from which a second thread saves more than it costs
_SHORTEST = 8  # a product over fewer columns than this takes what stands behind the axis into its matrix
_WIDEST = 64  # as long as that matrix is no larger


class Workers:
    """Threads that share the parts of large arrays, as many as cores are free; a context manager that ends them.

    Args:
        most: cores that may be used at most.
    """

    def __init__(self, most: int = 1):
        self._cores = Cores(most)
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        """Hold a core."""
        self._cores.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads and let go of the cores."""
        if self._pool is not None:
            self._pool.shutdown()
        self._cores.__exit__()

    def each(self, work: Callable[[Iterator[slice]], None], total: int, step: int, entries: int) -> None:
        """Do slices of ``step`` up to ``total``; each thread calls ``work`` once with its share of them.

        ``entries``: of all arrays together; few are not worth a second thread.
        """
        parts = [slice(a, min(a + step, total)) for a in range(0, total, step)]
        if self._cores.most == 1 or len(parts) < 2 or entries < _SHARED_FROM:
            work(iter(parts))
            return
        with self._cores.lent() as threads:
            if threads == 1:
                work(iter(parts))
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._cores.most - 1)
            waiting = iter(parts)
            others = [self._pool.submit(work, _in_turn(waiting)) for _ in range(threads - 1)]
            try:
                work(_in_turn(waiting))  # this thread's share: waiting for others would cost two changes of threads
            finally:
                wait(others)
            for other in others:
                other.result()


def _in_turn(parts: Iterator[slice]) -> Iterator[slice]:
    """What is left of an iterator that several threads take from; ``next`` of a list's iterator is one step."""
    while (part := next(parts, None)) is not None:
        yield part


def multiply_axis(array: np.ndarray, matrix: np.ndarray, after: int, workers: Workers) -> None:
    """Replace a contiguous array by its product with a square matrix.

    Args:
        array: of any shape, real or complex; read as (before, axis, after).
        matrix: (axis, axis), real where the array is.
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
        out = np.empty((size, step), dtype=array.dtype)
        for part in parts:
            for block in view:
                own = block[:, part]
                own[...] = np.matmul(matrix, own, out=out[:, : own.shape[1]])

    workers.each(columns, after, step, array.size)


def _by_rows(view: np.ndarray, workers: Workers, product: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    step = max(1, PART // (view.size // len(view)))

    def rows(parts: Iterator[slice]) -> None:
        out = np.empty((min(step, len(view)), *view.shape[1:]), dtype=view.dtype)
        for part in parts:
            own = view[part]
            own[...] = product(own, out[: len(own)])

    workers.each(rows, len(view), step, view.size)


def patterns(bits: Sequence[int]) -> np.ndarray:
    """(2**k,) int64: every combination of the given bits, the first of them fastest."""
    found = np.zeros(1 << len(bits), dtype=np.int64)
    for k, bit in enumerate(bits):
        np.bitwise_or(found[: 1 << k], bit, out=found[1 << k : 2 << k])
    return found
