"""A validated problem: a circuit of one- and two-qubit unitaries and the observables asked of it.

Qiskit's little-endian order holds everywhere: in a label the rightmost letter is qubit 0; in the arrays
here, column ``q`` is qubit ``q``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from qiskit import QuantumCircuit
from scipy.sparse import csr_array


@dataclass(frozen=True)
class PauliTerms:
    """The distinct Pauli strings of all observables of a problem, and how the observables sum them.

    Attributes:
        x: (term, qubit) bool, the X part of each string.
        z: (term, qubit) bool, the Z part. X and Z both set means Y, with no extra phase.
        coefficients: (observable, term) float64, sparse.
    """

    x: np.ndarray
    z: np.ndarray
    coefficients: csr_array

    @property
    def count(self) -> int:
        """Number of distinct strings."""
        return int(self.x.shape[0])

    @property
    def support(self) -> np.ndarray:
        """(term, qubit) bool: where each string is not the identity."""
        return self.x | self.z


@dataclass(frozen=True)
class Readout:
    """Which qubits the circuit itself measures at its end.

    Attributes:
        bits: for each classical bit the qubit measured into it, None for one that stays 0.
        registers: sizes of the classical registers, in order; empty where bits are not in registers one by one.
    """

    bits: tuple[int | None, ...]
    registers: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """A circuit and its observables. Nothing downstream checks them again.

    Attributes:
        circuit: only one- and two-qubit unitary gates with numeric parameters; no classical bits, barriers,
            delays or measurements.
        terms: the observables as distinct Pauli strings with real coefficients.
        names: one per observable, as the user wrote it.
        notes: what was changed on reading, in sentences for the user ("3 final measurements dropped").
        readout: the circuit's own measurements, None where it has none.
    """

    circuit: QuantumCircuit
    terms: PauliTerms
    names: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    readout: Readout | None = None

    @property
    def num_qubits(self) -> int:
        """Width of the uncut circuit."""
        return int(self.circuit.num_qubits)


@dataclass(frozen=True)
class Estimate:
    """The value of one observable and its standard error, never one without the other.

    ``std_error`` is 0 on the exact path.
    """

    observable: str
    value: float
    std_error: float
