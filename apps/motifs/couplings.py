"""The motifs: how tasks are coupled, each a function of an engine that runs; a new one is one more, and its name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from apps.motifs.programs import (
    circuit_cutting,
    distributed_state_vector,
    qml_classifier,
    qml_compression,
    qml_training,
)  # fmt: skip
from apps.motifs.size import Ran, Size
from apps.motifs.work import compress, expect, expect_on, total
from apps.variational.spsa import walk


def circuit_execution(size: Size) -> Ran:
    """Independent circuits, a task each."""
    ran = Ran()
    began = time.perf_counter()
    submitted = [_expect(size, angles) for angles in size.angles()]
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
    for angles in size.angles():
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
    parts = [_expect(size, angles) for angles in size.angles()]
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
        stages.append([_expect(size, angles, one) for angles, one in zip(size.angles(), stages[-1], strict=True)])
    (whole,) = ran.take([total(stages[-1])])
    for stage in stages:
        ran.values = ran.take(stage)
    ran.values.append(whole)
    return ran


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


def _expect(size: Size, angles: np.ndarray, before: Any = None) -> Any:
    asked = (size.qubits, size.depth, angles, size.terms(), before)
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
