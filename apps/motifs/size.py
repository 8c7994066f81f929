"""How large a motif is, and what it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scheduler_policies import Device
from tasks.errors import InputError
from tasks.runtime import raise_defect, wait_on


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

    def angles(self) -> np.ndarray:
        """(entry, angle) float64 of the layered circuits, in radians."""
        return np.random.default_rng(self.seed).uniform(-1, 1, (self.entries, self.depth * self.qubits))

    def terms(self) -> list[str]:
        """Labels of the observable: Z on the first and the last qubit."""
        return ["Z" + "I" * (self.qubits - 2) + "Z"]


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
        """Wait for tasks, and add up what they did.

        Raises:
            InputError: one of them failed.
        """
        found = []
        for outcome in wait_on(list(outcomes)):
            if outcome.failure is not None:
                raise_defect(outcome.failure, "a task of the motif")
                raise InputError(f"a task failed: {outcome.failure.message}")
            value, seconds = outcome.value
            self.tasks, self.work = self.tasks + 1, self.work + seconds
            found.append(value)
        return found
