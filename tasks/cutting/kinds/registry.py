"""The kinds there are: a new one is its file and its line here."""

from __future__ import annotations

from tasks.cutting.errors import CuttingError
from tasks.cutting.kinds.copy import COPY
from tasks.cutting.kinds.hadamard_gate import HADAMARD
from tasks.cutting.kinds.kind import CutKind
from tasks.cutting.kinds.measured_gate import MEASURED
from tasks.cutting.kinds.wire import PAULI
from tasks.cutting.schmidt import Copied, SchmidtForm

# The first that takes a wire, or a gate, is the one where none is named.
KINDS: tuple[CutKind, ...] = (PAULI, *MEASURED, *HADAMARD, *COPY)


def cut_kind(form: SchmidtForm | Copied | None, name: str = "") -> CutKind:
    """The kind of that name that severs gates of that form, or wires; the first of any name where none is given.

    Raises:
        CuttingError: there is none.
    """
    fitting = [kind for kind in KINDS if kind.takes(form)]
    for kind in fitting:
        if name in ("", kind.name):
            return kind
    what = "wire" if form is None else "copied qubit" if isinstance(form, Copied) else f"gate of {form.rank} terms"
    raise CuttingError(f"no kind {name!r} cuts a {what}; name one of {', '.join(kind.name for kind in fitting)}")


def cheapest_kind(form: SchmidtForm | Copied | None) -> CutKind:
    """The kind of least variance, for devices where every bit that is read takes a qubit."""
    return min((kind for kind in KINDS if kind.takes(form)), key=lambda kind: kind.cost(kind.bond(form)))
