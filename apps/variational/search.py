"""What an optimiser is given and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Objective(Protocol):
    """An energy to lower; every call is one evaluation of the journal."""

    def values(self, points: np.ndarray) -> np.ndarray:
        """(set,) energies of (set, parameter) values."""

    def slopes(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """The energy of (parameter,) values and its (parameter,) derivatives."""

    def overlaps(self, point: np.ndarray, others: np.ndarray) -> np.ndarray:
        """(set,) fidelities of the states of (set, parameter) values with the state of (parameter,) values."""


@dataclass(frozen=True)
class Search:
    """How to search.

    Attributes:
        start: (parameter,) float64.
        bounds: (parameter, 2) float64, for methods that search a box.
        iterations: at most.
        tolerance: of the energy, or of what the method compares.
        population: members of a generation.
        seed: of all random numbers.
    """

    start: np.ndarray
    bounds: np.ndarray
    iterations: int
    tolerance: float
    population: int
    seed: int


@dataclass(frozen=True)
class Found:
    """Where a search ended.

    Attributes:
        parameters: (parameter,) float64.
        why: it ended, in a few words.
    """

    parameters: np.ndarray
    why: str
