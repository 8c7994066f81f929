"""From where on this machine's GPU is quicker than one of its cores, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from qiskit import QuantumCircuit

from tasks.cutting import Fragment, GateCut, make_plan
from tasks.execution.calibration_file import GpuCrossover
from tasks.execution.errors import ExecutionError
from tasks.execution.simulators.accelerator import Accelerator, accelerator
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tasks.inputs.validation import make_problem
from tasks.model.arrays import HERE, Arrays
from tasks.reconstruction.contraction.kernel import gathered_products

_WIDTHS = range(8, 23, 2)  # qubits of a fragment with two legs
_SIDES = [64 << k for k in range(7)]  # of matrices
_LONGEST_S = 2.0  # of a measurement; no larger one follows
_REPEATS = 3


def gpu_crossover() -> GpuCrossover | None:
    """Measure this machine's GPU; None where there is none.

    What is measured beside a core: whole tensors of fragments, and products of matrices that are moved there and back.
    """
    try:
        gpu = accelerator()
    except ExecutionError:
        return None
    return GpuCrossover(gpu.name, _first_quicker(_states(gpu)), _first_quicker(_products(gpu)))


def _states(gpu: Accelerator) -> Iterator[tuple[float, float, float]]:
    """Amplitudes, seconds here and seconds there."""
    everything = Accelerator(gpu.xp, gpu.device, smallest=0)

    def tensor(fragment: Fragment, own: Accelerator | None) -> np.ndarray:
        return exact_tensor(fragment, open_state(fragment, gpu=own))

    for width in _WIDTHS:
        fragment = _fragment(width)
        here, there = (_seconds(partial(tensor, fragment, own)) for own in (None, everything))
        yield 2.0**fragment.open_qubits, here, there


def _products(gpu: Accelerator) -> Iterator[tuple[float, float, float]]:
    """Floating-point operations, seconds here and seconds there."""
    row = np.zeros(1, dtype=np.int64)

    def product(a: np.ndarray, b: np.ndarray, library: Arrays) -> np.ndarray:
        return library.fetch(gathered_products(library.put(a), library.put(b), row, row, library))

    for side in _SIDES:
        a, b = np.random.default_rng(side).normal(size=(2, 1, side, side))
        here, there = (_seconds(partial(product, a, b, own)) for own in (HERE, gpu))
        yield 2.0 * side**3, here, there


def _first_quicker(measured: Iterator[tuple[float, float, float]]) -> float | None:
    """The least size from which all are quicker there; None if the largest is not."""
    found = None
    for size, here, there in measured:
        if there >= here:
            found = None
        elif found is None:
            found = size
        if max(here, there) > _LONGEST_S:
            break
    return found


def _seconds(work: Callable[[], Any]) -> float:
    """The least of a few repeats, after one in which libraries get ready."""
    took = []
    for _ in range(1 + _REPEATS):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
        if took[-1] > _LONGEST_S:
            break
    return min(took)


def _fragment(width: int) -> Fragment:
    """Of so many qubits, dense, joined to two others by two gates."""
    rng = np.random.default_rng(width)
    circuit = QuantumCircuit(width + 2)
    cuts = []
    for layer in range(10):
        for qubit in range(width):
            circuit.u(*rng.uniform(0, 3, 3), qubit)
        for qubit in range(layer % 2, width - 1, 2):
            circuit.cz(qubit, qubit + 1)
        if layer in (3, 6):
            cuts.append(GateCut(len(circuit.data)))
            circuit.cz(width - 1, width + layer // 6)
    terms = [f"{pauli}{qubit}" for qubit in range(min(width, 4)) for pauli in "XYZ"]
    problem = make_problem(circuit, [f"Z{width} Z{width + 1} {term}" for term in terms])
    return max(make_plan(problem, cuts=tuple(cuts)).fragments, key=lambda one: one.num_qubits)
