"""What a search sees of a problem: its two-qubit gates, runs of them on one pair as one, and what a copy may serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np
from qiskit import QuantumCircuit

from tasks.cutting.joined import AXES, Acting, lasting_axes, run_matrix
from tasks.cutting.objectives import Objective
from tasks.cutting.once import once_a_problem
from tasks.cutting.partition import instructions_of
from tasks.cutting.schmidt import TO_Z, Copied, SchmidtForm, find_form, form_of_matrix
from tasks.cutting.search.circuit import UNCUTTABLE, Circuit, EndCosts, end_costs
from tasks.cutting.search.cones import letter_maps
from tasks.cutting.search.ends import GateEnds
from tasks.model.problem import Problem

_CLIFFORD = {"id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "cx", "cy", "cz", "swap", "iswap", "ecr", "dcx"}

STAYS_WHOLE = 1e6
"""Weight of a gate that cannot be cut: above any sum of the others, small enough to add exactly."""
_ZERO = np.array([1.0, 0.0])
_ROUNDING = 1e-9
_MOST_TWICE = 5_000  # gates, of circuits that are looked at in two ways
_LONGEST = 32  # gates of a run: what its matrix is multiplied from


def gate_ends(circuit: QuantumCircuit, matters: np.ndarray, objective: Objective) -> GateEnds:
    """The two-qubit gates that matter one by one, with what cutting each costs by the objective."""
    instructions = _instructions(circuit)
    gates = [i for i in np.flatnonzero(matters).tolist() if len(instructions[i][1]) == 2]
    weights = [_weight(find_form(instructions[i][0]), objective) for i in gates]
    qubits = np.array([instructions[i][1] for i in gates], dtype=np.int64).reshape(-1, 2)
    return GateEnds(np.array(gates, dtype=np.int64), qubits, np.array(weights), objective.wire)


def views(problem: Problem, objective: Objective, *, runs: bool) -> list[tuple[Circuit, np.ndarray]]:
    """The circuits to search, each with (gate, 2) the problem's qubits of its gates.

    Where a run is dearer than one of its gates, the circuit is looked at with all gates one by one, too, unless these
    are many: a wire severed inside of the run may be the better way.

    Args:
        problem: validated.
        objective: what the cuts are to make cheap.
        runs: whether gates may be seen as one.
    """
    known = _known(problem)
    if (objective.name, runs) not in known:
        instructions, matters = instructions_of(problem)
        gates, dearer = _gates(instructions, matters, objective, runs)
        found = [_circuit(problem, instructions, matters, objective, gates)]
        if dearer and len(gates) <= _MOST_TWICE:
            single, _ = _gates(instructions, matters, objective, False)
            found.append(_circuit(problem, instructions, matters, objective, single))
        known[objective.name, runs] = found
    return known[objective.name, runs]


@once_a_problem
def _known(problem: Problem) -> dict[tuple[str, bool], list[tuple[Circuit, np.ndarray]]]:
    """By objective, and whether gates are seen as one: searches at several widths see the same."""
    return {}


@dataclass
class _Gate:
    members: list[int]
    qubits: list[int]
    form: SchmidtForm | None
    axes: list[list[bool]]  # (end, axis)
    absorbed: list[int] = field(default_factory=list)
    runs: list[list[int]] = field(default_factory=lambda: [[-1] * len(AXES) for _ in range(2)])
    fresh: list[bool] = field(default_factory=lambda: [False] * 2)  # (end,) whether its qubit is still in one state


def _instructions(circuit: QuantumCircuit) -> list[Acting]:
    index = {bit: q for q, bit in enumerate(circuit.qubits)}
    return [(item.operation, [index[bit] for bit in item.qubits]) for item in circuit.data]


def _weight(form: SchmidtForm | None, objective: Objective) -> float:
    return STAYS_WHOLE if form is None else objective.gate(form)


def _gates(
    instructions: list[Acting], matters: np.ndarray, objective: Objective, runs: bool
) -> tuple[list[_Gate], bool]:
    """The gates in order, and whether one of them is a run that is dearer than one of its gates."""
    gates: list[_Gate] = []
    last: dict[int, _Gate] = {}
    between: dict[int, list[int]] = {}
    for i in np.flatnonzero(matters).tolist():
        operation, qubits = instructions[i]
        if len(qubits) == 1:
            between.setdefault(qubits[0], []).append(i)
            continue
        own = _Gate([i], list(qubits), find_form(operation), [list(lasting_axes(operation, end)) for end in (0, 1)])
        a, b = qubits
        earlier = last.get(a)
        inside = between.pop(a, []) + between.pop(b, [])
        run = earlier if runs and earlier is last.get(b) else None
        if run is None or not _join(instructions, run, own, inside, objective):
            last[a] = last[b] = own
            gates.append(own)
    _number_runs(instructions, matters, gates)
    if runs:
        gates = _along_axes(instructions, gates, objective)
    dearer = False
    for gate in gates:
        if len(gate.members) > 1:
            least = min(_weight(find_form(instructions[i][0]), objective) for i in gate.members)
            dearer |= objective.gate(gate.form) > least + 1e-9 if gate.form is not None else False
    return gates, dearer


def _join(instructions: list[Acting], run: _Gate, gate: _Gate, inside: list[int], objective: Objective) -> bool:
    """Make a gate, and one-qubit gates before it, part of a run where that is cheaper."""
    members, absorbed = [*run.members, *gate.members], [*run.absorbed, *inside]
    if len(members) + len(absorbed) > _LONGEST:
        return False
    form = form_of_matrix(run_matrix(instructions, sorted([*members, *absorbed]), run.qubits))
    if form is None or objective.gate(form) > _weight(run.form, objective) + _weight(gate.form, objective) - 1e-9:
        return False
    for end, qubit in enumerate(run.qubits):
        acting = [lasting_axes(instructions[i][0], 0) for i in inside if instructions[i][1][0] == qubit]
        acting.append(tuple(gate.axes[gate.qubits.index(qubit)]))
        run.axes[end] = [run.axes[end][axis] and all(one[axis] for one in acting) for axis in AXES]
    run.members, run.absorbed, run.form = members, absorbed, form
    return True


def _number_runs(instructions: list[Acting], matters: np.ndarray, gates: list[_Gate]) -> None:
    """Number gate ends on a wire alike for an axis where all that acts from one to the other is diagonal along it."""
    first = {gate.members[0]: gate for gate in gates}
    inside = {i for gate in gates for i in (*gate.members[1:], *gate.absorbed)}
    current: dict[tuple[int, int], int] = {}
    alone: dict[int, np.ndarray | None] = {}  # the states of qubits that are still in one
    count = 0
    for i in np.flatnonzero(matters).tolist():
        if i in inside:
            continue
        operation, qubits = instructions[i]
        gate = first.get(i)
        for end, qubit in enumerate(qubits):
            axes = gate.axes[end] if gate else lasting_axes(operation, 0)
            state = alone.setdefault(qubit, _ZERO)
            if state is not None and gate:
                gate.fresh[end] = _stays(state, axes)
                alone[qubit] = state if gate.fresh[end] else None
            elif state is not None:
                alone[qubit] = np.asarray(operation.to_matrix(), dtype=complex) @ state
            for axis in AXES:
                if not axes[axis]:
                    current.pop((qubit, axis), None)
                elif gate:
                    if (qubit, axis) not in current:
                        current[qubit, axis] = count
                        count += 1
                    gate.runs[end][axis] = current[qubit, axis]


def _stays(state: np.ndarray, axes: Sequence[bool]) -> bool:
    """Whether a qubit's state, (2,) complex, stays as it is where all is diagonal along the axes."""
    turned = [TO_Z[axis] @ state for axis in AXES if axes[axis]]
    return any(min(abs(own)) < _ROUNDING for own in turned)


def _along_axes(instructions: list[Acting], gates: list[_Gate], objective: Objective) -> list[_Gate]:
    """Gates on one pair as one where all that acts on either qubit between them is diagonal as they are."""
    known: dict[tuple[int, ...], _Gate] = {}
    kept = []
    for gate in gates:
        low, high = np.argsort(gate.qubits).tolist()
        keys = [
            (gate.runs[low][x], gate.runs[high][y])
            for x, y in product(AXES, AXES)
            if gate.runs[low][x] >= 0 and gate.runs[high][y] >= 0
        ]
        earlier = next((known[key] for key in keys if key in known), None)
        if earlier is not None and _join(instructions, earlier, gate, gate.absorbed, objective):
            continue
        kept.append(gate)
        known |= dict.fromkeys(keys, gate)
    return kept


def _circuit(
    problem: Problem, instructions: list[Acting], matters: np.ndarray, objective: Objective, gates: list[_Gate]
) -> tuple[Circuit, np.ndarray]:
    """The circuit as a search has it, its qubits named in the order in which gates first touch them."""
    qubits = np.array([gate.qubits for gate in gates], dtype=np.int64).reshape(-1, 2)
    touched = list(dict.fromkeys(qubits.reshape(-1).tolist()))
    place = {qubit: k for k, qubit in enumerate(touched)}
    named = np.array([[place[a], place[b]] for a, b in qubits.tolist()], dtype=np.int64).reshape(-1, 2)
    weights = np.array([_weight(gate.form, objective) for gate in gates])
    firsts = np.array([gate.members[0] for gate in gates], dtype=np.int64)
    members = tuple(tuple(gate.members) for gate in gates)
    ends = GateEnds(firsts, named, weights, objective.wire, members)
    kinds: dict[object, EndCosts] = {}
    costs: list[EndCosts] = []
    for gate in gates:
        if id(gate.form) not in kinds:
            kinds[id(gate.form)] = UNCUTTABLE if gate.form is None else end_costs(gate.form)
        costs.append(kinds[id(gate.form)])
    before: list[list[int]] = [[] for _ in range(2 * len(named))]
    waiting: list[list[int]] = [[] for _ in range(problem.num_qubits)]
    last = [-1] * problem.num_qubits
    number = {gate.members[0]: k for k, gate in enumerate(gates)}
    inside = {i for gate in gates for i in (*gate.members[1:], *gate.absorbed)}
    for i in np.flatnonzero(matters).tolist():
        on = instructions[i][1]
        if len(on) == 1:
            waiting[on[0]] += [i] if i not in inside else []
        elif i in number:
            for end, qubit in enumerate(on):
                last[qubit] = 2 * number[i] + end
                before[last[qubit]], waiting[qubit] = waiting[qubit], []
    alone = np.array([len(many) for many in before], dtype=np.int64)
    for qubit in touched:
        alone[last[qubit]] += len(waiting[qubit])
    known = np.array([operation.name in _CLIFFORD for operation, _ in instructions], dtype=bool)
    other = np.zeros(2 * len(named), dtype=bool)  # whether a node or what is alone before it is no Clifford gate
    seen = [-1] * problem.num_qubits
    for i in np.flatnonzero(matters).tolist()[::-1]:
        on = instructions[i][1]
        if i in number:
            for end, qubit in enumerate(on):
                seen[qubit] = 2 * number[i] + end
                other[seen[qubit]] |= not all(known[list(gates[number[i]].members)])
        elif not known[i]:
            for qubit in on:
                other[seen[qubit] if seen[qubit] >= 0 else last[qubit]] |= last[qubit] >= 0
    terms = problem.terms
    letters = (terms.x[:, touched] + 2 * terms.z[:, touched]).astype(np.int8)
    runs = np.array([run for gate in gates for run in gate.runs], dtype=np.int64).reshape(-1, len(AXES))
    severable = [(sorted([*gate.members, *gate.absorbed]), gate.qubits, gate.form) for gate in gates]
    behind = [waiting[qubit] for qubit in touched]
    maps = partial(letter_maps, instructions, severable, named, before, behind)
    fresh = np.array([one for gate in gates for one in gate.fresh], dtype=bool)
    weight = objective.gate(Copied())
    return Circuit(ends, tuple(costs), alone, letters, runs, fresh, weight, objective.joins, other, maps), qubits
