"""Cuts -> fragments: split the circuit at the severed wires and gates and describe every piece with its legs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, Gate
from qiskit.circuit.library import HGate, UGate
from qiskit.synthesis import OneQubitEulerDecomposer
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.cutting.cuts import Cut, GateCut
from tasks.cutting.errors import CuttingError
from tasks.cutting.joined import Together, joined_gates
from tasks.cutting.kinds import CutKind, cut_kind
from tasks.cutting.lightcone import light_cone
from tasks.cutting.once import once_a_problem
from tasks.cutting.plan import Fragment, Leg, Plan, Severed
from tasks.cutting.schmidt import TO_Z, Copied, SchmidtForm, schmidt_form
from tasks.model.problem import Problem

_EULER = OneQubitEulerDecomposer("U")
_KEPT = 8


@dataclass(frozen=True)
class Partition(Severed):
    """The fragments of a problem under given cuts (the fields are those of ``Plan``)."""

    cuts: tuple[Cut, ...]
    fragments: tuple[Fragment, ...]
    bonds: tuple[np.ndarray, ...]
    factor_index: np.ndarray
    term_scale: np.ndarray
    kappas: tuple[float, ...]
    notes: tuple[str, ...]


def partition_of(plan: Plan) -> Partition:
    """What a plan was made of, its own notes left out."""
    return Partition(plan.cuts, plan.fragments, plan.bonds, plan.factor_index, plan.term_scale, plan.kappas, ())


@dataclass
class _Piece:
    """A fragment while it grows: segments are (qubit, how many cuts of its wire came before).

    The copy that a cut brings has the number of the cut behind those of the qubits.
    """

    segments: list[tuple[int, int]]
    local: dict[tuple[int, int], int]
    circuit: QuantumCircuit
    legs: list[Leg] = field(default_factory=list)


def partition(problem: Problem, cuts: Sequence[Cut]) -> Partition:
    """Split a problem.

    Args:
        problem: validated.
        cuts: wires and gates to sever, by instruction index.

    Raises:
        CuttingError: a cut names no such gate or wire.
    """
    kept, severed = _kept(problem), tuple(cuts)
    made = kept.get(severed)
    if made is None:
        made = _partition(problem, severed)
        if len(kept) >= _KEPT:
            kept.pop(next(iter(kept)), None)  # another thread may have taken it
        kept[severed] = made
    return made


@once_a_problem
def _kept(problem: Problem) -> dict[tuple[Cut, ...], Partition]:
    """What it was split into of late: a plan that has been compared with others is made of the same fragments."""
    return {}


def _partition(problem: Problem, cuts: tuple[Cut, ...]) -> Partition:
    operations, matters = instructions_of(problem)
    _check(operations, cuts)
    notes = []
    dropped = int((~matters).sum())
    if dropped:
        notes.append(f"{dropped} instructions that no observable can see are left out")
    seen = (_seen(cut, matters) for cut in cuts)
    distinct = {(cut.instruction, cut.wire): cut for cut in seen}
    # Gates first, then wires, each in the order of their instructions.
    order = sorted(distinct, key=lambda place: (place[1] is not None, place[0], place[1] or ()))
    held = tuple(distinct[place] for place in order if matters[place[0]])
    ignored = len(distinct) - len(held)
    if ignored:
        notes.append(f"{ignored} cuts lie where no observable can see them and are left out")
    pieces, bonds, kappas = _grow(problem.num_qubits, operations, matters, held)
    fragments, factor_index, term_scale = _ask(problem, pieces)
    return Partition(held, fragments, bonds, factor_index, term_scale, kappas, tuple(notes))


def widest_part(problem: Problem) -> int:
    """Qubits of the widest fragment without any cut."""
    operations, matters = instructions_of(problem)
    seen = [qubits for (_, qubits), counts in zip(operations, matters.tolist(), strict=True) if counts]
    pairs = np.array([(qubits[0], qubits[-1]) for qubits in seen], dtype=np.int64).reshape(-1, 2)
    size = problem.num_qubits
    number, part = connected_components(coo_array((np.ones(len(pairs)), pairs.T), shape=(size, size)), directed=False)
    return int(np.bincount(part[np.unique(pairs)], minlength=number).max(initial=0))


def severed_form(problem: Problem, cut: Cut) -> SchmidtForm | Copied | None:
    """The form of what a cut severs, None of a wire.

    Raises:
        CuttingError: it has none.
    """
    if cut.wire is not None:
        return None
    operations, matters = instructions_of(problem)
    return _form(operations, cut, matters)


def _form(operations: list[tuple[Gate, Sequence[int]]], cut: Cut, matters: np.ndarray) -> SchmidtForm | Copied:
    if len(cut.instructions) > 1:
        return joined_gates(operations, cut.instructions, matters).form
    gate, qubits = operations[cut.instruction]
    return schmidt_form(gate, f"instruction {cut.instruction} ({gate.name} on qubits {qubits})")


@once_a_problem
def instructions_of(problem: Problem) -> tuple[list[tuple[Gate, Sequence[int]]], np.ndarray]:
    """What acts on which qubits, and what of it matters."""
    circuit = problem.circuit
    index = {bit: q for q, bit in enumerate(circuit.qubits)}
    operations: list[tuple[Gate, Sequence[int]]] = [
        (item.operation, [index[bit] for bit in item.qubits]) for item in circuit.data
    ]
    return operations, light_cone(circuit, np.asarray(problem.terms.support.any(axis=0)))


def _seen(cut: Cut, matters: np.ndarray) -> Cut:
    """A cut of several gates without those that no observable can see."""
    if isinstance(cut, GateCut) and cut.joined:
        first, *others = [i for i in cut.instructions if matters[i]] or [cut.instruction]
        return replace(cut, instruction=first, joined=tuple(others))
    return cut


def _check(operations: list[tuple[Gate, Sequence[int]]], cuts: tuple[Cut, ...]) -> None:
    first: dict[int, int] = {}  # qubit -> its first instruction
    for i, (_, qubits) in enumerate(operations):
        for q in qubits:
            first.setdefault(q, i)
    severed: set[int] = set()
    for cut in cuts:
        for i in cut.instructions:
            if not 0 <= i < len(operations):
                raise CuttingError(f"cut at instruction {i}: the circuit has instructions 0 to {len(operations) - 1}")
            replace(cut, instruction=i).check(*operations[i], first)
        if cut.wire is None:
            own = cut.instructions
            if list(own) != sorted(set(own)) or (len(own) > 1 and severed & set(own)):
                raise CuttingError(
                    f"gate cut at instructions {', '.join(map(str, own))}: gates severed as one are named in order, "
                    "each once and in one cut only"
                )
            severed |= set(own)


def _grow(
    num_qubits: int, operations: list[tuple[Gate, Sequence[int]]], matters: np.ndarray, cuts: tuple[Cut, ...]
) -> tuple[list[_Piece], tuple[np.ndarray, ...], tuple[float, ...]]:
    cut_of_gate = {c.instruction: k for k, c in enumerate(cuts) if c.wire is None}
    ones = {k: joined_gates(operations, c.instructions, matters) for k, c in enumerate(cuts) if len(c.instructions) > 1}
    copies = {k: one for k, one in ones.items() if isinstance(one.form, Copied)}
    copied = {i: k for k, one in copies.items() for i in one.members}
    inside = {i for k, one in ones.items() if k not in copies for i in (*one.members[1:], *one.absorbed)}
    cut_of_wire = {c.wire: k for k, c in enumerate(cuts) if c.wire is not None}

    # First pass: which segments of wire belong together.
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def find(segment: tuple[int, int]) -> tuple[int, int]:
        parent.setdefault(segment, segment)
        while parent[segment] != segment:
            parent[segment] = parent[parent[segment]]
            segment = parent[segment]
        return segment

    depth = [0] * num_qubits

    def own_segments(i: int, qubits: Sequence[int]) -> list[tuple[int, int]]:
        """Of an instruction, the copy in the place of what it copies."""
        cut = copied.get(i)
        copy = None if cut is None else copies[cut].qubits[0]
        return [(q, depth[q]) if cut is None or q != copy else (num_qubits + cut, 0) for q in qubits]

    for i, (_, qubits) in enumerate(operations):
        if not matters[i]:
            continue
        for q in qubits:
            depth[q] += (i, q) in cut_of_wire
            find((q, depth[q]))
        if i in copied or (len(qubits) == 2 and i not in cut_of_gate and i not in inside):
            a, b = (find(segment) for segment in own_segments(i, qubits))
            parent[a] = b
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for segment in sorted(parent):
        groups.setdefault(find(segment), []).append(segment)
    pieces = [
        _Piece(segments, {s: k for k, s in enumerate(segments)}, QuantumCircuit(len(segments)))
        for segments in sorted(groups.values())
    ]
    piece_of = {s: piece for piece in pieces for s in piece.segments}
    bits = {s: bit for piece in pieces for s, bit in zip(piece.segments, piece.circuit.qubits, strict=True)}

    # Second pass: lay the instructions and legs into their pieces.
    bonds: dict[int, np.ndarray] = {}
    kappas: list[float] = []
    depth = [0] * num_qubits

    def place(operation: Gate, segments: list[tuple[int, int]]) -> None:
        piece_of[segments[0]].circuit._append(CircuitInstruction(operation, [bits[s] for s in segments]))

    def kind_of(cut: int, form: SchmidtForm | Copied | None) -> CutKind:
        kind = cut_kind(form, cuts[cut].kind)
        bonds[cut] = kind.bond(form)
        kappas.append(kind.kappa(form))
        return kind

    def sever(cut: int, end: int, kind: CutKind, segment: tuple[int, int]) -> None:
        piece = piece_of[segment]
        piece.legs.append(Leg(cut, end, kind.ends[end], piece.local[segment], len(piece.circuit.data)))

    for i, (gate, qubits) in enumerate(operations):
        if not matters[i]:
            continue
        for q in qubits:
            if (i, q) in cut_of_wire:
                cut = cut_of_wire[i, q]
                kind = kind_of(cut, None)
                sever(cut, 0, kind, (q, depth[q]))
                depth[q] += 1
                sever(cut, 1, kind, (q, depth[q]))
        if i in copied:
            cut = copied[i]
            members, (qubit,) = copies[cut].members, copies[cut].qubits
            turn, copy = TO_Z[_axis_of(copies[cut])], (num_qubits + cut, 0)
            if i == members[0]:
                kind = kind_of(cut, copies[cut].form)
                _place_local(turn, (qubit, depth[qubit]), place)
                sever(cut, 0, kind, (qubit, depth[qubit]))
                _place_local(turn.conj().T, (qubit, depth[qubit]), place)
                place(HGate(), [copy])
                _place_local(turn.conj().T, copy, place)
            place(gate, own_segments(i, qubits))
            if i == members[-1]:
                _place_local(turn, copy, place)
                sever(cut, 1, cut_kind(copies[cut].form, cuts[cut].kind), copy)
            continue
        if i in inside:
            continue
        segments = [(q, depth[q]) for q in qubits]
        if i not in cut_of_gate:
            place(gate, segments)
            continue
        cut = cut_of_gate[i]
        form = ones[cut].form if cut in ones else _form(operations, cuts[cut], matters)
        assert isinstance(form, SchmidtForm)
        kind = kind_of(cut, form)
        for end, segment in enumerate(segments):
            _place_local(form.before[end], segment, place)
            sever(cut, end, kind, segment)
            _place_local(form.after[end], segment, place)

    return pieces, tuple(bonds[cut] for cut in range(len(cuts))), tuple(kappas)


def _axis_of(copy: Together) -> int:
    """Along which axis a copy is one."""
    assert isinstance(copy.form, Copied)
    return copy.form.axis


def _place_local(
    unitary: np.ndarray, segment: tuple[int, int], place: Callable[[Gate, list[tuple[int, int]]], None]
) -> None:
    if np.abs(unitary - unitary[0, 0] * np.eye(2)).max() > 1e-12:
        place(UGate(*_EULER.angles(unitary)), [segment])


def _ask(problem: Problem, pieces: list[_Piece]) -> tuple[tuple[Fragment, ...], np.ndarray, np.ndarray]:
    """Hand every fragment its share of the observables: distinct factors only."""
    terms = problem.terms
    last: dict[int, int] = {}  # qubit -> number of its last segment
    for piece in pieces:
        for qubit, part in piece.segments:
            last[qubit] = max(part, last.get(qubit, 0))
    fragments = []
    factor_index = np.zeros((terms.count, len(pieces)), dtype=np.int64)
    for index, piece in enumerate(pieces):
        own = [segment for segment in piece.segments if segment[0] < problem.num_qubits]
        outputs = tuple((piece.local[qubit, part], qubit) for qubit, part in own if last[qubit] == part)
        columns = [qubit for _, qubit in outputs]
        local = [q for q, _ in outputs]
        asked = np.concatenate([terms.x[:, columns], terms.z[:, columns]], axis=1)
        distinct, inverse = _unique_rows(asked)
        factor_index[:, index] = inverse
        x = np.zeros((len(distinct), len(piece.segments)), dtype=bool)
        z = np.zeros_like(x)
        x[:, local] = distinct[:, : len(columns)]
        z[:, local] = distinct[:, len(columns) :]
        fragments.append(Fragment(index, piece.circuit, tuple(piece.legs), outputs, x, z))
    idle = [q for q in range(problem.num_qubits) if q not in last]
    # An idle qubit is |0>: I and Z give 1, X and Y give 0.
    term_scale = np.where(terms.x[:, idle].any(axis=1), 0.0, 1.0)
    return tuple(fragments), factor_index, term_scale


def _unique_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if rows.shape[1] == 0:
        return np.zeros((1, 0), dtype=bool), np.zeros(len(rows), dtype=np.int64)
    packed = np.ascontiguousarray(np.packbits(rows, axis=1))
    _, first, inverse = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    return rows[first], inverse.reshape(-1)
