"""The tasks of the motifs, and the rank of a distributed state vector; importable by every process of every engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any, cast

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from scipy.optimize import minimize

from scheduler_policies import Device, Kind
from tasks.execution.run_devices import declared_devices
from tasks.runtime import COLLECTION_IN, Outcome, constraint, contained, device_tasks, isolated, task

CPU = [{"ProcessorType": "CPU", "ProcessorName": "CPU", "ComputingUnits": "1"}]


def layered(qubits: int, depth: int, angles: np.ndarray) -> QuantumCircuit:
    """Layers of RY on every qubit and CZ along a line.

    Args:
        qubits: how many.
        depth: layers.
        angles: (depth * qubits,) float64.
    """
    circuit = QuantumCircuit(qubits)
    for layer in range(depth):
        for qubit in range(qubits):
            circuit.ry(float(angles[layer * qubits + qubit]), qubit)
        for qubit in range(qubits - 1):
            circuit.cz(qubit, qubit + 1)
    return circuit


@constraint(processors=CPU)
@task(returns=1)
def expect(qubits: int, depth: int, angles: np.ndarray, terms: list[str], before: Any) -> Outcome:
    """Mean of an observable's terms on a layered circuit; with what a task gave before, its value shifts the angles."""
    return isolated(_timed, _expectation, qubits, depth, angles, terms, before)


def expect_bound(
    qubits: int, depth: int, angles: np.ndarray, terms: list[str], before: Any, device: Device, shots: int
) -> Outcome:
    """The body of the tasks that are bound to one QPU: the same mean, from shots of that QPU."""
    return isolated(_counted, qubits, depth, angles, terms, before, device, shots, device=device.name)


# COMPSs workers find a task by its name in this module, so the tasks of all declared QPUs are made on import.
_BODY = cast(FunctionType, expect_bound)
_bound: dict[str, Callable[..., Any]] = device_tasks(
    _BODY, [device for device in declared_devices() if device.kind is Kind.QPU], globals(), returns=1
)


def expect_on(device: Device) -> Callable[..., Any]:
    """The task ``expect`` of a QPU."""
    if device.name not in _bound:
        _bound.update(device_tasks(_BODY, [device], globals(), returns=1))
    return _bound[device.name]


@constraint(processors=CPU)
@task(returns=1)
def compress(qubits: int, depth: int, image: np.ndarray) -> Outcome:
    """Angles of the layered circuit whose state is nearest to an image's amplitudes, and how near."""
    return isolated(_timed, _compression, qubits, depth, image)


@constraint(processors=CPU)
@task(returns=1, outcomes=COLLECTION_IN)
def total(outcomes: list[Any]) -> Outcome:
    """The sum of what several tasks gave."""
    return contained(_timed, _sum, outcomes)


def _timed(function: Callable[..., float], *arguments: Any) -> tuple[float, float]:
    """What a function gives, and its seconds."""
    began = time.perf_counter()
    return function(*arguments), time.perf_counter() - began


def _expectation(qubits: int, depth: int, angles: np.ndarray, terms: list[str], before: Any) -> float:
    shift = 0.0 if before is None else before[0]
    circuit = layered(qubits, depth, angles + shift)
    value = Statevector(circuit).expectation_value(SparsePauliOp(terms, np.full(len(terms), 1 / len(terms))))
    return float(value.real)


def _counted(
    qubits: int, depth: int, angles: np.ndarray, terms: list[str], before: Any, device: Device, shots: int
) -> tuple[float, float]:
    """Mean of terms of Z and I from shots, and the seconds for which a unit of the QPU was held."""
    # Imported here: motifs on CPUs need no QRMI.
    from tasks.execution.leases import lease
    from tasks.execution.qpu import CircuitRequest, QpuOptions, qpu_resource, run_requests

    circuit = QuantumCircuit(qubits, qubits)
    circuit.compose(layered(qubits, depth, angles + (0.0 if before is None else before[0])), inplace=True)
    circuit.measure(range(qubits), range(qubits))
    held = 0.0

    @contextmanager
    def reserve() -> Iterator[None]:
        nonlocal held
        with lease(device.name, device.units):
            began = time.perf_counter()
            yield
            held += time.perf_counter() - began

    run = run_requests(qpu_resource(device.name), [CircuitRequest(circuit, shots)], QpuOptions(reserve=reserve))
    counts = run.results[0].counts
    if counts is None:
        raise run.failures[0]
    bits = np.unpackbits(counts.outcomes, axis=1, bitorder="little")[:, :qubits].astype(np.int64)
    parities = 1 - 2 * ((bits @ SparsePauliOp(terms).paulis.z.T) & 1)
    return float(counts.counts @ parities.mean(axis=1)) / counts.shots, held


def _compression(qubits: int, depth: int, image: np.ndarray) -> float:
    target = image / np.linalg.norm(image)

    def distance(angles: np.ndarray) -> float:
        return 1 - abs(np.vdot(target, Statevector(layered(qubits, depth, angles)).data)) ** 2

    start = np.full(depth * qubits, 0.3)
    return 1 - float(minimize(distance, start, method="L-BFGS-B", options={"maxiter": 5}).fun)


def _sum(outcomes: Sequence[Any]) -> float:
    return float(sum(value for value, _ in outcomes))


def state_vector_rank(qubits: int, depth: int, angles: np.ndarray, comm: Any = None) -> tuple[float, float]:
    """One rank's share of the layered circuit's state; the highest qubits number the ranks.

    Args:
        qubits: how many.
        depth: layers.
        angles: (depth * qubits,) float64.
        comm: an mpi4py communicator of 2^k ranks; None takes COMM_WORLD.

    Returns:
        the expectation of Z on the highest qubit, the same on all ranks, and the seconds of this one.
    """
    if comm is None:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    rank, size = comm.Get_rank(), comm.Get_size()
    local = qubits - (size.bit_length() - 1)
    state = np.zeros(1 << local)
    state[0] = 1.0 if rank == 0 else 0.0
    index = np.arange(1 << local) + (rank << local)
    comm.Barrier()
    began = time.perf_counter()
    for layer in range(depth):
        for qubit in range(qubits):
            half = angles[layer * qubits + qubit] / 2
            cos, sin = np.cos(half), np.sin(half)
            if qubit < local:
                pairs = state.reshape(-1, 2, 1 << qubit)
                low, high = pairs[:, 0].copy(), pairs[:, 1].copy()
                pairs[:, 0], pairs[:, 1] = cos * low - sin * high, sin * low + cos * high
            else:  # the other half of each pair is on another rank
                other = np.empty_like(state)
                bit = 1 << (qubit - local)
                comm.Sendrecv(state, rank ^ bit, recvbuf=other, source=rank ^ bit)
                state = cos * state + (sin if rank & bit else -sin) * other
        for qubit in range(qubits - 1):
            both = (index >> qubit) & (index >> (qubit + 1)) & 1
            state = np.where(both == 1, -state, state)
    own = float(np.sum(state**2 * (1 - 2 * ((index >> (qubits - 1)) & 1))))
    value = float(comm.allreduce(own))
    return value, time.perf_counter() - began
