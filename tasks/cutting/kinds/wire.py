"""A severed wire: rho = 1/2 sum_P Tr(P rho) P over I, X, Y, Z; measured upstream, prepared downstream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tasks.cutting.kinds.kind import CutKind, LegKind
from tasks.cutting.kinds.setting import Scheme, Setting, gate_product
from tasks.cutting.schmidt import PAULIS, Copied, SchmidtForm

_MEASURED = (
    Setting("X", ("h",), True),
    Setting("Y", ("sdg", "h"), True),
    Setting("Z", (), True),
)
_PREPARED: dict[Scheme, tuple[Setting, ...]] = {
    "minimal": (Setting("0"), Setting("1", ("x",)), Setting("+", ("h",)), Setting("+i", ("h", "s"))),
    "full": (
        Setting("0"),
        Setting("1", ("x",)),
        Setting("+", ("h",)),
        Setting("-", ("x", "h")),
        Setting("+i", ("h", "s")),
        Setting("-i", ("h", "sdg")),
    ),
}


@dataclass(frozen=True)
class _WireEnd(LegKind):
    rank: int = 2

    def typical(self) -> np.ndarray:
        """A random Bloch vector."""
        return np.array([1, *[1 / np.sqrt(3)] * 3])


@dataclass(frozen=True)
class WireOut(_WireEnd):
    """The upstream end, measured."""

    name: ClassVar[str] = "wire_out"
    opens_qubit: ClassVar[bool] = True

    @property
    def marks(self) -> tuple[str, ...]:
        """Z tells the basis states apart, X joins them."""
        return ("z", "x")

    def basis_change(self) -> np.ndarray:
        """See ``LegKind``."""
        return PAULIS.transpose(0, 2, 1).reshape(4, 4)

    def settings(self, scheme: Scheme) -> tuple[Setting, ...]:
        """See ``LegKind``."""
        return _MEASURED

    def rows(self, setting: Setting) -> tuple[np.ndarray, np.ndarray | None]:
        """See ``LegKind``."""
        before = gate_product(setting.before)
        effects = (before.conj().T @ effect @ before for effect in (np.eye(2), np.diag([1.0, -1.0])))
        plain, signed = (0.5 * np.einsum("pij,ji->p", PAULIS, seen).real for seen in effects)
        return plain, signed

    def operator(self, setting: Setting) -> np.ndarray:
        """See ``LegKind``."""
        return gate_product(setting.before)


@dataclass(frozen=True)
class WireIn(_WireEnd):
    """The downstream end, prepared."""

    name: ClassVar[str] = "wire_in"
    prepares: ClassVar[bool] = True

    @property
    def open_ancillas(self) -> int:
        """The other half of a Bell pair: it indexes the basis inputs."""
        return 1

    def branch_operators(self) -> np.ndarray:
        """See ``LegKind``."""
        return PAULIS[:2]

    def basis_change(self) -> np.ndarray:
        """See ``LegKind``."""
        return PAULIS.reshape(4, 4)

    def settings(self, scheme: Scheme) -> tuple[Setting, ...]:
        """See ``LegKind``."""
        return _PREPARED[scheme]

    def rows(self, setting: Setting) -> tuple[np.ndarray, np.ndarray | None]:
        """See ``LegKind``."""
        state = gate_product(setting.before)[:, 0]
        return 0.5 * np.einsum("i,pij,j->p", state.conj(), PAULIS, state).real, None

    def operator(self, setting: Setting) -> np.ndarray:
        """See ``LegKind``."""
        return gate_product(setting.before)[:, :1].T


@dataclass(frozen=True)
class WireKind(CutKind):
    """A wire cut whose legs are indexed by Paulis: one bond and one overhead for every wire."""

    name: str = "pauli"
    ends: tuple[LegKind, LegKind] = (WireOut(), WireIn())

    def takes(self, form: SchmidtForm | Copied | None) -> bool:
        """See ``CutKind``."""
        return form is None

    def bond(self, form: SchmidtForm | Copied | None = None) -> np.ndarray:
        """See ``CutKind``: (4, 4)."""
        return np.eye(4) / 2

    def kappa(self, form: SchmidtForm | Copied | None = None) -> float:
        """See ``CutKind`` (Peng, Harrow, Ozols, Wu, arXiv:1904.00102)."""
        return 4.0


PAULI = WireKind()
