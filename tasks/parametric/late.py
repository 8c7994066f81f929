"""Legs that are laid open at the very end: what comes after them on their qubit is diagonal, or on that qubit alone.

Between such a leg and the last gates on its qubit alone everything commutes with the leg's branches I and Z. So these
need no axis in the state: the qubit's own axis tells them apart, and the last gates, its tail, turn what is asked of
that qubit instead: <T P T^dagger> of each letter P. A circuit of layers of ZZ and X has a layer of cuts less to carry.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from tasks.cutting.kinds.kind import LegKind
from tasks.cutting.schmidt import PAULIS, basis_change
from tasks.parametric.elementary import Fixed, Part, Phase
from tasks.parametric.layers import Item, Opened
from tasks.parametric.linear import along_sets
from tasks.parametric.rotations import Rotations


@dataclass(frozen=True)
class Late:
    """A qubit whose last legs are laid open at the end.

    Attributes:
        qubit: of the fragment.
        legs: laid open there.
        signs: (leg, branch, value of the qubit) complex, the diagonals of the legs' branches.
        tail: the gates after them, in time order.
    """

    qubit: int
    legs: tuple[int, ...]
    signs: np.ndarray
    tail: tuple[Part, ...]


def put_off(items: Sequence[Item], gone: Set[int]) -> tuple[list[Item], list[Late]]:
    """Take what can wait for the end out of a program.

    Args:
        items: in time order.
        gone: qubits that a leg takes away at the end.

    Returns:
        the other items, and what was taken out.
    """
    by_qubit: dict[int, list[int]] = {}
    for place, item in enumerate(items):
        for qubit in item.qubits:
            by_qubit.setdefault(qubit, []).append(place)
    found: list[Late] = []
    taken: set[int] = set()
    for qubit in sorted(set(by_qubit) - gone):
        places = by_qubit[qubit]
        tail: list[Part] = []
        end = len(places)
        while end and isinstance(item := items[places[end - 1]], Fixed | Phase) and len(item.qubits) == 1:
            tail.append(item)
            end -= 1
        cut = len(places) - len(tail)
        while end and _diagonal(items[places[end - 1]]):
            end -= 1
        legs = [(place, item) for place in places[end:cut] if isinstance(item := items[place], Opened)]
        if legs:
            signs = np.array([np.diagonal(item.operators, axis1=1, axis2=2) for _, item in legs])
            found.append(Late(qubit, tuple(item.leg for _, item in legs), signs, tuple(tail[::-1])))
            taken |= {place for place, _ in legs} | set(places[cut:])
    return [item for place, item in enumerate(items) if place not in taken], found


def _diagonal(item: Item) -> bool:
    if isinstance(item, Phase):
        return True
    matrices = item.operators if isinstance(item, Opened) else item.matrix[None]
    return len(matrices) <= 2 and not (matrices * (1 - np.eye(matrices.shape[1]))).any()


PAIRS = basis_change(2)
"""(4, 4) complex: the values x, x' of a late qubit in ket and bra as |0><0|, |1><1| and the two between them, real."""
_FROM_PAIRS = np.linalg.inv(PAIRS)


class LateLegs:
    """The late legs of a program, in the leg bases of ``tasks.model.tensor``.

    Args:
        late: the program's late qubits.
        kinds: (leg,) of the fragment.

    Attributes:
        qubits: the late ones.
    """

    def __init__(self, late: Sequence[Late], kinds: Sequence[LegKind]) -> None:
        self.qubits = [own.qubit for own in late]
        self._counts = [len(own.legs) for own in late]
        self._rotations = Rotations([own.tail for own in late])
        # Leg entries from the values of the ket and the bra, for the identity between them.
        self._values = []
        for own in late:
            values = np.ones((1, 2, 2), dtype=complex)
            for leg, signs in zip(own.legs, own.signs, strict=True):
                pairs = np.einsum("jx,ky->jkxy", signs, signs.conj()).reshape(-1, 2, 2)
                entries = np.tensordot(kinds[leg].basis_change(), pairs, axes=1)
                values = (values[:, None] * entries).reshape(-1, 2, 2)
            self._values.append(values)
        self._plain = [np.ascontiguousarray(np.diagonal(own, axis1=1, axis2=2).real)[None] for own in self._values]

    def turns(self, angles: np.ndarray) -> np.ndarray:
        """(set or 1, late qubit, 2, 2) complex: the tails."""
        return self._rotations.unitaries(angles)

    def expanded(self, pairs: np.ndarray, letters: str, turns: np.ndarray) -> np.ndarray:
        """(set, late legs ..., factor, early legs ...) float64.

        Args:
            pairs: (set, late qubits ..., factor, early legs ...) float64: two values of a late qubit with letter I,
                and four pairs of them of any other.
            letters: of the late qubits.
            turns: the tails.
        """
        found = _mapped(pairs, self._maps(letters, turns))
        return found.reshape(len(found), *(4,) * sum(self._counts), *found.shape[1 + len(letters) :])

    def pulled_back(
        self, gradient: np.ndarray, pairs: np.ndarray, letters: str, angles: np.ndarray, slopes: np.ndarray
    ) -> np.ndarray:
        """Derivatives by ``pairs`` from those by what ``expanded`` gives; those by tails' angles join ``slopes``."""
        turns = self.turns(angles)
        maps = self._maps(letters, turns)
        sets = len(gradient)
        found = gradient.reshape(sets, *(4**count for count in self._counts), *pairs.shape[1 + len(letters) :])
        for qubit, letter in enumerate(letters):
            if letter != "I" and len(self._rotations.columns):
                # With every other late qubit mapped, the derivative by this one's map.
                others = _mapped(pairs, [own if k != qubit else None for k, own in enumerate(maps)])
                left = np.moveaxis(found, 1 + qubit, 1).reshape(sets, found.shape[1 + qubit], -1)
                right = np.moveaxis(others, 1 + qubit, 1).reshape(len(others), 4, -1)
                of_map = np.matmul(left, right.swapaxes(1, 2))
                self._slopes(qubit, letter, of_map, turns, angles, slopes)
        return _mapped(found, [own.swapaxes(1, 2) for own in maps])

    def _slopes(
        self, qubit: int, letter: str, of_map: np.ndarray, turns: np.ndarray, angles: np.ndarray, slopes: np.ndarray
    ) -> None:
        unitary, pauli = turns[:, qubit], PAULIS["IXYZ".index(letter)]
        for columns, generator in zip(self._rotations.columns, self._rotations.generators(angles), strict=True):
            own = generator[:, qubit]
            moved = unitary.conj().swapaxes(1, 2) @ (pauli @ own - own @ pauli) @ unitary
            slopes[:, columns[qubit]] += (of_map * self._map(qubit, moved)).sum(axis=(1, 2))

    def _maps(self, letters: str, turns: np.ndarray) -> list[np.ndarray]:
        """(late qubit,) (set or 1, entries, 2 or 4) float64: from values of a late qubit, or pairs of them."""
        found = []
        for qubit, letter in enumerate(letters):
            if letter == "I":
                found.append(self._plain[qubit])
            else:
                unitary = turns[:, qubit]
                found.append(self._map(qubit, unitary.conj().swapaxes(1, 2) @ PAULIS["IXYZ".index(letter)] @ unitary))
        return found

    def _map(self, qubit: int, operator: np.ndarray) -> np.ndarray:
        """(set, entries, 4) float64 for an operator (set, bra, ket) on the qubit."""
        pairs = self._values[qubit][None] * operator.swapaxes(1, 2)[:, None]
        return np.ascontiguousarray((pairs.reshape(*pairs.shape[:2], 4) @ _FROM_PAIRS).real)


def _mapped(array: np.ndarray, maps: Sequence[np.ndarray | None]) -> np.ndarray:
    """A map (set or 1, new, old) on each of the axes from 1 on; None for none."""
    for number, own in enumerate(maps):
        if own is not None:
            array = along_sets(array, 1 + number, own)
    return array
