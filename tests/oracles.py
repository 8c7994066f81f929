"""What the tests hold Qompass against: uncut simulations, and problems made from seeds."""

from __future__ import annotations

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import Pauli, Statevector
from scipy.sparse import csr_array

from tasks.model.problem import PauliTerms, Problem


def problem_of(circuit: QuantumCircuit, labels: list[str], coefficients: np.ndarray) -> Problem:
    """A problem with the given Pauli labels; ``coefficients``: (observable, term)."""
    letters = np.array([list(reversed(label)) for label in labels])
    terms = PauliTerms(
        np.isin(letters, ["X", "Y"]), np.isin(letters, ["Y", "Z"]), csr_array(np.atleast_2d(coefficients))
    )
    return Problem(circuit, terms, tuple(f"O{k}" for k in range(terms.coefficients.shape[0])))


def random_labels(rng: np.random.Generator, qubits: int, terms: int, identity: float = 0.4) -> list[str]:
    """Distinct Pauli labels."""
    rest = (1 - identity) / 3
    found = {"".join(rng.choice(list("IXYZ"), qubits, p=[identity, rest, rest, rest])) for _ in range(terms)}
    return sorted(found)


def random_problem(circuit: QuantumCircuit, rng: np.random.Generator, terms: int = 6, observables: int = 3) -> Problem:
    """A problem with random multi-term observables."""
    labels = random_labels(rng, circuit.num_qubits, terms)
    return problem_of(circuit, labels, rng.normal(size=(observables, len(labels))))


def term_labels(problem: Problem) -> list[str]:
    """The Qiskit label of every term."""
    letters = np.where(
        problem.terms.x & problem.terms.z, "Y", np.where(problem.terms.x, "X", np.where(problem.terms.z, "Z", "I"))
    )
    return ["".join(reversed(row)) for row in letters.tolist()]


def uncut_values(problem: Problem) -> np.ndarray:
    """(observable,) exact values from the uncut statevector."""
    state = Statevector(problem.circuit)
    values = np.array([state.expectation_value(Pauli(label)).real for label in term_labels(problem)])
    return problem.terms.coefficients @ values


def brickwork(qubits: int, layers: int, rng: np.random.Generator, gate: str = "cz") -> QuantumCircuit:
    """Random one-qubit rotations and staggered two-qubit gates on a line."""
    circuit = QuantumCircuit(qubits)
    for layer in range(layers):
        for q in range(qubits):
            circuit.u(*rng.uniform(0, np.pi, 3), q)
        for q in range(layer % 2, qubits - 1, 2):
            if gate == "rzz":
                circuit.rzz(rng.uniform(0.2, 1.5), q, q + 1)
            else:
                getattr(circuit, gate)(q, q + 1)
    return circuit
