"""Variants as the plain circuits that they are, with shots, on an Aer simulator, noisy or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator

from tasks.execution.errors import ExecutionError
from tasks.execution.simulators.aer_gates import aer_gate
from tasks.model.tensor import VariantCounts


def run_circuits(
    circuits: Sequence[QuantumCircuit], shots: Sequence[int], seeds: Sequence[int], simulator: AerSimulator
) -> list[VariantCounts]:
    """Run variants as the plain circuits they are, with shots, on an Aer simulator, noisy or not.

    Raises:
        ExecutionError: the simulator refused one; its reason.
    """
    counts = []
    for circuit, n, seed in zip(circuits, shots, seeds, strict=True):
        if circuit.num_clbits == 0:
            counts.append(VariantCounts(np.zeros((1, 1), dtype=np.uint8), np.array([n]), 0))
            continue
        result = simulator.run(_known_gates(circuit), shots=n, seed_simulator=seed).result()
        if not result.success:
            raise ExecutionError(f"the simulator refused a variant: {result.status!r}")
        counts.append(counts_from_hex(result.data(0)["counts"], circuit.num_clbits))
    return counts


def counts_from_hex(counts: dict[str, int], num_bits: int) -> VariantCounts:
    """Qiskit's ``{"0x1f": 12, ...}`` as VariantCounts."""
    width = max(1, (num_bits + 7) // 8)
    raw = b"".join(int(key, 16).to_bytes(width, "little") for key in counts)
    outcomes = np.frombuffer(raw, dtype=np.uint8).reshape(-1, width)
    unique, inverse = np.unique(outcomes, axis=0, return_inverse=True)
    totals = np.bincount(inverse.reshape(-1), weights=np.fromiter(counts.values(), dtype=float), minlength=len(unique))
    return VariantCounts(unique, totals.astype(np.int64), num_bits)


def _known_gates(circuit: QuantumCircuit) -> QuantumCircuit:
    out = circuit.copy_empty_like()
    for item in circuit.data:
        out.append(aer_gate(item.operation), item.qubits, item.clbits, copy=False)
    return out
