"""Which instructions matter: the backward light cone of all observables together."""

from __future__ import annotations

import numpy as np
from qiskit import QuantumCircuit


def light_cone(circuit: QuantumCircuit, support: np.ndarray) -> np.ndarray:
    """Mark the instructions that any observable can see.

    A unitary on qubits that nothing later connects to an observable cancels against its inverse in <O>.

    Args:
        circuit: unitary instructions only.
        support: (qubit,) bool, where any observable acts.

    Returns:
        (instruction,) bool.
    """
    index = {bit: i for i, bit in enumerate(circuit.qubits)}
    seen = support.tolist()
    matters = np.zeros(len(circuit.data), dtype=bool)
    for i in range(len(circuit.data) - 1, -1, -1):
        qubits = [index[q] for q in circuit.data[i].qubits]
        if any(seen[q] for q in qubits):
            matters[i] = True
            for q in qubits:
                seen[q] = True
    return matters
