"""One simulation of a fragment with all its legs left open, from which every variant and the whole tensor follow.

The state grows as it goes: a qubit is added where a gate first touches it, an axis of branches where a leg is opened.
Blocks of gates are matrix products on views of the array, in parts that stay in a core's cache: two to six times as
fast on a core as Aer's state vector, whose ancillas are all there from the first gate on (results/benchmarks/limit.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from scheduler_policies.machine import PART
from tasks.cutting.open_program import Branch, Grow, Multiply, open_program
from tasks.cutting.openings import Branching
from tasks.cutting.plan import Fragment
from tasks.execution.errors import ExecutionError
from tasks.execution.simulators.accelerator import Accelerator
from tasks.execution.simulators.products import Workers, multiply_axis
from tasks.model.arrays import HERE, Arrays


@dataclass(frozen=True)
class OpenState:
    """All branches of a fragment's state.

    Attributes:
        amplitudes: (2**rest, branch) complex128; the branch index is row-major over ``branchings``.
        rest: the local qubits that the row index stands for, the most significant first.
        branchings: the axes of branches.
        gpu: where the amplitudes are; None: here.
    """

    amplitudes: np.ndarray
    rest: tuple[int, ...]
    branchings: tuple[Branching, ...]
    gpu: Accelerator | None = None

    @property
    def arrays(self) -> Arrays:
        """Those that the amplitudes are of."""
        return self.gpu or HERE

    def here(self) -> OpenState:
        """The state on the host."""
        return self if self.gpu is None else replace(self, amplitudes=self.gpu.fetch(self.amplitudes), gpu=None)


def open_state(fragment: Fragment, *, threads: int = 1, gpu: Accelerator | None = None) -> OpenState:
    """Simulate a fragment with open legs.

    Not normalised: branch j holds sigma_j |psi>, or the state grown from input |j>, itself.

    Args:
        fragment: what to run.
        threads: how many cores may share the work, while no other work holds them.
        gpu: where to simulate it; small states stay here. None: here.

    Raises:
        ExecutionError: there is not enough memory.
    """
    program = open_program(fragment)
    if gpu is not None and program.amplitudes >= gpu.smallest:
        return OpenState(gpu.state(program), program.rest, program.branchings, gpu)
    array = np.ones(1, dtype=complex)
    try:
        with Workers(threads) as workers:
            for step in program.steps:
                if isinstance(step, Multiply):
                    multiply_axis(array, step.matrix(), step.after, workers)
                elif isinstance(step, Branch):
                    array = _branched(array, step, workers)
                elif isinstance(step, Grow):
                    array = _grown(array, step)
                else:
                    array = np.ascontiguousarray(array.reshape(step.shape).transpose(step.order)).reshape(-1)
    except MemoryError as error:
        raise ExecutionError(
            f"fragment {fragment.index} ({fragment.num_qubits} qubits, {len(fragment.legs)} legs open): not enough "
            "memory for its state; give it more memory or cut further"
        ) from error
    return OpenState(array.reshape(1 << len(program.rest), program.branches), program.rest, program.branchings)


def _grown(array: np.ndarray, step: Grow) -> np.ndarray:
    """(before, after) -> (before, 2, after), zero where the qubit is 1."""
    new = np.zeros((len(array) // step.after, 2, step.after), dtype=complex)
    new[:, 0] = array.reshape(-1, step.after)
    return new.reshape(-1)


def _branched(array: np.ndarray, step: Branch, workers: Workers) -> np.ndarray:
    """(before, 2, after) -> (before, 2, after, rank)."""
    whole = array.reshape(-1, 2, step.after)
    new = np.empty((*whole.shape, len(step.operators)), dtype=complex)
    # In parts along the longer axis, so that the products beside the result stay small.
    along = 0 if len(whole) >= step.after else 2

    def fill(parts: Iterator[slice]) -> None:
        for part in parts:
            where = (slice(None),) * along + (part,)
            old, own = whole[where], new[where]
            for j, operator in enumerate(step.operators):
                for row in range(2):
                    if operator[row, 1 - row] == 0:
                        np.multiply(old[:, row], operator[row, row], out=own[:, row, :, j])
                    else:
                        own[:, row, :, j] = operator[row, 0] * old[:, 0] + operator[row, 1] * old[:, 1]

    length = whole.shape[along]
    workers.each(fill, length, max(1, PART * length // whole.size), whole.size)
    return new.reshape(-1)
