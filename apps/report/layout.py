"""Where every gate, wire and cut of a circuit is drawn, and which fragment it belongs to: plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from qiskit import QuantumCircuit

from tasks.cutting.cuts import Cut, GateCut, WireCut

NO_FRAGMENT = -1
"""Of what no observable can see, and of qubits that nothing acts on."""


@dataclass(frozen=True)
class WirePart:
    """A stretch of a wire that belongs to one fragment: ``qubit``, from layer ``first`` to before ``last``."""

    qubit: int
    first: float
    last: float
    fragment: int


@dataclass(frozen=True)
class GateMark:
    """A gate.

    Attributes:
        instruction: its index in the circuit.
        name: of the gate.
        parameters: as text, "" without any.
        layer: when.
        qubits: one or two.
        fragments: of each qubit's wire there.
        cut: whether it is severed.
        seen: whether an observable can see it; what none can see is left out of every fragment.
    """

    instruction: int
    name: str
    parameters: str
    layer: int
    qubits: tuple[int, ...]
    fragments: tuple[int, ...]
    cut: bool
    seen: bool


@dataclass(frozen=True)
class CircuitLayout:
    """A circuit as it is drawn.

    Attributes:
        num_qubits: rows.
        layers: columns.
        wires: every wire is whole: its parts follow one another from 0 to ``layers``.
        gates: in the order of the circuit.
        wire_cuts: (qubit, layer) before which the wire is severed.
    """

    num_qubits: int
    layers: int
    wires: tuple[WirePart, ...]
    gates: tuple[GateMark, ...]
    wire_cuts: tuple[tuple[int, float], ...]


def circuit_layout(circuit: QuantumCircuit, cuts: Sequence[Cut], matters: np.ndarray) -> CircuitLayout:
    """Lay a circuit out: every gate as early as its qubits allow.

    Args:
        circuit: of a problem, one- and two-qubit gates only.
        cuts: of its plan.
        matters: (instruction,) bool, what an observable can see (``light_cone``); fragments are numbered as the plan
            numbers them, by their first qubit.
    """
    gate_cuts = [cut for cut in cuts if isinstance(cut, GateCut)]
    cut_gates = {index for cut in gate_cuts for index in cut.instructions}
    cut_wires = {(cut.instruction, cut.qubit) for cut in cuts if isinstance(cut, WireCut)}
    indices = {qubit: index for index, qubit in enumerate(circuit.qubits)}
    acting = [tuple(indices[qubit] for qubit in item.qubits) for item in circuit.data]
    far = _far_ends(acting, gate_cuts)
    fragment_of = _fragments(circuit.num_qubits, acting, cut_gates, cut_wires, matters, far)
    free = [0] * circuit.num_qubits  # the first layer in which a qubit has nothing yet
    part = [0] * circuit.num_qubits
    begun = [0.0] * circuit.num_qubits
    wires, gates, severed = [], [], []
    for index, (item, qubits) in enumerate(zip(circuit.data, acting, strict=True)):
        # A line between two qubits crosses what lies between them, so nothing else of this layer may be there.
        span = range(min(qubits), max(qubits) + 1)
        layer = max(free[qubit] for qubit in span)
        for qubit in qubits:
            if (index, qubit) in cut_wires and matters[index]:
                severed.append((qubit, layer - 0.5))
                wires.append(
                    WirePart(qubit, begun[qubit], layer - 0.5, fragment_of.get((qubit, part[qubit]), NO_FRAGMENT))
                )
                part[qubit] += 1
                begun[qubit] = layer - 0.5
        for qubit in span:
            free[qubit] = layer + 1
        seen = bool(matters[index])
        owners = tuple(fragment_of[q, part[q]] if seen else NO_FRAGMENT for q in qubits)
        text = ", ".join(f"{p:.4g}" if isinstance(p, int | float) else str(p)[:20] for p in item.operation.params[:3])
        gates.append(
            GateMark(index, item.operation.name, text, layer, qubits, owners, seen and index in cut_gates, seen)
        )
    layers = max(free, default=0)
    for qubit in range(circuit.num_qubits):
        fragment = fragment_of.get((qubit, part[qubit]), NO_FRAGMENT)
        wires.append(WirePart(qubit, begun[qubit], float(layers), fragment))
    return CircuitLayout(circuit.num_qubits, layers, tuple(wires), tuple(gates), tuple(severed))


def _far_ends(acting: Sequence[tuple[int, ...]], cuts: Sequence[GateCut]) -> dict[int, tuple[int, int]]:
    """For gates that a copy of one of their qubits serves: the number of the cut, and the other qubit."""
    found: dict[int, tuple[int, int]] = {}
    for number, cut in enumerate(cuts):
        common = set.intersection(*(set(acting[index]) for index in cut.instructions))
        if len(common) == 1:
            found |= {index: (number, min(set(acting[index]) - common)) for index in cut.instructions}
    return found


def _fragments(
    num_qubits: int,
    acting: Sequence[tuple[int, ...]],
    cut_gates: set[int],
    cut_wires: set[tuple[int, int]],
    matters: np.ndarray,
    far: Mapping[int, tuple[int, int]],
) -> dict[tuple[int, int], int]:
    """The fragment of each stretch of wire (qubit, how many of its cuts came before), as the plan numbers them."""
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def find(own: tuple[int, int]) -> tuple[int, int]:
        parent.setdefault(own, own)
        while parent[own] != own:
            parent[own] = parent[parent[own]]
            own = parent[own]
        return own

    part = [0] * num_qubits
    copies: dict[int, tuple[int, int]] = {}
    for index, qubits in enumerate(acting):
        if not matters[index]:
            continue
        for qubit in qubits:
            part[qubit] += (index, qubit) in cut_wires
            find((qubit, part[qubit]))
        if index in far:  # one copy is beside all of these
            cut, qubit = far[index]
            parent[find(copies.setdefault(cut, (qubit, part[qubit])))] = find((qubit, part[qubit]))
        if len(qubits) == 2 and index not in cut_gates:
            a, b = (find((qubit, part[qubit])) for qubit in qubits)
            parent[a] = b
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for own in sorted(parent):
        groups.setdefault(find(own), []).append(own)
    return {own: number for number, group in enumerate(sorted(groups.values())) for own in group}
