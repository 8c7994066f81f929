"""Gates as Aer runs them correctly."""

from __future__ import annotations

from functools import cache

import numpy as np
from qiskit.circuit import Operation
from qiskit.circuit.library import UnitaryGate
from qiskit_aer import AerSimulator


def aer_gate(operation: Operation) -> Operation:
    """The operation as Aer runs it correctly: by name where Aer knows it, as its matrix otherwise.

    Aer 0.18 reads a Fortran-ordered matrix as its transpose (``DCXGate().to_matrix()`` is one), so every matrix is
    laid out row by row first.
    """
    if operation.name in aer_gates() and operation.name != "unitary":
        return operation
    return UnitaryGate(np.array(operation.to_matrix(), dtype=complex, order="C"))


@cache
def aer_gates() -> frozenset[str]:
    """Names of the gates that Aer's statevector method runs as they are."""
    return frozenset(AerSimulator(method="statevector").configuration().basis_gates) | {"measure"}
