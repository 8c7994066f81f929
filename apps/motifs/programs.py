"""The motifs that are whole programs: cutting, a state over ranks, quantum machine learning."""

from __future__ import annotations

import time

import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from apps.motifs.size import Ran, Size
from apps.motifs.work import compress, layered, state_vector_rank
from tasks.cutting import GateCut
from tasks.errors import InputError
from tasks.evaluate import Evaluator
from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem
from tasks.options import Options
from tasks.runs import RunDirectory
from tasks.runs.temporary import temporary_runs
from tasks.runtime.ranks import mpirun_path, run_ranks
from tasks.workflow import Result, run


def circuit_cutting(size: Size) -> Ran:
    """A circuit in two fragments beside the same circuit whole."""
    circuit = layered(size.qubits, size.depth, size.angles()[0])
    problem = make_problem(circuit, "Z0 Z" + str(size.qubits - 1))
    fragment = (size.qubits + 1) // 2
    (cut, took), (whole, full) = (_seen(problem, qubits, size.seed) for qubits in (fragment, None))
    (value,), (true,) = ([one.value for one in result.estimates] for result in (cut, whole))
    planned = cut.plan.cuts
    seconds, whole_seconds = cut.record["timings"], whole.record["timings"]
    gates = sum(isinstance(one, GateCut) for one in planned)
    row = {
        "experiment_start_time": time.time() - took - full, "subcircuit_size": fragment, "base_qubits": size.qubits,
        "circuit_type": "layered", "circuit_depth": size.depth, "observables": problem.names[0], "scale_factor": 1,
        "num_samples": "all", "number_of_tasks": len(cut.plan.fragments), "find_cuts_time": seconds["cut"],
        "circuit_cutting_exec_time_secs": seconds["execute"],
        "circuit_cutting_reconstruct_time_secs": seconds["reconstruct"], "circuit_cutting_total_runtime_secs": took,
        "full_circuit_exec_time_secs": whole_seconds["execute"], "full_circuit_total_runtime_secs": full,
        "circuit_cutting_expval": value, "full_circuit_expval": true, "error_in_estimation": value - true,
        "scenario_label": "exact", "num_cuts": len(planned), "sampling_overhead": cut.plan.sampling_overhead,
        "actual_speedup": full / took, "gpu_mode": False, "num_slots": size.units, "num_gate_cuts": gates,
        "num_wire_cuts": len(planned) - gates, "num_nodes": 1, "cores_per_node": size.units, "gpus_per_node": 0,
    }  # fmt: skip
    return Ran(2, took + full, [value, true], row)


def _seen(problem: Problem, max_qubits: int | None, seed: int) -> tuple[Result, float]:
    """A run of a problem, and its seconds."""
    began = time.perf_counter()
    with temporary_runs() as parent, RunDirectory.create(parent, {"seed": seed}, problem) as directory:
        result = run(problem, Options(max_qubits=max_qubits, cache="off", seed=seed), directory)
    return result, time.perf_counter() - began


def distributed_state_vector(size: Size) -> Ran:
    """One state over MPI ranks, as many as the largest power of two in the units.

    Raises:
        InputError: there is no mpirun.
    """
    if mpirun_path() is None:
        raise InputError("there is no mpirun: pip install mpi4py mpich")
    ranks = 1 << (size.units.bit_length() - 1)
    began = time.perf_counter()
    found = run_ranks(state_vector_rank, [size.qubits, size.depth, size.angles()[0]], {}, ranks)
    whole, took = time.perf_counter() - began, max(took for _, took in found)
    row = {"num_gpus": ranks, "wires": size.qubits, "layers": size.depth, "time": took, "expval": found[0][0],
           "enable_jacobian": False, "enable_qjit": False, "mpi_startup_time": whole - took}  # fmt: skip
    return Ran(1, sum(took for _, took in found), [value for value, _ in found], row)


def qml_compression(size: Size) -> Ran:
    """Images as amplitudes, each compressed into a short circuit by a task of its own."""
    ran, rng = Ran(), np.random.default_rng(size.seed)
    began = time.perf_counter()
    images = rng.uniform(size=(size.entries, 1 << size.qubits))
    ran.values = ran.take([compress(size.qubits, size.depth, image) for image in images])
    took = time.perf_counter() - began
    ran.row = {"n_samples": size.entries, "number_of_nodes": 1, "cores_per_node": size.units, "compute_time_sec": took}
    return ran


def qml_training(size: Size) -> Ran:
    """A cut circuit trained by exact gradients, in this process."""
    measured = _model(size)
    angles = np.random.default_rng(size.seed).normal(0, 0.3, measured.circuit.num_parameters)
    ran, began = Ran(), time.perf_counter()
    for _ in range(size.length):
        found, slopes = measured.gradients(angles[None])
        angles = angles - 0.1 * slopes.slopes[0, 0]
        ran.values.append(float(found.values[0, 0]))
    took = time.perf_counter() - began
    ran.tasks, ran.work = size.length, took
    ran.row = {"scenario_label": "exact gradients", "num_qubits": size.qubits, "compute_time_sec": took,
               "parameters": f"{len(angles)} angles, {size.length} steps"}  # fmt: skip
    return ran


def qml_classifier(size: Size) -> Ran:
    """A batch of inputs through a cut circuit at once, as angles that are added to the model's."""
    measured = _model(size)
    rng = np.random.default_rng(size.seed)
    weights = rng.normal(0, 0.3, measured.circuit.num_parameters)
    inputs = rng.uniform(-1, 1, (size.entries, measured.circuit.num_parameters))
    began = time.perf_counter()
    values = measured.evaluate(weights + inputs).values[:, 0]
    took = time.perf_counter() - began
    row = {"column_1": f"{size.entries} inputs", "compute_time_sec": took}
    return Ran(size.entries, took, values.tolist(), row)


def _model(size: Size) -> Evaluator:
    """A layered circuit with free angles, in two fragments."""
    free = ParameterVector("w", size.depth * size.qubits)
    circuit = QuantumCircuit(size.qubits)
    for layer in range(size.depth):
        for qubit in range(size.qubits):
            circuit.ry(free[layer * size.qubits + qubit], qubit)
        for qubit in range(size.qubits - 1):
            circuit.cz(qubit, qubit + 1)
    operator = SparsePauliOp(size.terms())
    return Evaluator(circuit, [operator], Options(max_qubits=(size.qubits + 1) // 2, cache="off", seed=size.seed))
