"""The error of a plan for a number of shots, before anything is sampled.

The estimate is multilinear in the fragment tensors, so to first order its variance is a sum over variants of A / shots,
A the variance of one shot's influence X = sum_e g_e s_e(outcome), with g the gradient of the estimate with respect to
the raw entries and s_e their signs (``tasks/reconstruction/statistics``). With the factor f measured together with the
bits b of the legs, X = sum_f f Y_f(b), and from what the shots would show (``shot_outcomes``)

    E[X^2] = sum_{f, f'} sum_b  E[f f' | b] p(b) Y_f(b) Y_f'(b),     E[X] = sum_f sum_b E[f | b] p(b) Y_f(b).

What wrong readouts, and mending them, do to a shot is in these means; shots at several noise factors are samples of
their own. Where the gradient vanishes the rest counts (``whole_variance``); it falls as the square of the shots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scheduler_policies import Device
from tasks.cutting import Plan, structure_of
from tasks.cutting.cost import greedy_contraction
from tasks.execution.jobs import measuring
from tasks.model.problem import Problem
from tasks.model.tensor import FragmentTensor
from tasks.prediction.noise import noise_of
from tasks.prediction.shot_outcomes import (
    FragmentOutcomes,
    along_legs,
    fragment_outcomes,
    outcomes_bytes,
    outcomes_count,
    outcomes_seconds,
)
from tasks.prediction.whole_variance import SOON_BITS, whole_variance
from tasks.reconstruction.contraction.network import network_of, values_by_fragment
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.statistics.allocation import expected_shots, first_round_shots
from tasks.reconstruction.statistics.gradient import LeafGradient, gradients

_BISECTIONS = 20
_BEYOND_SHOTS = 1000  # a variant, at which what is beyond first order is computed
_MOST_BEYOND = 100.0  # about, for an observable of norm 1
_ROUNDING = 1e-12
_NUMBER_S = 2e-7  # of each of the numbers that outcomes are, all that is done with it
_ARRAYS = 4  # of the largest size, for each term, that the gradients hold together


@dataclass(frozen=True)
class ShotVariances:
    """What one shot of each variant of a plan is worth.

    Attributes:
        values: (variant, observable) float64, variance of one shot's influence.
        fragments: (variant,) int, whose variant it is; those of a fragment as ``enumerate_variants`` orders them.
        beyond: (observable,) float64, what is beyond first order at even shots, times the square of a variant's shots.
        measuring: (variant,) bool, which of them read a bit: shots are theirs alone.
    """

    values: np.ndarray
    fragments: np.ndarray
    beyond: np.ndarray
    measuring: np.ndarray

    @cached_property
    def _worth(self) -> np.ndarray:
        return np.asarray(self.values.sum(axis=1)[self.measuring])

    def std_errors(self, shots: float) -> np.ndarray:
        """(observable,) standard errors that so many shots give, shared out as a run shares them."""
        variants = len(self._worth)
        if variants == 0:
            return np.zeros(self.values.shape[1])
        taken = self.taken(shots, first_round_shots(len(self.fragments), float(shots)))
        return np.sqrt(self.values[self.measuring].T @ (1.0 / taken) + self.beyond * (variants / shots) ** 2)

    def taken(self, shots: float, first: float) -> np.ndarray:
        """(variant that reads a bit,) shots of all rounds, ``first`` of them in one that is even.

        The others, too, have a few that nobody runs: no variant gets none because it looked idle.
        """
        done = np.full(len(self._worth), first / max(1, len(self._worth)))
        if first == shots:
            return done
        silent = np.zeros(int((~self.measuring).sum()))
        worth, all_done = np.concatenate([self._worth, silent]), np.concatenate([done, silent])
        return expected_shots(worth, all_done, float(shots))[: len(done)]

    def even_errors(self, each: float) -> np.ndarray:
        """(observable,) standard errors that so many shots of every variant that measures give."""
        return np.sqrt(self.values.sum(axis=0) / each + self.beyond / each**2)

    def shots_for(self, std_error: float) -> float:
        """The least shots for which no observable's standard error exceeds this one."""

        def worst(shots: float) -> float:
            return float(self.std_errors(shots).max(initial=0.0))

        low = high = float(max(1, len(self.fragments)))
        while worst(high) > std_error:
            low, high = high, 2 * high
        for _ in range(_BISECTIONS if low < high else 0):
            middle = (low * high) ** 0.5
            low, high = (low, middle) if worst(middle) <= std_error else (middle, high)
        return high


def shot_variances(
    problem: Problem,
    plan: Plan,
    memory_bytes: int | None = None,
    *,
    shots: float | None = None,
    devices: Sequence[Device] = (),
    mitigation: str = "none",
) -> ShotVariances:
    """Compute what one shot of each variant is worth from what the fragments' shots would show.

    Args:
        problem: the problem.
        plan: its plan; every fragment is simulated, once or once a measurement group.
        memory_bytes: what the contraction may take.
        shots: in all, where only the largest error that they give is wanted, to compare plans by: what is beyond first
            order is then left out where it is none of it or takes long; None: only where it takes very long.
        devices: those with errors that spoil what is shown, as ``noise_biases`` has it: a value that is certain
            without them is then not; none where shots show the exact tensors.
        mitigation: what is done against these errors (``--mitigation``), which spreads shots the more.
    """
    count = problem.terms.coefficients.shape[0]
    if not plan.fragments:  # no gate acts on what is asked: nothing is measured
        return ShotVariances(np.zeros((0, count)), np.zeros(0, dtype=int), np.zeros(count), np.zeros(0, dtype=bool))
    structure = structure_of(problem, plan)
    noise = noise_of(plan, devices, mitigation)
    shown = [fragment_outcomes(*own) for own in zip(plan.fragments, plan.schemes, noise, strict=True)]
    tensors = [FragmentTensor(f.index, one.values) for f, one in zip(plan.fragments, shown, strict=True)]
    network = network_of(structure)
    ordered = values_by_fragment(structure, network, tensors)
    made = schedule(structure, network, memory_bytes=memory_bytes, gradients=True)
    counts = [cost.variants for cost in plan.costs]
    starts = np.cumsum([0, *counts])
    found = np.zeros((int(starts[-1]), count))
    values = np.zeros(count)
    for _, pieces in gradients(structure, network, made, ordered, [fragment.index for fragment in plan.fragments]):
        for piece in pieces:
            index = piece.fragment
            _add_variances(found[starts[index] : starts[index + 1]], shown[index], piece)
            if index == 0:  # multilinear: the gradient along the tensor itself is the value
                entries = np.moveaxis(shown[0].values, -1, 0)[piece.factors]
                np.add.at(values, piece.observables, (piece.gradient * entries).reshape(len(entries), -1).sum(axis=1))
    found = np.maximum(found, 0.0)
    beyond, whole = np.zeros(count), None
    if shots is None or found.sum(axis=0).max(initial=0.0) * shots <= _MOST_BEYOND * len(found):
        soon = () if shots is None else (SOON_BITS,)
        whole = whole_variance(structure, shown, values, _BEYOND_SHOTS, *soon)
    if whole is not None:
        beyond = whole - found.sum(axis=0) / _BEYOND_SHOTS
        beyond = np.where(beyond > _ROUNDING * np.maximum(1.0, values**2), beyond * _BEYOND_SHOTS**2, 0.0)
    read = np.concatenate(list(map(measuring, plan.fragments, plan.schemes)))
    return ShotVariances(found, np.repeat(np.arange(len(counts)), counts), beyond, read)


def variances_seconds(plan: Plan) -> float:
    """How long ``shot_variances`` is likely to take on one typical core."""
    numbers = sum(map(outcomes_count, plan.fragments, plan.schemes))
    return sum(map(outcomes_seconds, plan.fragments)) + numbers * _NUMBER_S


def variances_bytes(plan: Plan) -> float:
    """About what memory ``shot_variances`` takes: beyond a dozen legs on one fragment more than any machine has."""
    largest = greedy_contraction(plan.fragments, plan.bonds).largest
    joined = 8.0 * _ARRAYS * largest * len(plan.factor_index) if plan.bonds else 0.0
    return sum(map(outcomes_bytes, plan.fragments, plan.schemes)) + joined


def _add_variances(rows: np.ndarray, shown: FragmentOutcomes, piece: LeafGradient) -> None:
    """Add a fragment's share: rows (variant, observable)."""
    influences = along_legs(np.moveaxis(piece.gradient, 0, -1), [leg.influence for leg in shown.legs])
    each = len(rows) // len(shown.groups)
    for number, group in enumerate(shown.groups):
        place = np.full(len(shown.counted), -1)
        place[group.factors] = np.arange(len(group.factors))
        part = rows[number * each : (number + 1) * each]
        for observable in np.unique(piece.observables).tolist():
            pairs = np.flatnonzero((piece.observables == observable) & (place[piece.factors] >= 0))
            own = place[piece.factors[pairs]]
            shares = [influences[p] * shown.counted[group.factors[k]] for p, k in zip(pairs, own, strict=True)]
            for spread, means, products in zip(shown.spreads, group.means, group.products, strict=True):
                mean = sum((means[k] * share for k, share in zip(own, shares, strict=True)), 0 * means[0])
                square = 0 * mean
                for a, one in enumerate(shares):
                    for b, other in enumerate(shares[: a + 1]):
                        product = group.product_of[own[a], own[b]]
                        if product >= 0:
                            square += (1 + (b < a)) * products[product] * one * other
                variance = shown.by_setting(square) - shown.by_setting(mean) ** 2
                part[:, observable] += spread * variance.reshape(-1)
