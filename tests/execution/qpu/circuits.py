"""Small variants, runs of several at once, and the distributions they should have, by Qiskit's own simulator."""

import numpy as np
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator

from tasks.execution.mitigation import extrapolation
from tasks.execution.qpu import CircuitRequest, run_requests


def ghz(qubits, angle=0.7):
    circuit = QuantumCircuit(qubits, qubits)
    circuit.ry(angle, 0)
    for qubit in range(qubits - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.measure(range(qubits), range(qubits))
    return circuit


def midway():
    """Measures qubit 1 halfway and goes on with it."""
    circuit = QuantumCircuit(2, 3)
    circuit.ry(0.9, 0)
    circuit.cx(0, 1)
    circuit.measure(1, 0)
    circuit.ry(0.4, 1)
    circuit.cx(1, 0)
    circuit.measure([0, 1], [1, 2])
    return circuit


def ideal(circuit, shots=200_000, seed=5):
    """(2**m,) frequencies of a noiseless simulation."""
    counts = AerSimulator().run(circuit, shots=shots, seed_simulator=seed).result().data(0)["counts"]
    found = np.zeros(2**circuit.num_clbits)
    for outcome, count in counts.items():
        found[int(outcome, 16)] = count / shots
    return found


def frequencies(counts):
    """(2**m,) frequencies of VariantCounts."""
    bits = np.unpackbits(counts.outcomes, axis=1, count=counts.num_bits, bitorder="little").astype(np.int64)
    found = np.zeros(2**counts.num_bits)
    found[bits @ (1 << np.arange(counts.num_bits))] = counts.counts / counts.shots
    return found


def distance(first, second):
    """Total variation distance."""
    return float(np.abs(first - second).sum() / 2)


class Answers:
    """A run of circuits whose results a test looks at side by side."""

    def __init__(self, run):
        self.run = run

    def __getattr__(self, name):
        return getattr(self.run, name)

    def __repr__(self):
        return repr(self.run)

    @property
    def counts(self):
        return [result.counts for result in self.results]

    @property
    def failures(self):
        return {index: result.failure for index, result in enumerate(self.results) if result.failure is not None}

    @property
    def programs(self):
        return [result.program for result in self.results]

    @property
    def sources(self):
        return [result.sources for result in self.results]

    @property
    def origins(self):
        return [result.origin for result in self.results]


def asked(circuits, shots, streams=()):
    return [CircuitRequest(c, n, s) for c, n, s in zip(circuits, shots, streams or [""] * len(circuits), strict=True)]


def run_variants(resource, circuits, shots, options=None):
    return Answers(run_requests(resource, asked(circuits, shots), options))


def run_mitigated(resource, circuits, shots, mitigation=extrapolation.NO_MITIGATION, options=None, streams=()):
    return Answers(extrapolation.run_mitigated(resource, asked(circuits, shots, streams), mitigation, options))
