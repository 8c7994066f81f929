"""From open-leg states to fragment tensors for many sets of angles at once, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.parametric.late import PAIRS, LateLegs
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


@dataclass(frozen=True)
class _Asked:
    """Factors that have the same letters on the late qubits.

    Attributes:
        factors: their numbers.
        letters: (late qubit,) of "IXYZ".
        order: from (set, early branch, late qubits ..., qubits that stay) to (set, late qubits with I ..., early
            branch, other late qubits ..., qubits that stay).
        together: those of Z on few qubits, numbered within this group as all others are.
        single: the others.
        source: (single, amplitude) where each takes an amplitude from.
        signs: (single, amplitude) complex.
    """

    factors: np.ndarray
    letters: str
    order: tuple[int, ...]
    together: list[_Together]
    single: np.ndarray
    source: np.ndarray
    signs: np.ndarray

    @property
    def plain(self) -> list[int]:
        """Late qubits of which nothing is asked: one value of theirs at a time."""
        return [place for place, letter in enumerate(self.letters) if letter == "I"]

    @property
    def turned(self) -> list[int]:
        """The other late qubits, whose values are branches."""
        return [place for place, letter in enumerate(self.letters) if letter != "I"]

    def branches(self, base: np.ndarray) -> np.ndarray:
        """(set and values of the late qubits with I, branch, amplitude)."""
        moved = base.transpose(self.order)
        return moved.reshape(len(base) << len(self.plain), base.shape[1] << len(self.turned), -1)

    def grams(self, branches: np.ndarray) -> np.ndarray:
        """(set, factor, b, b') complex, entry <b'|P|b>."""
        sets, size, length = branches.shape
        gram = np.empty((sets, len(self.factors), size, size), dtype=complex)
        for part in self._parts(sets, size, length):
            for group in self.together:
                gram[part, group.factors] = group.grams(branches[part])
            if self.single.size:
                bra = branches[part].conj().swapaxes(-1, -2)
                gram[part, self.single] = np.matmul(self._applied(branches[part]), bra[:, None])
        return gram

    def adjoint(self, branches: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(set, branch, amplitude): the sum over the factors of their weights (set, factor, b, b') times P|b'>."""
        found = np.zeros_like(branches)
        for part in self._parts(*branches.shape):
            for group in self.together:
                found[part] += group.adjoint(branches[part], weights[part])
            if self.single.size:
                found[part] += np.matmul(weights[part][:, self.single], self._applied(branches[part])).sum(axis=1)
        return found

    def _parts(self, sets: int, size: int, length: int) -> list[slice]:
        """Sets that are computed together."""
        step = max(1, _CHUNK // (max(1, len(self.single)) * size * length))
        return [slice(start, start + step) for start in range(0, sets, step)]

    def _applied(self, branches: np.ndarray) -> np.ndarray:
        """(set, factor, branch, amplitude): every factor on every branch."""
        return np.moveaxis(branches[:, :, self.source] * self.signs, 2, 1)


@dataclass(frozen=True)
class GramsHeld:
    """What ``Grams.pull_back`` takes of the way forwards.

    Attributes:
        base: (set, early branch, late qubits ..., amplitude) complex.
        pairs: (group,) (set, early legs ..., turned late qubits ..., other late qubits ..., factor) float64.
    """

    base: np.ndarray
    pairs: list[np.ndarray]


class Grams:
    """The Gram matrices of a program's branches under its factors, in the leg bases of ``tasks.model.tensor``.

    Args:
        program: gives the states.

    Attributes:
        fragment: the program's.
        rest: local qubits that no leg takes away and no late leg is on, the most significant first.
    """

    def __init__(self, program: Prepared) -> None:
        self.fragment: Fragment = program.fragment
        legs = self.fragment.legs
        gone = {leg.qubit: number for number, leg in enumerate(legs) if leg.kind.opens_qubit}
        late = [own.qubit for own in program.late]
        self.rest = rest = [qubit for qubit in program.layout if qubit not in gone and qubit not in late]
        put_off = [number for own in program.late for number in own.legs]
        self._early = [number for number in range(len(legs)) if number not in put_off]
        # From (early legs ..., legs of the late qubits ...) to the legs in order.
        self._legs = [[*self._early, *put_off].index(number) for number in range(len(legs))]
        self._ranks = [legs[number].rank for number in self._early]
        # (set, opened legs ..., qubits ...) -> (set, early legs in order ..., late qubits ..., qubits that stay ...)
        self._opened = [legs[number].rank for number in program.opened]
        at = {number: place for place, number in enumerate(program.opened)}
        at |= {number: len(self._opened) + program.layout.index(qubit) for qubit, number in gone.items()}
        self._order = [at[number] for number in self._early]
        self._order += [len(self._opened) + program.layout.index(qubit) for qubit in (*late, *rest)]
        self._width = len(program.layout)
        self._size = int(np.prod(self._ranks, dtype=np.int64))
        self._changes = [legs[number].kind.basis_change() for number in self._early]
        self._late = LateLegs(program.late, [leg.kind for leg in legs])
        self._asked = self._groups(late)

    def _groups(self, late: list[int]) -> list[_Asked]:
        factors_x, factors_z = self.fragment.factors_x, self.fragment.factors_z
        codes = factors_x[:, late] + 2 * factors_z[:, late].astype(int)
        letters = ["".join("IXZY"[code] for code in own) for own in codes]
        weights = 1 << np.arange(len(self.rest) - 1, -1, -1, dtype=np.int64)
        index = np.arange(1 << len(self.rest))
        made = []
        for own in sorted(set(letters)):
            factors = np.flatnonzero([each == own for each in letters])
            x, z = factors_x[factors][:, self.rest], factors_z[factors][:, self.rest]
            together = _grouped(x, z)
            single = np.setdiff1d(np.arange(len(x)), [number for group in together for number in group.factors])
            x, z = x[single], z[single]
            source = index[None, :] ^ (x @ weights)[:, None]  # (factor, amplitude)
            parity = np.bitwise_count(source & (z @ weights)[:, None]) & 1
            signs = (1.0 - 2.0 * parity) * (1j ** (x & z).sum(axis=1))[:, None]
            plain = [2 + place for place, letter in enumerate(own) if letter == "I"]
            turned = [2 + place for place, letter in enumerate(own) if letter != "I"]
            order = (0, *plain, 1, *turned, 2 + len(late))
            made.append(_Asked(factors, own, order, together, single, source, signs))
        return made

    def tensors(self, states: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """(set, legs ..., factor) float64 from what the program gives, and its angles."""
        return self.held(states, angles)[0]

    def held(self, states: np.ndarray, angles: np.ndarray) -> tuple[np.ndarray, GramsHeld]:
        """Tensors, and what the way back takes."""
        base = self._base(states)
        turns = self._late.turns(angles)
        pairs, parts = [], []
        for asked in self._asked:
            pairs.append(self._to_pairs(asked, asked.grams(asked.branches(base))))
            parts.append(self._late.expanded(pairs[-1], len(self._early), asked.letters, turns))
        return self._joined(parts, len(states)), GramsHeld(base, pairs)

    def _joined(self, parts: list[np.ndarray], sets: int) -> np.ndarray:
        made = np.empty((sets, *parts[0].shape[1:-1], len(self.fragment.factors_x)))
        for asked, part in zip(self._asked, parts, strict=True):
            made[..., asked.factors] = part
        return made.transpose(0, *(1 + place for place in self._legs), made.ndim - 1)

    def outputs(self, states: np.ndarray) -> np.ndarray:
        """(set, legs ..., outcome) float64: projectors onto the outcomes of the qubits that stay; no leg is late.

        Bit k of an outcome is the k-th of these qubits in ascending order.
        """
        branches = self.branches(states)
        width = len(self.rest)
        order = [self.rest.index(qubit) for qubit in sorted(self.rest, reverse=True)]
        moved = branches.reshape(*branches.shape[:2], *(2,) * width).transpose(0, 1, *(2 + axis for axis in order))
        columns = np.ascontiguousarray(moved.reshape(*branches.shape[:2], -1).transpose(0, 2, 1))
        return self._in_bases(columns[:, :, :, None] * columns.conj()[:, :, None, :], self._ranks, self._changes)

    def pull_back(self, gradient: np.ndarray, held: GramsHeld, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The adjoint of the states for ``Prepared.backward``, and derivatives by the angles of the late qubits' tails.

        Args:
            gradient: (set, legs ..., factor) float64, derivatives by the tensors' entries.
            held: of ``held``.
            angles: (set, phase) of the program.

        Returns:
            (set, branch, amplitude) complex, and (set, phase) float64.
        """
        base, sets = held.base, len(held.base)
        turns = self._late.turns(angles)
        slopes = np.zeros(angles.shape)
        back = [0, *(1 + self._legs.index(place) for place in range(len(self._legs))), gradient.ndim - 1]
        ordered = gradient.transpose(back)
        adjoint = np.zeros_like(base)
        for asked, pairs in zip(self._asked, held.pairs, strict=True):
            own = ordered[..., asked.factors]
            of_pairs = self._late.pulled_back(own, pairs, len(self._early), asked.letters, turns, angles, slopes)
            entries = self._from_pairs(asked, of_pairs)  # (set, factor, b, b')
            weights = 0.5 * (entries.conj() + entries.transpose(0, 1, 3, 2))
            found = asked.adjoint(asked.branches(base), weights)
            shape = [base.shape[axis] for axis in asked.order]
            adjoint += found.reshape(sets, *shape[1:]).transpose(np.argsort(asked.order))
        shape = [([*self._opened, *(2,) * self._width])[axis] for axis in self._order]
        back = np.argsort(self._order).tolist()
        made = adjoint.reshape(sets, *shape).transpose(0, *(1 + axis for axis in back))
        return made.reshape(sets, int(np.prod(self._opened, dtype=np.int64)), -1), slopes

    def branches(self, states: np.ndarray) -> np.ndarray:
        """(set, branch, amplitude) with all legs' branches in leg order, row-major; no leg is late."""
        return self._base(states).reshape(len(states), self._size, -1)

    def _base(self, states: np.ndarray) -> np.ndarray:
        moved = states.reshape(-1, *self._opened, *(2,) * self._width).transpose(0, *(1 + a for a in self._order))
        late = len(self._late.qubits)
        return np.ascontiguousarray(moved).reshape(len(states), self._size, *(2,) * late, -1)

    def _to_pairs(self, asked: _Asked, gram: np.ndarray) -> np.ndarray:
        """(set, early legs ..., turned late qubits ..., other late qubits ..., factor) float64."""
        plain, turned = len(asked.plain), len(asked.turned)
        found = self._in_bases(gram, [*self._ranks, *(2,) * turned], [*self._changes, *(PAIRS,) * turned])
        count = len(self._early) + turned
        found = found.reshape(-1, *(2,) * plain, *found.shape[1:])
        return found.transpose(0, *range(1 + plain, 1 + plain + count), *range(1, 1 + plain), 1 + plain + count)

    def _from_pairs(self, asked: _Asked, gradient: np.ndarray) -> np.ndarray:
        """(set, factor, b, b') complex Y with sum Y gram = sum gradient pairs (its real part)."""
        plain, turned = len(asked.plain), len(asked.turned)
        count = len(self._early) + turned
        moved = gradient.transpose(0, *range(1 + count, 1 + count + plain), *range(1, 1 + count), 1 + count + plain)
        ranks, changes = [*self._ranks, *(2,) * turned], [*self._changes, *(PAIRS,) * turned]
        entries = np.moveaxis(moved.reshape(-1, *moved.shape[1 + plain :]), -1, 1)
        head = entries.shape[:2]
        entries = entries.reshape(-1, *entries.shape[2:]).astype(complex)
        for axis, change in enumerate(changes):
            entries = along(entries, 1 + axis, change.T)
        paired = entries.reshape(-1, *(rank for rank in ranks for _ in (0, 1)))
        order = [0, *(1 + 2 * k for k in range(count)), *(2 + 2 * k for k in range(count))]
        size = int(np.prod(ranks, dtype=np.int64))
        return np.ascontiguousarray(paired.transpose(order)).reshape(*head, size, size)

    @staticmethod
    def _in_bases(gram: np.ndarray, ranks: list[int], changes: list[np.ndarray]) -> np.ndarray:
        """(set, legs ..., factor) float64 from (set, factor, b, b') complex, entry <b'|P|b>."""
        count = len(ranks)
        head = gram.shape[:2]
        paired = gram.reshape(*head, *ranks, *ranks)
        order = [0, 1, *(2 + axis for k in range(count) for axis in (k, count + k))]
        entries = paired.transpose(order).reshape(-1, *(rank**2 for rank in ranks))
        for axis, change in enumerate(changes):
            entries = along(entries, 1 + axis, change)
        return np.moveaxis(entries.real.reshape(*head, *entries.shape[1:]), 1, -1)
