"""The variance beyond first order where the network of second moments is too large: from draws of the tensors' noise.

Two parts of the estimate's error that come from different sets of fragments are uncorrelated, as it is multilinear and
their noise independent. So what is left of a drawn error without its linear part has the mean square that is wanted,
and depends on the noise by its covariance only: it is drawn as if it were normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from tasks.model.tensor import FragmentTensor, Structure
from tasks.prediction.shot_outcomes import FragmentOutcomes, GroupOutcomes, along_legs
from tasks.reconstruction.contraction.contraction import contract
from tasks.reconstruction.contraction.layout import Path
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.path import find_paths
from tasks.reconstruction.statistics.gradient import LeafGradient

_FEWEST, _MOST = 4, 12  # draws: the root of a mean of so many squares is known within a third, a fifth
_ROUNDING = 1e-12
_OUTCOME_S = 1e-6  # of each outcome, what is done with it once
_FACTOR_S = 1.5e-7  # of each factor of each outcome, a draw
_FRAGMENT_S = 1e-3  # of each fragment, a draw


@dataclass(frozen=True)
class DrawnVariance:
    """Draws of what is beyond first order.

    Attributes:
        structure: of the estimate.
        shown: (fragment,) what the shots would show.
        gradients: of the estimate.
        values: (observable,) the exact values.
        draws: how many.
    """

    structure: Structure
    shown: Sequence[FragmentOutcomes]
    gradients: Sequence[LeafGradient]
    values: np.ndarray
    draws: int

    quick: ClassVar[bool] = False

    @classmethod
    def of(
        cls,
        structure: Structure,
        shown: Sequence[FragmentOutcomes],
        gradients: Sequence[LeafGradient],
        values: np.ndarray,
        seconds: float,
    ) -> DrawnVariance | None:
        """As many draws as take so many seconds; None where these are too few."""
        outcomes = [(group.means[0, 0].size, len(group.factors)) for one in shown for group in one.groups]
        each = sum(size * factors for size, factors in outcomes) * _FACTOR_S + len(shown) * _FRAGMENT_S
        draws = int((seconds - sum(size for size, _ in outcomes) * _OUTCOME_S) / each)
        return None if draws < _FEWEST else cls(structure, shown, gradients, values, min(draws, _MOST))

    @property
    def known(self) -> np.ndarray:
        """(observable,) bool: all of them."""
        return np.ones(len(self.values), dtype=bool)

    @cached_property
    def _paths(self) -> Sequence[Path]:
        return find_paths(network_of(self.structure), uses=self.draws * len(self.structure.factor_index))

    def beyond(self, shots: np.ndarray, _: np.ndarray) -> np.ndarray:
        """(observable,) variance beyond first order at (variant,) shots."""
        ends = np.cumsum([len(one.groups) * one.settings for one in self.shown])[:-1]
        noises = [Noises(one, own) for one, own in zip(self.shown, np.split(1 / shots, ends), strict=True)]
        rng, total = np.random.default_rng(0), np.zeros(len(self.values))
        for _draw in range(self.draws):
            drawn = [noise.drawn(rng) for noise in noises]
            tensors = [
                FragmentTensor(k, one.values + own) for k, (one, own) in enumerate(zip(self.shown, drawn, strict=True))
            ]
            left = contract(self.structure, tensors, paths=self._paths) - self.values
            for piece in self.gradients:
                entries = np.moveaxis(drawn[piece.fragment], -1, 0)[piece.factors]
                np.subtract.at(
                    left, piece.observables, (piece.gradient * entries).reshape(len(entries), -1).sum(axis=1)
                )
            total += np.square(left) / self.draws
        return np.where(total > _ROUNDING * np.maximum(1.0, self.values**2), total, 0.0)


class Noises:
    """The noise of a fragment's tensor.

    Args:
        shown: what the shots would show.
        per_shot: (variant,) 1 / shots.
    """

    def __init__(self, shown: FragmentOutcomes, per_shot: np.ndarray) -> None:
        self._shown = shown
        shares = per_shot.reshape(len(shown.groups), *(len(leg.settings) for leg in shown.legs))
        self._widths = [np.sqrt(self._by_outcome(share)) for share in shares]
        self._roots = [[_roots(group, level) for level in range(len(shown.spreads))] for group in shown.groups]

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """(leg..., factor) float64, one draw."""
        found = np.zeros(self._shown.values.shape)
        influences = [leg.influence.T for leg in self._shown.legs]
        for group, width, roots in zip(self._shown.groups, self._widths, self._roots, strict=True):
            for spread, means, root in zip(self._shown.spreads, group.means, roots, strict=True):
                # As Poisson numbers of shots: what all outcomes of a setting have too many of goes by their means.
                loose = np.einsum("...ab,...b->a...", root, rng.standard_normal(root.shape[:-1]))
                excess = self._by_outcome(self._shown.by_setting(loose[0]))
                noise = (loose[1:] - means * excess) * (width * spread**0.5)
                along = along_legs(np.moveaxis(noise, 0, -1), influences)
                found[..., group.factors] += np.moveaxis(along, 0, -1) * self._shown.counted[group.factors]
        return found

    def _by_outcome(self, share: np.ndarray) -> np.ndarray:
        """(outcome of each leg...) from (setting of each leg...): each outcome has its setting's."""
        return np.asarray(along_legs(share[..., None], [leg.sums.T for leg in self._shown.legs])[0])


def _roots(group: GroupOutcomes, level: int) -> np.ndarray:
    """(outcome of each leg..., 1 + k, 1 + k) a root of the second moments of 1 and the factors, at each outcome."""
    means, products = group.means[level], group.products[level]
    chance = products[group.product_of[0, 0]]
    moments = np.empty((*chance.shape, len(means) + 1, len(means) + 1))
    moments[..., 0, 0] = chance
    for a, mean in enumerate(means, start=1):
        moments[..., a, 0] = moments[..., 0, a] = mean
        for b, other in enumerate(means, start=1):
            product = group.product_of[a - 1, b - 1]
            apart = np.divide(mean * other, chance, out=np.zeros_like(mean), where=chance > _ROUNDING)
            moments[..., a, b] = products[product] if product >= 0 else apart
    return np.linalg.cholesky(moments + 1e-13 * np.eye(len(means) + 1))
