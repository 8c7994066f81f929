"""A fragment's whole tensor in the Heisenberg picture: Paulis followed from the observable factors back to |0...0>.

Each row is a Pauli with a coefficient and the entry of the tensor that it adds to. All rows take a step together; rows
that become equal are joined; where they become many, half of the factors wait. Nothing is left out, so the tensor is
as exact as the state vector's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tasks.cutting.pauli_program import ROWS_AT_ONCE, PauliProgram
from tasks.cutting.pauli_rows import Rows
from tasks.cutting.plan import Fragment


def pauli_tensor(fragment: Fragment, program: PauliProgram) -> np.ndarray:
    """Fragment tensor by Paulis; what ``exact_tensor`` makes of all amplitudes.

    Returns:
        (leg_0, ..., leg_k, factor) float64.
    """
    shape = *(leg.dimension for leg in fragment.legs), fragment.num_factors
    strides = [prod(shape[k + 1 :]) for k in range(len(shape) - 1)]
    tensor = np.zeros(prod(shape))
    letters = (fragment.factors_x + 2 * fragment.factors_z).astype(np.uint8)
    waiting = [(0, _Followed(Rows(letters.T.copy(), np.arange(len(letters))), 0, len(letters)))]
    while waiting:
        done, now = waiting.pop()
        for number, step in enumerate(program.steps[done:], done + 1):
            now.rows.take(step.qubits, step.map, 0 if step.leg is None else strides[step.leg])
            if len(now.rows.places) > ROWS_AT_ONCE and now.end - now.first > 1:
                now, later = now.halves(len(letters))
                waiting.append((number, later))
        there = ~(now.rows.letters & 1).any(axis=0)  # <0| Z |0> = 1, <0| X |0> = 0
        np.add.at(tensor, now.rows.places[there], now.rows.coefficients[there])
    return tensor.reshape(shape)


@dataclass(frozen=True)
class _Followed:
    """Rows of the factors from ``first`` to ``end``, this one left out."""

    rows: Rows
    first: int
    end: int

    def halves(self, factors: int) -> tuple[_Followed, _Followed]:
        """Those of the first half of its factors, and of the others; ``factors``: of the fragment."""
        middle = (self.first + self.end) // 2
        early = self.rows.places % factors < middle  # the factor is the tensor's last axis
        halves = self.rows.those(early), self.rows.those(~early)
        return _Followed(halves[0], self.first, middle), _Followed(halves[1], middle, self.end)
