"""QCut's values of one cut circuit, in an interpreter that has it: JSON on standard input, JSON on standard output.

Asked: {"qubits", "gates": [[name, parameters, qubits], ...], "cut": [instruction, ...], "wires": [[instruction, qubit],
...], "parts": [[qubit, ...], ...], "observable": label, "shots": in all, "seeds", "seconds", "joint",
"communicating"}; barriers on each of the parts keep gates that are cut side by side. Answer: {"values", "circuits",
"gamma"}.
"""

import json
import sys
import time

import numpy as np
import QCut
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator


def main() -> None:
    """Split once, run for every seed."""
    asked = json.load(sys.stdin)
    options = QCut.CutOptions(
        consolidate="never",
        joint_rotation_cuts=asked["joint"],
        wire_cut_communication="always" if asked["communicating"] else "never",
        max_exact_groups=100_000,
    )
    plain, marked = QuantumCircuit(asked["qubits"]), QuantumCircuit(asked["qubits"])
    first, last = (min(asked["cut"]), max(asked["cut"])) if asked["cut"] else (-1, -1)
    for number, (name, parameters, qubits) in enumerate(asked["gates"]):
        getattr(plain, name)(*parameters, *qubits)
        for part in asked["parts"] if number in (first, last + 1) else []:
            marked.barrier(part)
        for q in [q for place, q in asked["wires"] if place == number]:
            marked.append(QCut.cut(), [q])
        if number in asked["cut"]:
            marked.append(**QCut.cutGate(plain.data[-1].operation, *qubits))
        else:
            marked.append(plain.data[-1].operation, qubits)
    split = QCut.get_locations_and_subcircuits(marked, options=options)
    experiments = QCut.get_experiment_circuits(split, SparsePauliOp([asked["observable"]]))
    each = max(1, asked["shots"] // experiments.num_circuits)
    values, began = [], time.perf_counter()
    for seed in range(asked["seeds"]):
        if seed >= 3 and time.perf_counter() - began > asked["seconds"]:
            break
        backend = AerSimulator(seed_simulator=seed)
        results = QCut.run_experiments(experiments, shots=each, backend=backend)
        found = QCut.estimate_expectation_values(results)
        values.append(float(np.asarray(found).reshape(-1)[0]))
    print(json.dumps({"values": values, "circuits": experiments.num_circuits, "gamma": split.gamma}))


if __name__ == "__main__":
    main()
