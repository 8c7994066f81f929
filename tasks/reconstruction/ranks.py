"""The ranks of an MPI program, and one process that stands for them where there is no MPI."""

from __future__ import annotations

import logging
from typing import Any, TypeAlias

import numpy as np

logger = logging.getLogger(__name__)


class OneProcess:
    """What one process without MPI has for a communicator."""

    rank, size = 0, 1

    def bcast(self, value: Any, root: int = 0) -> Any:
        """The value itself."""
        return value

    def sum_into_root(self, array: np.ndarray) -> np.ndarray:
        """The array itself."""
        return array

    def largest_into_root(self, array: np.ndarray) -> np.ndarray:
        """The array itself."""
        return array

    def share(self, arrays: list[np.ndarray] | None) -> list[np.ndarray]:
        """The arrays themselves."""
        assert arrays is not None
        return arrays

    @property
    def leads_node(self) -> bool:
        """One process leads."""
        return True

    def release(self) -> None:
        """Nothing is shared."""


class MpiRanks:
    """The ranks of an MPI program, and memory that the ranks of one node share."""

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self._comm = comm
        self._node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.Get_rank())
        self._windows: list[Any] = []
        self.rank, self.size = comm.Get_rank(), comm.Get_size()

    @property
    def leads_node(self) -> bool:
        """Whether this rank fills the node's shared memory."""
        return bool(self._node.Get_rank() == 0)

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Send a rank's value to all."""
        return self._comm.bcast(value, root=root)

    def sum_into_root(self, array: np.ndarray) -> np.ndarray:
        """Add integer arrays of all ranks; only rank 0's result counts."""
        return self._into_root(array, self._mpi.SUM)

    def largest_into_root(self, array: np.ndarray) -> np.ndarray:
        """The entry-wise largest of all ranks' arrays; only rank 0's result counts."""
        return self._into_root(array, self._mpi.MAX)

    def _into_root(self, array: np.ndarray, operation: Any) -> np.ndarray:
        total = np.empty_like(array)
        self._comm.Reduce(np.ascontiguousarray(array), total, op=operation, root=0)
        return total

    def share(self, arrays: list[np.ndarray] | None) -> list[np.ndarray]:
        """Put the node leader's arrays into memory that all ranks of its node see; others pass None."""
        shapes = self._node.bcast([array.shape for array in arrays] if arrays is not None else None)
        sizes = [int(np.prod(shape, dtype=np.int64)) for shape in shapes]
        leads = self.leads_node
        window = self._mpi.Win.Allocate_shared(max(1, 8 * sum(sizes)) if leads else 0, 8, comm=self._node)
        self._windows.append(window)
        buffer: Any = window.Shared_query(0)[0]
        flat = np.frombuffer(buffer, dtype=np.float64, count=sum(sizes))
        shared, start = [], 0
        for shape, size in zip(shapes, sizes, strict=True):
            shared.append(flat[start : start + size].reshape(shape))
            start += size
        if arrays is not None and leads:
            for target, source in zip(shared, arrays, strict=True):
                target[...] = source
        window.Fence()
        return shared

    def release(self) -> None:
        """Give back the shared memory; arrays from ``share`` end here."""
        while self._windows:
            self._windows.pop().Free()


Ranks: TypeAlias = OneProcess | MpiRanks


def ranks_of(comm: Any) -> Ranks:
    """The ranks behind an mpi4py communicator, None for COMM_WORLD; one process where there is no MPI."""
    if comm is not None:
        return MpiRanks(comm)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):  # no wheel for this platform, or no MPI library beside it
        logger.info("no mpi4py: one process does it all")
        return OneProcess()
    return MpiRanks(MPI.COMM_WORLD)


def end_all_ranks() -> None:
    """End the whole MPI program because this rank failed."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return
    if MPI.COMM_WORLD.Get_size() > 1:
        MPI.COMM_WORLD.Abort(2)
