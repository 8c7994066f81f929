"""What the operations of a circuit are made of: standard gates and matrices on one and two qubits, level by level."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import (
    BoxOp,
    CircuitInstruction,
    ControlFlowOp,
    ControlledGate,
    ForLoopOp,
    Gate,
    Operation,
    Parameter,
)
from qiskit.circuit.library import PauliEvolutionGate, UnitaryGate, get_standard_gate_name_mapping
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Operator

from tasks.errors import InputError
from tasks.inputs.limits import MAX_GATES, MAX_LEVELS

_STANDARD_GATES = {name: gate.base_class for name, gate in get_standard_gate_name_mapping().items()}
ADVICE = "Qompass takes circuits of unitary gates with measurements only at the end"
# Instructions of Qiskit Aer that only look at the state of its simulators; in a file they are plain instructions.
LOOKS = ("snapshot", "save_amplitudes", "save_amplitudes_sq", "save_clifford", "save_density_matrix", "save_expval",
          "save_expval_var", "save_matrix_product_state", "save_probabilities", "save_probabilities_dict",
          "save_stabilizer", "save_state", "save_statevector", "save_statevector_dict", "save_superop",
          "save_unitary")  # fmt: skip
_NO_UNITARY = {
    "kraus": "a noise channel", "superop": "a noise channel", "quantum_channel": "a noise channel",
    "roerror": "a noise channel", "set_statevector": "a state set from outside",
    "set_density_matrix": "a state set from outside", "set_stabilizer": "a state set from outside",
    "set_unitary": "a state set from outside", "set_matrix_product_state": "a state set from outside",
}  # fmt: skip


@dataclass
class Block:
    """What an operation is made of.

    Attributes:
        parts: (gate, reset or smaller block, the qubits of this block it acts on).
        size: gates in it, those of smaller blocks included.
        levels: of blocks within it.
        approximated: product formulas in it that are not exact.
        inside: what its parts are about to be made from, while it is made.
    """

    parts: list[tuple[Operation | Block, tuple[int, ...]]] = field(default_factory=list)
    size: int = 0
    levels: int = 1
    approximated: int = 0
    inside: Iterator[tuple[Operation, tuple[int, ...]]] = field(default_factory=lambda: iter(()))


class DefinitionReader:
    """Finds what operations are made of, once for each that is the same."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Operation | Block] = {}
        self._kept: list[Any] = []  # whatever is known by its id stays in memory
        self._looked_at = 0

    def part(self, operation: Operation, where: str) -> Operation | Block:
        """The gate itself, or the block of gates it stands for, without going down the stack."""
        first, key = self._started(operation, where)
        stack = [(first, key)] if isinstance(first, Block) and first.size < 0 else []
        while stack:
            block, key = stack[-1]
            for inner, qubits in block.inside:
                self._looked_at += 1
                if self._looked_at > 4 * MAX_GATES:
                    raise InputError(f"{where}: stands for too many gates: take a smaller circuit")
                found, inner_key = self._started(inner, where)
                block.parts.append((found, qubits))
                if isinstance(found, Block) and found.size < 0:
                    stack.append((found, inner_key))
                    break
            else:
                blocks = [part for part, _ in block.parts if isinstance(part, Block)]
                block.size = len(block.parts) - len(blocks) + sum(inner.size for inner in blocks)
                block.levels = 1 + max((inner.levels for inner in blocks), default=0)
                block.approximated += sum(inner.approximated for inner in blocks)
                stack.pop()
            if len(stack) > MAX_LEVELS:
                raise InputError(f"{where}: defined in more than {MAX_LEVELS:,} levels: flatten the definitions")
        if isinstance(first, Block) and (first.size > MAX_GATES or first.levels > MAX_LEVELS):
            raise InputError(
                f"{where}: stands for more than {MAX_GATES:,} gates, or more than {MAX_LEVELS:,} levels of definitions"
            )
        return first

    def _started(self, operation: Operation, where: str) -> tuple[Operation | Block, Hashable]:
        """A gate, a block that is known, or one (of negative size) whose parts are still to be found."""
        if _is_kept(operation):
            if any(not np.all(np.isfinite(parameter)) for parameter in operation.params):
                raise InputError(f"{where} has a parameter that is not a finite number: correct it")
            return operation, None
        if operation.name == "reset":
            return operation, None
        key = _key(operation)
        if key is None or key not in self._known:
            made: Operation | Block | None = _standard_form(operation)
            if made is None:
                inside = _inside(operation, where)
                approximated = int(isinstance(operation, PauliEvolutionGate) and not _commute(operation))
                made = Block(size=-1, approximated=approximated, inside=inside)
            if key is None:
                return made, None
            self._known[key] = made
            self._kept.append(operation)
            self._kept.append(getattr(operation, "_definition", None))
        return self._known[key], key


def _key(operation: Operation) -> Hashable | None:
    """What makes two operations the same; None where that is not known."""
    parameters = tuple(getattr(operation, "params", ()))
    if not all(isinstance(parameter, int | float) for parameter in parameters):
        return None
    state = operation.ctrl_state if isinstance(operation, ControlledGate) else None
    definition = getattr(operation, "_definition", None)
    if isinstance(definition, QuantumCircuit):
        return operation.name, id(definition), parameters, state
    if _STANDARD_GATES.get(operation.name) is getattr(operation, "base_class", None) is not None:
        return operation.name, parameters, state
    if type(operation).__module__.startswith("qiskit.qasm2"):  # one that the file defines, once by that name
        return "qasm2", operation.name, parameters
    return None


def gates_of(part: Operation | Block, qubits: tuple[int, ...]) -> Iterator[tuple[Operation, tuple[int, ...]]]:
    """The gates of a block in order, with the circuit's qubits they act on."""
    if not isinstance(part, Block):
        yield part, qubits
        return
    stack = [(iter(part.parts), qubits)]
    while stack:
        parts, outer = stack[-1]
        for inner, places in parts:
            mapped = tuple(outer[place] for place in places)
            if isinstance(inner, Block):
                stack.append((iter(inner.parts), mapped))
                break
            yield inner, mapped
        else:
            stack.pop()


def _inside(operation: Operation, where: str) -> Iterator[tuple[Operation, tuple[int, ...]]]:
    """What an operation that is no gate of ours is made of.

    Raises:
        InputError: it is not unitary, or nothing says what it is.
    """
    name = operation.name
    if isinstance(operation, ControlFlowOp) or name in ("store", "break_loop", "continue_loop"):
        raise InputError(f"classical control: {where}: {ADVICE}")
    if name == "measure":
        raise InputError(f"mid-circuit measurement: inside {where}: {ADVICE}")
    if name in _NO_UNITARY:
        raise InputError(f"not a unitary gate: {where} is {_NO_UNITARY[name]}: {ADVICE}")
    return _instructions(_definition(operation, where))


def _instructions(circuit: QuantumCircuit) -> Iterator[tuple[Operation, tuple[int, ...]]]:
    for operation, qubits, _ in opened(circuit):
        if operation.name not in ("barrier", "delay") and not looks_only(operation):
            yield operation, qubits


def opened(circuit: QuantumCircuit) -> Iterator[tuple[Operation, tuple[int, ...], tuple[int, ...]]]:
    """The instructions in order, with the qubits and classical bits they act on; boxes and loops are opened.

    Raises:
        InputError: loops go through more turns than a circuit may have gates.
    """
    turns = 0
    stack = [_turns(circuit, range(circuit.num_qubits), range(circuit.num_clbits), (None,), None)]
    while stack:
        for instruction, places in stack[-1]:
            operation = instruction.operation
            qubits = tuple(places[qubit] for qubit in instruction.qubits)
            clbits = tuple(places[clbit] for clbit in instruction.clbits)
            loop = isinstance(operation, ForLoopOp) and isinstance(operation.params[1], Parameter | None)
            if not loop and not isinstance(operation, BoxOp):
                yield operation, qubits, clbits
                continue
            values, parameter, body = operation.params if loop else ((None,), None, operation.body)
            turns += len(values)
            if turns > MAX_GATES:
                raise InputError(f"loops of more than {MAX_GATES:,} turns: take a smaller circuit")
            stack.append(_turns(body, qubits, clbits, values, parameter))
            break
        else:
            stack.pop()


def _turns(
    body: QuantumCircuit, qubits: Sequence[int], clbits: Sequence[int], values: Sequence[Any], parameter: Any
) -> Iterator[tuple[CircuitInstruction, dict[Any, int]]]:
    """The instructions of a body, once for each value of its parameter, and where its bits are in the circuit."""
    for value in values:
        bound = body.assign_parameters({parameter: value}) if parameter in body.parameters else body
        places = dict(zip((*bound.qubits, *bound.clbits), (*qubits, *clbits), strict=True))
        for instruction in bound.data:
            yield instruction, places


def looks_only(operation: Operation) -> bool:
    """Whether it only saves a simulator's state."""
    return operation.name in LOOKS and not isinstance(operation, Gate)


def _is_kept(operation: Operation) -> bool:
    """Whether every simulator knows this gate as it is: a standard gate, or a matrix, on at most two qubits."""
    if operation.num_qubits > 2 or operation.num_clbits:
        return False
    if isinstance(operation, UnitaryGate):
        return True
    if isinstance(operation, ControlledGate) and operation.ctrl_state != 2**operation.num_ctrl_qubits - 1:
        return False
    return isinstance(operation, Gate) and _STANDARD_GATES.get(operation.name) is operation.base_class


def _standard_form(operation: Operation) -> Gate | None:
    """The standard gate that a gate defined in the file is: OpenQASM writers spell out rzz, which is cheaper to cut."""
    kind = _STANDARD_GATES.get(operation.name)
    definition = getattr(operation, "definition", None)
    if kind is None or operation.num_qubits > 2 or not isinstance(definition, QuantumCircuit):
        return None
    if not isinstance(operation, Gate) or len(definition.data) > 100:  # nobody spells out a standard gate so long
        return None
    try:
        gate = kind(*operation.params)
        same = gate.num_qubits == operation.num_qubits and Operator(gate).equiv(Operator(definition))
    except (QiskitError, TypeError, RecursionError):  # other parameters, or not unitary: only the name is the same
        return None
    return gate if same else None


def _definition(operation: Operation, where: str) -> QuantumCircuit:
    """What an operation is made of; a small one without a definition is its matrix."""
    small = QuantumCircuit(operation.num_qubits, operation.num_clbits)
    unknown = InputError(f"unknown gate: {where} has neither a definition nor a matrix: define it in the file")
    try:
        if isinstance(operation, PauliEvolutionGate) and operation.num_qubits <= 2:  # exact, not a product formula
            small.append(UnitaryGate(operation.to_matrix()), range(operation.num_qubits))
            return small
        definition = getattr(operation, "definition", None)
        if isinstance(definition, QuantumCircuit):
            return definition
        if operation.num_qubits <= 2:
            small.append(UnitaryGate(Operator(operation)), range(operation.num_qubits))
            return small
        small.append(operation, range(operation.num_qubits), range(operation.num_clbits))
        from qiskit.transpiler import PassManager  # these take a while to load, and few circuits need them
        from qiskit.transpiler.passes import HighLevelSynthesis

        synthesised = PassManager([HighLevelSynthesis()]).run(small)
    except (QiskitError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise unknown from error
    if any(part.operation.name == operation.name for part in synthesised.data):
        raise unknown
    return synthesised


def _commute(evolution: PauliEvolutionGate) -> bool:
    """Whether all terms commute, so that the product of their evolutions is exact."""
    several = isinstance(evolution.operator, list)
    operators = evolution.operator if several else [evolution.operator]
    try:
        paulis = operators[0].paulis
        for operator in operators[1:]:
            paulis = paulis + operator.paulis
        return bool(all(paulis.commutes(pauli).all() for pauli in paulis))
    except (AttributeError, QiskitError):  # an operator of another kind
        return False
