"""The kinds there are: a new one is its file and its line here."""

from __future__ import annotations

from tasks.cutting.errors import CuttingError
from tasks.cutting.kinds.hadamard_gate import HADAMARD
from tasks.cutting.kinds.kind import GateKind
from tasks.cutting.kinds.measured_gate import MEASURED
from tasks.cutting.kinds.wire import WireKind
from tasks.cutting.schmidt import SchmidtForm

WIRE = WireKind()
GATE_KINDS: tuple[GateKind, ...] = (*MEASURED, *HADAMARD)


def gate_kind(form: SchmidtForm, name: str = "") -> GateKind:
    """The kind of that name that severs gates of that form; the first of any name where none is given.

    Raises:
        CuttingError: there is none.
    """
    for kind in GATE_KINDS:
        if name in ("", kind.name) and kind.takes(form):
            return kind
    known = ", ".join(sorted({kind.name for kind in GATE_KINDS}))
    raise CuttingError(f"no kind {name!r} of gate cut; name one of {known}")


def cheapest_gate_kind(form: SchmidtForm) -> GateKind:
    """The kind of least variance, for devices where every bit that is read takes a qubit."""
    return min((kind for kind in GATE_KINDS if kind.takes(form)), key=lambda kind: kind.cost(form.bond()))
