"""Simultaneous perturbation: two energies an iteration whatever the number of parameters, with or without a metric."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import sqrtm

from apps.variational.search import Found, Objective, Search

_ALPHA, _GAMMA = 0.602, 0.101  # Spall, IEEE Trans. Aerospace Electronic Systems 34, 817 (1998), section III.B
_PERTURBATION = 0.2
_FIRST_STEP = 2 * np.pi / 10  # wanted of the first step (Kandala et al., Nature 549, 242 (2017), supplement)
CALIBRATIONS = 25
_REGULARISATION = 0.01  # of the metric
_LAST = 10  # iterates whose mean is the result


def signs(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size,) of +1 and -1, each as likely."""
    return 1 - 2 * rng.binomial(1, 0.5, size=size)


def spsa(objective: Objective, search: Search) -> Found:
    """Spall's SPSA; the length of its steps is set by the slopes it finds at the start, all measured at once."""
    rng = np.random.default_rng(search.seed)
    room = 0.1 * search.iterations  # Spall's A
    rate = calibrated(objective, search.start, rng) * (room + 1) ** _ALPHA
    rates = rate / (room + 1 + np.arange(search.iterations)) ** _ALPHA
    return Found(*walk(objective, search.start, rates, _perturbations(search.iterations), rng))


def calibrated(objective: Objective, start: np.ndarray, rng: np.random.Generator) -> float:
    """A learning rate with which the mean first step has the wanted length."""
    deltas = np.array([signs(rng, len(start)) for _ in range(CALIBRATIONS)])
    values = objective.values(np.concatenate([start + _PERTURBATION * deltas, start - _PERTURBATION * deltas]))
    slope = float(np.mean(np.abs(values[:CALIBRATIONS] - values[CALIBRATIONS:]))) / (2 * _PERTURBATION)
    return _FIRST_STEP / slope if slope > 1e-10 else _FIRST_STEP


def walk(
    objective: Objective,
    start: np.ndarray,
    rates: np.ndarray,
    perturbations: np.ndarray,
    rng: np.random.Generator,
    met: Callable[[np.ndarray], None] = lambda point: None,
) -> tuple[np.ndarray, str]:
    """Steps against slopes along random directions.

    Args:
        objective: lowered.
        start: (parameter,) float64.
        rates: (iteration,) learning rates.
        perturbations: (iteration,) how far away the slope is measured.
        rng: draws the directions.
        met: told each iterate.

    Returns:
        the mean of the last iterates, and why it ended.
    """
    point, visited = np.array(start), [np.array(start)]
    for rate, distance in zip(rates, perturbations, strict=True):
        delta = signs(rng, len(point))
        up, down = objective.values(np.stack([point + distance * delta, point - distance * delta]))
        point = point - rate * (up - down) / (2 * distance) * delta
        visited.append(point)
        met(point)
    return _end_of(visited)


def qnspsa(objective: Objective, search: Search) -> Found:
    """SPSA whose steps follow an estimate of the Fubini-Study metric (Gacon et al., Quantum 5, 567 (2021))."""
    rng = np.random.default_rng(search.seed)
    perturbations = _perturbations(search.iterations)
    rates = np.full(search.iterations, 0.05)
    return Found(*natural_walk(objective, search.start, rates, perturbations, rng))


def natural_walk(
    objective: Objective,
    start: np.ndarray,
    rates: np.ndarray,
    perturbations: np.ndarray,
    rng: np.random.Generator,
    met: Callable[[np.ndarray], None] = lambda point: None,
) -> tuple[np.ndarray, str]:
    """As ``walk``, with each step turned by the inverse of the smoothed metric; ``met`` is told each iterate."""
    size = len(start)
    point, visited, smoothed = np.array(start), [np.array(start)], np.eye(size)
    for number, (rate, distance) in enumerate(zip(rates, perturbations, strict=True)):
        first, second = signs(rng, size), signs(rng, size)
        up, down = objective.values(np.stack([point + distance * first, point - distance * first]))
        slope = (up - down) / (2 * distance) * first
        both = np.stack([first + second, first, -first + second, -first])
        a, b, c, d = objective.overlaps(point, point + distance * both)
        curvature = -(a - b - c + d) / (4 * distance**2)
        metric = curvature * (np.outer(first, second) + np.outer(second, first)) / 2
        smoothed = ((number + 1) * smoothed + metric) / (number + 2)
        regular = np.real(sqrtm(smoothed @ smoothed)) + _REGULARISATION * np.eye(size)
        point = point - rate * np.linalg.solve(regular, slope)
        visited.append(point)
        met(point)
    return _end_of(visited)


def _end_of(visited: list[np.ndarray]) -> tuple[np.ndarray, str]:
    """The mean of the last iterates, and why it ended."""
    return np.mean(
        visited[-min(_LAST, 1 + len(visited) // 2) :], axis=0
    ), f"after {len(visited) - 1} iterations, as asked"


def _perturbations(iterations: int) -> np.ndarray:
    return _PERTURBATION / (1 + np.arange(iterations)) ** _GAMMA
