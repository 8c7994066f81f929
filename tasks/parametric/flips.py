"""Fragments that flipping every bit leaves as they are: half of their amplitudes say all.

A circuit of ZZ and X, as that of MaxCut, commutes with X on all qubits at once, and a leg laid open as I or Z keeps or
turns a sign. So in every branch psi(~x) = s psi(x) with a sign s, and what one qubit has at 1 need not be held. This is
the tapering of a qubit by a Z2 symmetry (Bravyi et al., arXiv:1701.08213), for one string X...X and all branches.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.parametric.elementary import Fixed
from tasks.parametric.layers import Item, Layer, Opened, Turned
from tasks.parametric.rotations import Rotations, Turns

_CLOSE = 1e-12


@dataclass(frozen=True)
class FlipSymmetry:
    """How a fragment's states turn when every bit is flipped.

    Attributes:
        qubit: is 0 in the amplitudes that are held; nothing but phases and its own rotations meet it.
        start: the sign of the first state.
        signs: (leg,) for legs laid open: (branch,) the sign that each turns it by.
    """

    qubit: int
    start: float
    signs: dict[int, np.ndarray]


def left_out(items: Sequence[Item], begun: np.ndarray, fragment: Fragment, late: Set[int]) -> int | None:
    """A qubit that may be left out of the state if its fragment has the symmetry; None where it cannot have it.

    Args:
        items: of its program, in time order.
        begun: (qubit, 2) where the fixed gates lead that each qubit begins with.
        fragment: the fragment.
        late: qubits whose last legs are no branches of the state.
    """
    if not _signs(begun).all() or any(leg.kind.opens_qubit for leg in fragment.legs):
        return None
    taken = {leg.qubit for leg in fragment.legs} | set(late)
    taken |= set(np.flatnonzero(fragment.factors_x.any(axis=0)).tolist())
    for item in items:
        if isinstance(item, Fixed) and len(item.qubits) > 1:
            taken |= set(item.qubits)
    return max(set(range(fragment.num_qubits)) - taken, default=None)


def flip_symmetry(layers: Sequence[Layer], begun: np.ndarray, qubit: int) -> FlipSymmetry | None:
    """The symmetry of a program; None where it has none.

    Args:
        layers: of the program, gates on ``qubit`` alone being apart.
        begun: (qubit, 2) where the fixed gates lead that each qubit begins with.
        qubit: the one that is left out, see ``left_out``.
    """
    signs: dict[int, np.ndarray] = {}
    for layer in layers:
        if isinstance(layer, Fixed):
            same = _same(layer.matrix[None])
        elif isinstance(layer, Turned):
            rotations = Rotations(list(layer.runs.values()))
            # At angles drawn at random: what holds there holds at all.
            angles = np.random.default_rng(1).uniform(-3, 3, (1, int(rotations.columns.max(initial=0)) + 1))
            same = _same(rotations.unitaries(angles)[0])
        elif isinstance(layer, Opened):
            flipped = layer.operators[:, ::-1, ::-1]
            found = np.where(np.abs(flipped - layer.operators).max(axis=(1, 2)) < _CLOSE, 1.0, -1.0)
            signs[layer.leg] = found
            same = bool(np.abs(flipped - found[:, None, None] * layer.operators).max() < _CLOSE)
        else:
            same = all(np.array_equal(phase.pattern, phase.pattern[::-1]) for phase in layer)
        if not same:
            return None
    return FlipSymmetry(qubit, float(_signs(begun).prod()), signs)


def _signs(begun: np.ndarray) -> np.ndarray:
    """(qubit,) by which X turns states (qubit, 2); 0 where it does more."""
    even, odd = np.abs(begun[:, 0] - begun[:, 1]) < _CLOSE, np.abs(begun.sum(axis=1)) < _CLOSE
    return even * 1.0 - odd * 1.0


def _same(matrices: np.ndarray) -> bool:
    """Whether matrices (number, 2**k, 2**k) commute with X on each of their qubits."""
    return bool(np.abs(matrices - matrices[:, ::-1, ::-1]).max(initial=0.0) < _CLOSE)


@dataclass(frozen=True)
class FlipTurn:
    """A layer: rotations of the qubit that is left out; what it has at 1 is what all bits flipped have at 0.

    Attributes:
        place: of its rotations among the program's.
        signs: (branch, 1) of the state.
    """

    place: int
    signs: np.ndarray

    def forward(self, state: np.ndarray, turns: Turns) -> np.ndarray:
        """(set, branch, amplitude) after it."""
        return self._turned(state, turns.unitaries[:, self.place])

    def backward(self, adjoint: np.ndarray, after: np.ndarray, turns: Turns, gradient: np.ndarray) -> np.ndarray:
        """The adjoint before it; derivatives by its angles join ``gradient``."""
        conjugate = adjoint.conj()
        here = np.einsum("sbx,sbx->s", conjugate, after)
        there = np.einsum("sbx,sbx->s", conjugate, self.signs * after[:, :, ::-1])
        for columns, generators in zip(turns.rotations.columns, turns.generators, strict=True):
            own = generators[:, self.place]
            gradient[:, columns[self.place]] += 2 * (own[:, 0, 0] * here + own[:, 0, 1] * there).real
        return self._turned(adjoint, turns.unitaries[:, self.place].conj().swapaxes(-1, -2))

    def _turned(self, state: np.ndarray, unitary: np.ndarray) -> np.ndarray:
        stays, moves = unitary[:, 0, 0, None, None], unitary[:, 0, 1, None, None]
        return stays * state + moves * self.signs * state[:, :, ::-1]


def both_halves(grams: np.ndarray, signs: np.ndarray, plain: int, turned: int) -> np.ndarray:
    """Gram matrices of whole states from those of what is held: each and its image with all bits flipped.

    Args:
        grams: (set and values of plain late qubits, factor, b, b'), b being (early branch, values of turned late
            qubits).
        signs: (factor, early branch, early branch) by which the image differs.
        plain: late qubits of which nothing is asked.
        turned: the others.
    """
    early = signs.shape[-1]
    shaped = grams.reshape(-1, 1 << plain, len(signs), early, 1 << turned, early, 1 << turned)
    images = shaped[:, ::-1, :, :, ::-1, :, ::-1] * signs[:, :, None, :, None]
    return (shaped + images).reshape(grams.shape)
