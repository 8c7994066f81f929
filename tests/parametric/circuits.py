"""Circuits with free parameters, and what the uncut ones give."""

from __future__ import annotations

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import XXMinusYYGate, XXPlusYYGate
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp

from tasks.cutting.cuts import Cut
from tasks.options import Options
from tasks.parametric.exact import ParametricPlan
from tasks.parametric.template import template_of
from tasks.workflow import plan_problem

TWO_QUBIT = (
    "rzz",
    "rxx",
    "ryy",
    "rzx",
    "cp",
    "crx",
    "cry",
    "crz",
    "cu",
    "xx_plus_yy",
    "xx_minus_yy",
    "cx",
    "cz",
    "ecr",
)
ONE_QUBIT = ("rx", "ry", "rz", "p", "u", "r", "h", "sx", "t")


def random_circuit(rng: np.random.Generator, qubits: int, gates: int, parameters: int) -> QuantumCircuit:
    """Gates of every kind on a line, whose angles are numbers or (non)linear in the parameters."""
    vector = ParameterVector("p", parameters)
    circuit = QuantumCircuit(qubits)

    def angle():
        own, other = (vector[int(rng.integers(parameters))] for _ in range(2))
        forms = [own, 2 * own + 0.3, own - 0.5 * other, own.sin() * 2, own * other, float(rng.uniform(-3, 3))]
        return forms[int(rng.integers(len(forms)))]

    for qubit in range(qubits):
        circuit.ry(vector[qubit % parameters], qubit)
    for _ in range(gates):
        if rng.random() < 0.5:
            name, places = str(rng.choice(ONE_QUBIT)), [int(rng.integers(qubits))]
        else:
            name, first = str(rng.choice(TWO_QUBIT)), int(rng.integers(qubits - 1))
            places = [int(q) for q in rng.permutation([first, first + 1])]
        number = {"u": 3, "r": 2, "cu": 4, "xx_plus_yy": 2, "xx_minus_yy": 2}.get(name, 1)
        angles = [] if name in ("h", "sx", "t", "cx", "cz", "ecr") else [angle() for _ in range(number)]
        if name in ("xx_plus_yy", "xx_minus_yy"):
            circuit.append((XXPlusYYGate if name == "xx_plus_yy" else XXMinusYYGate)(*angles), places)
        else:
            getattr(circuit, name)(*angles, *places)
    for parameter in vector:
        if parameter not in circuit.parameters:
            circuit.rz(parameter, 0)
    return circuit


def random_operators(rng: np.random.Generator, qubits: int, count: int) -> list[SparsePauliOp]:
    """Sums of three Pauli strings each, the identity among them."""
    labels = [
        ["".join(rng.choice(list("IXYZ"), qubits, p=[0.4, 0.2, 0.2, 0.2])) for _ in range(2)] for _ in range(count)
    ]
    return [SparsePauliOp([*own, "I" * qubits], rng.normal(size=3)) for own in labels]


def parametric(
    circuit: QuantumCircuit,
    operators: list[SparsePauliOp],
    max_qubits: int | None,
    cuts: tuple[Cut, ...] | None = None,
    shots: int | None = None,
) -> ParametricPlan:
    """A parametric plan, as an evaluator makes it."""
    template = template_of(circuit, operators)
    options = Options(max_qubits=max_qubits, cuts=cuts, shots=shots)
    return ParametricPlan(template, plan_problem(template.problem, options, runs=False))


def uncut(circuit: QuantumCircuit, operators: list[SparsePauliOp], values: np.ndarray) -> np.ndarray:
    """(set, observable) from Qiskit's own estimator."""
    pub = (circuit, [[operator] for operator in operators], values)
    return StatevectorEstimator().run([pub]).result()[0].data.evs.T
