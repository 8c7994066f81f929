"""One-qubit unitaries that depend on angles, for many qubits and sets at once, and how they turn with each angle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tasks.parametric.elementary import Fixed, Part, Phase


class Rotations:
    """What one qubit each goes through: fixed gates and phases in turn.

    Args:
        runs: (qubit,) parts on that qubit alone, in time order; the angle of a phase is its column.

    Attributes:
        columns: (phase, qubit) of the angles, where a qubit has fewer phases that of any, with a pattern of zeros.
    """

    def __init__(self, runs: Sequence[Sequence[Part]]) -> None:
        most = max((sum(isinstance(part, Phase) for part in run) for run in runs), default=0)
        self._fixed = np.tile(np.eye(2, dtype=complex), (most + 1, len(runs), 1, 1))
        self._patterns = np.zeros((most, len(runs), 2))
        self.columns = np.zeros((most, len(runs)), dtype=np.int64)
        for place, run in enumerate(runs):
            done = 0
            for part in run:
                if isinstance(part, Fixed):
                    self._fixed[done, place] = part.matrix @ self._fixed[done, place]
                else:
                    self._patterns[done, place] = part.factor * part.pattern
                    self.columns[done, place] = part.angle
                    done += 1

    def unitaries(self, angles: np.ndarray) -> np.ndarray:
        """(set or 1, qubit, 2, 2) complex from (set, column)."""
        total = self._fixed[0][None]
        for number, fixed in enumerate(self._fixed[1:]):
            total = fixed @ (self._phases(angles, number)[..., None] * total)
        return total

    def generators(self, angles: np.ndarray) -> list[np.ndarray]:
        """(phase,) (set, qubit, 2, 2) complex G: the derivative by that phase's angle is G times the unitary."""
        suffix = self._fixed[-1][None]
        found: list[np.ndarray] = []
        for number in range(len(self._patterns) - 1, -1, -1):
            pattern = 1j * self._patterns[number]
            found.append((suffix * pattern[:, None, :]) @ suffix.conj().swapaxes(-1, -2))
            suffix = (suffix * self._phases(angles, number)[..., None, :]) @ self._fixed[number]
        return found[::-1]

    def _phases(self, angles: np.ndarray, number: int) -> np.ndarray:
        return np.exp(1j * angles[:, self.columns[number], None] * self._patterns[number])


@dataclass(frozen=True)
class Turns:
    """The rotations of a program at sets of angles, all of them made at once.

    Attributes:
        rotations: of the program.
        blocks: (first, last) each, neighbouring qubits that are turned together.
        angles: (set, column).
    """

    rotations: Rotations
    blocks: tuple[tuple[int, int], ...]
    angles: np.ndarray

    @cached_property
    def unitaries(self) -> np.ndarray:
        """(set or 1, qubit, 2, 2) complex."""
        return self.rotations.unitaries(self.angles)

    @cached_property
    def generators(self) -> list[np.ndarray]:
        """(phase,) (set or 1, qubit, 2, 2) complex, see ``Rotations.generators``."""
        return self.rotations.generators(self.angles)

    @cached_property
    def products(self) -> list[np.ndarray]:
        """(block,) (set or 1, 2**k, 2**k) complex, the first qubit the most significant."""
        alike: dict[int, list[int]] = {}
        for number, (first, last) in enumerate(self.blocks):
            alike.setdefault(last - first, []).append(number)
        found = [np.empty(0)] * len(self.blocks)
        for width, numbers in alike.items():
            starts = np.array([self.blocks[number][0] for number in numbers])
            made = _product(self.unitaries[:, starts[:, None] + np.arange(width)])
            for place, number in enumerate(numbers):
                found[number] = made[:, place]
        return found


def _product(each: np.ndarray) -> np.ndarray:
    """(set, block, 2**k, 2**k) from (set, block, k, 2, 2)."""
    width = each.shape[2]
    if width == 1:
        return each[:, :, 0]
    left, right = _product(each[:, :, : width // 2]), _product(each[:, :, width // 2 :])
    size = 1 << width
    return (left[:, :, :, None, :, None] * right[:, :, None, :, None, :]).reshape(*each.shape[:2], size, size)
