"""A fragment as a matrix product state with open legs: in which order its qubits stand, and what that takes at most.

A leg opens on one qubit, so its branches are a further axis of that qubit's tensor: nothing else of a matrix product
state changes. Its bonds can be no larger than the product of the operator-Schmidt ranks of the gates that cross them,
nor than all that stands on one side, which is what is counted here: shallow fragments, however wide, take little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import numpy as np

from scheduler_policies.machine import (
    AMPLITUDE_BYTES,
    PRODUCT_BOND,
    PRODUCT_FLOPS,
    PRODUCT_GRAM_FLOPS,
    PRODUCT_SITE_S,
    PRODUCT_STEP_S,
)
from tasks.cutting.openings import Branching, Gate, Opening, opened_steps
from tasks.cutting.plan import Fragment
from tasks.cutting.schmidt import find_form
from tasks.cutting.step_order import line_of_pairs, line_order

_SPLIT = 160.0  # operations a number of a site's tensor and a bond, of QR and SVD of what a gate makes of two sites
_SPLIT_COPIES = 6.0  # of a site, while a gate widens its bonds and singular values are found
_OVERHEAD = 1 << 18  # bytes of small arrays
_MOST_BITS = 10.0  # of a bond; what would need more is no matrix product state of use


@dataclass(frozen=True)
class ProductProgram:
    """What to do, and what it takes at most.

    Attributes:
        steps: gates on one or two qubits, and openings, in order.
        branchings: the axes of branches, in the order in which openings and open ends name them.
        places: (qubit,) its site.
        bonds: (site - 1,) log2 of the largest bond dimension to the right of each site.
        seconds: that the fragment's tensor takes on one typical core.
        bytes: peak memory, the tensor not counted.
    """

    steps: tuple[Gate | Opening, ...]
    branchings: tuple[Branching, ...]
    places: tuple[int, ...]
    bonds: np.ndarray
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
    if (least := _at_least(fragment)) == np.inf or least > most:
        return None
    steps, branchings = opened_steps(fragment)
    places = _legs_last(line_order(fragment.num_qubits, steps), steps, branchings)
    extra = np.zeros(fragment.num_qubits)
    for step in steps:
        if isinstance(step, Opening):
            extra[places[step.qubits[0]]] += log2(len(step.operators))
    sides = 1.0 + extra
    beside = np.minimum(np.cumsum(sides)[:-1], np.cumsum(sides[::-1])[::-1][1:])
    crossed = np.zeros(max(0, fragment.num_qubits - 1))
    beyond = np.maximum(extra[:-1], extra[1:])
    hops, products = 0, 0.0
    for step in steps:
        if not isinstance(step, Opening) and len(step.qubits) == 2:
            low, high = sorted(places[q] for q in step.qubits)
            form = find_form(step.operations[0]) if len(step.operations) == 1 else None
            crossed[low:high] += 2.0 if form is None else log2(form.rank)
            hops += high - low
            own = 3.0 * PRODUCT_BOND * np.minimum(crossed[low:high], beside[low:high]) + beyond[low:high]
            products += _SPLIT * float(np.exp2(own).sum())
    bonds = np.minimum(crossed, beside)
    widest = float(bonds.max(initial=0.0))
    if widest > _MOST_BITS:
        return None
    seconds = _gates_seconds(len(steps), hops, products)
    opened = _opened(places, branchings, extra)
    seconds += _grams_seconds(fragment, places, opened, PRODUCT_BOND * bonds)
    held = _held(opened, bonds)
    return ProductProgram(
        tuple(steps), tuple(branchings), places, bonds, seconds, _OVERHEAD + int(AMPLITUDE_BYTES * held)
    )


def _at_least(fragment: Fragment) -> float:
    """Seconds, infinite for bonds too large, if every gate were of rank 2 and no leg left anything open."""
    number = {bit: q for q, bit in enumerate(fragment.circuit.qubits)}
    acting = [item.qubits for item in fragment.circuit.data]
    pairs = [(number[on[0]], number[on[1]]) for on in acting if len(on) == 2]
    places = np.array(line_of_pairs(fragment.num_qubits, pairs))
    ends = np.sort(places[np.array(pairs, dtype=np.int64).reshape(-1, 2)], axis=1)
    hops = int((ends[:, 1] - ends[:, 0]).sum())
    counts = np.bincount(ends[:, 0], minlength=len(places)) - np.bincount(ends[:, 1], minlength=len(places))
    sides = np.arange(1, len(places))
    widest = float(np.minimum(np.cumsum(counts)[:-1], np.minimum(sides, sides[::-1])).max(initial=0))
    if widest > _MOST_BITS:
        return np.inf
    both = places, len(places) - 1 - places
    sites = min(float(sites_contracted(fragment, one).sum()) for one in both) * PRODUCT_SITE_S
    return _gates_seconds(len(pairs), hops, _SPLIT * 8.0 ** (PRODUCT_BOND * widest) if hops else 0.0) + sites


def _legs_last(
    places: tuple[int, ...], steps: Sequence[Gate | Opening], branchings: Sequence[Branching]
) -> tuple[int, ...]:
    """The order, or its reverse: factors are contracted from the first site on, with all pairs that were opened."""
    opened = [(step.qubits[0], len(step.operators)) for step in steps if isinstance(step, Opening)]
    opened += [(one.qubit, one.rank) for one in branchings if one.qubit is not None]
    early = sum(log2(rank) * (len(places) - 1 - 2 * places[qubit]) for qubit, rank in opened) > 0
    return tuple(len(places) - 1 - place for place in places) if early else places


def _gates_seconds(steps: int, hops: int, products: float) -> float:
    """What so many steps take.

    Args:
        steps: gates and openings.
        hops: sites that the gates on two qubits reach over, in all.
        products: operations on the numbers of what the gates make of their sites.
    """
    return (steps + 3 * hops) * PRODUCT_STEP_S + products / PRODUCT_FLOPS


def _opened(places: Sequence[int], branchings: Sequence[Branching], extra: np.ndarray) -> np.ndarray:
    """(site,) log2 of its branches, open ends counted."""
    opened = extra.copy()
    for one in branchings:
        if one.qubit is not None:
            opened[places[one.qubit]] += 1.0
    return opened


def _grams_seconds(fragment: Fragment, places: Sequence[int], opened: np.ndarray, bonds: np.ndarray) -> float:
    """What the factors' Gram matrices take, site by site: pairs of branches are only those opened so far."""
    pairs, own = 4.0 ** (np.cumsum(opened) - opened), 2.0**opened
    left, right = _sides(bonds)
    products = 16.0 * pairs * own * left * right * (left + own * right)
    return float(sites_contracted(fragment, places) @ (PRODUCT_SITE_S + products / PRODUCT_GRAM_FLOPS))


def _held(opened: np.ndarray, bonds: np.ndarray) -> float:
    """Numbers that are held at most: all sites, what a gate makes of one, and Gram matrices as they grow."""
    pairs, own = 4.0 ** np.cumsum(opened), 2.0**opened
    left, right = _sides(bonds)
    sites = 2.0 * own * left * right
    grams, between = pairs * right**2, pairs / own**2 * sites
    return float(sites.sum() + _SPLIT_COPIES * sites.max() + 3.0 * grams.max() + 2.0 * between.max())


def _sides(bonds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(site,) the bond to its left, and to its right."""
    return 2.0 ** np.append(0.0, bonds), 2.0 ** np.append(bonds, 0.0)


def sites_contracted(fragment: Fragment, places: Sequence[int] | np.ndarray) -> np.ndarray:
    """(site,) how many factors it is contracted for: those whose neighbour in order differs there or before."""
    letters = (fragment.factors_x + 2 * fragment.factors_z).astype(np.int64)[:, np.argsort(places)]
    letters = letters[np.lexsort(letters.T[::-1])]
    differs = np.ones(letters.shape, dtype=bool)
    differs[1:] = np.logical_or.accumulate(letters[1:] != letters[:-1], axis=1)
    return np.asarray(differs.sum(axis=0))
