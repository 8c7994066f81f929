"""Wide circuits in narrow fragments: exact values of what no statevector holds, held against matrix product states."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Pauli
from qiskit_aer import AerSimulator

from tasks.cutting import make_plan, structure_of
from tasks.execution.jobs import exact_jobs, fragment_tensor, run_job
from tasks.model.problem import Problem
from tasks.reconstruction import estimate_values
from tests.oracles import brickwork, problem_of


def qaoa_on_a_path(qubits: int, layers: int, rng: np.random.Generator) -> QuantumCircuit:
    """QAOA's ansatz for a weighted path."""
    circuit = QuantumCircuit(qubits)
    circuit.h(range(qubits))
    for _ in range(layers):
        for q in range(qubits - 1):
            circuit.rzz(rng.uniform(0.2, 1.4), q, q + 1)
        circuit.rx(rng.uniform(0.3, 1.2), range(qubits))
    return circuit


def local_labels(qubits: int, rng: np.random.Generator) -> list[str]:
    """Bonds and single qubits all over the width, and a string over everything."""
    labels = []
    for q in range(0, qubits - 1, 7):
        letters = ["I"] * qubits
        letters[q], letters[q + 1] = rng.choice(list("XYZ"), 2)
        labels.append("".join(reversed(letters)))
    return [*labels, "Z" * qubits]


def mps_values(circuit: QuantumCircuit, labels: list[str]) -> np.ndarray:
    """(label,) expectation values from a matrix product state truncated below what double precision sees."""
    simulator = AerSimulator(
        method="matrix_product_state", matrix_product_state_truncation_threshold=1e-22, max_parallel_threads=1
    )
    whole = circuit.copy()
    for k, label in enumerate(labels):
        qubits = [q for q, letter in enumerate(reversed(label)) if letter != "I"]
        reduced = "".join(label[len(label) - 1 - q] for q in reversed(qubits))
        whole.save_expectation_value(Pauli(reduced), qubits, label=str(k))
    data = simulator.run(whole, shots=1).result().data(0)
    return np.array([data[str(k)] for k in range(len(labels))])


def exact_values(problem: Problem, max_qubits: int) -> tuple[np.ndarray, int]:
    """(observable,) values of the exact path, and the width of the widest fragment."""
    plan = make_plan(problem, max_qubits=max_qubits)
    tensors = [fragment_tensor(job.fragment, job.schemes, [(job, run_job(job, threads=1))]) for job in exact_jobs(plan)]
    return estimate_values(structure_of(problem, plan), tensors)[0], max(f.width for f in plan.fragments)


@pytest.mark.parametrize("family", ["brickwork", "qaoa"])
def test_sixty_qubits_in_fragments_of_ten_agree_with_a_matrix_product_state(family):
    seed = 60
    rng = np.random.default_rng(seed)
    circuit = brickwork(60, 3, rng, gate="rzz") if family == "brickwork" else qaoa_on_a_path(60, 2, rng)
    labels = local_labels(60, rng)
    problem = problem_of(circuit, labels, np.eye(len(labels)))
    values, widest = exact_values(problem, 10)
    assert widest <= 10
    expected = mps_values(circuit, labels)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(values, expected, atol=1e-9, rtol=0, err_msg=f"seed {seed}")
