"""A fragment with free angles made ready: all legs open, any number of sets of angles in one array, and the way back.

The state is (set, branch, amplitude) complex128; branches are the legs opened so far, in the order of opening.
The gradient is that of the adjoint method: one pass forwards, one pass back for all angles (Jones and Gacon,
arXiv:2009.02823).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.parametric.elementary import Fixed, Phase, parts_of
from tasks.parametric.layers import Item, Opened, layers_of
from tasks.parametric.template import Template

_BLOCKS = ((10, 6), (13, 5))  # (qubits of the open state, widest block): small states pay calls, large ones products
_WIDEST_BLOCK = 4


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
        return state * np.exp(1j * (angles[:, self.which] @ self.patterns))[:, None, :]

    def backward(self, adjoint: np.ndarray, after: np.ndarray, angles: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        overlap = np.einsum("sbx,sbx->sx", adjoint.conj(), after).imag
        gradient[:, self.which] = -2 * overlap @ self.patterns.T
        return adjoint * np.exp(-1j * (angles[:, self.which] @ self.patterns))[:, None, :]


@dataclass(frozen=True)
class _Branch:
    """A leg laid open: amplitude x of branch j is ``phases[j, x]`` times the one at ``source[j, x]``."""

    source: np.ndarray
    phases: np.ndarray

    def forward(self, state: np.ndarray, angles: np.ndarray) -> np.ndarray:
        sets, branches, length = state.shape
        return (state[:, :, self.source] * self.phases).reshape(sets, branches * len(self.source), length)

    def backward(self, adjoint: np.ndarray, after: np.ndarray, angles: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        sets, branches, length = adjoint.shape
        rank = len(self.source)
        own = (adjoint * 1.0).reshape(sets, branches // rank, rank, length) * self.phases.conj()
        # A flip is its own inverse, so what was read from `source` goes back there by reading from it again.
        return np.take_along_axis(own, np.broadcast_to(self.source, own.shape), axis=3).sum(axis=2)


class Prepared:
    """A fragment ready for sets of angles.

    Args:
        fragment: of a plan of the template's problem.
        template: says which of its angles are free.

    Attributes:
        fragment: the fragment.
        angles: (phase,) the circuit's number of the angle of each phase in it; several phases may take one angle.
        gaps: (phase,) the one frequency with which a value depends on each.
        opened: legs in the order in which their branches were opened.
        layout: qubits in the order of the state's axes, the most significant first.
        amplitudes: of one open state.
    """

    def __init__(self, fragment: Fragment, template: Template) -> None:
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
        columns = count()
        items = [replace(item, angle=next(columns)) if isinstance(item, Phase) else item for item in found]
        opened = [item.leg for item in items if isinstance(item, Opened)]
        size = fragment.num_qubits + sum(fragment.legs[k].rank.bit_length() - 1 for k in opened)
        widest = next((block for limit, block in _BLOCKS if size <= limit), _WIDEST_BLOCK)
        self.amplitudes = 1 << size
        self.layout = list(range(fragment.num_qubits - 1, -1, -1))
        self.opened: list[int] = []
        self._steps = [self._step(layer) for layer in layers_of(items, min(widest, max(1, fragment.num_qubits)))]

    @property
    def depth(self) -> int:
        """How many layers it has."""
        return len(self._steps)

    def _step(self, layer: object) -> _Turn | _Phases | _Branch:
        if isinstance(layer, Fixed):
            return self._turn(layer)
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
            return _Branch(source, phases)
        assert isinstance(layer, tuple)
        patterns = []
        for phase in layer:
            local = sum(bits[qubit] << place for place, qubit in enumerate(phase.qubits))
            patterns.append(phase.factor * phase.pattern[local])
        return _Phases(np.array([phase.angle for phase in layer]), np.array(patterns))

    def _bits(self) -> np.ndarray:
        """(qubit, amplitude) int: the value of each qubit."""
        index = np.arange(1 << len(self.layout))
        return np.array([(index >> (len(self.layout) - 1 - self.layout.index(q))) & 1 for q in sorted(self.layout)])

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
        state = np.zeros((len(angles), 1, 1 << len(self.layout)), dtype=complex)
        state[:, :, 0] = 1
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
