"""Values and standard errors with shots, for a circuit with free parameters and many sets of their values.

Counts belong to a fragment and the angles in it: whoever asks again for the same gets the same counts, and the angle of
a severed gate, which no fragment holds, asks for none.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from tasks.model.streams import random_stream
from tasks.parametric.draws import Counts, Draws
from tasks.parametric.exact import ParametricPlan
from tasks.parametric.halves import MOST_ROUNDS, first_shots, further_shots
from tasks.parametric.template import Unsuited
from tasks.reconstruction.statistics.allocation import more_of_all, out_of_reach
from tasks.reconstruction.statistics.uncertainty import Uncertainty
from tasks.runtime.inline import one_thread

_MOST_ENTRIES = 1 << 22  # of all variants of a fragment
_KEPT = 512  # sets of angles and halves whose counts are kept, a fragment
_MOST_SHOTS = 10**12
_RESAMPLINGS = 48
_ROUNDING = 1e-12


class SampledPlan:
    """A plan whose fragments take shots on a noiseless simulator.

    Args:
        plan: the same for the exact path.
        seed: of all random streams.

    Attributes:
        shots: taken so far by all fragments.

    Raises:
        Unsuited: a fragment has too many variants to hold them all, or the contraction is too large.
    """

    def __init__(self, plan: ParametricPlan, seed: int) -> None:
        self.plan, self.seed = plan, seed
        self._contraction = plan.contraction
        self.draws = [Draws(grams, own) for (_, grams), own in zip(plan.laid_open, plan.plan.schemes, strict=True)]
        if any(draws.entries > _MOST_ENTRIES for draws in self.draws):
            raise Unsuited("a fragment has too many variants")
        self.variants = sum(draws.variants for draws in self.draws)
        self._kept: list[OrderedDict[bytes, Counts]] = [OrderedDict() for _ in self.draws]
        self.shots = 0
        self._lock = threading.Lock()

    def values(
        self, parameters: np.ndarray, *, shots: int | None = None, target_error: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values and standard errors.

        Args:
            parameters: (set, parameter) float64.
            shots: of a set, over all fragments and variants; None for as many as the target error takes.
            target_error: standard error to reach for every observable.

        Returns:
            (set, observable) float64 each.

        Raises:
            AllocationError: the target is out of reach.
        """
        angles = self.plan.template.angles.of(parameters)
        with one_thread():
            found = [self._one(angles[number], shots, target_error) for number in range(len(parameters))]
        shape = (len(parameters), self.plan.structure.coefficients.shape[0])
        return tuple(np.array([one[k] for one in found]).reshape(shape) for k in (0, 1))  # type: ignore[return-value]

    def _one(self, angles: np.ndarray, shots: int | None, target_error: float | None) -> tuple[np.ndarray, np.ndarray]:
        most = None if shots is None else max(1, shots // max(1, self.variants))
        if target_error is None:
            assert most is not None
            return self._estimated(self._halves(angles, (most,)), angles)[:2]
        each = np.array(first_shots(most))
        for number in range(MOST_ROUNDS):
            values, errors, known = self._estimated(self._halves(angles, each), angles)
            if len(each) == 1:
                break
            if number == 0:
                one_shot = [own.per_shot(float(shots)) for own, shots in zip(known, each, strict=True)]
                more = further_shots(one_shot, each, most, target_error)
            else:
                more = more_of_all(each[:, None], float(errors.max(initial=0.0)) ** 2, most, target_error)[:, 0]
            if not more.any():
                break
            each = each + more
            if int(each.sum()) * self.variants > _MOST_SHOTS:
                raise out_of_reach(target_error, float(each.sum()) * self.variants)
        return values, errors

    def _halves(self, angles: np.ndarray, each: Sequence[int] | np.ndarray) -> list[list[Counts]]:
        """(half, fragment) counts, so many shots of every variant in each half."""
        return [
            [self.counts(number, angles, int(shots), half) for number in range(len(self.draws))]
            for half, shots in enumerate(each)
        ]

    def counts(self, number: int, angles: np.ndarray, shots: int, half: int = 0) -> Counts:
        """Counts of a fragment: so many shots of every variant, none of which is taken twice.

        Args:
            number: of the fragment.
            angles: (angle,) of the circuit.
            shots: of each variant.
            half: of the shots, where they are in halves.
        """
        with self._lock:
            return self._counts(number, angles, shots, half)

    def _counts(self, number: int, angles: np.ndarray, shots: int, half: int) -> Counts:
        (program, _), draws, kept = self.plan.laid_open[number], self.draws[number], self._kept[number]
        own = np.ascontiguousarray(angles[program.angles])
        key = bytes([half]) + own.tobytes()
        known = kept.get(key)
        if known is not None and known.shots == shots:
            return known
        if known is not None and known.shots > shots:
            known = None  # asked for fewer: other counts, as a run of their own would have
        missing = shots - (known.shots if known is not None else 0)
        done = 0 if known is None else known.shots
        chances = draws.probabilities(program.states(own[None])[-1])[0]
        self.plan.runs[number] += 1
        name = f"parametric:{self.seed}:{number}:{half}:{done}:{own.tobytes().hex()}"
        taken = draws.draw(chances, missing, random_stream(name))
        self.shots += missing * draws.variants
        found = taken if known is None else known.with_more(taken)
        kept[key] = found
        while len(kept) > _KEPT:
            kept.popitem(last=False)
        return found

    def _estimated(
        self, halves: list[list[Counts]], angles: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[Uncertainty]]:
        """Values and standard errors from (half, fragment) counts, and what each half says of the mean over itself."""
        plan = self.plan
        bonds = plan.bonds(angles[None])
        tensors = [
            np.mean([draws.tensor(own) for own in counts], axis=0)[None]
            for draws, *counts in zip(self.draws, *halves, strict=True)
        ]
        found = self._contraction.contract(tensors, bonds)
        observables = found.values.shape[1]
        known = [Uncertainty.none(observables) for _ in halves]
        if not self.draws:
            return found.values[0] + plan.constants, np.zeros(observables), known
        slopes, _ = self._contraction.backward(found, np.eye(observables)[:, None, :])
        whole = Uncertainty.none(observables)
        for counts, told in zip(halves, known, strict=True):
            for draws, own, slope in zip(self.draws, counts, slopes, strict=True):
                told.add(draws.uncertainty(own, slope[:, 0]))
            whole.add(told.scaled(1 / len(halves)))
        total = whole.variance
        silent = total == 0
        if silent.any():
            total[silent] = self._resampled(halves, bonds)[silent]
        return found.values[0] + plan.constants, np.sqrt(total), known

    def _resampled(self, halves: list[list[Counts]], bonds: list[np.ndarray]) -> np.ndarray:
        """Variances by drawing every variant's shots again: where the gradient is exactly zero at the estimate."""
        rng = np.random.Generator(np.random.Philox(self.seed))
        tensors = []
        for draws, *counts in zip(self.draws, *halves, strict=True):
            again = [[draws.tensor(draws.again(own, rng)) for own in counts] for _ in range(_RESAMPLINGS)]
            tensors.append(np.mean(again, axis=1))
        found = self._contraction.contract(tensors, bonds).values
        if len(found) < _RESAMPLINGS:  # nothing is asked of any fragment
            return np.zeros(found.shape[1])
        spread = found.var(axis=0, ddof=1)
        return np.where(spread > (_ROUNDING * np.abs(found).max(axis=0)) ** 2, spread, 0.0)
