"""A severed gate whose settings are Hadamard tests: no bit is read before the end of the circuit.

An ancilla in |+> controls which of two terms sigma_j, sigma_k of the gate acts, and is read at the end: in the X or Y
basis its sign has the expectation Re or Im of the cross term <psi| sigma_k O sigma_j |psi>, unsigned it gives the mean
of the two diagonal terms (Cleve, Ekert, Macchiavello, Mosca, quant-ph/9708016; Qdislib cuts gates by the same sum of
products). Three circuits instead of five for a one-angle gate and twelve instead of 22 for a general one, at less
variance for most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.cutting.kinds.kind import GateKind
from tasks.cutting.kinds.measured_gate import GateEnd
from tasks.cutting.kinds.setting import Scheme, Setting

_BASES = {"x": ("h",), "y": ("sdg", "h"), "z": ()}


def _test(name: str, control: str, basis: str, after: tuple[str, ...] = ()) -> Setting:
    """The test of sigma_j against sigma_j sigma_l, with ``after`` sigma_j and ``control`` the controlled sigma_l."""
    return Setting(name, (), True, after, ("h", control, *_BASES[basis]))


_X, _Y, _Z = (_test(f"IZ{basis}", "cz", basis) for basis in "xyz")
_ONE_ANGLE: dict[Scheme, tuple[Setting, ...]] = {"minimal": (Setting("I"), _X, _Y), "full": (_X, _Y, _Z)}
# Every pair of Paulis: sigma_l from I, and sigma_l between the two others.
_GENERAL = tuple(
    _test(f"{after or 'i'}.{control[1:]}{basis}".upper(), control, basis, (after,) if after else ())
    for control, other in (("cx", "y"), ("cy", "z"), ("cz", "x"))
    for after in ("", other)
    for basis in "xy"
)


@dataclass(frozen=True)
class HadamardEnd(GateEnd):
    """Either end: laid open as any gate's, sampled with one ancilla."""

    name: ClassVar[str] = "hadamard_gate"
    measures_midway: ClassVar[bool] = False
    ancillas: ClassVar[int] = 1

    def settings(self, scheme: Scheme) -> tuple[Setting, ...]:
        """See ``LegKind``."""
        return _ONE_ANGLE[scheme] if self.rank == 2 else _GENERAL


HADAMARD = tuple(GateKind("hadamard", (HadamardEnd(rank), HadamardEnd(rank))) for rank in (2, 4))
