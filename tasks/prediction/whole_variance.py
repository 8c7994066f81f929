"""The whole variance of the estimates at even shots, all orders of it, from what the shots would show.

The estimate is multilinear in the fragments' tensors, and these are independent: the mean of its square is the network
of the tensors' second moments M = T x T + Cov / shots, with every index, every bond and every Pauli term twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import numpy as np
from scipy.sparse import csr_array

from tasks.cutting.cost import contraction_of
from tasks.model.tensor import FragmentTensor, Structure
from tasks.prediction.shot_outcomes import FragmentOutcomes, along_legs
from tasks.reconstruction.contraction.contraction import contract

_MOST_BITS = 22.0  # of a tensor of second moments
SOON_BITS = 20.0  # of one that is there within a tenth of a second
_MOST_PAIRS = 256  # of Pauli terms
_MOST_FLOPS = 1e8


def whole_variance(
    structure: Structure,
    shown: Sequence[FragmentOutcomes],
    values: np.ndarray,
    shots: float,
    most_bits: float = _MOST_BITS,
) -> np.ndarray | None:
    """(observable,) the variance at so many shots of every variant; None where its network would be too large.

    Args:
        structure: of the estimate.
        shown: (fragment,) what the shots would show.
        values: (observable,) the exact values.
        shots: of each variant.
        most_bits: powers of two, of the numbers of a tensor of second moments.
    """
    twice = _twice(structure, most_bits)
    if twice is None:
        return None
    tensors = [FragmentTensor(index, _moments(one, shots)) for index, one in enumerate(shown)]
    return contract(twice, tensors) - values**2


def _twice(structure: Structure, most_bits: float) -> Structure | None:
    """The structure with every leg, bond and term twice; None where that is too large."""
    dimensions = [[structure.bonds[cut].shape[end] ** 2 for cut, end in legs] for legs in structure.legs]
    bits = [
        sum(map(log2, own)) + 2 * log2(factors) for own, factors in zip(dimensions, structure.num_factors, strict=True)
    ]
    pairs: dict[tuple[int, int], int] = {}
    rows, columns, data = [], [], []
    terms = csr_array(structure.coefficients)
    if max(bits, default=0.0) > most_bits or (np.diff(terms.indptr) ** 2).sum() > _MOST_PAIRS:
        return None
    for observable in range(terms.shape[0]):
        own = slice(terms.indptr[observable], terms.indptr[observable + 1])
        for t, a in zip(terms.indices[own].tolist(), terms.data[own].tolist(), strict=True):
            for u, b in zip(terms.indices[own].tolist(), terms.data[own].tolist(), strict=True):
                rows.append(observable)
                columns.append(pairs.setdefault((t, u), len(pairs)))
                data.append(a * b)
    cuts = [tuple(cut for cut, _ in legs) for legs in structure.legs]
    network = tuple((tuple(own), of) for own, of in zip(dimensions, cuts, strict=True))
    if structure.bonds and contraction_of(network).flops * len(pairs) > _MOST_FLOPS:
        return None
    first, second = np.array(list(pairs), dtype=np.int64).reshape(-1, 2).T
    many = np.asarray(structure.num_factors)
    return Structure(
        legs=structure.legs,
        bonds=tuple(np.kron(bond, bond) for bond in structure.bonds),
        factor_index=structure.factor_index[first] * many + structure.factor_index[second],
        num_factors=tuple((many**2).tolist()),
        coefficients=csr_array((data, (rows, columns)), shape=(terms.shape[0], len(pairs))),
    )


def _moments(shown: FragmentOutcomes, shots: float) -> np.ndarray:
    """(leg twice..., factor twice) float64, second moments of the tensor's estimate."""
    dimensions, factors = shown.values.shape[:-1], shown.values.shape[-1]
    rank = len(dimensions)
    interleaved = [axis for leg in range(rank) for axis in (leg, rank + 1 + leg)] + [rank, 2 * rank + 1]
    found = np.multiply.outer(shown.values, shown.values).transpose(interleaved)
    # One shot of a setting has the outcome b with a chance, and then counts for influence(b) x influence(b).
    squares = [
        np.einsum("be,bf->efb", own.influence, own.influence).reshape(-1, len(own.influence)) for own in shown.legs
    ]
    order = [axis for leg in range(rank) for axis in (leg, rank + leg)]
    for group in shown.groups:
        counted = shown.counted[group.factors]
        for spread, means, products in zip(shown.spreads, group.means, group.products, strict=True):
            seen, each = along_legs(np.moveaxis(products, 0, -1), squares), means
            for axis, leg in enumerate(shown.legs, start=1):  # (k, ..., setting and leg entry, ...)
                owner = np.repeat(np.arange(len(leg.settings)), np.diff([*leg.settings, len(leg.influence)]))
                entries = np.zeros((len(leg.settings), *leg.influence.T.shape))
                entries[owner, :, np.arange(len(owner))] = leg.influence
                each = np.moveaxis(np.tensordot(each, entries, axes=(axis, 2)), -2, axis)
            each = each.reshape(len(each), -1, int(np.prod(dimensions)))  # (k, setting of all legs, entry of all legs)
            both = np.matmul(each.swapaxes(1, 2)[:, None], each).reshape(len(each), len(each), *dimensions, *dimensions)
            for a, f in enumerate(group.factors.tolist()):
                for b, g in enumerate(group.factors.tolist()):
                    product = group.product_of[a, b]
                    if product >= 0:
                        pair = both[a, b].transpose(order)
                        share = spread * counted[a] * counted[b] / shots
                        found[..., f, g] += (seen[product].reshape(pair.shape) - pair) * share
    return found.reshape(*(dimension**2 for dimension in dimensions), factors**2)
