"""The cost model's constants of this machine, measured: fragments of several sizes are run and the model is fitted."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from qiskit import QuantumCircuit

from scheduler_policies import CPU_SPEED, Device, Kind
from scheduler_policies.cost import exact_seconds, sampled_seconds
from scheduler_policies.device import Speed
from scheduler_policies.machine import TYPICAL_CPU
from tasks.cutting import Fragment, GateCut, Plan, make_plan
from tasks.cutting.sizes import acted_amplitudes, gram_passes, measured_qubits, simulated_legs
from tasks.errors import QompassError
from tasks.execution.calibration_file import Calibration, machine_name, read_calibration
from tasks.execution.gpu_crossover import gpu_crossover
from tasks.execution.jobs import exact_jobs, run_job, sampled_jobs, uniform_shots
from tasks.inputs.validation import make_problem

_REPEATS, _LONG_S = 9, 1.0  # of a measurement: at most, and the seconds after which it is not repeated
_SHOTS = (20, 2000)  # a variant
_EXACT = ("circuit", "gate", "amplitude_gate", "grams", "amplitude_pass", "pair", "entry")  # constants of whole tensors
_DRAWN = ("draw", "place", "shot")  # and of counts, beside their state
_USUAL = 0.3  # the constants of machines differ by, logarithms of their ratios
_ROUNDS, _LEAST, _OUTLIER = 12, 1e-4, 0.2  # of a fit; the least weight of what is usual; residuals that count less
_SIDE = 256
_SIZES = (  # half, cuts, layers
    (4, 1, 6), (6, 1, 4), (6, 3, 8), (8, 2, 12), (10, 1, 30), (12, 2, 20), (14, 3, 12), (16, 1, 30), (16, 3, 10),
    (18, 2, 12), (20, 1, 8), (21, 0, 10),
)  # fmt: skip


def calibrate() -> Calibration:
    """Measure this machine, and its GPU where it has one; takes about a minute."""
    clock = _Clock()
    exact: list[tuple[dict[str, float], float]] = []
    sampled: list[tuple[dict[str, float], float]] = []
    for plan in _plans():
        for whole in exact_jobs(plan):
            counted = _counted(partial(_exact_seconds, whole.fragment))
            exact.append((counted, clock.seconds(partial(run_job, whole))))
        variants = sum(cost.variants for cost in plan.costs)
        for each in _SHOTS:
            for job in sampled_jobs(plan, uniform_shots(plan, each * variants), 0):
                counted = _counted(partial(_sampled_seconds, job.fragment, len(job.variants), sum(job.shots)))
                sampled.append((counted, clock.seconds(partial(run_job, job))))
    found = _fitted(_EXACT, exact)
    found |= _fitted(_DRAWN, sampled, found)
    seen = [(_told(counted, found), seconds) for counted, seconds in exact + sampled]
    accuracy = median(100 * min(both) / max(both) for both in seen)
    # What no measurement tells is as much slower as all the others.
    slower = float(np.exp(np.mean([np.log(value / getattr(CPU_SPEED, name)) for name, value in found.items()])))
    unseen = {name: slower * getattr(CPU_SPEED, name) for name in ("start", "job", "number")}
    speed = replace(CPU_SPEED, **found, **unseen, contraction=_contraction(clock))
    return Calibration(machine_name(), speed, accuracy, clock.waited, gpu_crossover())


def constants_name(speed: Speed) -> str:
    """What constants are called in records of runs that were predicted with them."""
    return hashlib.sha256(json.dumps(vars(speed), sort_keys=True).encode()).hexdigest()[:16]


def refined(records: Sequence[Mapping[str, Any]]) -> tuple[Calibration, int]:
    """This machine's constants, scaled by what runs took beside what was predicted of them.

    Args:
        records: of runs; those count that CPUs of this machine did from beginning to end, none of it from a cache,
            and that were predicted with the constants in use now.

    Returns:
        the calibration, to be written, and how many runs it is from.

    Raises:
        QompassError: none of the runs counts.
    """
    known = read_calibration()
    speed = CPU_SPEED if known is None else known.speed
    pairs = [pair for record in records if (pair := _predicted_and_measured(record, constants_name(speed)))]
    if not pairs:
        raise QompassError(
            "none of the runs tells how fast this machine is: they have to be done, on CPUs alone, without results "
            "from a cache, and predicted with the constants in use now; run some with `cache` off"
        )
    factor = median(measured / predicted for predicted, measured in pairs)
    faster = Speed(**{name: value * factor for name, value in vars(speed).items()})
    accuracy = median(100 * min(p * factor, m) / max(p * factor, m) for p, m in pairs)
    gpu = None if known is None else known.gpu
    return Calibration(machine_name(), faster, accuracy, gpu=gpu), len(pairs)


def _predicted_and_measured(record: Mapping[str, Any], constants: str) -> tuple[float, float] | None:
    """Seconds of a run's execution, None where it does not count."""
    predicted = (record.get("plan") or {}).get("predicted") or {}
    cache = record.get("cache") or {}
    cached = cache.get("executed", 0) < cache.get("requests", 0)
    kinds = {device.get("kind") for device in (record.get("devices") or {}).values()}
    if record.get("status") != "done" or cached or kinds != {Kind.CPU.value} or record.get("resumed"):
        return None
    if predicted.get("constants") != constants or record["timings"].get("execute", 0.0) <= 0:
        return None
    return float(predicted["seconds"]["execute"]), float(record["timings"]["execute"])


def _exact_seconds(fragment: Fragment, device: Device) -> float:
    """By the cost model, of a whole tensor."""
    branches, outputs = simulated_legs(fragment)
    sizes = fragment.num_factors, len(fragment.circuit.data), gram_passes(fragment)
    acted = acted_amplitudes(fragment)
    return exact_seconds(device, fragment.num_qubits, 0, branches, outputs, *sizes, acted=acted)


def _sampled_seconds(fragment: Fragment, variants: int, shots: int, device: Device) -> float:
    """By the cost model, of counts; the state is simulated once, as for a whole tensor."""
    branches, _ = simulated_legs(fragment)
    sizes = variants, shots, len(fragment.circuit.data), measured_qubits(fragment)
    return sampled_seconds(device, fragment.num_qubits, 0, branches, *sizes, acted_amplitudes(fragment))


def _counted(seconds: Callable[[Device], float]) -> dict[str, float]:
    """How often each constant counts in the model's seconds, which are linear in them."""
    none = Speed(**dict.fromkeys(vars(CPU_SPEED), 0.0))
    return {name: seconds(replace(TYPICAL_CPU, speed=replace(none, **{name: 1.0}))) for name in (*_EXACT, *_DRAWN)}


def _told(counted: Mapping[str, float], constants: Mapping[str, float]) -> float:
    return sum(counted[name] * value for name, value in constants.items())


def _contraction(clock: _Clock) -> float:
    """Seconds of an operation where two tensors of eight legs with four in common are joined."""
    a, b = np.random.default_rng(0).normal(size=(2, _SIDE, _SIDE))
    return clock.seconds(partial(np.matmul, a, b)) / (2 * _SIDE**3)


def _plans() -> Iterator[Plan]:
    """Two halves of several sizes, joined by cut gates.

    Their gates join qubits all over a half, or a way that is quicker than all amplitudes would be measured.
    """
    for half, cuts, layers in _SIZES:
        rng = np.random.default_rng([half, cuts])
        circuit = QuantumCircuit(2 * half if cuts else half)
        severed = []
        for layer in range(layers):
            for q in range(circuit.num_qubits):
                circuit.u(*rng.uniform(0, 3, 3), q)
            for first in range(0, circuit.num_qubits, half):
                pairs = first + rng.permutation(half)
                for a, b in pairs[: half // 2 * 2].reshape(-1, 2).tolist():
                    circuit.cz(a, b)
            if layer < cuts:
                severed.append(GateCut(len(circuit.data)))
                circuit.cz(half - 1, half)
        few = [f"{p}{q}" for q in range(half) for p in "XYZ"]
        problem = make_problem(circuit, ["Z" * circuit.num_qubits, *few[: 3 if half > 12 else None]])
        yield make_plan(problem, cuts=tuple(severed), shots=10**9)


class _Clock:
    """Measures work by the least of a few repeats, and what the processor did beside it."""

    def __init__(self) -> None:
        self._wall = self._own = 0.0

    def seconds(self, work: Callable[[], Any]) -> float:
        """Of one core: the processor's time where others took some, the wall's where several cores worked."""
        took: list[float] = []
        while len(took) < _REPEATS and sum(took) < _LONG_S:
            began, used = time.perf_counter(), time.process_time()
            work()
            wall = time.perf_counter() - began
            took.append(min(wall, time.process_time() - used))
            self._wall += wall
            self._own += took[-1]
        return min(took)

    @property
    def waited(self) -> float:
        """Part of the time measured that was not this work's."""
        return 1.0 - self._own / self._wall if self._wall else 0.0


def _fitted(
    names: Sequence[str], measured: Sequence[tuple[dict[str, float], float]], known: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Constants of least relative error that are likely for a machine: usual ones, all of them as much slower.

    What measurements can hardly tell stays near that: a usual constant is held to be known as well as ``_USUAL`` says,
    and a measurement as well as measurements agree with the model (ridge regression of the logarithms, its weight by
    their residuals).

    Args:
        names: of the constants.
        measured: how often each counts in a measurement, and its seconds.
        known: constants that are fitted already.
    """
    from scipy.optimize import least_squares  # a fifth of what a run imports, and no run fits

    took = np.array([seconds for _, seconds in measured])
    rest = np.array([_told(counted, known or {}) for counted, _ in measured])
    columns = np.array([[counted[name] for name in names] for counted, _ in measured], dtype=float)
    usual = np.array([getattr(CPU_SPEED, name) for name in names])
    logs, weight = np.zeros(len(names)), 1.0
    for _ in range(_ROUNDS):

        def apart(logs: np.ndarray, weight: float = weight) -> np.ndarray:
            told = np.log((rest + columns @ (usual * np.exp(logs))) / took)
            return np.concatenate([told, weight * (logs - logs.mean()), [_LEAST * logs.mean()]])

        found = least_squares(apart, logs, loss="soft_l1", f_scale=_OUTLIER, ftol=1e-12, xtol=1e-12)
        logs, residuals = found.x, apart(found.x)[: len(took)]
        weight = max(_LEAST, float(np.sqrt(np.mean(residuals**2))) / _USUAL)
    return dict(zip(names, (usual * np.exp(logs)).tolist(), strict=True))
