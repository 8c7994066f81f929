"""Several gates severed as one: the qubit that they share is a gate's end, its copy an outgoing wire's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tasks.cutting.kinds.hadamard_gate import HadamardEnd
from tasks.cutting.kinds.kind import CutKind
from tasks.cutting.kinds.measured_gate import GateEnd
from tasks.cutting.kinds.wire import WireOut
from tasks.cutting.schmidt import Copied, SchmidtForm


@dataclass(frozen=True)
class CopyOut(WireOut):
    """The copy's end: a qubit that is in the fragment for this leg alone."""

    name: ClassVar[str] = "copy_out"
    copies: ClassVar[bool] = True


class CopyKind(CutKind):
    """A cut of any number of gates (see ``tasks/cutting/joined.py``)."""

    def takes(self, form: SchmidtForm | Copied | None) -> bool:
        """See ``CutKind``."""
        return isinstance(form, Copied)

    def bond(self, form: SchmidtForm | Copied | None = None) -> np.ndarray:
        """See ``CutKind``: (4, 4)."""
        return Copied().bond()

    def kappa(self, form: SchmidtForm | Copied | None = None) -> float:
        """See ``CutKind``."""
        return Copied().kappa()


COPY = (CopyKind("measured", (GateEnd(2), CopyOut())), CopyKind("hadamard", (HadamardEnd(2), CopyOut())))
