"""From open-leg states to fragment tensors for many sets of angles at once, and the way back.

A Gram matrix G is Hermitian, so the real matrix Re G + Im G says all of it. It is one real product, of half the work of
the complex one: with the amplitudes of ket and bra as two real numbers each, the bra's times 1 + i. A leg basis is made
of matrices that are real and symmetric or imaginary and antisymmetric, so that bases, too, are changed by real
products, up to a sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.cutting.plan import Fragment
from tasks.parametric.bases import real_bases
from tasks.parametric.combined import Sum
from tasks.parametric.flips import FlipSymmetry, both_halves
from tasks.parametric.late import PAIRS, LateLegs
from tasks.parametric.program import Prepared

_CHUNK = 1 << 21  # amplitudes that one product may hold
_FEWEST = 3  # factors that are worth the way of ``_Together``


@dataclass(frozen=True)
class _Together:
    """Factors of Z on few qubits: one product a value of these qubits serves them all.

    Attributes:
        factors: their numbers.
        axes: of the qubits that stay, those the factors are on first.
        size: of the first.
        signs: (factor, value of the first) what each is there.
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

    def grams(self, branches: np.ndarray, bras: np.ndarray) -> np.ndarray:
        """(set, factor, b, b') float64."""
        each = _products(self.blocks(branches), self.blocks(bras))
        found = np.matmul(self.signs, each.reshape(*each.shape[:2], -1))
        return found.reshape(len(each), len(self.factors), *each.shape[2:])

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


def _grouped(
    x: np.ndarray, z: np.ndarray, weights: np.ndarray, numbers: np.ndarray, alone: np.ndarray
) -> list[_Together]:
    """Factors of Z alone in groups, each on half of the qubits or fewer.

    Args:
        x: (string, qubit) bool.
        z: (string, qubit) bool.
        weights: (string,) float64.
        numbers: (string,) of the factor it is of.
        alone: (string,) whether it is all of that factor.
    """
    width = x.shape[1]
    most = max(2, width // 2)
    left = np.flatnonzero(alone & ~x.any(axis=1) & (z.sum(axis=1) <= most) & (width > 2))
    found = []
    while left.size >= _FEWEST:
        support = z[left[np.argmax(z[left].sum(axis=1))]].copy()
        while True:
            grown = (z[left] | support).sum(axis=1)
            inside = grown == support.sum()
            fitting = np.flatnonzero((grown <= most) & ~inside)
            if not fitting.size:
                break
            support |= z[left[fitting[np.argmin(grown[fitting])]]]
        first, own = np.flatnonzero(support), left[inside]
        values = (np.arange(1 << len(first))[:, None] >> np.arange(len(first) - 1, -1, -1)) & 1
        signs = 1.0 - 2.0 * ((z[own][:, first].astype(np.int64) @ values.T) & 1)
        axes = (*first.tolist(), *np.flatnonzero(~support).tolist())
        found.append(_Together(numbers[own], axes, len(first), weights[own, None] * signs))
        left = left[~inside]
    return found


def _alike(letters: np.ndarray, owner: np.ndarray, odd: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Strings with the same letters on late qubits, and none both odd and even of one factor."""
    for own in sorted(set(letters.tolist())):
        inside = np.flatnonzero(letters == own)
        parts = [inside[odd[inside] == parity] for parity in (0, 1)]
        mixed = np.intersect1d(*(owner[part] for part in parts)).size
        yield from ((own, part) for part in (parts if mixed else [inside]))


def _summed(
    places: np.ndarray, x: np.ndarray, z: np.ndarray, weights: np.ndarray
) -> list[tuple[int, np.ndarray | None, np.ndarray]]:
    """Strings (string, qubit) of the same factor that take amplitudes from the same place as one; see ``_Asked``."""
    powers = 1 << np.arange(x.shape[1] - 1, -1, -1, dtype=np.int64)
    index = np.arange(1 << x.shape[1])
    found: dict[tuple[int, int], np.ndarray] = {}
    for place, flips, own_x, own_z, weight in zip(places.tolist(), (x @ powers).tolist(), x, z, weights, strict=True):
        parity = np.bitwise_count((index ^ flips) & (own_z @ powers)) & 1
        signs = weight * (1.0 - 2.0 * parity) * 1j ** int((own_x & own_z).sum())
        found[place, flips] = found.get((place, flips), 0.0) + signs
    return [
        # A single amplitude need not lie so that it can be seen as two real numbers.
        (place, index ^ flips if flips else None,
         signs if signs.imag.any() or len(index) == 1 else np.repeat(signs.real, 2))
        for (place, flips), signs in found.items()
    ]  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """What is asked with the same letters on the late qubits, as sums of Pauli strings on the qubits that stay.

    Attributes:
        factors: their numbers.
        letters: (late qubit,) of "IXYZ".
        order: from (set, early branch, late qubits ..., qubits that stay) to (set, late qubits with I ..., early
            branch, other late qubits ..., qubits that stay).
        together: those of one string of Z on few qubits, numbered within this group as all others are.
        single: the others.
        signs: (factor, early branch, early branch) of a program that holds half of the amplitudes, see ``both_halves``.
        strings: (place in ``single``, where each amplitude is taken from, None for itself, and its weight: complex, or
            real, then twice, for its real and its imaginary part).
    """

    factors: np.ndarray
    letters: str
    order: tuple[int, ...]
    together: list[_Together]
    single: np.ndarray
    signs: np.ndarray | None
    strings: list[tuple[int, np.ndarray | None, np.ndarray]]

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

    def grams(self, branches: np.ndarray, bras: np.ndarray) -> np.ndarray:
        """(set, factor, b, b') float64, of entries <b'|P|b> their real and imaginary part added.

        Args:
            branches: (set, branch, amplitude) complex.
            bras: the same times 1 + i.
        """
        sets, size, length = branches.shape
        gram = np.empty((sets, len(self.factors), size, size))
        for part in self._parts(sets, size, length):
            for group in self.together:
                gram[part, group.factors] = group.grams(branches[part], bras[part])
            if self.single.size:
                kets = self._applied(branches[part]).reshape(-1, len(self.single) * size, length)
                gram[part, self.single] = _products(kets, bras[part]).reshape(-1, len(self.single), size, size)
        return self._whole(gram)

    def adjoint(self, branches: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(set, branch, amplitude): the sum over the factors of their weights (set, factor, b, b') times P|b'>."""
        found, weights = np.zeros_like(branches), self._whole(weights)
        for part in self._parts(*branches.shape):
            for group in self.together:
                found[part] += group.adjoint(branches[part], weights[part])
            if self.single.size:
                found[part] += np.matmul(weights[part][:, self.single], self._applied(branches[part])).sum(axis=1)
        return found

    def _whole(self, grams: np.ndarray) -> np.ndarray:
        if self.signs is None:
            return grams
        return both_halves(grams, self.signs, len(self.plain), len(self.turned))

    def _parts(self, sets: int, size: int, length: int) -> list[slice]:
        """Sets that are computed together."""
        step = max(1, _CHUNK // (max(1, len(self.single)) * size * length))
        return [slice(start, start + step) for start in range(0, sets, step)]

    def _applied(self, branches: np.ndarray) -> np.ndarray:
        """(set, factor, branch, amplitude): every single factor on every branch."""
        sets, size, length = branches.shape
        found = np.empty((sets, len(self.single), size, length), dtype=complex)
        begun = set()
        for place, source, weights in self.strings:
            taken, own = branches if source is None else np.take(branches, source, axis=2), found[:, place]
            if not np.iscomplexobj(weights):  # in half the time of a product of complex numbers
                taken, own = taken.view(np.float64), own.view(np.float64)
            if place in begun:
                own += taken * weights
            else:
                np.multiply(taken, weights, out=own)
                begun.add(place)
        return found


@dataclass(frozen=True)
class GramsHeld:
    """What ``Grams.pull_back`` takes of the way forwards.

    Attributes:
        base: (set, early branch, late qubits ..., amplitude) complex.
        pairs: (group,) (set, late qubits ..., factor, early legs ...) float64, see ``LateLegs.expanded``.
    """

    base: np.ndarray
    pairs: list[np.ndarray]


class Grams:
    """The Gram matrices of a program's branches under its factors, in the leg bases of ``tasks.model.tensor``.

    Args:
        program: gives the states.
        sums: of the fragment's factors, which are answered as one; None for each by itself.

    Attributes:
        fragment: the program's.
        rest: local qubits that no leg takes away and no late leg is on, the most significant first.
    """

    def __init__(self, program: Prepared, sums: Sequence[Sum] | None = None) -> None:
        self.fragment: Fragment = program.fragment
        self._sums = [((number, 1.0),) for number in range(len(self.fragment.factors_x))] if sums is None else sums
        legs = self.fragment.legs
        gone = {leg.qubit: number for number, leg in enumerate(legs) if leg.kind.opens_qubit}
        late = [own.qubit for own in program.late]
        self.rest = rest = [qubit for qubit in program.layout if qubit not in gone and qubit not in late]
        put_off = [number for own in program.late for number in own.legs]
        self._early = [number for number in range(len(legs)) if number not in put_off]
        # The axis of each leg in (set, legs of the late qubits ..., factor, early legs ...).
        self._axes = [1 + [*put_off, None, *self._early].index(number) for number in range(len(legs))]
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
        self._asked = self._groups(late, program.flip)

    def _groups(self, late: list[int], flip: FlipSymmetry | None) -> list[_Asked]:
        strings, owners = [number for own in self._sums for number, _ in own], []
        for number, own in enumerate(self._sums):
            owners += [number] * len(own)
        x, z = self.fragment.factors_x[strings], self.fragment.factors_z[strings]
        weights, owner = np.array([weight for own in self._sums for _, weight in own]), np.array(owners)
        codes = x[:, late] + 2 * z[:, late].astype(int)
        letters = np.array(["".join("IXZY"[code] for code in own) for own in codes])
        # What flipping all bits turns the string on the other qubits by.
        odd = np.delete(z, late, axis=1).sum(axis=1) % 2
        branches = np.ones(1)
        if flip is not None:
            for number in self._early:
                branches = np.kron(branches, flip.signs[number])
        made = []
        for word, inside in _alike(letters, owner, odd if flip is not None else np.zeros_like(odd)):
            factors, place, counts = np.unique(owner[inside], return_inverse=True, return_counts=True)
            rest = np.ix_(inside, np.array(self.rest, dtype=np.int64))
            alone = counts[place] == 1
            together = _grouped(x[rest], z[rest], weights[inside], place, alone)
            single = np.setdiff1d(np.arange(len(factors)), [number for group in together for number in group.factors])
            wanted = np.isin(place, single)
            index = np.searchsorted(single, place[wanted])
            summed = _summed(index, x[rest][wanted], z[rest][wanted], weights[inside][wanted])
            plain = [2 + place for place, letter in enumerate(word) if letter == "I"]
            turned = [2 + place for place, letter in enumerate(word) if letter != "I"]
            order = (0, *plain, 1, *turned, 2 + len(late))
            signs = None
            if flip is not None:
                turns = np.ones(len(factors))
                turns[place] = 1.0 - 2.0 * odd[inside]
                signs = turns[:, None, None] * np.outer(branches, branches)
            made.append(_Asked(factors, word, order, together, single, signs, summed))
        return made

    def tensors(self, states: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """(set, legs ..., factor) float64 from what the program gives, and its angles."""
        return self.held(states, angles)[0]

    def held(self, states: np.ndarray, angles: np.ndarray) -> tuple[np.ndarray, GramsHeld]:
        """Tensors, and what the way back takes."""
        base = self._base(states)
        bras = base * (1 + 1j)
        turns = self._late.turns(angles)
        pairs, parts = [], []
        for asked in self._asked:
            pairs.append(self._to_pairs(asked, asked.grams(asked.branches(base), asked.branches(bras))))
            parts.append(self._late.expanded(pairs[-1], asked.letters, turns))
        return self._joined(parts, len(states)), GramsHeld(base, pairs)

    def _joined(self, parts: list[np.ndarray], sets: int) -> np.ndarray:
        late = len(self.fragment.legs) - len(self._early)
        # As the parts are, factors first: whoever takes them moves axes anyway.
        made = np.zeros((sets, len(self._sums), *(4,) * late, *(rank**2 for rank in self._ranks)))
        for asked, part in zip(self._asked, parts, strict=True):
            moved = np.moveaxis(part, 1 + late, 1)
            for place, number in enumerate(asked.factors.tolist()):
                made[:, number] += moved[:, place]
        axes = [axis + (axis <= late) for axis in self._axes]
        return made.transpose(0, *axes, 1)

    def outputs(self, states: np.ndarray) -> np.ndarray:
        """(set, legs ..., outcome) float64: projectors onto the outcomes of the qubits that stay; no leg is late.

        Bit k of an outcome is the k-th of these qubits in ascending order.
        """
        branches = self.branches(states)
        width = len(self.rest)
        order = [self.rest.index(qubit) for qubit in sorted(self.rest, reverse=True)]
        moved = branches.reshape(*branches.shape[:2], *(2,) * width).transpose(0, 1, *(2 + axis for axis in order))
        columns = np.ascontiguousarray(moved.reshape(*branches.shape[:2], -1).transpose(0, 2, 1))
        each = columns[:, :, :, None] * columns.conj()[:, :, None, :]
        found = real_bases(self._changes).entries(each.real + each.imag)
        return np.moveaxis(found, 1, -1).reshape(len(states), *(rank**2 for rank in self._ranks), -1)

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
        slopes = np.zeros(angles.shape)
        late = len(self._axes) - len(self._early)
        order = np.argsort(self._axes).tolist()  # legs
        moved = [0, *(1 + leg for leg in order[:late]), gradient.ndim - 1, *(1 + leg for leg in order[late:])]
        ordered = gradient.transpose(moved)
        adjoint = np.zeros_like(base)
        for asked, pairs in zip(self._asked, held.pairs, strict=True):
            own = np.take(ordered, asked.factors, axis=1 + late)
            of_pairs = self._late.pulled_back(own, pairs, asked.letters, angles, slopes)
            entries = self._from_pairs(asked, of_pairs)
            turned = entries.transpose(0, 1, 3, 2)
            weights = 0.5 * (entries + turned) + 0.5j * (entries - turned)
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
        """(set, late qubits ..., factor, early legs ...) float64."""
        plain, turned, early = len(asked.plain), len(asked.turned), len(self._early)
        found = real_bases([*self._changes, *(PAIRS,) * turned]).entries(gram)
        entries = (*(rank**2 for rank in self._ranks), *(4,) * turned)
        found = found.reshape(-1, *(2,) * plain, found.shape[1], *entries)
        late = np.argsort([*asked.plain, *asked.turned]).tolist()
        axes = [*range(1, 1 + plain), *range(2 + plain + early, 2 + plain + early + turned)]
        return found.transpose(0, *(axes[place] for place in late), *range(1 + plain, 2 + plain + early))

    def _from_pairs(self, asked: _Asked, gradient: np.ndarray) -> np.ndarray:
        """(set, factor, b, b') float64, derivatives by what ``_Asked.grams`` gives."""
        plain, turned, early = len(asked.plain), len(asked.turned), len(self._early)
        rest = range(1 + plain + turned, 2 + plain + turned + early)
        moved = gradient.transpose(0, *(1 + k for k in asked.plain), *rest, *(1 + k for k in asked.turned))
        moved = moved.reshape(len(moved) << plain, moved.shape[1 + plain], -1)
        return real_bases([*self._changes, *(PAIRS,) * turned]).back(moved)


def _products(kets: np.ndarray, bras: np.ndarray) -> np.ndarray:
    """(..., b, b') float64 from (..., b, amplitude) and (..., b', amplitude) complex, the bras times 1 + i.

    Re(u v*) + Im(u v*) is the real part of u ((1 + i) v)*, and so a product of real numbers.
    """
    return np.matmul(_real(kets), _real(bras).swapaxes(-1, -2))


def _real(array: np.ndarray) -> np.ndarray:
    """(..., 2 amplitudes) float64."""
    return np.ascontiguousarray(array).view(np.float64)
