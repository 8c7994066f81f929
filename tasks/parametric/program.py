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
from tasks.parametric.elementary import Fixed, Phase, parts_of
from tasks.parametric.flips import FlipSymmetry, FlipTurn, flip_symmetry, left_out
from tasks.parametric.late import put_off
from tasks.parametric.layers import Item, Layer, Opened, Turned, layers_of
from tasks.parametric.rotations import Rotations
from tasks.parametric.template import Template

_BLOCKS = ((10, 6), (13, 5))  # (qubits of the open state, widest block): small states pay calls, large ones products
_WIDEST_BLOCK = 4
_WIDEST_TURN = 4  # qubits whose rotations are one product
_FEWEST_COLUMNS = 8  # of a product: with fewer, calls cost more than products with the identity


@dataclass(frozen=True)
class _Turn:
    """A block of fixed gates on the last axes of the state, which are brought there first."""

    order: tuple[int, ...] | None
    matrix: np.ndarray  # (2**k, 2**k), transposed

    def forward(self, state: np.ndarray, angles: np.ndarray) -> np.ndarray:
        sets, branches, length = state.shape
        if self.order is not None:
            width = len(self.order)
            state = state.reshape((-1,) + (2,) * width).transpose(0, *(1 + axis for axis in self.order))
        return (state.reshape(-1, len(self.matrix)) @ self.matrix).reshape(sets, branches, length)

    def backward(self, adjoint: np.ndarray, after: np.ndarray, angles: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        sets, branches, length = adjoint.shape
        adjoint = adjoint.reshape(-1, len(self.matrix)) @ self.matrix.conj().T
        if self.order is not None:
            width = len(self.order)
            back = np.argsort(self.order)
            adjoint = adjoint.reshape((-1,) + (2,) * width).transpose(0, *(1 + axis for axis in back))
        return adjoint.reshape(sets, branches, length)


@dataclass(frozen=True)
class _Phases:
    """All phases of a layer."""

    which: np.ndarray  # (phase,) its column
    patterns: np.ndarray  # (phase, 2**n), factors included

    def forward(self, state: np.ndarray, angles: np.ndarray) -> np.ndarray:
        return state * self._factors(angles)[:, None, :]

    def backward(self, adjoint: np.ndarray, after: np.ndarray, angles: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        overlap = np.einsum("sbx,sbx->sx", adjoint.conj(), after).imag
        gradient[:, self.which] = -2 * overlap @ self.patterns.T
        return adjoint * self._factors(-angles)[:, None, :]

    def _factors(self, angles: np.ndarray) -> np.ndarray:
        phases = angles[:, self.which] @ self.patterns
        found = np.empty(phases.shape, dtype=complex)
        np.cos(phases, out=found.real)  # with the sine half the time of a complex exponential
        np.sin(phases, out=found.imag)
        return found


@dataclass(frozen=True)
class _Rotation:
    """One-qubit gates with angles, as products on a few neighbouring axes of the state each."""

    rotations: Rotations
    blocks: tuple[tuple[int, int], ...]  # (first, last) of its qubits
    after: tuple[int, ...]  # amplitudes that the axes behind each block have
    traces: tuple[np.ndarray, ...]  # of each block, (2**2k, k 4): the parts on one qubit alone

    def forward(self, state: np.ndarray, angles: np.ndarray) -> np.ndarray:
        each = self.rotations.unitaries(angles)
        for block, after in zip(self.blocks, self.after, strict=True):
            state = _multiplied(state, _product(each, *block), after)
        return state

    def backward(self, adjoint: np.ndarray, after: np.ndarray, angles: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        each = self.rotations.unitaries(angles)
        sets = len(angles)
        overlaps = np.empty((sets, each.shape[1], 2, 2), dtype=complex)  # <adjoint|value x'> <value x|after>
        for (first, last), behind, trace in zip(self.blocks, self.after, self.traces, strict=True):
            size = 1 << (last - first)
            if behind == 1:
                own = adjoint.reshape(sets, -1, size).conj().swapaxes(1, 2) @ after.reshape(sets, -1, size)
            else:
                left, right = (array.reshape(sets, -1, size, behind) for array in (adjoint.conj(), after))
                own = np.matmul(left, right.swapaxes(-1, -2)).sum(axis=1)
            overlaps[:, first:last] = (own.reshape(sets, -1) @ trace).reshape(sets, last - first, 2, 2)
        for columns, generator in zip(self.rotations.columns, self.rotations.generators(angles), strict=True):
            np.add.at(gradient.T, columns, 2 * (overlaps * generator).sum(axis=(-1, -2)).real.T)
        for block, behind in zip(self.blocks, self.after, strict=True):
            adjoint = _multiplied(adjoint, _product(each, *block).conj().swapaxes(1, 2), behind)
        return adjoint


def _product(each: np.ndarray, first: int, last: int) -> np.ndarray:
    """(set, 2**k, 2**k): a product of (set, qubit, 2, 2), the first qubit the most significant."""
    total = each[:, first]
    for place in range(first + 1, last):
        size = 2 * total.shape[1]
        total = (total[:, :, None, :, None] * each[:, place][:, None, :, None, :]).reshape(-1, size, size)
    return total


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

    def forward(self, state: np.ndarray, angles: np.ndarray) -> np.ndarray:
        sets, branches, length = state.shape
        read = state[:, :, None] if self.source is None else state[:, :, self.source]
        return (read * self.phases).reshape(sets, branches * len(self.phases), length)

    def backward(self, adjoint: np.ndarray, after: np.ndarray, angles: np.ndarray, gradient: np.ndarray) -> np.ndarray:
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
        late: legs that can wait for the end are not laid open, and of a fragment that flipping all bits leaves as it is
            half of the amplitudes are held.

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
        self._steps = [step for layer in layers for step in self._steps_of(layer)]

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
        yield FlipTurn(Rotations([layer.runs[flip.qubit]]), signs[:, None])
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
        patterns = []
        for phase in layer:
            local = sum(bits[qubit] << place for place, qubit in enumerate(phase.qubits))
            patterns.append(phase.factor * phase.pattern[local])
        return _Phases(np.array([phase.angle for phase in layer]), np.array(patterns))

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
        runs = [layer.runs.get(self.layout[place], ()) for place in sorted(places)]
        index = {place: number for number, place in enumerate(sorted(places))}
        return _Rotation(
            Rotations(runs),
            tuple((index[first], index[last - 1] + 1) for first, last in blocks),
            tuple(1 << (width - last) for _, last in blocks),
            tuple(_trace(last - first) for first, last in blocks),
        )

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
        for step in self._steps:
            state = step.forward(state, angles)
            if keep:
                kept.append(state)
        return kept if keep else [state]

    def backward(self, adjoint: np.ndarray, states: Sequence[np.ndarray], angles: np.ndarray) -> np.ndarray:
        """(set, phase) float64: derivatives of f, where df = 2 Re <adjoint|d state>, by the angle of each phase."""
        gradient = np.zeros(angles.shape)
        for step, after in zip(reversed(self._steps), reversed(states[1:]), strict=True):
            adjoint = step.backward(adjoint, after, angles, gradient)
        return gradient
