"""How fast this machine is, by its work and by whole runs: what ``qompass calibrate`` measures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import numpy as np
from qiskit import QuantumCircuit

from scheduler_policies import Device, Kind
from scheduler_policies.device import Speed
from tasks.cut import chosen_plan
from tasks.execution.calibration import calibrate
from tasks.execution.calibration_file import Calibration
from tasks.forecast import asked_of_plan
from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem
from tasks.options import Options, options_of
from tasks.prediction import predicted_spending
from tasks.runs import RunDirectory
from tasks.runs.temporary import temporary_runs
from tasks.workflow import run

_STAGES = ("execute", "reconstruct")
_REPEATS = 4
_LEAST = 0.01  # times as long as on a typical core
# Qubits, layers, observables' distance, widest fragment, shots: each is done in this process, in tenths of a second.
_RUNS = (
    (40, 2, 3, 10, None), (100, 1, 9, 6, None), (24, 4, 5, 12, None), (16, 2, 16, 8, 100_000), (30, 1, 30, 8, 100_000),
)  # fmt: skip


def calibrated() -> Calibration:
    """This machine's constants, all of them; about a minute. Where those of its work are in doubt, these alone."""
    found = calibrate()
    if found.doubt:
        return found
    return replace(found, speed=replace(found.speed, housekeeping=housekeeping(found.speed)))


def housekeeping(speed: Speed) -> float:
    """How many times as long as on a typical core takes what is neither a simulation nor a product of matrices.

    Args:
        speed: of this machine, as far as it is known otherwise.
    """
    return median(_one(replace(speed, housekeeping=1.0), *own) for own in _RUNS)


def _one(speed: Speed, qubits: int, layers: int, distance: int, width: int, shots: int | None) -> float:
    """Of one run: what it took and no work explains, as part of what is predicted."""
    problem = make_problem(_brickwork(qubits, layers), ["Z" * qubits, *(f"X{q}" for q in range(0, qubits, distance))])
    options = options_of({"max_qubits": width, "shots": shots, "seed": 0, "cache": "off"})
    device = Device("cpu", Kind.CPU, speed=speed)
    plan = chosen_plan(problem, None, asked_of_plan(options, [device]))
    options = replace(options, cuts=plan.cuts)

    def told(many: float) -> float:
        spent = predicted_spending(plan, [replace(device, speed=replace(speed, housekeeping=many))], shots)
        return spent.execute + spent.reconstruct

    took = min(_seconds(problem, options) for _ in range(_REPEATS))
    return max(_LEAST, (took - told(0.0)) / (told(1.0) - told(0.0)))


def _seconds(problem: Problem, options: Options) -> float:
    """Of a run after its plan, on one core."""
    with temporary_runs() as parent, _Clocked.create(parent, {"seed": options.seed}, problem) as directory:
        assert isinstance(directory, _Clocked)
        directory.used = 0.0
        run(problem, options, directory)
        return directory.used


class _Clocked(RunDirectory):
    """A run's folder that counts seconds of one core: this process's where others took some, else the clock's."""

    used: float

    @contextlib.contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """As it is."""
        began, used = time.perf_counter(), time.process_time()
        with super().timing(stage):
            yield
        took = min(time.perf_counter() - began, time.process_time() - used)
        self.used += took if stage in _STAGES else 0.0


def _brickwork(qubits: int, layers: int) -> QuantumCircuit:
    """Gates side by side in turns, at angles of their own."""
    rng, circuit = np.random.default_rng([qubits, layers]), QuantumCircuit(qubits)
    for layer in range(layers):
        for q in range(qubits):
            circuit.ry(float(rng.uniform(0, 3)), q)
        for q in range(layer % 2, qubits - 1, 2):
            circuit.cz(q, q + 1)
    return circuit
