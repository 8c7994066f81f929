"""What a cut kind is, and what each of its two ends is: the questions that the rest of Qompass asks of them.

From a setting's Kraus operators follows its row in the leg basis (two rows where a bit is read: outcomes summed, and
outcomes weighted by (-1)**bit). The left inverse of least norm turns estimated rows into leg-basis entries; with more
settings than the rank needs, it spreads every entry over all settings that know something about it, which is what keeps
the variance low: six preparation states with it cost 4.0 per wire end (shots for a given error, arbitrary units) where
six with the textbook QPD coefficients cost 6.0 and four states 6.7.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from tasks.cutting.kinds.setting import SCHEMES, Scheme, Setting
from tasks.cutting.schmidt import Copied, SchmidtForm
from tasks.model.tensor import LegSettings


class LegKind(ABC):
    """One end of a cut.

    Attributes:
        name: as documents and cache keys have it.
        rank: branches of the open leg; its axis in the fragment tensor has ``rank**2`` entries.
        opens_qubit: whether the branches are the basis states of its own qubit, which ends there.
        prepares: whether its qubit starts there.
        open_ancillas: ancillas that lay it open in one simulation.
        marks: the axes along which one Pauli each tells the branches apart, for keys by meaning.
        measures_midway: whether a setting reads a bit in mid-circuit, or from an ancilla where a device cannot.
        ancillas: qubits that some settings need on any device.
        copies: whether its qubit is there for the leg alone, a copy of another fragment's.
    """

    name: ClassVar[str]
    opens_qubit: ClassVar[bool] = False
    prepares: ClassVar[bool] = False
    measures_midway: ClassVar[bool] = False
    ancillas: ClassVar[int] = 0
    copies: ClassVar[bool] = False
    rank: int

    @property
    def open_ancillas(self) -> int:
        """See the class."""
        return 0

    @property
    def marks(self) -> tuple[str, ...]:
        """See the class."""
        return ("z",) if self.rank == 2 else ("z", "x")

    def branch_operators(self) -> np.ndarray:
        """(rank, 2, 2) complex: what each branch does to the leg's qubit, which is |0> where the leg prepares it."""
        raise NotImplementedError(f"{self.name}: its branches are the basis states of its own qubit")

    @abstractmethod
    def basis_change(self) -> np.ndarray:
        """(leg, pair) complex: leg-basis entries from the Gram entries (j, k) = <psi_k| O |psi_j>, row-major.

        As a matrix (j, k), each is real and symmetric or imaginary and antisymmetric.
        """

    @abstractmethod
    def settings(self, scheme: Scheme) -> tuple[Setting, ...]:
        """The settings of a scheme, in the order that variants index them."""

    @abstractmethod
    def rows(self, setting: Setting) -> tuple[np.ndarray, np.ndarray | None]:
        """One setting in the leg basis: the row of its summed outcomes, and that of its signed ones if it measures.

        Returns:
            two (leg,) float64 arrays, the second None where no bit is read.
        """

    @abstractmethod
    def operator(self, setting: Setting) -> np.ndarray:
        """(bit, branch) complex: amplitudes of the branches under a setting; one row where no bit is read.

        Where the leg opens its own qubit it is the rotation of that qubit into the measured basis instead.
        """

    def typical(self) -> np.ndarray:
        """(leg,) float64: how large an entry of the far end's fragment typically is, relative to its first."""
        return np.ones(self.rank**2)

    def spanning(self, scheme: Scheme) -> LegSettings:
        """How the settings of a scheme span the leg basis (see ``tasks.model.tensor.LegSettings``)."""
        return _spanning(self, scheme)

    def cost(self, weight: np.ndarray, scheme: Scheme) -> float:
        """Shots that this end costs for a given error, relative to no cut there (a guide for choosing settings).

        With equal shots for each of S settings the variance is at most S times the squared raw gradient; the gradient
        is taken for a far side whose entries are independent and of the size that an entry of that kind typically has.

        Args:
            weight: (this leg, far leg) float64, the cut's bond.
            scheme: of its settings.
        """
        many, gradient, typical = _gradients(self, scheme)
        return float(many * ((gradient @ weight * typical) ** 2).sum())


@lru_cache(maxsize=64)
def _gradients(kind: LegKind, scheme: Scheme) -> tuple[int, np.ndarray, np.ndarray]:
    """Of ``LegKind.cost``: how many settings, what makes raw gradients of a bond, and what these are multiplied by."""
    spanning = kind.spanning(scheme)
    return spanning.num_settings, spanning.inverse.T, kind.typical()


@lru_cache(maxsize=64)
def _spanning(kind: LegKind, scheme: Scheme) -> LegSettings:
    settings = kind.settings(scheme)
    rows, columns = [], []
    for index, setting in enumerate(settings):
        plain, signed = kind.rows(setting)
        rows.append(plain)
        columns.append((index, 0))
        if signed is not None:
            rows.append(signed)
            columns.append((index, 1))
    inverse = np.linalg.pinv(np.array(rows))
    inverse[np.abs(inverse) < 1e-14] = 0.0
    return LegSettings(np.array(columns), inverse, len(settings))


@dataclass(frozen=True)
class CutKind(ABC):
    """A way to sever a wire or a gate.

    Attributes:
        name: as cuts files and documents have it.
        ends: of end 0 and end 1 of a cut.
    """

    name: str
    ends: tuple[LegKind, LegKind]

    @abstractmethod
    def takes(self, form: SchmidtForm | Copied | None) -> bool:
        """Whether it severs gates of this form, or as one by a copy; None stands for a wire."""

    @abstractmethod
    def bond(self, form: SchmidtForm | Copied | None) -> np.ndarray:
        """(leg of end 0, leg of end 1) float64: how the ends are joined."""

    @abstractmethod
    def kappa(self, form: SchmidtForm | Copied | None) -> float:
        """Sampling factor."""

    def cost(self, bond: np.ndarray) -> float:
        """Shots for a given error, relative to no cut, with the better settings at each end."""
        weights = (bond, bond.T)
        each = (min(end.cost(w, s) for s in SCHEMES) for end, w in zip(self.ends, weights, strict=True))
        return float(np.prod(list(each)))


class GateKind(CutKind):
    """A way to sever a two-qubit gate."""

    def takes(self, form: SchmidtForm | Copied | None) -> bool:
        """See ``CutKind``."""
        return isinstance(form, SchmidtForm) and all(end.rank == form.rank for end in self.ends)

    def bond(self, form: SchmidtForm | Copied | None) -> np.ndarray:
        """See ``CutKind``."""
        assert isinstance(form, SchmidtForm)
        return form.bond()

    def kappa(self, form: SchmidtForm | Copied | None) -> float:
        """See ``CutKind``."""
        assert isinstance(form, SchmidtForm)
        return form.kappa()
