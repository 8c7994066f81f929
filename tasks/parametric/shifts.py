"""Gradients with shots: the parameter-shift rule through one plan, in which only the shifted fragment runs again.

Every phase has one frequency g, so its derivative is g/2 (f(a + pi/2g) - f(a - pi/2g)) (Mitarai et al., Phys. Rev. A
98, 032309, 2018). f is linear in the tensor of the fragment that holds the phase: all other tensors stay, with their
counts. The angle of a severed gate moves a bond, whose derivative is known, and takes no shots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.model.streams import random_stream
from tasks.parametric.bonds import bond_slopes
from tasks.parametric.draws import Counts
from tasks.parametric.sampled import SampledPlan
from tasks.reconstruction.statistics.uncertainty import Uncertainty
from tasks.runtime.inline import one_thread

_LEAST = 0.1  # of the mean: a shifted fragment's share of the shots is not less


@dataclass(frozen=True)
class Slopes:
    """Values and derivatives at some sets of parameter values.

    Attributes:
        values: (set, observable) float64.
        std_errors: (set, observable) float64.
        slopes: (observable, set, parameter) float64.
        slope_errors: (observable, set, parameter) float64, their standard errors.
    """

    values: np.ndarray
    std_errors: np.ndarray
    slopes: np.ndarray
    slope_errors: np.ndarray


def shifted_slopes(sampled: SampledPlan, parameters: np.ndarray, shots: int) -> Slopes:
    """Values and gradients.

    Args:
        sampled: the plan.
        parameters: (set, parameter) float64.
        shots: of one evaluation; each of the two shifted ones of a phase takes as many on its fragment on the average,
            more where the derivative weighs more.
    """
    values, errors = sampled.values(parameters, shots=shots)
    with one_thread():
        found = [_one(sampled, own, shots) for own in parameters]
    shape = (len(parameters), values.shape[1], parameters.shape[1])
    slopes, variances = (np.moveaxis(np.array([one[k] for one in found]).reshape(shape), 1, 0) for k in (0, 1))
    return Slopes(values, errors, slopes, np.sqrt(variances))


def _one(sampled: SampledPlan, parameters: np.ndarray, shots: int) -> tuple[np.ndarray, np.ndarray]:
    """(observable, parameter) slopes and their variances."""
    plan = sampled.plan
    angles = plan.template.angles.of(parameters[None])
    jacobian = plan.template.angles.jacobian(parameters)  # (angle, parameter)
    each = max(1, shots // max(1, sampled.variants))
    counts = [sampled.counts(number, angles[0], each) for number in range(len(sampled.draws))]
    tensors = [draws.tensor(own)[None] for draws, own in zip(sampled.draws, counts, strict=True)]
    bonds = plan.bonds(angles)
    base = plan.contraction.contract(tensors, bonds)
    observables = base.values.shape[1]
    every = np.eye(observables)[:, None, :]
    slopes_of, _ = plan.contraction.backward(base, every)
    total = np.zeros((len(parameters), observables))
    known = Uncertainty.none(observables, len(parameters))
    of_base = [np.zeros((observables, len(parameters), *tensor.shape[1:])) for tensor in tensors]

    def add(changed_tensors: list[np.ndarray], changed_bonds: list[np.ndarray], moved: int) -> None:
        """A term of the slopes, linear in what is changed, and how the other fragments' counts bear on it."""
        found = plan.contraction.contract(changed_tensors, changed_bonds)
        total[...] += found.values
        for number, own in enumerate(plan.contraction.backward(found, every)[0]):
            if number != moved:
                of_base[number] += own

    for number, ((program, _), draws) in enumerate(zip(plan.laid_open, sampled.draws, strict=True)):
        weights = jacobian[program.angles] * program.gaps[:, None] / 2  # (phase, parameter)
        live = np.flatnonzero(weights.any(axis=1))
        if not live.size:
            continue
        change = np.zeros((len(parameters), *tensors[number].shape[1:]))
        for phase, pair in _pairs(sampled, number, angles[0], live, np.abs(weights).max(axis=1), each):
            difference = draws.tensor(pair[0]) - draws.tensor(pair[1])
            change += weights[phase].reshape(-1, *(1,) * difference.ndim) * difference
            for own in pair:
                known.add(draws.uncertainty(own, slopes_of[number][:, 0])[:, None].scaled(weights[phase]))
        add([change if place == number else own for place, own in enumerate(tensors)], bonds, number)
    for cut, by_angle in zip(plan.gate_bonds, bond_slopes(list(plan.gate_bonds.values()), angles), strict=True):
        change = np.zeros((len(parameters), *bonds[cut].shape[1:]))
        for angle, slope in by_angle:
            change += jacobian[angle][:, None, None] * slope
        add(tensors, [change if place == cut else own for place, own in enumerate(bonds)], -1)
    for draws, own, gradient in zip(sampled.draws, counts, of_base, strict=True):
        if gradient.any():
            flat = gradient.reshape(observables * len(parameters), *gradient.shape[2:])
            seen = draws.uncertainty(own, flat)
            parts = (part.reshape(observables, -1) for part in (seen.seen, seen.fourth, seen.doubt))
            known.add(Uncertainty(*parts))
    return total.T, known.variance


def _pairs(
    sampled: SampledPlan, number: int, angles: np.ndarray, live: np.ndarray, worth: np.ndarray, each: int
) -> list[tuple[int, tuple[Counts, Counts]]]:
    """Counts of a fragment with each live phase shifted up and down; shots in proportion to what they are worth."""
    plan, draws = sampled.plan, sampled.draws[number]
    program = plan.laid_open[number][0]
    own = angles[program.angles]
    shifts = (np.pi / 2) / program.gaps[live]
    rows = np.repeat(own[None], 2 * len(live), axis=0)
    rows[np.arange(0, len(rows), 2), live] += shifts
    rows[np.arange(1, len(rows), 2), live] -= shifts
    share = np.maximum(worth[live] / worth[live].mean(), _LEAST)
    shots = np.maximum(1, each * share / share.mean()).astype(np.int64)
    found = []
    chances = draws.probabilities(program.states(rows)[-1])
    plan.runs[number] += len(rows)
    for place, phase in enumerate(live.tolist()):
        pair = []
        for side in (0, 1):
            name = f"shifted:{sampled.seed}:{number}:{phase}:{side}:{own.tobytes().hex()}"
            pair.append(draws.draw(chances[2 * place + side], int(shots[place]), random_stream(name)))
        sampled.shots += 2 * int(shots[place]) * draws.variants
        found.append((phase, (pair[0], pair[1])))
    return found
