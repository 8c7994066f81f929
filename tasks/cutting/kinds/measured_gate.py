"""A severed gate whose settings turn the qubit or measure it in mid-circuit and use the bit signed and unsigned.

The settings of the quasi-probability decomposition of a gate (Mitarai and Fujii, arXiv:1909.07534), read as a
tomography of the leg: the bit lands in place on devices that can, on an ancilla by CX elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tasks.cutting.kinds.kind import GateKind, LegKind
from tasks.cutting.kinds.setting import Scheme, Setting
from tasks.cutting.schmidt import basis_change, schmidt_operators

_ONE_ANGLE: dict[Scheme, tuple[Setting, ...]] = {
    "minimal": (Setting("I"), Setting("S", ("s",)), Setting("M", (), True)),
    "full": (
        Setting("I"),
        Setting("Z", ("z",)),
        Setting("S", ("s",)),
        Setting("Sdg", ("sdg",)),
        Setting("M", (), True),
    ),
}
# Measure along an axis and turn back; a Pauli after it reaches R-_jk of the two other axes.
_MEASURED = (
    Setting("Mx", ("h",), True, ("h",)),
    Setting("My", ("sdg", "h"), True, ("h", "s")),
    Setting("Mz", (), True),
    Setting("Mx.Y", ("h",), True, ("h", "y")),
    Setting("My.Z", ("sdg", "h"), True, ("h", "s", "z")),
    Setting("Mz.X", (), True, ("x",)),
)
_ROTATED = (Setting("rx", ("sx",)), Setting("ry", ("ry+",)), Setting("rz", ("s",)))
_HADAMARDS = (Setting("XZ", ("h",)), Setting("XY", ("sdg", "x")), Setting("YZ", ("h", "s", "x", "h")))
_GENERAL: dict[Scheme, tuple[Setting, ...]] = {
    "minimal": (Setting("I"), *_MEASURED, *_ROTATED, *_HADAMARDS),
    "full": (
        Setting("I"),
        Setting("X", ("x",)),
        Setting("Y", ("y",)),
        Setting("Z", ("z",)),
        *_MEASURED,
        *_ROTATED,
        Setting("rx-", ("sxdg",)),
        Setting("ry-", ("ry-",)),
        Setting("rz-", ("sdg",)),
        *_HADAMARDS,
        Setting("XZ-", ("x", "h", "x")),
        Setting("XY-", ("s", "x")),
        Setting("YZ-", ("h", "sdg", "x", "h")),
    ),
}


@dataclass(frozen=True)
class GateEnd(LegKind):
    """Either end: the branches are sigma_j |psi> of the gate's operator-Schmidt terms."""

    name: ClassVar[str] = "gate"
    measures_midway: ClassVar[bool] = True
    rank: int = 2

    @property
    def open_ancillas(self) -> int:
        """They control the Paulis of the terms."""
        return self.rank // 2

    def branch_operators(self) -> np.ndarray:
        """See ``LegKind``."""
        return schmidt_operators(self.rank)

    def basis_change(self) -> np.ndarray:
        """See ``LegKind``."""
        return basis_change(self.rank)

    def settings(self, scheme: Scheme) -> tuple[Setting, ...]:
        """See ``LegKind``."""
        return (_ONE_ANGLE if self.rank == 2 else _GENERAL)[scheme]

    def rows(self, setting: Setting) -> tuple[np.ndarray, np.ndarray | None]:
        """See ``LegKind``."""
        amplitudes = self.operator(setting)
        plain = self._row(amplitudes, np.ones(len(amplitudes)))
        return plain, self._row(amplitudes, np.array([1.0, -1.0])) if setting.measured else None

    def operator(self, setting: Setting) -> np.ndarray:
        """See ``LegKind``."""
        return np.array([np.einsum("jab,ba->j", schmidt_operators(self.rank), k) / 2 for k in setting.kraus()])

    def _row(self, amplitudes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Components of sum_b w_b K_b . K_b^dagger, with K_b = sum_j amplitudes[b, j] sigma_j."""
        pairs = np.einsum("b,bj,bk->jk", weights, amplitudes, amplitudes.conj())
        # The basis elements' entries are combinations of the sigma_j . sigma_k entries: components go inversely.
        return np.linalg.solve(basis_change(self.rank).T, pairs.reshape(-1)).real


MEASURED = tuple(GateKind("measured", (GateEnd(rank), GateEnd(rank))) for rank in (2, 4))
