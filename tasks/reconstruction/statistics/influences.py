"""What one shot of each variant is worth to each observable, as the shots so far tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tasks.model.tensor import FragmentTensor, SampledData, Structure
from tasks.reconstruction.contraction.network import network_of, values_by_fragment
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.errors import AllocationError, MemoryLimitError
from tasks.reconstruction.statistics.counts_to_tensor import tensor_values
from tasks.reconstruction.statistics.gradient import LeafGradient, gradients
from tasks.reconstruction.statistics.uncertainty import Uncertainty
from tasks.reconstruction.statistics.variant_uncertainty import variant_uncertainties

_FEWEST_FLIPS = 10  # that an error bar near the target rests on: with fewer it does not say within 30 % what it should
_MOST_FLOPS = 1e9  # of a contraction that is done a second time for the gradient's noise: about a second


@dataclass(frozen=True)
class Influences:
    """What one shot of each variant means for each observable.

    Attributes:
        fragments: (variant,) int, the fragment of each variant.
        observables: (observable,) int, which observables.
        each: (variant, observable), of the mean over a single shot (``Uncertainty``).
        shots: (variant,) int64, shots it has had.
        of: how many halves there are. The mean over a half bears its share of what is in doubt of the whole.
        unsteady: (variant, observable) what a shot would be worth by half the difference of the halves' gradients; 0
            where that would take too long, or too much memory.
    """

    fragments: np.ndarray
    observables: np.ndarray
    each: Uncertainty
    shots: np.ndarray
    of: int = 1
    unsteady: np.ndarray | float = 0.0

    def predicted(self, shots: np.ndarray) -> np.ndarray:
        """(observable,) variance with so many shots a variant."""
        return self._with(shots).variance

    def reaches(self, variance: float, shots: np.ndarray) -> bool:
        """Whether with so many shots a variant no observable's variance is larger, nor any near it known too badly."""
        known = self._with(shots)
        few = _FEWEST_FLIPS * known.fourth > np.square(known.seen)  # of both halves: a half sees half of them
        predicted = known.variance
        return not bool(((predicted > variance) | (few & (predicted > variance / 4))).any())

    def _with(self, shots: np.ndarray) -> Uncertainty:
        per_shot = 1.0 / np.maximum(shots, 1)
        seen, fourth = self.each.seen.T @ per_shot, self.each.fourth.T @ per_shot**3
        doubt = (self.each.doubt * np.square(per_shot)[:, None]).max(axis=0, initial=0.0)
        return Uncertainty(seen, fourth / self.of, doubt / self.of)

    @property
    def smoothed(self) -> np.ndarray:
        """(variant, observable) float64: variance of one shot with its doubt, so that no variant looks certain.

        By the mean of the squares of both halves' gradients: where the gradient is all noise, one draw of it would
        starve whom it happens to pass over.
        """
        return self.each.seen + self.unsteady + self.each.doubt / np.maximum(self.shots, 1)[:, None]

    @property
    def with_a_flip_less(self) -> np.ndarray:
        """(variant, observable) float64: ``smoothed`` as it would be had one of the flips that it saw not happened."""
        flip = np.divide(self.each.fourth, self.each.seen, out=np.zeros_like(self.each.seen), where=self.each.seen > 0)
        return np.maximum(self.smoothed - flip / np.maximum(self.shots, 1)[:, None], 0.0)


def influences(
    structure: Structure,
    tensors: Sequence[FragmentTensor],
    *,
    most_observables: int = 64,
    memory_bytes: int | None = None,
    seed: int = 0,
) -> list[Influences]:
    """Measure from the shots so far what one shot of each variant is worth.

    The gradient, which depends on the other fragments alone, is taken from all shots, and its noise from how a half's
    differs; how much a variant's outcomes spread, from each half for itself.

    Args:
        structure: the structure.
        tensors: the tensors so far.
        most_observables: keep only so many observables, those with the largest variances.
        memory_bytes: as in ``contract``.
        seed: of the path search.

    Returns:
        (half,) the influences of shots of each half on the mean over that half; the halves have their variants and
        observables in the same order.

    Raises:
        AllocationError: if no tensor is sampled.
    """
    samples = {tensor.fragment: tensor.samples for tensor in tensors if tensor.samples is not None}
    if not samples:
        raise AllocationError("Every fragment is exact: no shots to allocate. Leave `shots` out.", field="shots")
    network = network_of(structure)
    order = sorted(samples)
    rows, taken = shots_taken(samples)
    fragments = np.repeat(order, [taken[fragment].shape[1] for fragment in order])
    shots = np.concatenate([taken[fragment] for fragment in order], axis=1)
    start = dict(zip(order, np.searchsorted(fragments, order).tolist(), strict=True))
    ready = partial(schedule, structure, network, gradients=True, seed=seed)
    sets, plan = [tensors], None
    if len(shots) == 2:
        with suppress(MemoryLimitError):
            plan = ready(memory_bytes=None if memory_bytes is None else memory_bytes // 2)
            if plan.cost.flops <= _MOST_FLOPS:
                sets = [tensors, list(map(_of_first_half, tensors))]
    if plan is None or (len(sets) == 1 and memory_bytes is not None):
        plan = ready(memory_bytes=memory_bytes)
    told = [gradients(structure, network, plan, values_by_fragment(structure, network, own), order) for own in sets]
    kept, table = np.zeros(0, dtype=np.int64), Uncertainty.none(*shots.shape, 0)
    unsteady, beyond = np.zeros((*shots.shape, 0)), structure.coefficients.shape[0]
    for blocks in zip(*told, strict=True):
        observables = blocks[0][0]
        block = Uncertainty.none(*shots.shape, 2 * observables.size)
        for pieces in zip(*(found for _, found in blocks), strict=True):
            data, own = samples[pieces[0].fragment], rows[pieces[0].fragment]
            for positions, asking, known in variant_uncertainties(data, _with_noise(pieces, beyond)):
                half, row = data.columns.halves[positions], start[pieces[0].fragment] + own[positions]
                one_shot = known.scaled(len(shots)).per_shot(shots[half, row][:, None].astype(np.float64))
                where = np.searchsorted(observables, asking % beyond) + observables.size * (asking >= beyond)
                left = np.arange(len(positions))
                while left.size:  # a second time only where samples share a row
                    first = np.unique(half[left] * len(fragments) + row[left], return_index=True)[1]
                    now = left[first]
                    block.add(one_shot[now], (half[now, None], row[now, None], where[None, :]))
                    left = np.delete(left, first)
        kept, table = np.concatenate([kept, observables]), table.beside(block[..., : observables.size])
        unsteady = np.concatenate([unsteady, block.seen[..., observables.size :]], axis=-1)
        every = [Influences(fragments, kept, table[half], shots[half], len(shots)) for half in range(len(shots))]
        predicted = sum(known.predicted(known.shots) for known in every)
        largest = np.sort(np.argsort(-predicted, kind="stable")[:most_observables])
        kept, table, unsteady = kept[largest], table[:, :, largest], unsteady[:, :, largest]
    return [
        Influences(fragments, kept, table[half], shots[half], len(shots), unsteady[half]) for half in range(len(shots))
    ]


def _of_first_half(tensor: FragmentTensor) -> FragmentTensor:
    if tensor.samples is None:
        return tensor
    return replace(tensor, values=tensor_values(tensor.samples, tensor.values.shape[-1], half=0))


def _with_noise(pieces: Sequence[LeafGradient], beyond: int) -> LeafGradient:
    """A gradient, and as that of observables from ``beyond`` on how much the first half's differs from it."""
    whole, *apart = pieces
    noise = [half.gradient - whole.gradient for half in apart]
    return LeafGradient(
        whole.fragment,
        np.concatenate([whole.observables, *(half.observables + beyond for half in apart)]),
        np.concatenate([whole.factors, *(half.factors for half in apart)]),
        np.concatenate([whole.gradient, *noise]),
    )


def shots_taken(samples: Mapping[int, SampledData]) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """By fragment: each sample's row in a table of variants, and the (half, variant) int64 table of shots so far.

    Samples of one variant that were measured under several calibrations share a row.
    """
    halves = max(data.halves for data in samples.values())
    rows, shots = {}, {}
    for fragment, data in samples.items():
        columns = data.columns
        factors: dict[bytes, int] = {}
        told = [factors.setdefault(own.factors.tobytes(), len(factors)) for own in columns.meanings]
        words = np.column_stack([np.array(told, dtype=np.int64)[columns.which], columns.settings])
        _, first, place = np.unique(words, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(np.argsort(first))  # in the order in which they come
        rows[fragment] = order[place.reshape(-1)]
        shots[fragment] = np.zeros((halves, len(first)), dtype=np.int64)
        np.add.at(shots[fragment], (columns.halves, rows[fragment]), columns.shots)
    return rows, shots
