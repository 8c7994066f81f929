"""What a plan will give and take before anything is sampled: standard errors for shots, seconds, money.

The estimate is multilinear in the fragment tensors, so to first order its variance is a sum over variants of A / shots,
A the variance of one shot's influence X = sum_e g_e s_e(outcome), with g the gradient of the estimate with respect to
the raw entries and s_e their signs (``tasks/reconstruction/statistics``). A simulator that can hold the fragments gives
A without a shot: with the factor f measured together with the bits b of the legs, X = sum_f f Y_f(b), and

    E[X^2] = sum_{f, f'} sum_b  E[f f' | b] p(b) Y_f(b) Y_f'(b),     E[X] = sum_f sum_b E[f | b] p(b) Y_f(b).

The products f f' are Paulis themselves: they are asked of the same simulation as further factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from scheduler_policies import Device, Kind
from scheduler_policies.cost import why_not, work_price, work_seconds
from scheduler_policies.machine import INLINE_FRAGMENT_S, ROUNDS_FRAGMENT_S, ROUNDS_VARIANT_S, VARIANT_ERROR_S
from tasks.cutting import Fragment, Plan, structure_of
from tasks.cutting.cost import greedy_contraction, joining_seconds
from tasks.cutting.variants import measurement_groups
from tasks.execution.simulators.whole import whole_tensor
from tasks.execution.works import works_of
from tasks.model.problem import Problem
from tasks.model.tensor import FragmentTensor, LegSettings
from tasks.reconstruction.contraction.network import network_of, values_by_fragment
from tasks.reconstruction.contraction.schedule import schedule
from tasks.reconstruction.statistics.allocation import FIRST_ROUND, expected_shots
from tasks.reconstruction.statistics.gradient import LeafGradient, gradients
from tasks.runtime import INLINE_S

_MOST_PRODUCTS = 256  # of two factors of a fragment; beyond, factors count as if they were independent
_SHOTS_FOR_ROUNDS = 100  # a variant
_BISECTIONS = 20
_MOST_SHOTS = 1e30  # of which it makes no difference how many more there are
_SAMPLED = 5  # contractions of a sampled run, about: the values, their gradients, the shots of two rounds


@dataclass(frozen=True)
class ShotVariances:
    """What one shot of each variant of a plan is worth.

    Attributes:
        values: (variant, observable) float64, variance of one shot's influence.
        fragments: (variant,) int, whose variant it is; those of a fragment as ``enumerate_variants`` orders them.
    """

    values: np.ndarray
    fragments: np.ndarray

    @cached_property
    def _worth(self) -> np.ndarray:
        return np.asarray(self.values.sum(axis=1))

    def std_errors(self, shots: float) -> np.ndarray:
        """(observable,) standard errors that so many shots give, shared out as a run shares them."""
        variants = len(self.fragments)
        if variants == 0:
            return np.zeros(self.values.shape[1])
        first = FIRST_ROUND * shots if shots >= _SHOTS_FOR_ROUNDS * variants else float(shots)
        done = np.full(variants, first / variants)
        taken = done if first == shots else expected_shots(self._worth, done, float(shots))
        return np.sqrt(self.values.T @ (1.0 / taken))

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


def shot_variances(problem: Problem, plan: Plan, memory_bytes: int | None = None) -> ShotVariances:
    """Compute what one shot of each variant is worth from the fragments' exact tensors.

    Args:
        problem: the problem.
        plan: its plan; every fragment is simulated once.
        memory_bytes: what the contraction may take.
    """
    if not plan.fragments:  # no gate acts on what is asked: nothing is measured
        return ShotVariances(np.zeros((0, problem.terms.coefficients.shape[0])), np.zeros(0, dtype=int))
    structure = structure_of(problem, plan)
    asked = [_asked_more(fragment) for fragment in plan.fragments]
    more = [whole_tensor(fragment) for fragment, _ in asked]
    tensors = [
        FragmentTensor(f.index, np.ascontiguousarray(values[..., : f.num_factors]))
        for f, values in zip(plan.fragments, more, strict=True)
    ]
    network = network_of(structure)
    ordered = values_by_fragment(structure, network, tensors)
    made = schedule(structure, network, memory_bytes=memory_bytes, gradients=True)
    counts = [cost.variants for cost in plan.costs]
    starts = np.cumsum([0, *counts])
    found = np.zeros((int(starts[-1]), problem.terms.coefficients.shape[0]))
    for _, pieces in gradients(structure, network, made, ordered, [fragment.index for fragment in plan.fragments]):
        for piece in pieces:
            index = piece.fragment
            legs = [
                _Outcomes.of(leg.kind.spanning(scheme))
                for leg, scheme in zip(plan.fragments[index].legs, plan.schemes[index], strict=True)
            ]
            rows = found[starts[index] : starts[index + 1]]
            _add_variances(rows, plan.fragments[index], legs, more[index], asked[index][1], piece)
    return ShotVariances(np.maximum(found, 0.0), np.repeat(np.arange(len(counts)), counts))


def _asked_more(fragment: Fragment) -> tuple[Fragment, Mapping[tuple[int, int], int]]:
    """The fragment with products of its factors, the identity among them, asked too; where each pair's product is."""
    rows = np.concatenate([fragment.factors_x, fragment.factors_z], axis=1)
    place = {row.tobytes(): k for k, row in enumerate(rows)}
    added: list[np.ndarray] = []

    def at(row: np.ndarray) -> int:
        key = row.tobytes()
        if key not in place:
            place[key] = len(rows) + len(added)
            added.append(row)
        return place[key]

    alike = at(np.zeros(rows.shape[1], dtype=bool))
    products = {(f, f): alike for f in range(len(rows))}
    groups = [group.factors.tolist() for group in measurement_groups(fragment)]
    if sum(len(group) ** 2 for group in groups) <= _MOST_PRODUCTS:
        products |= {(f, g): at(rows[f] ^ rows[g]) for group in groups for f in group for g in group}
    every = np.concatenate([rows, np.array(added).reshape(-1, rows.shape[1])]).astype(bool)
    qubits = fragment.num_qubits
    return replace(fragment, factors_x=every[:, :qubits], factors_z=every[:, qubits:]), products


@dataclass(frozen=True)
class _Outcomes:
    """The settings of a leg, outcome by outcome.

    Attributes:
        influence: (outcome, leg) what a gradient in the leg basis means for each outcome of each setting.
        chance: (outcome, leg) the part of a fragment tensor that is each outcome's.
        settings: (setting,) the first outcome of each.
    """

    influence: np.ndarray
    chance: np.ndarray
    settings: np.ndarray

    @classmethod
    def of(cls, spanning: LegSettings) -> _Outcomes:
        """From the raw columns: a setting's summed one, and its signed one where it reads a bit."""
        raw = np.linalg.pinv(spanning.inverse)
        influence: list[np.ndarray] = []
        chance: list[np.ndarray] = []
        settings: list[int] = []
        for setting in range(spanning.num_settings):
            columns = np.flatnonzero(spanning.columns[:, 0] == setting)
            settings.append(len(influence))
            signs = [1.0, -1.0] if len(columns) == 2 else [1.0]
            for sign in signs:
                weights = np.array([1.0, sign])[: len(columns)]
                influence.append(weights @ spanning.inverse[:, columns].T)
                chance.append(weights @ raw[columns] / len(signs))
        return cls(np.array(influence), np.array(chance), np.array(settings))


def _add_variances(
    rows: np.ndarray,
    fragment: Fragment,
    legs: Sequence[_Outcomes],
    values: np.ndarray,
    products: Mapping[tuple[int, int], int],
    piece: LeafGradient,
) -> None:
    """Add a fragment's share: rows (variant, observable), values (legs..., factor)."""
    chances = _applied(np.moveaxis(values, -1, 0), [leg.chance for leg in legs])
    influences = _applied(piece.gradient, [leg.influence for leg in legs])
    groups = measurement_groups(fragment)
    times = np.zeros(fragment.num_factors)
    for group in groups:
        times[group.factors] += 1
    each = len(rows) // len(groups)
    for number, group in enumerate(groups):
        own = set(group.factors.tolist())
        part = rows[number * each : (number + 1) * each]
        for observable in np.unique(piece.observables).tolist():
            pairs = [p for p in np.flatnonzero(piece.observables == observable) if int(piece.factors[p]) in own]
            factors = [int(piece.factors[p]) for p in pairs]
            shares = [influences[p] / times[f] for p, f in zip(pairs, factors, strict=True)]
            mean = _by_setting(
                sum((chances[f] * y for f, y in zip(factors, shares, strict=True)), 0 * chances[0]), legs
            )
            square = 0 * mean
            for a, f in enumerate(factors):
                for b, g in enumerate(factors):
                    if (f, g) in products:
                        square += _by_setting(chances[products[f, g]] * shares[a] * shares[b], legs)
            part[:, observable] += (square - mean**2).reshape(-1)


def _applied(array: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """(first, leg...) with each leg's axis multiplied by its matrix."""
    for axis, matrix in enumerate(matrices, start=1):
        array = np.moveaxis(np.tensordot(array, matrix, axes=(axis, 1)), -1, axis)
    return array


def _by_setting(array: np.ndarray, legs: Sequence[_Outcomes]) -> np.ndarray:
    for axis, leg in enumerate(legs):
        array = np.add.reduceat(array, leg.settings, axis=axis)
    return array


@dataclass(frozen=True)
class Spending:
    """What running a plan takes.

    Attributes:
        execute: seconds until the last fragment is done.
        reconstruct: seconds of the contractions.
        price: in the currency of the devices.
        unplaced: (fragment, why) of those that no device can run.
    """

    execute: float
    reconstruct: float
    price: float
    unplaced: tuple[tuple[int, str], ...] = ()


def predicted_spending(plan: Plan, devices: Sequence[Device], shots: float | None) -> Spending:
    """Put every fragment, the longest first, where it is done soonest.

    Args:
        plan: the plan.
        devices: of the run.
        shots: in all, None for an exact run.
    """
    flops = greedy_contraction(plan.fragments, plan.bonds).flops * len(plan.factor_index)
    numbers = sum(cost.tensor_bytes for cost in plan.costs) / 8
    contraction = joining_seconds(flops, len(plan.fragments), numbers)
    variants = sum(cost.variants for cost in plan.costs)
    each = 1 if shots is None else max(1, round(min(shots, _MOST_SHOTS) / max(1, variants)))
    works = [replace(work, whole=shots is None) for work in works_of(plan, each)]
    free = {device.name: [0.0] * max(1, device.units) for device in devices}
    price, refused, total = 0.0, [], 0.0
    order = sorted(works, key=lambda work: -min((work_seconds(d, work) for d in devices), default=0.0))
    for work in order:
        able = [d for d in devices if why_not(d, work) is None and (shots is not None or d.exact)]
        if not able:
            reasons = [f"{d.name} {why_not(d, work) or 'takes shots only'}" for d in devices]
            refused.append((work.fragment, "; ".join(reasons)))
            continue
        chosen = min(able, key=lambda d: min(free[d.name]) + work_seconds(d, work))
        unit = int(np.argmin(free[chosen.name]))
        free[chosen.name][unit] += work_seconds(chosen, work)
        total += work_seconds(chosen, work) - chosen.speed.job
        price += work_price(chosen, work)
    busiest = max((max(units) for units in free.values()), default=0.0)
    rounds = 0 if shots is None else 2
    if total * max(1, rounds) <= INLINE_S and all(device.kind is Kind.CPU for device in devices):
        busiest = total + len(works) * INLINE_FRAGMENT_S  # done here, one after the other
        busiest += bool(rounds) * (len(works) * ROUNDS_FRAGMENT_S + variants * ROUNDS_VARIANT_S)
    if rounds:
        contraction = _SAMPLED * contraction + variants * VARIANT_ERROR_S
    return Spending(busiest, contraction, price, tuple(refused))
