"""Terms of one observable that differ on one fragment alone are one term there: a sum of that fragment's factors.

Of an energy, a fragment so answers for the sum of all that is within it, once, whatever number of terms that is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array, csr_array

from tasks.model.tensor import Structure

Sum = tuple[tuple[int, float], ...]
"""Factors of a fragment by number, and their weights."""


@dataclass(frozen=True)
class Combined:
    """A structure with fewer terms, and the sums of factors that they take.

    Attributes:
        structure: its factors are numbers of the sums.
        sums: (fragment,) of the fragment's own factors.
    """

    structure: Structure
    sums: tuple[tuple[Sum, ...], ...]


def combined(structure: Structure) -> Combined:
    """Put terms together; those that several observables take stay as they are."""
    columns = structure.coefficients.tocsc()
    terms: list[tuple[tuple[int, ...], dict[int, float]]] = []  # (factor of each fragment), weight in each observable
    for number, own in enumerate(structure.factor_index.tolist()):
        inside = slice(columns.indptr[number], columns.indptr[number + 1])
        rows = columns.indices[inside].tolist()
        if rows:
            terms.append((tuple(own), dict(zip(rows, columns.data[inside].tolist(), strict=True))))
    sums: list[tuple[Sum, ...]] = []
    for fragment, count in enumerate(structure.num_factors):
        known: list[Sum] = [((number, 1.0),) for number in range(count)]
        alike: dict[tuple[int, tuple[int, ...]], list[tuple[int, float]]] = {}  # by observable and other factors
        left = []
        for own, weights in terms:
            if len(weights) == 1:
                ((row, weight),) = weights.items()
                others = own[:fragment] + own[fragment + 1 :]
                alike.setdefault((row, others), []).append((own[fragment], weight))
            else:
                left.append((own, weights))
        for (row, others), parts in alike.items():
            number, weight = parts[0]
            if len(parts) > 1:
                number, weight = len(known), 1.0
                known.append(tuple(parts))
            left.append(((*others[:fragment], number, *others[fragment:]), {row: weight}))
        used = sorted({own[fragment] for own, _ in left}) or list(range(min(1, count)))
        place = {number: index for index, number in enumerate(used)}
        terms = [((*own[:fragment], place[own[fragment]], *own[fragment + 1 :]), weights) for own, weights in left]
        sums.append(tuple(known[number] for number in used))
    rows = [row for _, weights in terms for row in weights]
    places = [number for number, (_, weights) in enumerate(terms) for _ in weights]
    data = [weight for _, weights in terms for weight in weights.values()]
    shape = (structure.coefficients.shape[0], len(terms))
    return Combined(
        replace(
            structure,
            factor_index=np.array([own for own, _ in terms], dtype=np.int64).reshape(len(terms), len(sums)),
            num_factors=tuple(map(len, sums)),
            coefficients=csr_array(coo_array((data, (rows, places)), shape=shape)),
        ),
        tuple(sums),
    )
