"""A fragment's open-leg state and Gram matrices on a GPU, through the array API standard: CuPy, or PyTorch.

The same steps as on a CPU (``open_state``, ``gram``), each as one operation on the whole array: a GPU has no use for
parts that fit a cache. What comes back to the host is as small as Gram matrices, or distributions to draw from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from math import inf
from typing import Any

import numpy as np

from scheduler_policies.machine import GPU_FLOPS, GPU_FROM
from tasks.cutting.open_program import Branch, Grow, Multiply, OpenProgram
from tasks.execution.calibration_file import GpuCrossover, read_calibration
from tasks.execution.errors import ExecutionError
from tasks.execution.simulators.products import patterns
from tasks.model.arrays import Arrays


class Accelerator(Arrays):
    """A GPU.

    Args:
        library: as for ``Arrays``.
        device: as for ``Arrays``.
        smallest: as for ``Arrays``.
        smallest_flops: as for ``Arrays``.
        name: of the GPU, and the library that it is used through.
    """

    def __init__(
        self,
        library: Any,
        device: Any = None,
        *,
        smallest: float = GPU_FROM,
        smallest_flops: float = GPU_FLOPS,
        name: str = "",
    ):
        super().__init__(library, device, smallest=smallest, smallest_flops=smallest_flops)
        self.name = name

    def state(self, program: OpenProgram) -> Any:
        """Carry out a program: (2**rest, branch) complex on the device."""
        xp = self.xp
        array = self.put(np.ones(1, dtype=complex))
        for step in program.steps:
            if isinstance(step, Multiply):
                array = self.multiplied(array, step.matrix(), step.after)
            elif isinstance(step, Branch):
                rank = len(step.operators)
                operators = self.put(step.operators.reshape(2 * rank, 2))
                array = xp.matmul(operators, xp.reshape(array, (-1, 2, step.after)))
                array = xp.permute_dims(xp.reshape(array, (-1, rank, 2, step.after)), (0, 2, 3, 1))
            elif isinstance(step, Grow):
                old = xp.reshape(array, (-1, step.after))
                array = xp.stack([old, xp.zeros_like(old)], axis=1)
            else:
                array = xp.permute_dims(xp.reshape(array, step.shape), step.order)
            array = xp.reshape(array, (-1,))
        return xp.reshape(array, (1 << len(program.rest), program.branches))

    def multiplied(self, array: Any, matrix: np.ndarray, after: int) -> Any:
        """(before, size, after), of an array of that shape or flat, with the matrix applied to its middle axis."""
        own = self.put(matrix)
        return self.xp.matmul(own, self.xp.reshape(array, (-1, own.shape[0], after)))

    def block_sums(
        self, amplitudes: Any, mask_x: int, outer: Sequence[int], inner: Sequence[int], mask_z: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What ``gram`` sums on a CPU: (block,) outer bits, and (block, branch, branch') on the host."""
        xp = self.xp
        within, blocks = patterns(inner), patterns(outer)
        signs = self.put((1.0 - 2.0 * (np.bitwise_count(within & mask_z) & 1)).astype(complex)[:, None])
        step = max(1, self.part // (amplitudes.shape[1] * len(within)))
        for start in range(0, len(blocks), step):
            own = blocks[start : start + step]
            rows = own[:, None] | within
            shape = (*rows.shape, amplitudes.shape[1])
            ket = xp.reshape(xp.take(amplitudes, self.put(rows.reshape(-1)), axis=0), shape)
            bra = xp.reshape(xp.take(amplitudes, self.put((rows ^ mask_x).reshape(-1)), axis=0), shape)
            yield own, self.fetch(xp.matmul(xp.permute_dims(ket, (0, 2, 1)), xp.conj(bra) * signs))


def accelerator() -> Accelerator:
    """The GPU of this process; work that is too small for it, as far as that was measured, is not done there.

    Raises:
        ExecutionError: there is none, or no library that can use it; what to install.
    """
    broken: list[str] = []
    for found in _libraries(broken):
        known = _measured_crossover()
        if known is not None and known.gpu == found.name:
            found.smallest = inf if known.amplitudes is None else known.amplitudes
            found.smallest_flops = inf if known.flops is None else known.flops
        return found
    raise ExecutionError(
        f"no library here finds a GPU{''.join(f' ({one})' for one in broken)}: install array-api-compat, and cupy or "
        "torch for its version of CUDA, or leave the device out of the resources file"
    )


@cache
def _measured_crossover() -> GpuCrossover | None:
    found = read_calibration()
    return None if found is None else found.gpu


def _libraries(broken: list[str]) -> Iterator[Accelerator]:
    """What finds a GPU; to ``broken`` is added why a library that is here cannot be used."""
    # A driver or library that is missing or broken raises what it likes.
    with _said(broken):
        cupy: Any = import_module("array_api_compat.cupy")
        if cupy.cuda.runtime.getDeviceCount():
            known = cupy.cuda.runtime.getDeviceProperties(0)
            yield Accelerator(cupy, name=f"{known['name'].decode()}, CuPy")
    with _said(broken):
        torch: Any = import_module("array_api_compat.torch")
        if torch.cuda.is_available():
            yield Accelerator(torch, torch.device("cuda"), name=f"{torch.cuda.get_device_name()}, PyTorch")


@contextmanager
def _said(broken: list[str]) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError:
        pass
    except Exception as error:
        broken.append(" ".join(f"{type(error).__name__}: {error}".split())[:200])
