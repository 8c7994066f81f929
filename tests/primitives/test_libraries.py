"""Libraries that take Qiskit's primitives take these, unmodified, on circuits wider than the fragments allowed.

They are not among the pinned packages of the tests: each test is skipped where its own is not installed. PennyLane's
Qiskit device takes no primitive, it makes IBM's own; its tapes are in ``tests/inputs/test_elsewhere.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import efficient_su2, evolved_operator_ansatz, zz_feature_map
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.quantum_info import SparsePauliOp
from qompass import QompassEstimator, QompassSampler

ISING = SparsePauliOp.from_sparse_list(
    [*(("ZZ", [q, q + 1], 1.0) for q in range(3)), *(("X", [q], 0.7) for q in range(4))], 4
)
GROUND = float(np.linalg.eigvalsh(ISING.to_matrix())[0])


@pytest.fixture
def estimator() -> QompassEstimator:
    return QompassEstimator(max_qubits=2)


@pytest.fixture
def sampler() -> QompassSampler:
    return QompassSampler(max_qubits=2, seed=1)


def test_vqe(estimator):
    algorithms = pytest.importorskip("qiskit_algorithms")
    from qiskit_algorithms.optimizers import L_BFGS_B

    ansatz = efficient_su2(4, su2_gates=["ry"], reps=1, entanglement="linear")
    start = np.random.default_rng(1).normal(size=ansatz.num_parameters)
    found = [
        algorithms.VQE(own, ansatz, L_BFGS_B(maxiter=25), initial_point=start).compute_minimum_eigenvalue(ISING)
        for own in (estimator, StatevectorEstimator())
    ]
    assert found[0].eigenvalue == pytest.approx(found[1].eigenvalue, abs=1e-3)
    assert found[0].eigenvalue < 0.9 * GROUND


def test_vqe_with_our_gradient(estimator):
    algorithms = pytest.importorskip("qiskit_algorithms")
    from qiskit_algorithms.optimizers import L_BFGS_B

    ansatz = efficient_su2(4, su2_gates=["ry"], reps=2, entanglement="linear")

    def energy(values: np.ndarray) -> tuple[float, np.ndarray]:
        data = estimator.run_gradients([(ansatz, ISING, values)]).result()[0].data
        return float(data.evs), data.gradients

    start = np.random.default_rng(1).normal(size=ansatz.num_parameters)
    best = L_BFGS_B(maxiter=100).minimize(lambda x: energy(x)[0], start, jac=lambda x: energy(x)[1])
    assert best.fun == pytest.approx(GROUND, abs=0.05), algorithms.__version__


def test_adapt_vqe(estimator):
    algorithms = pytest.importorskip("qiskit_algorithms")
    from qiskit_algorithms.optimizers import L_BFGS_B

    pool = [SparsePauliOp(label) for label in ("YIII", "IYII", "IIYI", "IIIY", "YZII", "IYZI", "IIYZ")]
    vqe = algorithms.VQE(estimator, evolved_operator_ansatz(pool, reps=1), L_BFGS_B(maxiter=15))
    found = algorithms.AdaptVQE(vqe, operators=pool, max_iterations=2).compute_minimum_eigenvalue(ISING)
    assert found.eigenvalue.real < 0


def test_qaoa(sampler):
    algorithms = pytest.importorskip("qiskit_algorithms")
    from qiskit_algorithms.optimizers import COBYLA

    cost = SparsePauliOp.from_sparse_list([("ZZ", [q, q + 1], 1.0) for q in range(3)], 4)
    solved = algorithms.QAOA(sampler, COBYLA(maxiter=15), reps=1).compute_minimum_eigenvalue(cost)
    assert solved.best_measurement["value"].real == -3


def test_gradients_of_qiskit_algorithms(estimator):
    pytest.importorskip("qiskit_algorithms")
    from qiskit_algorithms.gradients import ParamShiftEstimatorGradient

    ansatz = efficient_su2(4, su2_gates=["ry"], reps=1, entanglement="linear")
    values = np.random.default_rng(3).normal(size=ansatz.num_parameters)
    theirs = ParamShiftEstimatorGradient(estimator).run([ansatz], [ISING], [values]).result().gradients[0]
    ours = estimator.run_gradients([(ansatz, ISING, values)]).result()[0].data.gradients
    np.testing.assert_allclose(theirs, ours, atol=1e-9)


def test_a_quantum_kernel(sampler):
    pytest.importorskip("qiskit_machine_learning")
    from qiskit_machine_learning.kernels import FidelityQuantumKernel
    from qiskit_machine_learning.state_fidelities import ComputeUncompute

    points = np.random.default_rng(5).uniform(0, 2, (3, 3))
    feature_map = zz_feature_map(3, reps=1)
    found, wanted = (
        FidelityQuantumKernel(feature_map=feature_map, fidelity=ComputeUncompute(sampler=own)).evaluate(points)
        for own in (sampler, StatevectorSampler(seed=1, default_shots=20_000))
    )
    np.testing.assert_allclose(found, wanted, atol=0.06)


def test_an_estimator_qnn(estimator):
    pytest.importorskip("qiskit_machine_learning")
    from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    inputs, weights = ParameterVector("i", 3), ParameterVector("w", 3)
    circuit = QuantumCircuit(3)
    for qubit in range(3):
        circuit.ry(inputs[qubit], qubit)
    for qubit in range(2):
        circuit.cx(qubit, qubit + 1)
    for qubit in range(3):
        circuit.rx(weights[qubit], qubit)
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(2, 3)), rng.normal(size=3)
    made = [
        EstimatorQNN(
            circuit=circuit, observables=[SparsePauliOp("ZZZ")], input_params=list(inputs), weight_params=list(weights),
            estimator=own, gradient=ParamShiftEstimatorGradient(own), input_gradients=True,
        )
        for own in (estimator, StatevectorEstimator())
    ]  # fmt: skip
    np.testing.assert_allclose(*(qnn.forward(x, w) for qnn in made), atol=0.05)
    for found, wanted in zip(*(qnn.backward(x, w) for qnn in made), strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.05)


def test_mitiqs_executor(estimator):
    pytest.importorskip("ply", reason="mitiq reads OpenQASM with it")
    zne = pytest.importorskip("mitiq.zne")
    from mitiq.zne.scaling import fold_global

    bound = QuantumCircuit(4)
    for qubit in range(4):
        bound.h(qubit)
        bound.t(qubit)
        bound.h(qubit)
    for qubit in range(3):
        bound.cx(qubit, qubit + 1)

    def executor(folded: QuantumCircuit) -> float:
        return float(estimator.run([(folded, "ZZII")]).result()[0].data.evs)

    exact = float(StatevectorEstimator().run([(bound, "ZZII")]).result()[0].data.evs)
    assert zne.execute_with_zne(bound, executor, scale_noise=fold_global) == pytest.approx(exact, abs=1e-6)
