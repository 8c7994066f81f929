"""The error of a plan for a number of shots, before anything is sampled.

The estimate is multilinear in the fragment tensors, so to first order its variance is a sum over variants of A / shots,
A the variance of one shot's influence X = sum_e g_e s_e(outcome), with g the gradient of the estimate with respect to
the raw entries and s_e their signs (``tasks/reconstruction/statistics``). With the factor f measured together with the
bits b of the legs, X = sum_f f Y_f(b), and from what the shots would show (``shot_outcomes``)

    E[X^2] = sum_{f, f'} sum_b  E[f f' | b] p(b) Y_f(b) Y_f'(b),     E[X] = sum_f sum_b E[f | b] p(b) Y_f(b).

What wrong readouts, and mending them, do to a shot is in these means; shots at several noise factors are samples of
their own. Where the gradient vanishes the rest counts (``whole_variance``, else
``drawn_variance``); it falls as the square of the shots, and a run shares these out by gradients that are noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from scheduler_policies import Device
from tasks.cutting import Plan, structure_of
from tasks.cutting.cost import greedy_contraction
from tasks.execution.jobs import measuring
from tasks.model.problem import Problem
from tasks.model.tensor import FragmentTensor
from tasks.prediction.drawn_variance import DrawnVariance, Noises
from tasks.prediction.noise import noise_of
from tasks.prediction.shot_outcomes import (
    FragmentOutcomes,
    along_legs,
    fragment_outcomes,
    outcomes_bytes,
    outcomes_count,
    outcomes_seconds,
)
from tasks.prediction.whole_variance import SOON_BITS, WholeVariance
from tasks.reconstruction.contraction.network import network_of, values_by_fragment
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.statistics.allocation import expected_shots, first_round_shots
from tasks.reconstruction.statistics.gradient import LeafGradient, gradients

EVEN_SHOTS, _MOST_EVEN = 100.0, 1000.0  # a variant; with more, rounding hides what is beyond first order

_BISECTIONS = 20
_LOOKS, _NEAR = 2, 1.03  # at what is beyond first order, until shots no longer change by more
_MOST_BEYOND = 100.0  # about, for an observable of norm 1
_NOISES, _MOST_NOISY = 2, 10_000  # draws of the noise of the gradients; of so many variants
_MOST_KEPT = 64  # observables whose gradients are kept
_NUMBER_S = 2e-7  # of each of the numbers that outcomes are, all that is done with it
_ARRAYS = 4  # of the largest size, for each term, that the gradients hold together


@dataclass(frozen=True)
class ShotVariances:
    """What one shot of each variant of a plan is worth.

    Attributes:
        values: (variant, observable) float64, variance of one shot's influence.
        fragments: (variant,) int, whose variant it is; those of a fragment as ``enumerate_variants`` orders them.
        measuring: (variant,) bool, which of them read a bit: shots are theirs alone.
        further: what is beyond first order; None where it is not known.
        each: shots a variant, at which it is worked out where that takes long.
        noise: (variant, observable) what a shot seems worth by the noise of the gradients alone, times the shots of
            each; None where it is not known, and taken to be spread evenly.
    """

    values: np.ndarray
    fragments: np.ndarray
    measuring: np.ndarray
    further: WholeVariance | DrawnVariance | None = None
    each: float = EVEN_SHOTS
    noise: np.ndarray | None = None

    @property
    def all_orders(self) -> bool:
        """Whether what is beyond first order is known of every observable; else errors are at least what is said."""
        return not len(self._worth) or (self.further is not None and bool(self.further.known.all()))

    @cached_property
    def _worth(self) -> np.ndarray:
        return np.asarray(self.values.sum(axis=1)[self.measuring])

    @cached_property
    def _even(self) -> np.ndarray:
        """(observable,) what is beyond first order at even shots, to second order times the square of a variant's."""
        return self._computed(np.full(len(self._worth), self.each)) * self.each**2

    @cached_property
    def _noise(self) -> np.ndarray:
        """(variant that reads a bit, observable) ``noise``: every pair of variants is in the gradients of both."""
        if self.noise is not None:
            return self.noise[self.measuring]
        return np.tile(2 * self._even / max(1, len(self._worth)), (len(self._worth), 1))

    def _beyond(self, shots: np.ndarray) -> np.ndarray:
        """(observable,) variance beyond first order at (variant that reads a bit,) shots."""
        if self.further is None or self.further.quick:
            return self._computed(shots)
        total = self._noise.sum(axis=0)
        share = np.divide(self._noise, total, out=np.full(self._noise.shape, 1 / len(shots)), where=total > 0)
        return self._even * np.square((1.0 / shots) @ share)

    def _computed(self, shots: np.ndarray) -> np.ndarray:
        if self.further is None:
            return np.zeros(self.values.shape[1])
        every = np.ones(len(self.measuring))
        every[self.measuring] = shots
        return self.further.beyond(every, self._first(shots))

    def _first(self, shots: np.ndarray) -> np.ndarray:
        return np.asarray(self.values[self.measuring].T @ (1.0 / shots))

    def std_errors(self, shots: float) -> np.ndarray:
        """(observable,) standard errors that so many shots give, shared out as a run shares them."""
        if not len(self._worth):
            return np.zeros(self.values.shape[1])
        taken = self._all_taken(shots)
        return np.sqrt(self._first(taken) + self._beyond(taken))

    def _all_taken(self, shots: float) -> np.ndarray:
        return self.taken(shots, first_round_shots(len(self.fragments), float(shots)))

    def taken(self, shots: float, first: float, rng: np.random.Generator | None = None) -> np.ndarray:
        """(variant that reads a bit,) shots of all rounds, ``first`` of them in one that is even.

        The others, too, have a few that nobody runs: no variant gets none because it looked idle.

        Args:
            shots: of all rounds.
            first: of the first.
            rng: draws what that one would show, as uneven as runs have it; None: what is expected of it.
        """
        done = np.full(len(self._worth), first / max(1, len(self._worth)))
        if first == shots:
            return done
        silent = np.zeros(int((~self.measuring).sum()))
        worth, noise = self._worth, 2 * self._noise.sum(axis=1) / done  # of two draws of the noise
        if rng is not None:
            worth = worth * np.square(1 + rng.normal(size=len(worth)) / np.sqrt(done))
            noise = noise * rng.standard_exponential(len(noise))  # two squares of normal numbers
        worth, all_done = np.concatenate([worth + noise, silent]), np.concatenate([done, silent])
        return expected_shots(worth, all_done, float(shots))[: len(done)]

    def even_errors(self, each: float) -> np.ndarray:
        """(observable,) standard errors that so many shots of every variant that measures give."""
        even = np.full(len(self._worth), float(each))
        return np.sqrt(self._first(even) + self._computed(even))

    def shots_for(self, std_error: float) -> float:
        """About the least shots for which no observable's standard error exceeds this one."""
        if not len(self._worth):
            return float(max(1, len(self.fragments)))
        found = self._shots_for(std_error, self._even, float(len(self._worth)))
        for _ in range(_LOOKS if self._even.any() and np.isfinite(found) else 0):
            before, beyond = found, self._beyond(self._all_taken(found))
            found = self._shots_for(std_error, beyond, found)
            if 1 / _NEAR < found / before < _NEAR:
                break
        return found

    def _shots_for(self, std_error: float, beyond: np.ndarray, at: float) -> float:
        """Where what is beyond first order is known ``at`` some shots, and falls as their square."""

        def worst(shots: float) -> float:
            return float(np.sqrt(self._first(self._all_taken(shots)) + beyond * (at / shots) ** 2).max(initial=0.0))

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
    drawn_s: float = 0.0,
    each: float = EVEN_SHOTS,
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
        drawn_s: seconds that draws of what is beyond first order may take, where it cannot be computed.
        each: about how many shots a variant will be asked for.
    """
    count = problem.terms.coefficients.shape[0]
    if not plan.fragments:  # no gate acts on what is asked: nothing is measured
        return ShotVariances(np.zeros((0, count)), np.zeros(0, dtype=int), np.zeros(0, dtype=bool))
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
    kept: list[LeafGradient] = []
    for _, pieces in gradients(structure, network, made, ordered, [fragment.index for fragment in plan.fragments]):
        kept += pieces if drawn_s > 0 and count <= _MOST_KEPT else []
        for piece in pieces:
            index = piece.fragment
            _add_variances(found[starts[index] : starts[index + 1]], shown[index], piece)
            if index == 0:  # multilinear: the gradient along the tensor itself is the value
                entries = np.moveaxis(shown[0].values, -1, 0)[piece.factors]
                np.add.at(values, piece.observables, (piece.gradient * entries).reshape(len(entries), -1).sum(axis=1))
    found = np.maximum(found, 0.0)
    further: WholeVariance | DrawnVariance | None = None
    if shots is None or found.sum(axis=0).max(initial=0.0) * shots <= _MOST_BEYOND * len(found):
        further = WholeVariance.of(structure, shown, values, *(() if shots is None else (SOON_BITS,)))
    if kept and (further is None or not further.known.all()):
        further = DrawnVariance.of(structure, shown, kept, values, drawn_s) or further
    read = np.concatenate(list(map(measuring, plan.fragments, plan.schemes)))
    each = min(each, _MOST_EVEN)
    unsteady: np.ndarray | None = None
    if kept and further is not None and not further.quick and len(found) <= _MOST_NOISY:
        unsteady, rng = np.zeros(found.shape), np.random.default_rng(1)
        noises = [Noises(one, np.full(count, 1 / each)) for one, count in zip(shown, counts, strict=True)]
        for _draw in range(_NOISES):
            noisy = [replace(own, values=own.values + one.drawn(rng)) for own, one in zip(tensors, noises, strict=True)]
            exact = iter(kept)
            ordered = values_by_fragment(structure, network, noisy)
            for _, pieces in gradients(structure, network, made, ordered, [one.index for one in plan.fragments]):
                for piece in pieces:
                    part = unsteady[starts[piece.fragment] : starts[piece.fragment + 1]]
                    off = replace(piece, gradient=piece.gradient - next(exact).gradient)
                    _add_variances(part, shown[piece.fragment], off)
        unsteady = np.maximum(unsteady, 0.0) * each / _NOISES
    return ShotVariances(found, np.repeat(np.arange(len(counts)), counts), read, further, each, unsteady)


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
