"""A network whose observables are projectors onto bit values, and the order in which to ask for the fragments' bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array, eye_array

from tasks.model.tensor import Structure


def asking_for(joined: Structure, factor_index: np.ndarray, num_factors: Sequence[int]) -> Structure:
    """The same network with one observable for each row of ``factor_index``."""
    return Structure(
        joined.legs,
        joined.bonds,
        factor_index,
        tuple(num_factors),
        csr_array(eye_array(len(factor_index), format="csr")),
    )


def fragments_in_turn(joined: Structure) -> list[int]:
    """The fragments so that each is next to one before it where that is possible: what is fixed stays together."""
    neighbours: list[set[int]] = [set() for _ in joined.legs]
    owner: dict[int, int] = {}
    for fragment, legs in enumerate(joined.legs):
        for cut, _ in legs:
            other = owner.setdefault(cut, fragment)
            neighbours[fragment].add(other)
            neighbours[other].add(fragment)
    order: list[int] = []
    left = set(range(len(joined.legs)))
    while left:
        seen = set(order)
        fragment = min(left, key=lambda f: (-len(neighbours[f] & seen), len(neighbours[f] - seen), f))
        order.append(fragment)
        left.remove(fragment)
    return order
