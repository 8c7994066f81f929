"""A fragment as a matrix product state with open legs: in which order its qubits stand, and what that takes at most.

A leg opens on one qubit, so its branches are a further axis of that qubit's tensor: nothing else of a matrix product
state changes. Its bonds can be no larger than what the gates that cross them make together (``bond_bits``), nor than
all that stands on one side, which is what is counted here: shallow fragments, however wide, take little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import numpy as np

from scheduler_policies.machine import (
    AMPLITUDE_BYTES,
    PRODUCT_FLOPS,
    PRODUCT_GRAM_FLOPS,
    PRODUCT_SITE_S,
    PRODUCT_SPLIT_S,
    PRODUCT_STEP_S,
    PRODUCT_TURN_S,
)
from tasks.cutting.bond_bits import CrossedBond, joined_stretches
from tasks.cutting.openings import Branching, Gate, Opening, opened_steps
from tasks.cutting.plan import Fragment
from tasks.cutting.step_order import line_of_pairs, line_orders

_SPLIT = 100.0  # operations of an SVD, for each element of a matrix and each of its shorter side
_SPLIT_COPIES = 4.0  # of a site that a gate widened, while its singular values are found
_OVERHEAD = 1 << 18  # bytes of small arrays
_FULL_BITS, _FILLED = 4.0, 0.8  # of a bond: so many are there where they are counted, and this part of more
_MOST_BITS = 10.0  # of a bond; what would need more is no matrix product state of use
_ORDERS, _SHORT_S = 5, 0.3  # of the qubits that are tried, all of them only for what takes longer
_APART = 6.0  # times the seconds of another order the first one takes at most: grids of two layers showed 4
CLOSED_NUMBERS = 1 << 16
"""Of what sites at the end are contracted to without Paulis; where it has more numbers, it is not kept."""


@dataclass(frozen=True)
class ProductProgram:
    """What to do, and what it takes at most.

    Attributes:
        steps: gates on one or two qubits, and openings, in order.
        branchings: the axes of branches, in the order in which openings and open ends name them.
        places: (qubit,) its site.
        bonds: (site - 1,) log2 of the largest bond dimension to the right of each site.
        closed: the first site from which on all are contracted once for the factors that ask nothing of them.
        seconds: that the fragment's tensor takes on one typical core.
        bytes: peak memory, the tensor not counted.
    """

    steps: tuple[Gate | Opening, ...]
    branchings: tuple[Branching, ...]
    places: tuple[int, ...]
    bonds: np.ndarray
    closed: int
    seconds: float
    bytes: int


def product_program(fragment: Fragment, most: float = np.inf) -> ProductProgram | None:
    """The program of a fragment.

    Args:
        fragment: the fragment.
        most: seconds.

    Returns:
        None where its bonds may become too large, or where it clearly takes more than that.
    """
    if _at_least(fragment) > most:
        return None
    steps, branchings = opened_steps(fragment)
    best: ProductProgram | None = None
    within = _APART * most
    for order in line_orders(fragment.num_qubits, steps, _ORDERS):
        program = _in_order(fragment, _legs_last(order, steps, branchings), steps, branchings, within)
        if program is not None:
            best, within = program, min(most, program.seconds)
        if best is None or best.seconds <= _SHORT_S:
            break
    return best if best is not None and best.seconds <= most else None


def _in_order(
    fragment: Fragment,
    places: tuple[int, ...],
    steps: Sequence[Gate | Opening],
    branchings: Sequence[Branching],
    most: float,
) -> ProductProgram | None:
    """The program where qubits stand there; None where its bonds may become too large, or where it takes longer."""
    applied = _Applied(places, steps)
    gates = joined_stretches(steps, fragment.num_qubits)
    for step in steps:
        sites = tuple(places[q] for q in step.qubits)
        if isinstance(step, Opening):
            applied.branch(sites[0], log2(len(step.operators)))
        elif len(sites) == 2:
            applied.join(sites, *next(gates))
            if applied.widest > _MOST_BITS or applied.seconds > most:
                return None
    bonds, opened = applied.bonds, _opened(places, branchings, np.array(applied.opened))
    seconds = applied.seconds + len(steps) * PRODUCT_STEP_S + _grams_seconds(fragment, places, opened, bonds)
    if seconds > most:
        return None
    size = _OVERHEAD + int(AMPLITUDE_BYTES * _held(opened, bonds, applied.largest))
    closed = _first_closed(opened, bonds)
    return ProductProgram(tuple(steps), tuple(branchings), places, bonds, closed, seconds, size)


class _Applied:
    """What the steps make of the sites, with bonds as large as they can become.

    Attributes:
        opened: (site,) log2 of its branches so far.
        widest: log2 of the largest bond.
        largest: numbers of the largest site, as a gate widens it.
        seconds: of finding the bonds that gates leave.
    """

    def __init__(self, places: Sequence[int], steps: Sequence[Gate | Opening]):
        sides = np.ones(len(places))
        for step in steps:
            if isinstance(step, Opening):
                sides[places[step.qubits[0]]] += log2(len(step.operators))
        beside = np.minimum(np.cumsum(sides)[:-1], np.cumsum(sides[::-1])[::-1][1:])
        self._beside = beside.tolist()
        self._crossed = [CrossedBond() for _ in self._beside]
        self._bits = [0.0] * (len(places) + 1)  # (site,) of the bond to its left, and the last one's to its right
        self._centre = 0
        self.opened = [0.0] * len(places)
        self.widest, self.largest, self.seconds = 0.0, 0.0, 0.0

    @property
    def bonds(self) -> np.ndarray:
        """(site - 1,) log2."""
        return np.array(self._bits[1:-1])

    def branch(self, site: int, bits: float) -> None:
        """Branches begin."""
        self._move(site)
        self.opened[site] += bits

    def join(self, sites: tuple[int, ...], terms: int, ends: tuple[int, int] | None) -> None:
        """A gate of so many bits of terms, of stretches on each of two sites."""
        (low, high), bits = sorted(sites), self._bits
        if ends is not None and low != sites[0]:
            ends = ends[::-1]
        self._move(low)
        left = [bits[low]]
        for site in range(low, high):
            left.append(min(left[-1] + 1 + self.opened[site], bits[site + 1] + terms))
        widened = [
            bits[site] + bits[site + 1] + self.opened[site] + 1 + terms * (1 + (low < site < high))
            for site in range(low, high + 1)
        ]
        self.largest = max(self.largest, 2.0 ** max(widened))
        self.seconds += (high - low) * (PRODUCT_TURN_S + PRODUCT_SPLIT_S)
        for site in range(high, low, -1):
            self._crossed[site - 1].cross(terms, ends)
            wide, long = left[site - low], 1 + self.opened[site] + bits[site + 1]
            rows, columns = _likely_bits(wide), 1 + self.opened[site] + _likely_bits(bits[site + 1])
            self.seconds += _SPLIT * 2.0 ** (rows + columns + min(rows, columns)) / PRODUCT_FLOPS
            bits[site] = min(float(self._crossed[site - 1].bits), self._beside[site - 1], wide, long)
            self.widest = max(self.widest, bits[site])
        self._centre = low

    def _move(self, site: int) -> None:
        bits = self._bits
        self.seconds += abs(site - self._centre) * PRODUCT_TURN_S
        for k in range(self._centre, site):
            bits[k + 1] = min(bits[k + 1], bits[k] + 1 + self.opened[k])
        for k in range(self._centre, site, -1):
            bits[k] = min(bits[k], bits[k + 1] + 1 + self.opened[k])
        self._centre = site


def _likely_bits(bits: float) -> float:
    """About how many of a bond that can have so many: of many layers on it some leave less than rounding."""
    return bits if bits <= _FULL_BITS else _FULL_BITS + _FILLED * (bits - _FULL_BITS)


def _at_least(fragment: Fragment) -> float:
    """Seconds if all bonds were 1 and no leg left anything open."""
    number = {bit: q for q, bit in enumerate(fragment.circuit.qubits)}
    acting = [item.qubits for item in fragment.circuit.data]
    pairs = [(number[on[0]], number[on[1]]) for on in acting if len(on) == 2]
    places = np.array(line_of_pairs(fragment.num_qubits, pairs))
    ends = places[np.array(pairs, dtype=np.int64).reshape(-1, 2)]
    hops = int(np.abs(ends[:, 1] - ends[:, 0]).sum())
    both = places, len(places) - 1 - places
    sites = min(float(sites_contracted(fragment, one, 0).sum()) for one in both) * PRODUCT_SITE_S
    return len(pairs) * PRODUCT_STEP_S + hops * (PRODUCT_TURN_S + PRODUCT_SPLIT_S) + sites


def _legs_last(
    places: tuple[int, ...], steps: Sequence[Gate | Opening], branchings: Sequence[Branching]
) -> tuple[int, ...]:
    """The order, or its reverse: factors are contracted from the first site on, with all pairs that were opened."""
    opened = [(step.qubits[0], len(step.operators)) for step in steps if isinstance(step, Opening)]
    opened += [(one.qubit, one.rank) for one in branchings if one.qubit is not None]
    early = sum(log2(rank) * (len(places) - 1 - 2 * places[qubit]) for qubit, rank in opened) > 0
    return tuple(len(places) - 1 - place for place in places) if early else places


def _opened(places: Sequence[int], branchings: Sequence[Branching], extra: np.ndarray) -> np.ndarray:
    """(site,) log2 of its branches, open ends counted."""
    opened = extra.copy()
    for one in branchings:
        if one.qubit is not None:
            opened[places[one.qubit]] += 1.0
    return opened


def _grams_seconds(fragment: Fragment, places: Sequence[int], opened: np.ndarray, bonds: np.ndarray) -> float:
    """What the factors' Gram matrices take, site by site: pairs of branches are only those opened so far."""
    before, after, own = 4.0 ** (np.cumsum(opened) - opened), _pairs_after(opened), 2.0**opened
    left, right = _sides(np.array([_likely_bits(bits) for bits in bonds.tolist()]))
    seconds = PRODUCT_SITE_S + 16.0 * before * own * left * right * (left + own * right) / PRODUCT_GRAM_FLOPS
    first = _first_closed(opened, bonds)
    closed = 16.0 * after[:-1] * own * left * right * (right + own * left) / PRODUCT_GRAM_FLOPS
    done = sites_contracted(fragment, places, first) @ seconds + (PRODUCT_SITE_S + closed)[first:].sum()
    ends = np.maximum(_last_asked(fragment, places), first - 1)  # where each factor is closed with what follows
    joined = np.append(before * own**2 * right**2, 0.0)[ends] * after[ends + 1]
    return float(done + (8.0 * joined / PRODUCT_GRAM_FLOPS).sum())


def _pairs_after(opened: np.ndarray) -> np.ndarray:
    """(site + 1,) pairs of branches opened from each site on; the last is 1."""
    return 4.0 ** np.append(np.cumsum(opened[::-1])[::-1], 0.0)


def _first_closed(opened: np.ndarray, bonds: np.ndarray) -> int:
    """The first site from which on all are contracted once for all factors that ask nothing of them.

    Args:
        opened: (site,) log2 of its branches, open ends counted.
        bonds: (site - 1,) log2.
    """
    kept = _pairs_after(opened)[:-1] * _sides(bonds)[0] ** 2 <= CLOSED_NUMBERS
    return len(kept) - int(np.argmin(np.append(kept[::-1], False)))


def _held(opened: np.ndarray, bonds: np.ndarray, widened: float) -> float:
    """Numbers that are held at most: all sites, and a site as gates widen it or Gram matrices as they grow.

    Args:
        opened: (site,) log2 of its branches, open ends counted.
        bonds: (site - 1,) log2.
        widened: numbers of the largest site as gates widen it.
    """
    before, after, own = 4.0 ** np.cumsum(opened), _pairs_after(opened), 2.0**opened
    left, right = _sides(bonds)
    sites, first = 2.0 * own * left * right, _first_closed(opened, bonds)
    closed = after[:-1] * left**2
    closing = (2.0 * closed + 2.0 * after[1:] * sites)[first:].max(initial=0.0)
    grams = 4.0 * (before * right**2).max() + 2.0 * (before / own**2 * sites).max() + 2.0 * after[0]
    return float(sites.sum() + max(_SPLIT_COPIES * widened, closed[first:].sum() + max(closing, grams)))


def _sides(bonds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(site,) the bond to its left, and to its right."""
    return 2.0 ** np.append(0.0, bonds), 2.0 ** np.append(bonds, 0.0)


def _last_asked(fragment: Fragment, places: Sequence[int] | np.ndarray) -> np.ndarray:
    """(factor,) the last site of which anything is asked, -1 where there is none."""
    asked = (fragment.factors_x | fragment.factors_z)[:, np.argsort(places)]
    return np.where(asked.any(axis=1), asked.shape[1] - 1 - np.argmax(asked[:, ::-1], axis=1), -1)


def sites_contracted(fragment: Fragment, places: Sequence[int] | np.ndarray, closed: int) -> np.ndarray:
    """(site,) how many factors it is contracted for: those whose neighbour in order differs there or before.

    Args:
        fragment: the fragment.
        places: (qubit,) its site.
        closed: the first site from which on all are contracted for those factors only that ask something there.
    """
    letters = (fragment.factors_x + 2 * fragment.factors_z).astype(np.int64)[:, np.argsort(places)]
    letters = letters[np.lexsort(letters.T[::-1])]
    differs = np.ones(letters.shape, dtype=bool)
    differs[1:] = np.logical_or.accumulate(letters[1:] != letters[:-1], axis=1)
    asked = np.logical_or.accumulate(letters[:, ::-1] > 0, axis=1)[:, ::-1]
    asked[:, :closed] = True
    return np.asarray((differs & asked).sum(axis=0))
