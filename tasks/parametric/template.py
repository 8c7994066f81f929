"""A circuit with free parameters as a problem at one point, and where its angles are in it.

Every gate angle that a parameter reaches gets a number of its own at that point, drawn so that no two are equal: by it
the angle is found again wherever the gate has gone, in the problem and in the fragments of its plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, ControlFlowOp, Gate, ParameterExpression
from qiskit.quantum_info import SparsePauliOp

from tasks.inputs.validation import make_problem
from tasks.model.problem import Problem
from tasks.parametric.angles import Angles
from tasks.parametric.elementary import PARTS

_DEEPEST = 64  # levels of definitions


class Unsuited(Exception):
    """A circuit whose parameters are where this way does not look for them; it is bound set by set instead."""


@dataclass(frozen=True)
class Template:
    """A circuit with free parameters.

    Attributes:
        problem: at one point.
        angles: the gates' angles as functions of the parameters.
        point: (angle,) the angles there.
        places: for an angle at that point its number.
    """

    problem: Problem
    angles: Angles
    point: np.ndarray
    places: dict[float, int]

    def free(self, gate: Any) -> dict[int, int]:
        """For each parameter of a gate of the problem that is free the number of its angle."""
        return {
            number: self.places[value]
            for number, value in enumerate(gate.params)
            if isinstance(value, float) and value in self.places
        }


def template_of(circuit: QuantumCircuit, observables: Sequence[SparsePauliOp]) -> Template:
    """Make a circuit ready for any values of its parameters.

    Args:
        circuit: of two qubits or more.
        observables: on its qubits.

    Raises:
        Unsuited: a parameter reaches something else than a standard gate's angle.
        InputError: the circuit or an observable cannot be used, whatever the parameters are.
    """
    flat: list[CircuitInstruction] = []
    _flatten(circuit, None, None, flat, 0)
    expressions: list[ParameterExpression] = []
    rng = np.random.Generator(np.random.Philox(1))
    point: list[float] = []
    numeric = circuit.copy_empty_like()
    numeric.global_phase = 0.0
    for item in flat:
        operation = item.operation
        if _is_free(operation):
            values = []
            for value in operation.params:
                if isinstance(value, ParameterExpression) and value.parameters:
                    expressions.append(value)
                    point.append(float(rng.uniform(0.4, 1.2)))
                    values.append(point[-1])
                else:
                    values.append(float(value))
            operation = operation.base_class(*values)
        numeric._append(CircuitInstruction(operation, item.qubits, item.clbits))
    problem = make_problem(numeric, observables)
    places = {value: number for number, value in enumerate(point)}
    seen = [value for item in problem.circuit.data for value in item.params if value.__hash__ and value in places]
    if len(places) != len(point) or sorted(seen) != sorted(places):
        raise Unsuited("a gate with a free angle was replaced by others")
    return Template(problem, Angles(expressions, list(circuit.parameters)), np.array(point), places)


def _is_free(operation: Any) -> bool:
    return any(isinstance(value, ParameterExpression) and value.parameters for value in operation.params)


def _flatten(
    circuit: QuantumCircuit, qubits: Sequence[Any] | None, clbits: Sequence[Any] | None, out: list, level: int
) -> None:
    """Put down a circuit's instructions, those with free parameters as standard gates."""
    if level > _DEEPEST:
        raise Unsuited("its definitions are too deep")
    outer_qubits = dict(zip(circuit.qubits, qubits or circuit.qubits, strict=True))
    outer_clbits = dict(zip(circuit.clbits, clbits if clbits is not None else circuit.clbits, strict=True))
    for item in circuit.data:
        operation = item.operation
        own_qubits = [outer_qubits[q] for q in item.qubits]
        own_clbits = [outer_clbits[c] for c in item.clbits]
        if isinstance(operation, ControlFlowOp):
            if any(block.parameters for block in operation.blocks):
                raise Unsuited("parameters are inside of control flow")
        elif _is_free(operation) and not (item.is_standard_gate() and operation.name in PARTS and _plain(operation)):
            if operation.definition is None:
                raise Unsuited(f"{operation.name} has no definition")
            _flatten(operation.definition, own_qubits, own_clbits, out, level + 1)
            continue
        out.append(CircuitInstruction(operation, own_qubits, own_clbits))


def _plain(operation: Gate) -> bool:
    """Whether its controls, if it has any, are on 1."""
    state = getattr(operation, "ctrl_state", None)
    return state is None or state == 2 ** getattr(operation, "num_ctrl_qubits", 0) - 1
