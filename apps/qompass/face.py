"""What a notebook or a bigger workflow calls; each is the same as a command of ``qompass``."""

from __future__ import annotations

from typing import Any

from qiskit import QuantumCircuit

from tasks.cutting import Plan
from tasks.errors import InputError, QompassError
from tasks.inputs.operators import Observables
from tasks.inputs.validation import make_problem
from tasks.model.problem import Estimate
from tasks.options import Options, options_of
from tasks.runtime import engine
from tasks.sample import sample
from tasks.workflow import estimate, plan_problem

__all__ = ["Estimate", "InputError", "Options", "Plan", "QompassError", "engine", "estimate", "plan", "sample"]


def plan(circuit: QuantumCircuit, observables: Observables | None = None, **options: Any) -> Plan:
    """The cuts, the fragments and what they will cost, without running anything (``qompass plan``).

    Args:
        circuit: unitary, two qubits or more; final measurements are dropped.
        observables: as for ``estimate``; None plans for Z on every qubit, so that no part of the circuit is left out.
        options: fields of ``Options`` (``max_qubits=12, seed=7``).

    Returns:
        the plan that ``estimate`` would follow.

    Raises:
        InputError: an argument cannot be used; ``field`` names it.
        CuttingError: there is no plan within the limits.
    """
    problem = make_problem(circuit, observables, every_qubit=observables is None)
    return plan_problem(problem, options_of(options))
