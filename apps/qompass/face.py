"""What a notebook or a bigger workflow calls; each is the same as a command of ``qompass``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from qiskit import QuantumCircuit

from apps.cli.tables import plan_text
from apps.extras import EXTRA_MISSING
from tasks.cutting import Plan
from tasks.cutting.document import plan_document
from tasks.errors import InputError, QompassError
from tasks.inputs.operators import Observables
from tasks.inputs.validation import make_problem
from tasks.model.problem import Estimate, Problem
from tasks.options import Options, options_of
from tasks.runtime import engine
from tasks.sample import sample
from tasks.workflow import estimate, plan_problem

__all__ = ["Estimate", "InputError", "Options", "Plan", "QompassError", "engine", "estimate", "plan", "sample"]


@dataclass(frozen=True)
class CircuitPlan(Plan):
    """A plan that knows its circuit.

    Attributes:
        problem: what was planned.
    """

    problem: Problem | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        """What `qompass plan` prints of it, for notebooks and prompts."""
        return plan_text(plan_document(self))

    def draw(self, path: str | Path | None = None) -> Any:
        """The circuit with its cuts, fragments in colour; a notebook shows it.

        Args:
            path: write it there, too: .svg, .png or .pdf.

        Returns:
            an Altair chart.

        Raises:
            QompassError: the extra `report` is not installed, or the file cannot be written.
        """
        try:
            from apps.report.drawing import drawing, problem_layout, write_drawing
        except ModuleNotFoundError as error:
            raise QompassError(f"{EXTRA_MISSING} ({error.name} is missing)") from error
        assert self.problem is not None
        if path is not None:
            write_drawing(self.problem, self.cuts, Path(path))
        return drawing(problem_layout(self.problem, self.cuts))


def plan(circuit: QuantumCircuit, observables: Observables | None = None, **options: Any) -> CircuitPlan:
    """The cuts, the fragments and what they will cost, without running anything (``qompass plan``).

    Args:
        circuit: unitary, two qubits or more; final measurements are dropped.
        observables: as for ``estimate``; None plans for Z on every qubit, so that no part of the circuit is left out.
        options: fields of ``Options`` (``max_qubits=12, seed=7``).

    Returns:
        the plan that ``estimate`` would follow; ``draw()`` shows it.

    Raises:
        InputError: an argument cannot be used; ``field`` names it.
        CuttingError: there is no plan within the limits.
    """
    problem = make_problem(circuit, observables, every_qubit=observables is None)
    made = plan_problem(problem, options_of(options))
    return CircuitPlan(**{own.name: getattr(made, own.name) for own in fields(made)}, problem=problem)
