"""Paulis that are followed back through a circuit together, each a row with a coefficient and a place of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_NOTHING = 1e-16  # a coefficient below this adds nothing that a float64 would show
JOINED_AT = 2
"""Times as many rows as there were after they were joined: they are joined again."""


@dataclass(frozen=True)
class PauliMap:
    """What becomes of a Pauli on one or two qubits: a sum of at most ``most`` Paulis, some of them of a leg's entry.

    Attributes:
        count: (code,) int, of how many.
        codes: (code, place) uint8, which; what is beyond ``count`` has no meaning.
        coefficients: (code, place) float64.
        entries: (code, place) int, the leg's entry that each belongs to; 0 for a gate.
    """

    count: np.ndarray
    codes: np.ndarray
    coefficients: np.ndarray
    entries: np.ndarray

    @property
    def most(self) -> int:
        """Paulis that one can become."""
        return self.codes.shape[1]


class Rows:
    """Paulis, each with its coefficient and its place in the tensor.

    Attributes:
        letters: (qubit, row) uint8, coded as ``tasks/cutting/pauli_program.py`` says.
        places: (row,) int64.
        coefficients: (row,) float64.
        compared: rows that were looked at for equal ones so far.
    """

    def __init__(self, letters: np.ndarray, places: np.ndarray):
        self.letters = letters
        self.places = places.astype(np.int64)
        self.coefficients = np.ones(len(places))
        self.compared = 0
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
        if len(self.places) > JOINED_AT * self._joined:
            self._join()

    def those(self, kept: np.ndarray) -> Rows:
        """Some of the rows."""
        found = Rows(self.letters[:, kept], self.places[kept])
        found.coefficients = self.coefficients[kept]
        return found

    def _join(self) -> None:
        """One row for equal Paulis of one place."""
        self.compared += len(self.places)
        sums = self.places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for own, letters in zip(_marks(len(self.letters)), self.letters, strict=True):
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


@lru_cache(maxsize=64)
def _marks(qubits: int) -> np.ndarray:
    """(qubit, letter) uint64: what each letter adds to the sum by which equal rows are found."""
    marks = np.random.default_rng(0).integers(0, 2**63, size=(qubits, 4), dtype=np.uint64)
    marks[:, 0] = 0
    return marks
