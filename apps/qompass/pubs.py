"""PUBs as sets of parameter values and distinct observables, and what tells circuits apart."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import SparseObservable, SparsePauliOp

from tasks.errors import InputError
from tasks.evaluate import check_finite


class Asked:
    """A PUB as sets of parameter values and distinct observables.

    Attributes:
        pub: as Qiskit has it.
        values: (set, parameter) float64.
        keys: what tells the observables apart.
        circuit_key: what tells the circuit apart.
        sets: (shape of the PUB) int, the set that each value is for.
        observables: (shape of the PUB) int, the observable that each value is of.

    Raises:
        InputError: a value, or the precision, is not finite.
    """

    def __init__(self, pub: EstimatorPub) -> None:
        self.pub = pub
        if not math.isfinite(pub.precision):
            raise InputError(f"`precision`: {pub.precision} is no standard error: give a number, 0 for exact values")
        self.values, sets = sets_of(pub)
        places: dict[tuple, int] = {}
        each = [tuple(sorted(labels.items())) for labels in np.asarray(pub.observables.tolist(), dtype=object).ravel()]
        which = np.array([places.setdefault(key, len(places)) for key in each], dtype=np.int64)
        self.keys = tuple(places)
        self.circuit_key = CircuitKey(pub.circuit)
        self.sets, self.observables = np.broadcast_arrays(sets, which.reshape(pub.observables.shape))

    @cached_property
    def operators(self) -> list[SparsePauliOp]:
        """The distinct observables, made where a circuit is seen for the first time."""
        return [_operator(key, self.pub.circuit.num_qubits) for key in self.keys]

    @property
    def target_error(self) -> float | None:
        """The precision asked for, None for what the options say."""
        return self.pub.precision or None


def sets_of(pub: EstimatorPub | SamplerPub) -> tuple[np.ndarray, np.ndarray]:
    """(set, parameter) values of a PUB in the order of its circuit's parameters, and the number of each, in its shape.

    Raises:
        InputError: a value is not finite.
    """
    parameters = list(pub.circuit.parameters)
    shape = pub.parameter_values.shape
    count = int(np.prod(shape, dtype=np.int64))
    values = np.zeros((count, 0))
    if parameters:
        values = np.asarray(pub.parameter_values.as_array(parameters), dtype=np.float64).reshape(count, len(parameters))
    check_finite(values, [parameter.name for parameter in parameters])
    return values, np.arange(count).reshape(shape)


class CircuitKey:
    """What two circuits that are the same share: looked up by their size, compared instruction by instruction.

    Args:
        circuit: which may be changed later (``lasting``).
    """

    def __init__(self, circuit: QuantumCircuit) -> None:
        self._circuit = circuit
        self._hash = hash((circuit.num_qubits, circuit.num_clbits, len(circuit.data), circuit.num_parameters))

    def lasting(self) -> CircuitKey:
        """The same of a copy, so that what becomes of the circuit later does not matter."""
        return CircuitKey(self._circuit.copy())

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CircuitKey)
            and self._circuit.cregs == other._circuit.cregs
            and self._circuit.data == other._circuit.data
        )


def _operator(terms: tuple[tuple[str, float], ...], num_qubits: int) -> SparsePauliOp:
    if all(set(label) <= set("IXYZ") for label, _ in terms):
        return SparsePauliOp.from_list(list(terms), num_qubits=num_qubits)
    return SparsePauliOp.from_sparse_observable(SparseObservable.from_list(list(terms), num_qubits=num_qubits))
