"""The whole variance of the estimates, all orders of it, from what the shots would show.

The estimate is multilinear in the fragments' tensors, and these are independent: the mean of its square is the network
of the tensors' second moments M = T x T + sum_v Cov_v / shots_v, with every index, every bond and every Pauli term
twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
from scipy.sparse import csr_array

from tasks.cutting.cost import contraction_of
from tasks.model.tensor import FragmentTensor, Structure
from tasks.prediction.shot_outcomes import FragmentOutcomes, along_legs
from tasks.reconstruction.contraction.contraction import contract
from tasks.reconstruction.contraction.layout import Path
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.path import find_paths

_MOST_BITS = 22.0  # of a tensor of second moments
SOON_BITS = 20.0  # of one that is there within a tenth of a second
_MOST_PAIRS = 256  # of Pauli terms
_MOST_FLOPS = 1e8
_QUICK = 1e8  # multiply-adds
_ROUNDING = 1e-12


@dataclass(frozen=True)
class WholeVariance:
    """The network of second moments.

    Attributes:
        twice: the structure with every leg, bond and term twice.
        pairs: (fragment,) of (pair, 2) int, the two factors of its own that each factor of that is of.
        paths: candidates for its contraction.
        shown: (fragment,) what the shots would show.
        squares: (observable,) of the exact values.
        known: (observable,) bool, those that it tells; for others it would be too large.
    """

    twice: Structure
    pairs: Sequence[np.ndarray]
    paths: Sequence[Path]
    shown: Sequence[FragmentOutcomes]
    squares: np.ndarray
    known: np.ndarray

    @classmethod
    def of(
        cls, structure: Structure, shown: Sequence[FragmentOutcomes], values: np.ndarray, most_bits: float = _MOST_BITS
    ) -> WholeVariance | None:
        """That of a structure; None where it would be too large for every observable.

        Args:
            structure: of the estimate.
            shown: (fragment,) what the shots would show.
            values: (observable,) the exact values.
            most_bits: powers of two, of the numbers of a tensor of second moments.
        """
        found = _twice(structure, most_bits)
        if found is None:
            return None
        twice, pairs, known = found
        return cls(twice, pairs, find_paths(network_of(twice), uses=len(twice.factor_index)), shown, values**2, known)

    @property
    def quick(self) -> bool:
        """Whether it is there within about a twentieth of a second."""
        sizes = [one.settings * float(one.values[..., 0].size) ** 2 for one in self.shown]
        return sum(size * len(own) for size, own in zip(sizes, self.pairs, strict=True)) <= _QUICK

    def beyond(self, shots: np.ndarray, first: np.ndarray) -> np.ndarray:
        """(observable,) variance at (variant,) shots beyond what there is to first order; 0 where it is not known."""
        ends = np.cumsum([len(one.groups) * one.settings for one in self.shown])[:-1]
        each = zip(self.shown, self.pairs, np.split(1 / shots, ends), strict=True)
        tensors = [FragmentTensor(index, _moments(*own)) for index, own in enumerate(each)]
        found = contract(self.twice, tensors, paths=self.paths) - self.squares - first
        return np.where(self.known & (found > _ROUNDING * np.maximum(1.0, self.squares)), found, 0.0)


def _twice(structure: Structure, most_bits: float) -> tuple[Structure, list[np.ndarray], np.ndarray] | None:
    """The structure with every leg, bond and term twice, its pairs of factors, and of which observables it is."""
    dimensions = [[structure.bonds[cut].shape[end] ** 2 for cut, end in legs] for legs in structure.legs]
    terms = csr_array(structure.coefficients)
    cuts = [tuple(cut for cut, _ in legs) for legs in structure.legs]
    network = tuple((tuple(own), of) for own, of in zip(dimensions, cuts, strict=True))
    flops = contraction_of(network).flops if structure.bonds else 0.0
    each = np.diff(terms.indptr) ** 2
    order = np.argsort(each, kind="stable")
    kept = order[np.cumsum(each[order]) <= min(_MOST_PAIRS, _MOST_FLOPS / max(flops, 1.0))]
    if not each[kept].any():
        return None
    of: dict[tuple[int, int], int] = {}
    rows, columns, data = [], [], []
    for observable in kept.tolist():
        own = slice(terms.indptr[observable], terms.indptr[observable + 1])
        for t, a in zip(terms.indices[own].tolist(), terms.data[own].tolist(), strict=True):
            for u, b in zip(terms.indices[own].tolist(), terms.data[own].tolist(), strict=True):
                rows.append(observable)
                columns.append(of.setdefault((t, u), len(of)))
                data.append(a * b)
    both = structure.factor_index[np.array(list(of))]  # (term, 2, fragment)
    pairs, index = [], []
    for fragment in range(both.shape[2]):
        used, place = np.unique(both[:, :, fragment], axis=0, return_inverse=True)
        pairs.append(used)
        index.append(place.reshape(-1))
    most = max(sum(map(log2, own)) + log2(len(used)) for own, used in zip(dimensions, pairs, strict=True))
    if most > most_bits:
        return None
    twice = Structure(
        legs=structure.legs,
        bonds=tuple(np.kron(bond, bond) for bond in structure.bonds),
        factor_index=np.stack(index, axis=1),
        num_factors=tuple(map(len, pairs)),
        coefficients=csr_array((data, (rows, columns)), shape=(terms.shape[0], len(of))),
    )
    return twice, pairs, np.isin(np.arange(terms.shape[0]), kept)


def _moments(shown: FragmentOutcomes, pairs: np.ndarray, per_shot: np.ndarray) -> np.ndarray:
    """(leg twice..., pair) float64, second moments of the tensor's estimate.

    Args:
        shown: what the shots would show.
        pairs: (pair, 2) int, factors.
        per_shot: (variant,) 1 / shots.
    """
    dimensions = shown.values.shape[:-1]
    rank = len(dimensions)
    first, second = (np.moveaxis(shown.values[..., factors], -1, 0) for factors in pairs.T)
    flat = (len(pairs), int(np.prod(dimensions)))
    found = first.reshape(*flat, 1) * second.reshape(flat[0], 1, flat[1])  # (pair, all legs, all legs again)
    apart = np.zeros((len(pairs), *(dimension**2 for dimension in dimensions)))  # legs twice, one after the other
    # One shot of a setting has the outcome b with a chance, and then counts for influence(b) x influence(b).
    squares = [
        np.einsum("be,bf->efb", own.influence, own.influence).reshape(-1, len(own.influence)) for own in shown.legs
    ]
    shares = per_shot.reshape(len(shown.groups), *(len(leg.settings) for leg in shown.legs))
    for group, share in zip(shown.groups, shares, strict=True):
        told = np.asarray(along_legs(share[..., None], [leg.sums.T for leg in shown.legs])[0])
        place = np.full(len(shown.counted), -1)
        place[group.factors] = np.arange(len(group.factors))
        here = [(number, *own) for number, own in enumerate(place[pairs].tolist()) if min(own) >= 0]
        here = [own for own in here if group.product_of[own[1], own[2]] >= 0]
        if not here:
            continue
        counted = shown.counted[group.factors]
        for spread, means, products in zip(shown.spreads, group.means, group.products, strict=True):
            wanted, where = np.unique([group.product_of[a, b] for _, a, b in here], return_inverse=True)
            seen, each = along_legs(np.moveaxis(products[wanted] * told, 0, -1), squares), means
            for axis, leg in enumerate(shown.legs, start=1):  # (k, ..., setting and leg entry, ...)
                owner = np.repeat(np.arange(len(leg.settings)), np.diff([*leg.settings, len(leg.influence)]))
                entries = np.zeros((len(leg.settings), *leg.influence.T.shape))
                entries[owner, :, np.arange(len(owner))] = leg.influence
                each = np.moveaxis(np.tensordot(each, entries, axes=(axis, 2)), -2, axis)
            each = each.reshape(len(each), -1, flat[1])  # (k, setting of all legs, entry of all legs)
            shared = (each * share.reshape(-1, 1)).swapaxes(1, 2)
            for (number, a, b), product in zip(here, where.tolist(), strict=True):
                counts = spread * counted[a] * counted[b]
                found[number] -= counts * (shared[a] @ each[b])
                apart[number] += counts * seen[product]
    together = [axis + 1 for leg in range(rank) for axis in (leg, rank + leg)]
    found = found.reshape(-1, *dimensions, *dimensions).transpose(0, *together).reshape(apart.shape)
    return np.moveaxis(found + apart, 0, -1)
