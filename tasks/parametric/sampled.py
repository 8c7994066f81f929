"""Values and standard errors with shots, for a circuit with free parameters and many sets of their values.

Counts belong to a fragment and the angles in it: whoever asks again for the same gets the same counts, and the angle of
a severed gate, which no fragment holds, asks for none.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from tasks.model.streams import random_stream
from tasks.parametric.draws import Counts, Draws
from tasks.parametric.exact import ParametricPlan
from tasks.parametric.template import Unsuited
from tasks.reconstruction.statistics.allocation import out_of_reach
from tasks.reconstruction.statistics.uncertainty import Uncertainty
from tasks.runtime.inline import one_thread

_MOST_ENTRIES = 1 << 22  # of all variants of a fragment
_KEPT = 256  # sets of angles whose counts are kept, a fragment
_FIRST_SHOTS = 200  # a variant, on the way to a target error
_MOST_ROUNDS = 5
_ROOM = 1.03  # times the shots that a target error takes by the rounds so far
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
        Unsuited: a fragment has too many variants to hold them all.
    """

    def __init__(self, plan: ParametricPlan, seed: int) -> None:
        self.plan, self.seed = plan, seed
        self.draws = [Draws(grams, own) for grams, own in zip(plan.grams, plan.plan.schemes, strict=True)]
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
        most = _MOST_SHOTS if shots is None else max(1, shots // max(1, self.variants))
        each = most if target_error is None else min(most, _FIRST_SHOTS)
        for _ in range(_MOST_ROUNDS):
            counts = [self.counts(number, angles, each) for number in range(len(self.draws))]
            values, errors = self._estimated(counts, angles)
            worst = errors.max(initial=0.0)
            if target_error is None or worst <= target_error or each >= most:
                break
            wanted = int(np.ceil(_ROOM * each * (worst / target_error) ** 2))
            if shots is None and wanted * self.variants > _MOST_SHOTS:
                raise out_of_reach(target_error, wanted * self.variants)
            each = min(most, wanted)
        return values, errors

    def counts(self, number: int, angles: np.ndarray, shots: int) -> Counts:
        """Counts of a fragment: so many shots of every variant, none of which is taken twice.

        Args:
            number: of the fragment.
            angles: (angle,) of the circuit.
            shots: of each variant.
        """
        with self._lock:
            return self._counts(number, angles, shots)

    def _counts(self, number: int, angles: np.ndarray, shots: int) -> Counts:
        program, draws, kept = self.plan.programs[number], self.draws[number], self._kept[number]
        own = np.ascontiguousarray(angles[program.angles])
        key = own.tobytes()
        known = kept.get(key)
        if known is not None and known.shots == shots:
            return known
        if known is not None and known.shots > shots:
            known = None  # asked for fewer: other counts, as a run of their own would have
        missing = shots - (known.shots if known is not None else 0)
        done = 0 if known is None else known.shots
        chances = draws.probabilities(program.states(own[None])[-1])[0]
        self.plan.runs[number] += 1
        name = f"parametric:{self.seed}:{number}:{done}:{key.hex()}"
        taken = draws.draw(chances, missing, random_stream(name))
        self.shots += missing * draws.variants
        found = taken if known is None else known.with_more(taken)
        kept[key] = found
        while len(kept) > _KEPT:
            kept.popitem(last=False)
        return found

    def _estimated(self, counts: list[Counts], angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and standard errors from the counts of all fragments."""
        plan = self.plan
        bonds = plan.bonds(angles[None])
        tensors = [draws.tensor(own)[None] for draws, own in zip(self.draws, counts, strict=True)]
        found = plan.contraction.contract(tensors, bonds)
        observables = found.values.shape[1]
        if not self.draws:
            return found.values[0] + plan.constants, np.zeros(observables)
        slopes, _ = plan.contraction.backward(found, np.eye(observables)[:, None, :])
        known = Uncertainty.none(observables)
        for draws, own, slope in zip(self.draws, counts, slopes, strict=True):
            known.add(draws.uncertainty(own, slope[:, 0]))
        total = known.variance
        silent = total == 0
        if silent.any():
            total[silent] = self._resampled(counts, bonds)[silent]
        return found.values[0] + plan.constants, np.sqrt(total)

    def _resampled(self, counts: list[Counts], bonds: list[np.ndarray]) -> np.ndarray:
        """Variances by drawing every variant's shots again: where the gradient is exactly zero at the estimate."""
        rng = np.random.Generator(np.random.Philox(self.seed))
        tensors = [
            np.stack([draws.tensor(draws.again(own, rng)) for _ in range(_RESAMPLINGS)])
            for draws, own in zip(self.draws, counts, strict=True)
        ]
        found = self.plan.contraction.contract(tensors, bonds).values
        spread = found.var(axis=0, ddof=1)
        return np.where(spread > (_ROUNDING * np.abs(found).max(axis=0)) ** 2, spread, 0.0)
