"""A fragment as a matrix product state with open legs: in which order its qubits stand, and what that takes at most.

A leg opens on one qubit, so its branches are a further axis of that qubit's tensor: nothing else of a matrix product
state changes. Its bonds can be no larger than the product of the operator-Schmidt ranks of the gates that cross them,
nor than all that stands on one side, which is what is counted here: shallow fragments, however wide, take little.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

import numpy as np

from scheduler_policies.machine import AMPLITUDE_BYTES, PRODUCT_FLOPS, PRODUCT_STEP_S
from tasks.cutting.open_program import Branching, Gate, Opening, line_of_pairs, line_order, opened_steps
from tasks.cutting.plan import Fragment
from tasks.cutting.schmidt import find_form

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
    places = line_order(fragment.num_qubits, steps)
    crossed = np.zeros(max(0, fragment.num_qubits - 1))
    extra = np.zeros(fragment.num_qubits)
    hops = 0
    for step in steps:
        if isinstance(step, Opening):
            extra[places[step.qubits[0]]] += log2(len(step.operators))
        elif len(step.qubits) == 2:
            low, high = sorted(places[q] for q in step.qubits)
            form = find_form(step.operations[0]) if len(step.operations) == 1 else None
            crossed[low:high] += 2.0 if form is None else log2(form.rank)
            hops += high - low
    sides = 1.0 + extra
    before, after = np.cumsum(sides)[:-1], np.cumsum(sides[::-1])[::-1][1:]
    bonds = np.minimum(crossed, np.minimum(before, after))
    widest = float(bonds.max(initial=0.0))
    if widest > _MOST_BITS:
        return None
    pairs = 4.0 ** sum(log2(one.rank) for one in branchings)
    size = 2.0 ** (widest + float(extra.max(initial=0.0)))
    seconds = _seconds(fragment, len(steps), hops, widest, size, pairs)
    held = fragment.num_qubits * 2.0 * size * 2.0**widest + 4.0 * pairs * 4.0**widest + 16.0 * size * 4.0**widest
    return ProductProgram(tuple(steps), tuple(branchings), places, bonds, seconds, int(AMPLITUDE_BYTES * held))


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
    return _seconds(fragment, len(pairs), hops, widest, 2.0**widest, 1.0)


def _seconds(fragment: Fragment, steps: int, hops: int, widest: float, size: float, pairs: float) -> float:
    """What so many steps take.

    Args:
        fragment: the fragment.
        steps: gates and openings.
        hops: sites that the gates on two qubits reach over, in all.
        widest: log2 of the largest bond.
        size: of that bond with the branches of a site.
        pairs: of branches.
    """
    gates = hops * 40.0 * 4.0 * size * 4.0**widest  # QR and SVD of what a gate makes of its sites
    grams = fragment.num_factors * fragment.num_qubits
    products = gates + grams * 16.0 * pairs * 8.0**widest
    return (steps + 3 * hops + grams) * PRODUCT_STEP_S + products / PRODUCT_FLOPS
