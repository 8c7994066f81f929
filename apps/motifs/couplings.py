"""The motifs: how tasks are coupled, each a function of an engine that runs; a new one is one more, and its name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from apps.motifs.work import compress, expect, expect_on, layered, state_vector_rank, total
from apps.variational.spsa import walk
from scheduler_policies import Device
from tasks.cutting import GateCut
from tasks.errors import InputError
from tasks.evaluate import Evaluator
from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem
from tasks.options import Options
from tasks.runs import RunDirectory
from tasks.runs.temporary import temporary_runs
from tasks.runtime import raise_defect, wait_on
from tasks.runtime.ranks import mpirun_path, run_ranks
from tasks.workflow import Result, run


@dataclass(frozen=True)
class Size:
    """How large a motif is.

    Attributes:
        qubits: of a circuit.
        depth: its layers.
        entries: circuits, samples, chains or loops.
        length: of a chain, of a loop, or stages of a pipeline.
        seed: of all angles.
        units: computing units of the engine.
        device: the QPU that executes the circuits; None for CPUs.
        shots: of a circuit on it.
    """

    qubits: int
    depth: int
    entries: int
    length: int
    seed: int
    units: int
    device: Device | None = None
    shots: int = 0


@dataclass
class Ran:
    """What a motif did.

    Attributes:
        tasks: how many.
        work: seconds inside of them.
        values: what came out, for whoever checks it.
        row: what it knows of the columns of the mini-app that it mirrors.
    """

    tasks: int = 0
    work: float = 0.0
    values: list[float] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict)

    def take(self, outcomes: Sequence[Any]) -> list[float]:
        """Wait for tasks, and add up what they did."""
        found = []
        for outcome in wait_on(list(outcomes)):
            if outcome.failure is not None:
                raise_defect(outcome.failure, "a task of the motif")
                raise InputError(f"a task failed: {outcome.failure.message}")
            value, seconds = outcome.value
            self.tasks, self.work = self.tasks + 1, self.work + seconds
            found.append(value)
        return found


def circuit_execution(size: Size) -> Ran:
    """Independent circuits, a task each."""
    ran = Ran()
    began = time.perf_counter()
    submitted = [_expect(size, angles) for angles in _angles(size)]
    waits = time.perf_counter()
    ran.values = ran.take(submitted)
    ended = time.perf_counter()
    ran.row = {
        "num_qubits": size.qubits, "n_entries": size.entries, "circuit_depth": size.depth, "size_of_observable": 1,
        "depth_of_recursion": 1, "tasks_wait_time": ended - waits, "total_run_time": ended - began,
        "quantum_options": "statevector" if size.device is None else f"{size.device.name}, {size.shots} shots",
    }  # fmt: skip
    return ran


def chain(size: Size) -> Ran:
    """Chains of tasks, each waiting for the one before it in its chain."""
    ran, ends, all_of_them = Ran(), [], []
    for angles in _angles(size):
        before = None
        for _ in range(size.length):
            before = _expect(size, angles, before)
            all_of_them.append(before)
        ends.append(before)
    ran.take([one for one in all_of_them if not any(one is end for end in ends)])
    ran.values = ran.take(ends)
    return ran


def fan_in(size: Size) -> Ran:
    """Independent circuits whose values one task adds up."""
    ran = Ran()
    parts = [_expect(size, angles) for angles in _angles(size)]
    (whole,) = ran.take([total(parts)])
    ran.values = [*ran.take(parts), whole]
    return ran


def variational_loop(size: Size) -> Ran:
    """One loop: the energies of an iteration are tasks, the next iteration waits for them."""
    return _loops(size, 1)


def loop_ensemble(size: Size) -> Ran:
    """Independent loops at once, as many as there are entries."""
    return _loops(size, size.entries)


def pipeline(size: Size) -> Ran:
    """Stages for each of several items: compress an image, evaluate a circuit shifted by how well that went, add up."""
    ran, rng = Ran(), np.random.default_rng(size.seed)
    first = [compress(size.qubits, size.depth, rng.uniform(size=1 << size.qubits)) for _ in range(size.entries)]
    stages = [first]
    for _ in range(max(1, size.length - 1)):
        stages.append([_expect(size, angles, one) for angles, one in zip(_angles(size), stages[-1], strict=True)])
    (whole,) = ran.take([total(stages[-1])])
    for stage in stages:
        ran.values = ran.take(stage)
    ran.values.append(whole)
    return ran


def circuit_cutting(size: Size) -> Ran:
    """A circuit in two fragments beside the same circuit whole."""
    circuit = layered(size.qubits, size.depth, _angles(size)[0])
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
    """One state over MPI ranks, as many as the largest power of two in the units."""
    if mpirun_path() is None:
        raise InputError("there is no mpirun: pip install mpi4py mpich")
    ranks = 1 << (size.units.bit_length() - 1)
    began = time.perf_counter()
    found = run_ranks(state_vector_rank, [size.qubits, size.depth, _angles(size)[0]], {}, ranks)
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


@dataclass(frozen=True)
class Motif:
    """A motif that is known.

    Attributes:
        run: the program.
        quick: its size where a machine is characterised in minutes; seed and units are given then.
        on_qpus: that size on QPUs, where a task takes most of a second; None where not all of its tasks are circuits.
        alone: all of it is this process' own work, on one core: how many units the engine has makes no difference.
    """

    run: Callable[[Size], Ran]
    quick: tuple[int, int, int, int]
    on_qpus: tuple[int, int, int, int] | None = None
    alone: bool = False

    @property
    def about(self) -> str:
        """What its tasks do, in a sentence."""
        return (self.run.__doc__ or "").partition("\n")[0]


MOTIFS: dict[str, Motif] = {
    "circuit-execution": Motif(circuit_execution, (12, 4, 48, 1), (7, 4, 12, 1)),
    "chain": Motif(chain, (12, 4, 4, 8), (7, 4, 2, 4)),
    "fan-in": Motif(fan_in, (12, 4, 48, 1), (7, 4, 12, 1)),
    "variational-loop": Motif(variational_loop, (12, 4, 1, 16), (7, 4, 1, 4)),
    "loop-ensemble": Motif(loop_ensemble, (12, 4, 4, 8), (7, 4, 2, 3)),
    "pipeline": Motif(pipeline, (6, 2, 8, 3)),
    "circuit-cutting": Motif(circuit_cutting, (16, 2, 1, 1)),
    "distributed-state-vector": Motif(distributed_state_vector, (20, 4, 1, 1)),
    "qml-compression": Motif(qml_compression, (6, 2, 12, 1)),
    "qml-training": Motif(qml_training, (12, 2, 1, 12), alone=True),
    "qml-classifier": Motif(qml_classifier, (12, 2, 64, 1), alone=True),
}


def _angles(size: Size) -> np.ndarray:
    return np.random.default_rng(size.seed).uniform(-1, 1, (size.entries, size.depth * size.qubits))


def _terms(size: Size) -> list[str]:
    return ["Z" + "I" * (size.qubits - 2) + "Z"]


def _expect(size: Size, angles: np.ndarray, before: Any = None) -> Any:
    asked = (size.qubits, size.depth, angles, _terms(size), before)
    return expect(*asked) if size.device is None else expect_on(size.device)(*asked, size.device, size.shots)


def _loops(size: Size, loops: int) -> Ran:
    """SPSA from several starts, in step: each iteration of all loops is one bag of tasks."""
    ran = Ran()
    starts = np.random.default_rng(size.seed).uniform(-1, 1, (loops, size.depth * size.qubits))

    class Together:
        """The loops' energies, added up: SPSA's difference along one direction each is that of their sum."""

        def values(self, points: np.ndarray) -> np.ndarray:
            asked = [_expect(size, own) for point in points for own in point.reshape(starts.shape)]
            return np.array(ran.take(asked)).reshape(len(points), loops).sum(axis=1)

        def slopes(self, point: np.ndarray) -> tuple[float, np.ndarray]:
            raise NotImplementedError

        def overlaps(self, point: np.ndarray, others: np.ndarray) -> np.ndarray:
            raise NotImplementedError

    rng = np.random.default_rng(size.seed)
    rates, away = np.full(size.length, 0.05), np.full(size.length, 0.1)
    end, _ = walk(Together(), starts.ravel(), rates, away, rng)
    ran.values = end.tolist()
    return ran


def _model(size: Size) -> Evaluator:
    """A layered circuit with free angles, in two fragments."""
    free = ParameterVector("w", size.depth * size.qubits)
    circuit = QuantumCircuit(size.qubits)
    for layer in range(size.depth):
        for qubit in range(size.qubits):
            circuit.ry(free[layer * size.qubits + qubit], qubit)
        for qubit in range(size.qubits - 1):
            circuit.cz(qubit, qubit + 1)
    operator = SparsePauliOp(_terms(size))
    return Evaluator(circuit, [operator], Options(max_qubits=(size.qubits + 1) // 2, cache="off", seed=size.seed))
