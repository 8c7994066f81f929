"""A fragment with free angles made ready: its legs open, any number of sets of angles in one array, and the way back.

The state is (set, branch, amplitude) complex128; branches are the legs opened so far, in the order of opening. Legs
that can wait for the end (see ``late``) are no branches of it.
The gradient is that of the adjoint method: one pass forwards, one pass back for all angles (Jones and Gacon,
arXiv:2009.02823).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.parametric.elementary import Fixed, Part, Phase, parts_of
from tasks.parametric.flips import FlipSymmetry, FlipTurn, flip_symmetry, left_out
from tasks.parametric.late import put_off
from tasks.parametric.layers import Item, Layer, Opened, Turned, layers_of
from tasks.parametric.rotations import Rotations, Turns
from tasks.parametric.template import Template

_BLOCKS = ((10, 6), (13, 5))  # (qubits of the open state, widest block): small states pay calls, large ones products
_WIDEST_BLOCK = 4
_WIDEST_TURN = 4  # qubits whose rotations are one product
_FEW = 4  # amplitudes with the same phases, from where these are made once for all
_FEW_PATTERNS = 3  # more seldom leave many amplitudes alike
_FEWEST_COLUMNS = 8  # of a product: with fewer, calls cost more than products with the identity


@dataclass(frozen=True)
class _Turn:
    """A block of fixed gates on the last axes of the state, which are brought there first."""

    order: tuple[int, ...] | None
    matrix: np.ndarray  # (2**k, 2**k), transposed

    def forward(self, state: np.ndarray, turns: Turns) -> np.ndarray:
        sets, branches, length = state.shape
        if self.order is not None:
            width = len(self.order)
            state = state.reshape((-1,) + (2,) * width).transpose(0, *(1 + axis for axis in self.order))
        return (state.reshape(sets, -1, len(self.matrix)) @ self.matrix).reshape(sets, branches, length)

    def backward(self, adjoint: np.ndarray, after: np.ndarray, turns: Turns, gradient: np.ndarray) -> np.ndarray:
        sets, branches, length = adjoint.shape
        adjoint = adjoint.reshape(sets, -1, len(self.matrix)) @ self.matrix.conj().T
        if self.order is not None:
            width = len(self.order)
            back = np.argsort(self.order)
            adjoint = adjoint.reshape((-1,) + (2,) * width).transpose(0, *(1 + axis for axis in back))
        return adjoint.reshape(sets, branches, length)


@dataclass(frozen=True)
class _Phases:
    """All phases of a layer; those that are multiples of one angle for all parameters are one.

    Attributes:
        which: (phase,) its column.
        patterns: (phase, value) factors included, one for each that the amplitudes have.
        values: (2**n,) of each amplitude; None for its own.
    """

    which: np.ndarray
    patterns: np.ndarray
    values: np.ndarray | None

    def forward(self, state: np.ndarray, turns: Turns) -> np.ndarray:
        return state * self._factors(turns.angles)[:, None, :]

    def backward(self, adjoint: np.ndarray, after: np.ndarray, turns: Turns, gradient: np.ndarray) -> np.ndarray:
        overlap = np.einsum("sbx,sbx->sx", adjoint.conj(), after).imag
        patterns = self.patterns if self.values is None else self.patterns[:, self.values]
        gradient[:, self.which] = -2 * np.matmul(overlap[:, None, :], patterns.T)[:, 0]
        return adjoint * self._factors(-turns.angles)[:, None, :]

    def _factors(self, angles: np.ndarray) -> np.ndarray:
        phases = np.matmul(angles.take(self.which, axis=1)[:, None], self.patterns)[:, 0]
        found = np.empty(phases.shape, dtype=complex)
        np.cos(phases, out=found.real)  # with the sine half the time of a complex exponential
        np.sin(phases, out=found.imag)
        return found if self.values is None else found.take(self.values, axis=1)


@dataclass(frozen=True)
class _Rotation:
    """One-qubit gates with angles, as products on a few neighbouring axes of the state each.

    Attributes:
        blocks: numbers of the program's.
        spans: (first, last) of each, of the program's rotations.
        after: amplitudes that the axes behind each have.
        traces: of each, (2**2k, k 4): the parts on one qubit alone.
    """

    blocks: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    after: tuple[int, ...]
    traces: tuple[np.ndarray, ...]

    def forward(self, state: np.ndarray, turns: Turns) -> np.ndarray:
        for block, after in zip(self.blocks, self.after, strict=True):
            state = _multiplied(state, turns.products[block], after)
        return state

    def backward(self, adjoint: np.ndarray, after: np.ndarray, turns: Turns, gradient: np.ndarray) -> np.ndarray:
        sets = len(adjoint)
        for (first, last), behind, trace in zip(self.spans, self.after, self.traces, strict=True):
            size = 1 << (last - first)
            if behind == 1:
                own = adjoint.reshape(sets, -1, size).conj().swapaxes(1, 2) @ after.reshape(sets, -1, size)
            else:
                left, right = (array.reshape(sets, -1, size, behind) for array in (adjoint.conj(), after))
                own = np.matmul(left, right.swapaxes(-1, -2)).sum(axis=1)
            # (set, qubit, value, value'): <adjoint|value x'> <value x|after>
            overlaps = np.matmul(own.reshape(sets, 1, -1), trace).reshape(sets, last - first, 2, 2)
            for columns, generators in zip(turns.rotations.columns, turns.generators, strict=True):
                slopes = 2 * (overlaps * generators[:, first:last]).sum(axis=(-1, -2)).real
                np.add.at(gradient.T, columns[first:last], slopes.T)
        for block, behind in zip(self.blocks, self.after, strict=True):
            adjoint = _multiplied(adjoint, turns.products[block].conj().swapaxes(1, 2), behind)
        return adjoint


def _multiplied(state: np.ndarray, matrix: np.ndarray, after: int) -> np.ndarray:
    """Matrices (set or 1, 2**k, 2**k) on the axes of a state that have ``after`` amplitudes behind them."""
    sets, size = len(state), matrix.shape[1]
    if after == 1:
        return np.matmul(state.reshape(sets, -1, size), matrix.swapaxes(1, 2)).reshape(state.shape)
    return np.matmul(matrix[:, None], state.reshape(sets, -1, size, after)).reshape(state.shape)


def _begun(items: Sequence[Item], width: int) -> tuple[list[Item], np.ndarray]:
    """The program without the fixed gates that a qubit alone begins with, and (qubit, 2) where these lead."""
    begun = np.tile(np.array([1, 0], dtype=complex), (width, 1))
    left: list[Item] = []
    touched: set[int] = set()
    for item in items:
        if isinstance(item, Fixed) and len(item.qubits) == 1 and item.qubits[0] not in touched:
            begun[item.qubits[0]] = item.matrix @ begun[item.qubits[0]]
        else:
            touched.update(item.qubits)
            left.append(item)
    return left, begun


def _trace(width: int) -> np.ndarray:
    """(2**2k, k 4) float64: partial traces of a matrix on k qubits to each of them, the first the most significant."""
    made = np.zeros((1 << width, 1 << width, width, 2, 2))
    index = np.arange(1 << width)
    for place in range(width):
        bit = 1 << (width - 1 - place)
        for row in (0, 1):
            for column in (0, 1):
                left = (index & ~bit) | bit * row
                made[left, (index & ~bit) | bit * column, place, row, column] = 1
    return made.reshape(1 << 2 * width, width * 4)


@dataclass(frozen=True)
class _Branch:
    """A leg laid open: amplitude x of branch j is ``phases[j, x]`` times the one at ``source[j, x]``."""

    source: np.ndarray | None  # None: x itself
    phases: np.ndarray

    def forward(self, state: np.ndarray, turns: Turns) -> np.ndarray:
        sets, branches, length = state.shape
        read = state[:, :, None] if self.source is None else state.take(self.source, axis=2)  # in one piece: `linear`
        return (read * self.phases).reshape(sets, branches * len(self.phases), length)

    def backward(self, adjoint: np.ndarray, after: np.ndarray, turns: Turns, gradient: np.ndarray) -> np.ndarray:
        sets, branches, length = adjoint.shape
        rank = len(self.phases)
        own = adjoint.reshape(sets, branches // rank, rank, length) * self.phases.conj()
        if self.source is not None:
            # A flip is its own inverse, so what was read from `source` goes back there by reading from it again.
            own = np.take_along_axis(own, np.broadcast_to(self.source, own.shape), axis=3)
        return own.sum(axis=2)


class Prepared:
    """A fragment ready for sets of angles.

    Args:
        fragment: of a plan of the template's problem.
        template: says which of its angles are free.
        late: legs that can wait for the end are not laid open, of a fragment that flipping all bits leaves as it is
            half of the amplitudes are held, and of phases of a layer whose angles are multiples of each other for all
            parameters the first has the derivative of all: no phase may be shifted by itself.

    Attributes:
        fragment: the fragment.
        angles: (phase,) the circuit's number of the angle of each phase in it; several phases may take one angle.
        gaps: (phase,) the one frequency with which a value depends on each.
        opened: legs in the order in which their branches were opened.
        late: the qubits whose last legs were not.
        flip: the symmetry by which one qubit is left out of the state; None where none is.
        layout: qubits in the order of the state's axes, the most significant first.
        amplitudes: of one open state.
    """

    def __init__(self, fragment: Fragment, template: Template, *, late: bool = False) -> None:
        self.fragment = fragment
        found: list[Item] = []
        index = {bit: place for place, bit in enumerate(fragment.circuit.qubits)}
        by_position: dict[int, list[int]] = {}
        for number, leg in enumerate(fragment.legs):
            if not leg.kind.opens_qubit:
                by_position.setdefault(leg.position, []).append(number)
        for position, item in enumerate([*fragment.circuit.data, None]):
            for number in by_position.get(position, ()):
                leg = fragment.legs[number]
                found.append(Opened((leg.qubit,), number, leg.kind.branch_operators()))
            if item is not None:
                found += parts_of(item.operation, [index[q] for q in item.qubits], template.free(item))
        phases = [item for item in found if isinstance(item, Phase)]
        self.angles = np.array([phase.angle for phase in phases], dtype=np.int64)
        self.gaps = np.array([phase.gap for phase in phases])
        columns = itertools.count()
        items = [replace(item, angle=next(columns)) if isinstance(item, Phase) else item for item in found]
        gone = {leg.qubit for leg in fragment.legs if leg.kind.opens_qubit}
        items, self.late = put_off(items, gone) if late else (items, [])
        opened = [item.leg for item in items if isinstance(item, Opened)]
        size = fragment.num_qubits + sum(fragment.legs[k].rank.bit_length() - 1 for k in opened)
        widest = next((block for limit, block in _BLOCKS if size <= limit), _WIDEST_BLOCK)
        ends = {leg.qubit for leg in fragment.legs}  # in front, so that what is done to the others is in one piece
        self.layout = sorted(range(fragment.num_qubits), key=lambda qubit: (qubit not in ends, -qubit))
        self.opened: list[int] = []
        items, begun = _begun(items, fragment.num_qubits)
        widest = min(widest, max(1, fragment.num_qubits))
        self.flip: FlipSymmetry | None = None
        layers: list[Layer] = []
        if late and (out := left_out(items, begun, fragment, {own.qubit for own in self.late})) is not None:
            layers = layers_of(items, widest, apart=out)
            self.flip = flip_symmetry(layers, begun, out)
        if self.flip is None:
            layers = layers_of(items, widest)
        first = np.ones(1, dtype=complex)
        if self.flip is not None:
            self.layout.remove(self.flip.qubit)
            size, first = size - 1, begun[self.flip.qubit, :1]
        self.amplitudes = 1 << size
        self._start = reduce(np.kron, [begun[qubit] for qubit in self.layout], first)
        self._by_number = template.angles if late else None
        self._runs: list[Sequence[Part]] = []
        self._blocks: list[tuple[int, int]] = []
        self._steps = [step for layer in layers for step in self._steps_of(layer)]
        self._rotations = Rotations(self._runs)

    @property
    def depth(self) -> int:
        """How many layers it has."""
        return len(self._steps)

    def _steps_of(self, layer: Layer) -> Iterator[_Turn | _Phases | _Branch | _Rotation | FlipTurn]:
        flip = self.flip
        if flip is None or not isinstance(layer, Turned) or flip.qubit not in layer.runs:
            yield self._step(layer)
            return
        signs = reduce(np.kron, [flip.signs[leg] for leg in self.opened], np.array([flip.start]))
        self._runs.append(layer.runs[flip.qubit])
        yield FlipTurn(len(self._runs) - 1, signs[:, None])
        if rest := {qubit: run for qubit, run in layer.runs.items() if qubit != flip.qubit}:
            yield self._step(Turned(rest))

    def _step(self, layer: Layer) -> _Turn | _Phases | _Branch | _Rotation:
        if isinstance(layer, Fixed):
            return self._turn(layer)
        if isinstance(layer, Turned):
            return self._rotation(layer)
        bits = self._bits()
        if isinstance(layer, Opened):
            self.opened.append(layer.leg)
            place = 1 << (len(self.layout) - 1 - self.layout.index(layer.qubits[0]))
            flips = np.array([operator[0, 0] == 0 and operator[1, 1] == 0 for operator in layer.operators])
            index = np.arange(1 << len(self.layout))
            source = index[None, :] ^ np.where(flips, place, 0)[:, None]
            row = bits[layer.qubits[0]]
            column = row[None, :] ^ flips[:, None]
            phases = np.stack([op[row, own] for op, own in zip(layer.operators, column.astype(int), strict=True)])
            return _Branch(source if flips.any() else None, phases if phases.imag.any() else phases.real)
        assert isinstance(layer, tuple)
        return self._phases(layer, bits)

    def _phases(self, layer: Sequence[Phase], bits: np.ndarray) -> _Phases:
        patterns: dict[int, np.ndarray] = {}
        numbers = self.angles[[phase.angle for phase in layer]].tolist()
        ties = [(place, 1.0) for place in range(len(layer))]
        if self._by_number is not None:
            ties = self._by_number.tied(numbers)
        for phase, (first, ratio) in zip(layer, ties, strict=True):
            local = sum(bits[qubit] << place for place, qubit in enumerate(phase.qubits))
            own = ratio * phase.factor * phase.pattern[local]
            patterns[first] = patterns[first] + own if first in patterns else own
        made = np.array(list(patterns.values()))
        which = np.array([layer[first].angle for first in patterns])
        if len(made) <= _FEW_PATTERNS:
            alike, values = np.unique(made, axis=1, return_inverse=True)
            if _FEW * alike.shape[1] <= made.shape[1]:
                return _Phases(which, alike, values.reshape(-1))
        return _Phases(which, made, None)

    def _bits(self) -> np.ndarray:
        """(qubit, amplitude) int: the value of each qubit, 0 of the one that is left out."""
        width = len(self.layout)
        found = np.zeros((self.fragment.num_qubits, 1 << width), dtype=np.int64)
        for place, qubit in enumerate(self.layout):
            found[qubit] = (np.arange(1 << width) >> (width - 1 - place)) & 1
        return found

    def _rotation(self, layer: Turned) -> _Rotation:
        width = len(self.layout)
        places = {self.layout.index(qubit) for qubit in layer.runs}
        close = [place for place in places if 1 << (width - place) <= _FEWEST_COLUMNS]
        places |= set(range(min(close, default=width), width))
        blocks: list[tuple[int, int]] = []  # places in the layout
        for first in sorted(place for place in places if place - 1 not in places):
            last = next(place for place in range(first, width + 1) if place not in places)
            pieces = -(-(last - first) // _WIDEST_TURN)
            ends = [last + (first - last) * k // pieces for k in range(pieces, -1, -1)]  # the last piece is the largest
            blocks += itertools.pairwise(ends)
        index = {place: len(self._runs) + number for number, place in enumerate(sorted(places))}
        self._runs += [layer.runs.get(self.layout[place], ()) for place in sorted(places)]
        spans = tuple((index[first], index[last - 1] + 1) for first, last in blocks)
        numbers = tuple(range(len(self._blocks), len(self._blocks) + len(blocks)))
        self._blocks += spans
        after = tuple(1 << (width - last) for _, last in blocks)
        return _Rotation(numbers, spans, after, tuple(_trace(last - first) for first, last in blocks))

    def _turn(self, block: Fixed) -> _Turn:
        width, size = len(self.layout), len(block.qubits)
        last = self.layout[width - size :]
        order = None
        if set(last) != set(block.qubits):
            wanted = [q for q in self.layout if q not in block.qubits] + sorted(block.qubits, reverse=True)
            order = tuple(self.layout.index(q) for q in wanted)
            self.layout = wanted
            last = wanted[width - size :]
        axes = [size - 1 - block.qubits.index(q) for q in last]
        matrix = block.matrix.reshape((2,) * (2 * size)).transpose([*axes, *(size + axis for axis in axes)])
        return _Turn(order, np.ascontiguousarray(matrix.reshape(1 << size, -1).T))

    def states(self, angles: np.ndarray, *, keep: bool = False) -> list[np.ndarray]:
        """Run sets of angles.

        Args:
            angles: (set, phase) float64, in the order of ``angles``.
            keep: every state on the way, for ``backward``, instead of the last one alone.

        Returns:
            (set, branch, amplitude) complex128 each.
        """
        state = np.tile(self._start, (len(angles), 1, 1))
        kept = [state]
        turns = self._turns(angles)
        for step in self._steps:
            state = step.forward(state, turns)
            if keep:
                kept.append(state)
        return kept if keep else [state]

    def backward(self, adjoint: np.ndarray, states: Sequence[np.ndarray], angles: np.ndarray) -> np.ndarray:
        """(set, phase) float64: derivatives of f, where df = 2 Re <adjoint|d state>, by the angle of each phase.

        See ``late`` for those that are tied to each other.
        """
        gradient = np.zeros(angles.shape)
        turns = self._turns(angles)
        for step, after in zip(reversed(self._steps), reversed(states[1:]), strict=True):
            adjoint = step.backward(adjoint, after, turns, gradient)
        return gradient

    def _turns(self, angles: np.ndarray) -> Turns:
        return Turns(self._rotations, tuple(self._blocks), angles)
