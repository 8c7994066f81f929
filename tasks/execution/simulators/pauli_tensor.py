"""A fragment's whole tensor in the Heisenberg picture: Paulis followed from the observable factors back to |0...0>.

Each row is a Pauli with a coefficient and the entry of the tensor that it adds to. All rows take a step together; rows
that become equal are joined; where they become many, half of the factors wait. Nothing is left out, so the tensor is
as exact as the state vector's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tasks.cutting.pauli_program import ROWS_AT_ONCE, PauliMap, PauliProgram
from tasks.cutting.plan import Fragment

_NOTHING = 1e-16  # a coefficient below this adds nothing that a float64 would show
_JOINED_AT = 2  # rows are joined when there are so many times more of them


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


class Rows:
    """Paulis, each with its coefficient and its place in the tensor.

    Attributes:
        letters: (qubit, row) uint8, coded as ``tasks/cutting/pauli_program.py`` says.
        places: (row,) int64.
        coefficients: (row,) float64.
    """

    def __init__(self, letters: np.ndarray, places: np.ndarray):
        self.letters = letters
        self.places = places.astype(np.int64)
        self.coefficients = np.ones(len(places))
        self._joined = len(places)

    def take(self, qubits: tuple[int, ...], step: PauliMap, stride: int = 0) -> None:
        """A step on one or two qubits; entries of a leg are ``stride`` apart in the tensor."""
        code = self.letters[qubits[0]]
        if len(qubits) == 2:
            code = code | (self.letters[qubits[1]] << 2)
        counts = step.count[code]
        if step.most == 1 or (counts == 1).all():
            self.coefficients *= step.coefficients[code, 0]
            found = step.codes[code, 0]
            if stride:
                self.places += stride * step.entries[code, 0]
        else:
            source = np.repeat(np.arange(len(code)), counts)
            which = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
            code = code[source]
            self.letters = self.letters[:, source]
            self.coefficients = self.coefficients[source] * step.coefficients[code, which]
            self.places = self.places[source] + stride * step.entries[code, which]
            found = step.codes[code, which]
        self.letters[qubits[0]] = found & 3
        if len(qubits) == 2:
            self.letters[qubits[1]] = found >> 2
        if len(self.places) > _JOINED_AT * self._joined:
            self._join()

    def those(self, kept: np.ndarray) -> Rows:
        """Some of the rows."""
        found = Rows(self.letters[:, kept], self.places[kept])
        found.coefficients = self.coefficients[kept]
        return found

    def _join(self) -> None:
        """One row for equal Paulis of one place."""
        marks = np.random.default_rng(0).integers(0, 2**63, size=(len(self.letters), 4), dtype=np.uint64)
        marks[:, 0] = 0
        sums = self.places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for own, letters in zip(marks, self.letters, strict=True):
            sums += own[letters]
        order = np.argsort(sums, kind="stable")
        sums, places, letters = sums[order], self.places[order], self.letters[:, order]
        # Equal sums let expect equal rows; that they are is looked at.
        same = (sums[1:] == sums[:-1]) & (places[1:] == places[:-1]) & (letters[:, 1:] == letters[:, :-1]).all(axis=0)
        firsts = np.flatnonzero(np.append(True, ~same))
        values = np.add.reduceat(self.coefficients[order], firsts)
        kept = firsts[np.abs(values) > _NOTHING]
        self.coefficients = values[np.abs(values) > _NOTHING]
        self.places, self.letters = places[kept], np.ascontiguousarray(letters[:, kept])
        self._joined = max(1, len(kept))


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
