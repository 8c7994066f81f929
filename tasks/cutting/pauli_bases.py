"""Bases in which many Paulis are diagonal: all qubits as they are, or turned so that X, and then Y, becomes Z.

A pass over the state gives the Paulis of one X part (``passes``), so that pairs X X or Y Y take a pass each, and all
pairs Z Z together take few. A turn of all qubits costs some passes and makes Z Z of X X, so it pays for many. After it
a Pauli is another one, with a sign:

    H:   X -> Z, Y -> -Y, Z -> X        H S H:   X -> X, Y -> Z, Z -> -Y
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scheduler_policies.machine import GRAM_ENTRIES, GRAM_SHARE, LEAST_PASS_S, PASS_S, RUN_BITS, TURN_S
from tasks.cutting.plan import Fragment

_TOLD_APART = 16  # Paulis without an X part that one pass gives, about; three passes give all on two qubits


@dataclass(frozen=True)
class PauliBasis:
    """Paulis that are taken in one basis.

    Attributes:
        turns: how often the state has been turned before; 0 is the basis that it is given in.
        members: (Pauli,) positions.
        masks_x: (Pauli,) int64, X parts of what they are in this basis.
        masks_z: (Pauli,) int64, Z parts.
        signs: (Pauli,) 1 or -1, with which they are that.
        most: Paulis of one pass.
    """

    turns: int
    members: np.ndarray
    masks_x: np.ndarray
    masks_z: np.ndarray
    signs: np.ndarray
    most: int

    @property
    def passes(self) -> int:
        """About how many passes its Paulis take, one of half of the rows counted as one."""
        parts, sizes = np.unique(self.masks_x, return_counts=True)
        whole = np.where(parts == 0, 2 * np.minimum(1 + sizes // _TOLD_APART, 3), 1)
        return int((np.ceil(sizes / self.most) * whole).sum())


def bases_of(fragment: Fragment, rest: Sequence[int], branches: int, *, turns: int = 2) -> list[PauliBasis]:
    """In which bases the factors of a fragment are taken, in the order of the turns.

    Args:
        fragment: the fragment.
        rest: (bit,) its qubits that tell rows of its open state apart, the highest bit first.
        branches: columns of that state.
        turns: of the state, at most.
    """
    weights = 1 << np.arange(len(rest) - 1, -1, -1, dtype=np.int64)
    masks_x, masks_z = (
        part[:, list(rest)].astype(np.int64) @ weights for part in (fragment.factors_x, fragment.factors_z)
    )
    held = max(1, GRAM_ENTRIES // branches**2)
    alike = int(np.unique(masks_x, return_counts=True)[1].max(initial=1))
    turned = min(held, max(alike, (1 << len(rest)) // (GRAM_SHARE * branches)))
    chosen = chosen_bases(masks_x, masks_z, len(rest), branches, most=turned, turns=turns)
    return [one if one.turns else replace(one, most=held) for one in chosen]


def chosen_bases(
    masks_x: np.ndarray, masks_z: np.ndarray, width: int, branches: int, *, most: int, turns: int = 2
) -> list[PauliBasis]:
    """In which bases Paulis are taken, in the order of the turns.

    Each Pauli is taken where its X part is the shortest, in the first one, two or three bases, whatever takes the
    least time. Of bases that are equal in that, where it is one of those that the passes take at once
    (``_asks_for_more``): all products of two letters of 16 qubits take 45 passes of half the rows then, and else 64.

    Args:
        masks_x: (Pauli,) int64, X parts over the bits of a row's number.
        masks_z: (Pauli,) int64, Z parts.
        width: bits of a row's number.
        branches: columns of the state.
        most: Paulis of one pass.
        turns: of the state, at most.
    """
    both = masks_x & masks_z
    seen = [
        (masks_x, masks_z, 0 * both),
        (masks_z, masks_x, both),
        (masks_x ^ masks_z, masks_z, masks_z & ~masks_x),
    ]
    asked = np.array([_asks_for_more(x, z, width) for x, z, _ in seen])
    more, longer = asked[:, 0], asked[:, 1]
    lengths = np.stack([np.bitwise_count(x) for x, _, _ in seen]) + 0.5 * more + 0.25 * longer
    cost = TURN_S * width / max(LEAST_PASS_S, PASS_S * branches)  # of a turn, in passes
    least, best = np.inf, np.zeros(len(masks_x), dtype=int)
    for number in range(1, turns + 2):
        chosen = lengths[:number].argmin(axis=0)
        passes = cost * chosen.max(initial=0)
        for k, (own_x, _, _) in enumerate(seen[:number]):
            own = chosen == k
            passes += _passes(own_x[own], most) + len(np.unique(own_x[own & more[k]]))
        if passes < least:
            least, best = passes, chosen
    bases = []
    for number, (own_x, own_z, negative) in enumerate(seen):
        members = np.flatnonzero(best == number)
        if len(members):
            signs = 1.0 - 2.0 * (np.bitwise_count(negative[members]) & 1)
            bases.append(PauliBasis(number, members, own_x[members], own_z[members], signs, most))
    return bases


def _asks_for_more(masks_x: np.ndarray, masks_z: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether Paulis with an X part of one bit ask for more than others of this X part: (Pauli,) bool twice.

    A pass sums over rows of which it does not tell apart those that differ in a run of bits (``run_length``). For the
    X part of a bit that is the run below the bit's own, with the bits between. Paulis whose Z parts have a bit of the
    run need a second pass; with one of those between, this pass has shorter sums of more blocks. Of a product of two
    letters one of both is so for one of its qubits, and neither for the other.
    """
    length = run_length(width)
    if not length:
        none = np.zeros(len(masks_x), dtype=bool)
        return none, none
    bits = np.bitwise_count(np.maximum(masks_x, 1) - 1).astype(np.int64)
    own, run = bits // length, (1 << length) - 1
    among = (np.bitwise_count(masks_x) == 1) & (masks_x > 0)
    rest = masks_z & ~masks_x
    # The lowest run comes below the highest one when rows are ordered anew; bits above all runs are above each.
    before = np.where(own < 3, run << (length * ((own - 1) % 3)), 0)
    between = (1 << bits) - np.where(own < 3, 1 << (length * own), 1)
    return among & ((rest & before) > 0), among & ((rest & between) > 0)


def run_length(width: int) -> int:
    """Bits of a row's number that make one run; one changes its place with the lowest at a time."""
    return min(RUN_BITS, width // 3)


def most_passes(paulis: int) -> int:
    """No number of Paulis takes more (see ``PauliBasis.passes``)."""
    return 2 * min(1 + paulis // _TOLD_APART, 3) * paulis


def _passes(masks_x: np.ndarray, most: int) -> float:
    """About how many passes Paulis take: three of them, of twice the work, where they have no X part."""
    parts, sizes = np.unique(masks_x, return_counts=True)
    return float((np.ceil(sizes / most) * np.where(parts == 0, np.minimum(sizes, 6), 1)).sum())
