"""Writes the bundled circuits again, the same to the last digit: ``python apps/circuits/generate.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from qiskit import QuantumCircuit, qasm2, qasm3

HERE = Path(__file__).resolve().parent


def ghz(size: int) -> QuantumCircuit:
    """(|0...0> + |1...1>) / sqrt(2), measured."""
    circuit = QuantumCircuit(size, size)
    circuit.h(0)
    for qubit in range(size - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.measure(range(size), range(size))
    return circuit


def qaoa_path(size: int, layers: int) -> QuantumCircuit:
    """QAOA for MaxCut on a path, with angles that rise and fall linearly over the layers."""
    circuit = QuantumCircuit(size)
    circuit.h(range(size))
    for layer in range(layers):
        ramp = (layer + 0.5) / layers
        for qubit in [*range(0, size - 1, 2), *range(1, size - 1, 2)]:
            circuit.rzz(round(0.9 * ramp, 6), qubit, qubit + 1)
        circuit.rx(round(1.1 * (1 - ramp), 6), range(size))
    return circuit


def real_amplitudes(size: int, layers: int, seed: int) -> QuantumCircuit:
    """A variational ansatz: RY on every qubit, then a staircase of CX that ends at qubit 0, which so depends on all."""
    angles = np.random.default_rng(seed).uniform(-0.7, 0.7, size=(layers + 1, size)).round(6)
    circuit = QuantumCircuit(size)
    for layer in range(layers + 1):
        for qubit in range(size):
            circuit.ry(float(angles[layer, qubit]), qubit)
        if layer < layers:
            for qubit in range(size - 1, 0, -1):
                circuit.cx(qubit, qubit - 1)
    return circuit


def brickwork(size: int, layers: int, seed: int) -> QuantumCircuit:
    """Layers of random one-qubit rotations and CZ on alternating neighbours."""
    angles = np.random.default_rng(seed).uniform(-np.pi, np.pi, size=(layers, size, 2)).round(6)
    circuit = QuantumCircuit(size)
    for layer in range(layers):
        for qubit in range(size):
            circuit.ry(float(angles[layer, qubit, 0]), qubit)
            circuit.rz(float(angles[layer, qubit, 1]), qubit)
        for qubit in range(layer % 2, size - 1, 2):
            circuit.cz(qubit, qubit + 1)
    return circuit


def main() -> None:
    """Write every file beside this one."""
    (HERE / "ghz12.qasm").write_text(qasm2.dumps(ghz(12)) + "\n")
    (HERE / "qaoa40.qasm").write_text(qasm2.dumps(qaoa_path(40, layers=2)) + "\n")
    (HERE / "vqe40.qasm").write_text(qasm3.dumps(real_amplitudes(40, layers=2, seed=40)))
    (HERE / "brickwork100.qasm").write_text(qasm2.dumps(brickwork(100, layers=3, seed=100)) + "\n")


if __name__ == "__main__":
    main()
