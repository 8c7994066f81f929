"""Sets of cuts worth comparing: splits of qubits and of gate ends, each annealed, and the peer's search."""

from __future__ import annotations

import numpy as np
from qiskit import QuantumCircuit
from qiskit.exceptions import QiskitError

from tasks.cutting.cuts import Cut, GateCut, WireCut
from tasks.cutting.errors import CuttingError
from tasks.cutting.lightcone import light_cone
from tasks.cutting.objectives import Objective
from tasks.cutting.schmidt import find_form
from tasks.cutting.search.annealing import anneal
from tasks.cutting.search.blocks import qubit_blocks
from tasks.cutting.search.ends import GateEnds, end_blocks
from tasks.model.problem import Problem

_FIND_CUTS_GATES = 40  # qiskit-addon-cutting's search takes well under a second up to here
_MOVES_A_NODE = 200
_MOST_MOVES = 60_000
_STAYS_WHOLE = 1e6  # weight of a gate that cannot be cut: above any sum of the others, small enough to add exactly


def candidate_cuts(problem: Problem, max_qubits: int, objective: Objective, seed: int) -> list[tuple[Cut, ...]]:
    """Sets of cuts worth comparing, for a circuit that does not fit.

    Args:
        problem: validated.
        max_qubits: widest fragment wanted; some candidates may be wider.
        objective: what the cuts are to make cheap.
        seed: of the search.

    Raises:
        CuttingError: only gates that cannot be cut would part the circuit so far.
    """
    matters = light_cone(problem.circuit, np.asarray(problem.terms.support.any(axis=0)))
    ends = gate_ends(problem.circuit, matters, objective)
    starts = [
        blocks[ends.qubits].reshape(-1)
        for blocks in qubit_blocks(ends.qubit_weights(problem.num_qubits), max_qubits)[:2]
    ]
    starts += end_blocks(ends, max_qubits)[:2] if max_qubits > 1 else []
    found: list[tuple[Cut, ...]] = []
    for start in starts:
        found.append(ends.cuts(start))
        moves = min(_MOST_MOVES, _MOVES_A_NODE * len(start))
        found.append(ends.cuts(anneal(ends, start, max_qubits, seed=seed, moves=moves)))
    if len(ends.instructions) <= _FIND_CUTS_GATES and max_qubits > 1:
        found += _addon_cuts(problem.circuit, matters, max_qubits, seed)
    whole = set(ends.instructions[ends.weights == _STAYS_WHOLE].tolist())
    made = [cuts for cuts in dict.fromkeys(found) if not any(c.wire is None and c.instruction in whole for c in cuts)]
    if not made:
        names = ", ".join(f"{i} ({problem.circuit.data[i].operation.name})" for i in sorted(whole)[:8])
        raise CuttingError(
            f"no plan within `max_qubits` {max_qubits}: gates that cannot be cut, as instruction {names}, keep more "
            "qubits together; allow more qubits",
            field="max_qubits",
        )
    return made


def gate_ends(circuit: QuantumCircuit, matters: np.ndarray, objective: Objective) -> GateEnds:
    """The two-qubit gates that matter, with what cutting each costs by the objective."""
    instructions, qubits, weights = [], [], []
    index = {bit: i for i, bit in enumerate(circuit.qubits)}
    for i, item in enumerate(circuit.data):
        if matters[i] and len(item.qubits) == 2:
            instructions.append(i)
            qubits.append([index[q] for q in item.qubits])
            form = find_form(item.operation)
            weights.append(_STAYS_WHOLE if form is None else objective.gate(form))
    return GateEnds(
        np.array(instructions, dtype=np.int64),
        np.array(qubits, dtype=np.int64).reshape(-1, 2),
        np.array(weights),
        objective.wire,
    )


def _addon_cuts(circuit: QuantumCircuit, matters: np.ndarray, max_qubits: int, seed: int) -> list[tuple[Cut, ...]]:
    """qiskit-addon-cutting's own search, as one more candidate."""
    from qiskit_addon_cutting import DeviceConstraints, OptimizationParameters, find_cuts

    kept = [i for i in range(len(circuit.data)) if matters[i]]
    bare = circuit.copy_empty_like()
    for i in kept:
        bare.append(circuit.data[i])
    try:
        out, _ = find_cuts(bare, OptimizationParameters(seed=seed, max_backjumps=300), DeviceConstraints(max_qubits))
    except (ValueError, QiskitError):  # it found none within the constraint, or a gate that it cannot cut
        return []
    cuts: list[Cut] = []
    waiting: set[int] = set()
    done = 0
    for item in out.data:
        qubits = [out.find_bit(q).index for q in item.qubits]
        if item.operation.name == "cut_wire":
            waiting.add(qubits[0])
            continue
        original = kept[done]
        for q in sorted(waiting.intersection(qubits)):
            cuts.append(WireCut(original, q))
            waiting.discard(q)
        if item.operation.name == "qpd_2q":
            cuts.append(GateCut(original))
        done += 1
    return [tuple(cuts)]
