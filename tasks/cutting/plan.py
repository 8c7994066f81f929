"""The plan: which cuts, the fragments that follow, and what they will cost. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import log2, prod
from sys import float_info

import numpy as np
from qiskit import QuantumCircuit

from tasks.cutting.cuts import Cut
from tasks.cutting.kinds import LegKind, Scheme


@dataclass(frozen=True)
class Leg:
    """One end of a cut, on a fragment.

    Attributes:
        cut: index of the cut in the plan.
        end: 0 or 1. A wire's end 0 is upstream (measured), its end 1 downstream (prepared); a gate's end ``e`` is on
            the ``e``-th qubit of the gate.
        kind: what is severed and on which side this leg is; knows how it is laid open, set and contracted.
        qubit: the fragment's qubit it sits on.
        position: it acts just before the instruction of that index in the fragment's circuit
            (``len(circuit.data)`` means after all of them).
    """

    cut: int
    end: int
    kind: LegKind
    qubit: int
    position: int

    @property
    def rank(self) -> int:
        """Branches of the open leg: operator-Schmidt rank of a severed gate, 2 or 4; 2 for a wire."""
        return self.kind.rank

    @property
    def dimension(self) -> int:
        """Dimension of the leg's axis in the fragment tensor: 4 or 16."""
        return self.rank**2


@dataclass(frozen=True)
class Fragment:
    """A piece of circuit with legs.

    Attributes:
        index: its place in the plan.
        circuit: one- and two-qubit unitary gates only; starts in |0...0> except where a leg prepares its qubit.
        legs: in the order of the fragment tensor's axes.
        outputs: (local qubit, qubit of the problem) for every local qubit whose end is an end of the problem's circuit.
        factors_x: (factor, local qubit) bool, X part of the observable factors asked of this fragment.
        factors_z: (factor, local qubit) bool, Z part.
    """

    index: int
    circuit: QuantumCircuit
    legs: tuple[Leg, ...]
    outputs: tuple[tuple[int, int], ...]
    factors_x: np.ndarray
    factors_z: np.ndarray

    @property
    def num_qubits(self) -> int:
        """Of its circuit: its width where nothing is reset."""
        return int(self.circuit.num_qubits)

    @property
    def copies(self) -> int:
        """How many of its qubits are copies of other fragments' qubits, there for one leg each."""
        return sum(leg.kind.copies for leg in self.legs)

    @cached_property
    def width(self) -> int:
        """Qubits that it takes at once, without ancillas: a copy is measured when it is done, and lends its qubit."""
        copies = {leg.qubit for leg in self.legs if leg.kind.copies}
        return 1 + max(_homes(self._lives, copies), default=-1)

    @cached_property
    def homes(self) -> tuple[int, ...]:
        """(qubit,) the qubit of a device where each is, if all that are done are measured, reset and lent."""
        return _homes(self._lives, set(range(self.num_qubits)))

    @cached_property
    def _lives(self) -> tuple[tuple[int, int], ...]:
        """(qubit,) when each begins and ends: twice a leg's position, twice an instruction's index and one."""
        number = {bit: q for q, bit in enumerate(self.circuit.qubits)}
        times: list[list[int]] = [[] for _ in number]
        for index, item in enumerate(self.circuit.data):
            for bit in item.qubits:
                times[number[bit]].append(2 * index + 1)
        for leg in self.legs:
            times[leg.qubit].append(2 * leg.position)
        return tuple((min(own, default=0), max(own, default=0)) for own in times)

    @property
    def num_factors(self) -> int:
        """How many distinct observable factors are asked of it."""
        return int(self.factors_x.shape[0])

    @property
    def open_qubits(self) -> int:
        """Qubits of the one simulation with all legs left open (exact path): width plus ancillas."""
        return self.num_qubits + sum(leg.kind.open_ancillas for leg in self.legs)


def _homes(lives: Sequence[tuple[int, int]], lenders: set[int]) -> tuple[int, ...]:
    """(qubit,) its place: in the order of their beginnings each takes one that is free again, or a new one."""
    homes = [0] * len(lives)
    free: list[tuple[int, int]] = []  # (end, place) of the lenders so far
    places = 0
    for begin, qubit in sorted((begin, qubit) for qubit, (begin, _) in enumerate(lives)):
        over = [pair for pair in free if pair[0] < begin] if qubit in lenders else []
        if over:
            free.remove(min(over))
            homes[qubit] = min(over)[1]
        else:
            homes[qubit], places = places, places + 1
        if qubit in lenders:
            free.append((lives[qubit][1], homes[qubit]))
    return tuple(homes)


@dataclass(frozen=True)
class FragmentCost:
    """What one fragment is predicted to cost.

    Attributes:
        width: qubits at once (see ``Fragment.width``).
        depth: depth of its circuit.
        two_qubit_gates: how many.
        variants: distinct circuits of the sampled path.
        exact_bytes: peak memory of a simulator: of the state and Gram matrices, or of the variants drawn if more.
        tensor_bytes: memory of its fragment tensor.
    """

    width: int
    depth: int
    two_qubit_gates: int
    variants: int
    exact_bytes: int
    tensor_bytes: int


class Severed:
    """What cuts leave of a problem.

    Attributes:
        kappas: of the cuts.
    """

    kappas: tuple[float, ...]

    @property
    def log_overhead(self) -> float:
        """log2 of the sampling overhead, however large that is."""
        return 2 * sum(map(log2, self.kappas))


@dataclass(frozen=True)
class Plan(Severed):
    """Cuts, fragments, and how the fragments are joined.

    Attributes:
        cuts: severed wires and gates, by instruction index of the problem's circuit.
        fragments: the pieces; a plan without cuts has one for each connected part of the circuit.
        bonds: for each cut, W (see tasks/model/tensor.py).
        factor_index: (term, fragment) int, which factor of each fragment a Pauli term of the problem takes.
        term_scale: (term,) float64, what the parts of the circuit that no fragment holds contribute to each term
            (qubits that no gate touches: 1, or 0 where an X or Y is asked of one).
        kappas: of the cuts, in the order in which they sever the circuit.
        costs: one per fragment.
        schemes: (fragment, leg) which settings each leg has on the sampled path.
        notes: what the user should know, in sentences.
    """

    cuts: tuple[Cut, ...]
    fragments: tuple[Fragment, ...]
    bonds: tuple[np.ndarray, ...]
    factor_index: np.ndarray
    term_scale: np.ndarray
    kappas: tuple[float, ...]
    costs: tuple[FragmentCost, ...]
    schemes: tuple[tuple[Scheme, ...], ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def sampling_overhead(self) -> float:
        """Product of kappa**2 over the cuts, or the largest float where that is more."""
        return min(prod(kappa**2 for kappa in self.kappas), float_info.max)
