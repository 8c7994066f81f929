"""QCut 2.2.0 on the same problems, in an interpreter of its own: ``PYTHON primitives_qcut.py PROBLEM SHOTS``.

The circuits are split and the experiments made once; each evaluation assigns parameters, runs and reconstructs. Prints
one JSON object: seconds to make the experiments and seconds of each evaluation.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import QCut
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator

sys.path.insert(0, str(Path(__file__).parent))
from primitives_problems import ansatz, communities

CASES = {"0": lambda: ansatz(2, 2), "1": lambda: ansatz(2, 4), "2": lambda: ansatz(4, 1), "3": communities}


def main() -> None:
    """Measure one problem."""
    problem, shots, budget = CASES[sys.argv[1]](), int(sys.argv[2]), float(sys.argv[3])
    free = any(problem.circuit.data[place].operation.params for place in problem.severed)
    rng = np.random.default_rng(1)

    def values() -> dict:
        drawn = rng.uniform(-2, 2, problem.circuit.num_parameters).tolist()
        return dict(zip(problem.circuit.parameters, drawn, strict=True))

    def experiments(circuit: QuantumCircuit) -> tuple:
        marked = QuantumCircuit(circuit.num_qubits)
        for number, item in enumerate(circuit.data):
            qubits = [circuit.find_bit(qubit).index for qubit in item.qubits]
            if number in problem.severed:
                marked.append(**QCut.cutGate(item.operation, *qubits))
            else:
                marked.append(item.operation, qubits)
        split = QCut.get_locations_and_subcircuits(marked)
        return QCut.get_experiment_circuits(split, problem.observable), split.subcircuits

    began = time.perf_counter()
    experiment, parts = experiments(problem.circuit.assign_parameters(values()) if free else problem.circuit)
    made = time.perf_counter() - began
    simulator = AerSimulator()
    seconds = []
    while not seconds or (sum(seconds) < budget and len(seconds) < 5):
        new = values()
        began = time.perf_counter()
        if free:  # the angle of a gate that is cut has to be known before the experiments are made
            bound = experiments(problem.circuit.assign_parameters(new))[0]
        else:
            bound = experiment
            for part in parts:  # a circuit takes a dictionary only of parameters that it has
                bound = bound.assign_parameters({own: new[own] for own in part.parameters})
        QCut.estimate_expectation_values(QCut.run_experiments(bound, shots=shots, backend=simulator))
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"make": made, "evaluations": seconds, "circuits": experiment.num_circuits}))


if __name__ == "__main__":
    main()
