"""From open-leg states to fragment tensors for many sets of angles at once, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.parametric.linear import along
from tasks.parametric.program import Prepared

_CHUNK = 1 << 21  # amplitudes that one product may hold


@dataclass(frozen=True)
class _Together:
    """Factors of Z on few qubits: one product a value of these qubits serves them all.

    Attributes:
        factors: their numbers.
        axes: of the qubits that stay, those the factors are on first.
        size: of the first.
        signs: (factor, value of the first) +1 or -1.
    """

    factors: np.ndarray
    axes: tuple[int, ...]
    size: int
    signs: np.ndarray

    def blocks(self, branches: np.ndarray) -> np.ndarray:
        """(set, value, branch, amplitude)."""
        sets, size, _ = branches.shape
        width, first = len(self.axes), self.axes[: self.size]
        order = (0, *(2 + axis for axis in first), 1, *(2 + axis for axis in self.axes[self.size :]))
        return branches.reshape(sets, size, *(2,) * width).transpose(order).reshape(sets, 1 << self.size, size, -1)

    def grams(self, branches: np.ndarray) -> np.ndarray:
        """(set, factor, b, b') complex."""
        blocks = self.blocks(branches)
        each = np.matmul(blocks, blocks.conj().swapaxes(-1, -2))
        flat = each.reshape(*each.shape[:2], -1).view(np.float64)
        return np.matmul(self.signs, flat).view(complex).reshape(len(each), len(self.factors), *each.shape[2:])

    def adjoint(self, branches: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(set, branch, amplitude): the sum over the factors of their weights (set, factor, b, b') times P|b'>."""
        blocks = self.blocks(branches)
        own = np.ascontiguousarray(weights[:, self.factors])
        flat = own.reshape(*own.shape[:2], -1).view(np.float64)
        by_value = np.matmul(self.signs.T, flat).view(complex).reshape(len(own), -1, *own.shape[2:])
        sets, size, length = branches.shape
        found = np.matmul(by_value, blocks).reshape(sets, *(2,) * self.size, size, -1)
        found = np.moveaxis(found, 1 + self.size, 1).reshape(sets, size, *(2,) * len(self.axes))
        return found.transpose(0, 1, *(2 + axis for axis in np.argsort(self.axes))).reshape(sets, size, length)


def _grouped(x: np.ndarray, z: np.ndarray) -> list[_Together]:
    """Factors of Z alone in groups, each on half of the qubits or fewer; ``x``, ``z``: (factor, qubit) bool."""
    width = x.shape[1]
    most = max(2, width // 2)
    left = np.flatnonzero(~x.any(axis=1) & (z.sum(axis=1) <= most) & (width > 2))
    found = []
    while left.size:
        support = z[left[np.argmax(z[left].sum(axis=1))]].copy()
        while True:
            grown = (z[left] | support).sum(axis=1)
            inside = grown == support.sum()
            fitting = np.flatnonzero((grown <= most) & ~inside)
            if not fitting.size:
                break
            support |= z[left[fitting[np.argmin(grown[fitting])]]]
        first, factors = np.flatnonzero(support), left[inside]
        values = (np.arange(1 << len(first))[:, None] >> np.arange(len(first) - 1, -1, -1)) & 1
        signs = 1.0 - 2.0 * ((z[factors][:, first].astype(np.int64) @ values.T) & 1)
        axes = (*first.tolist(), *np.flatnonzero(~support).tolist())
        found.append(_Together(factors, axes, len(first), signs))
        left = left[~inside]
    return found


class Grams:
    """The Gram matrices of a program's branches under its factors, in the leg bases of ``tasks.model.tensor``.

    Args:
        program: gives the states.

    Attributes:
        fragment: the program's.
        rest: local qubits that no leg takes away, the most significant first.
    """

    def __init__(self, program: Prepared) -> None:
        self.fragment: Fragment = program.fragment
        legs = self.fragment.legs
        gone = {leg.qubit: number for number, leg in enumerate(legs) if leg.kind.opens_qubit}
        self.rest = rest = [qubit for qubit in program.layout if qubit not in gone]
        self._ranks = [leg.rank for leg in legs]
        # (set, opened legs ..., qubits ...) -> (set, legs in order ..., qubits that stay ...)
        self._opened = [legs[number].rank for number in program.opened]
        at = {number: place for place, number in enumerate(program.opened)}
        at |= {number: len(self._opened) + program.layout.index(qubit) for qubit, number in gone.items()}
        self._order = [at[number] for number in range(len(legs))]
        self._order += [len(self._opened) + program.layout.index(qubit) for qubit in rest]
        self._width = len(program.layout)
        self._size = int(np.prod(self._ranks, dtype=np.int64))
        weights = 1 << np.arange(len(rest) - 1, -1, -1, dtype=np.int64)
        index = np.arange(1 << len(rest))
        x, z = self.fragment.factors_x[:, rest], self.fragment.factors_z[:, rest]
        self._together, self._factors = _grouped(x, z), len(x)
        self._single = np.setdiff1d(np.arange(len(x)), [number for own in self._together for number in own.factors])
        x, z = x[self._single], z[self._single]
        self._source = index[None, :] ^ (x @ weights)[:, None]  # (factor, amplitude)
        parity = np.bitwise_count(self._source & (z @ weights)[:, None]) & 1
        self._signs = (1.0 - 2.0 * parity) * (1j ** (x & z).sum(axis=1))[:, None]
        self._changes = [leg.kind.basis_change() for leg in legs]

    def tensors(self, states: np.ndarray) -> np.ndarray:
        """(set, legs ..., factor) float64 from what the program gives."""
        branches = self.branches(states)
        sets, size, length = branches.shape
        gram = np.empty((sets, self._factors, size, size), dtype=complex)
        for part in self._parts(sets, size, length):
            for group in self._together:
                gram[part, group.factors] = group.grams(branches[part])
            if self._single.size:
                bra = branches[part].conj().swapaxes(-1, -2)
                gram[part, self._single] = np.matmul(self._applied(branches[part]), bra[:, None])
        return self._to_legs(gram)

    def outputs(self, states: np.ndarray) -> np.ndarray:
        """(set, legs ..., outcome) float64: projectors onto the outcomes of the qubits that stay.

        Bit k of an outcome is the k-th of these qubits in ascending order.
        """
        branches = self.branches(states)
        width = len(self.rest)
        order = [self.rest.index(qubit) for qubit in sorted(self.rest, reverse=True)]
        moved = branches.reshape(*branches.shape[:2], *(2,) * width).transpose(0, 1, *(2 + axis for axis in order))
        columns = np.ascontiguousarray(moved.reshape(*branches.shape[:2], -1).transpose(0, 2, 1))
        return self._to_legs(columns[:, :, :, None] * columns.conj()[:, :, None, :])

    def pull_back(self, gradient: np.ndarray, states: np.ndarray) -> np.ndarray:
        """The adjoint of the states for ``Prepared.backward``.

        Args:
            gradient: (set, legs ..., factor) float64, derivatives by the tensors' entries.
            states: what the program gave.
        """
        branches = self.branches(states)
        sets, size, length = branches.shape
        pairs = self._from_legs(gradient)  # (set, factor, b, b')
        weights = 0.5 * (pairs.conj() + pairs.transpose(0, 1, 3, 2))
        adjoint = np.zeros_like(branches)
        for part in self._parts(sets, size, length):
            for group in self._together:
                adjoint[part] += group.adjoint(branches[part], weights[part])
            if self._single.size:
                adjoint[part] += np.matmul(weights[part][:, self._single], self._applied(branches[part])).sum(axis=1)
        shape = [(self._opened + [2] * self._width)[axis] for axis in self._order]
        back = np.argsort(self._order)
        return adjoint.reshape(sets, *shape).transpose(0, *(1 + axis for axis in back)).reshape(states.shape)

    def branches(self, states: np.ndarray) -> np.ndarray:
        """(set, branch, amplitude) with all legs' branches in leg order, row-major."""
        moved = states.reshape(-1, *self._opened, *(2,) * self._width).transpose(0, *(1 + a for a in self._order))
        return np.ascontiguousarray(moved).reshape(len(states), self._size, -1)

    def _parts(self, sets: int, size: int, length: int) -> list[slice]:
        """Sets that are computed together."""
        step = max(1, _CHUNK // (max(1, len(self._single)) * size * length))
        return [slice(start, start + step) for start in range(0, sets, step)]

    def _applied(self, branches: np.ndarray) -> np.ndarray:
        """(set, factor, branch, amplitude): every factor on every branch."""
        return np.moveaxis(branches[:, :, self._source] * self._signs, 2, 1)

    def _to_legs(self, gram: np.ndarray) -> np.ndarray:
        """(set, factor, b, b') complex, entry <b'|P|b>, in the bases of the legs."""
        count = len(self._ranks)
        head = gram.shape[:2]
        paired = gram.reshape(*head, *self._ranks, *self._ranks)
        order = [0, 1, *(2 + axis for k in range(count) for axis in (k, count + k))]
        entries = paired.transpose(order).reshape(-1, *(rank**2 for rank in self._ranks))
        for axis, change in enumerate(self._changes):
            entries = along(entries, 1 + axis, change)
        return np.moveaxis(entries.real.reshape(*head, *entries.shape[1:]), 1, -1)

    def _from_legs(self, gradient: np.ndarray) -> np.ndarray:
        """(set, factor, b, b') complex Y with sum Y gram = sum gradient tensor (its real part)."""
        count = len(self._ranks)
        entries = np.moveaxis(gradient, -1, 1)
        head = entries.shape[:2]
        entries = entries.reshape(-1, *entries.shape[2:]).astype(complex)
        for axis, change in enumerate(self._changes):
            entries = along(entries, 1 + axis, change.T)
        paired = entries.reshape(-1, *(rank for rank in self._ranks for _ in (0, 1)))
        order = [0, *(1 + 2 * k for k in range(count)), *(2 + 2 * k for k in range(count))]
        return np.ascontiguousarray(paired.transpose(order)).reshape(*head, self._size, self._size)
