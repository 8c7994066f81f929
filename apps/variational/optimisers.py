"""The optimisers: each a function of an objective, a start and a search; a new one is one more, and its name.

They ask for energies through the objective alone and draw from the search's seed alone, so that the same answers lead
along the same path: that is how a loop is resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from apps.variational.search import Found, Objective, Search
from apps.variational.spsa import CALIBRATIONS, qnspsa, spsa

_CALLS = 3  # of an iteration with slopes, at most


def cobyla(objective: Objective, search: Search) -> Found:
    """Powell's linear approximations (scipy), one point at a time; knows neither slopes nor noise."""
    from scipy.optimize import minimize

    spread = 0.3 * float(np.min(np.diff(search.bounds, axis=1), initial=1.0))
    found = minimize(
        lambda x: float(objective.values(x[None])[0]),
        search.start,
        method="COBYLA",
        tol=search.tolerance,
        options={"maxiter": search.iterations, "rhobeg": min(0.3, spread)},
    )
    return Found(found.x, _why(found.success, found.nfev >= search.iterations))


def lbfgsb(objective: Objective, search: Search) -> Found:
    """Quasi-Newton steps along exact gradients (scipy)."""
    from scipy.optimize import minimize

    found = minimize(
        objective.slopes,
        search.start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": search.iterations, "maxfun": _CALLS * search.iterations, "ftol": search.tolerance / 10,
                 "gtol": search.tolerance},
    )  # fmt: skip
    return Found(found.x, _why(found.success, found.status == 1))


def differential_evolution(objective: Objective, search: Search) -> Found:
    """Storn and Price's differential evolution (scipy, best1bin); a whole population is one call."""
    from scipy.optimize import differential_evolution as evolve
    from scipy.stats.qmc import LatinHypercube

    low, high = search.bounds.T
    spread = LatinHypercube(len(low), rng=np.random.default_rng(search.seed)).random(search.population)
    members = low + (high - low) * spread
    members[0] = np.clip(search.start, low, high)
    found = evolve(
        lambda x: objective.values(np.ascontiguousarray(x.T)),
        list(zip(low, high, strict=True)),
        init=members,
        maxiter=search.iterations,
        vectorized=True,
        updating="deferred",
        polish=False,
        tol=search.tolerance,
        rng=np.random.default_rng([search.seed, 1]),
    )
    return Found(found.x, _why(found.success, found.nit >= search.iterations))


@dataclass(frozen=True)
class Optimiser:
    """An optimiser that is known.

    Attributes:
        run: the function.
        iterations: of a search where none are asked for.
        sets: of parameter values that a search asks the energy of at most.
    """

    run: Callable[[Objective, Search], Found]
    iterations: int
    sets: Callable[[Search], int]


OPTIMISERS = {
    "cobyla": Optimiser(cobyla, 500, lambda search: search.iterations),
    "lbfgsb": Optimiser(lbfgsb, 200, lambda search: _CALLS * search.iterations),
    "spsa": Optimiser(spsa, 200, lambda search: 2 * (CALIBRATIONS + search.iterations)),
    "qnspsa": Optimiser(qnspsa, 150, lambda search: 2 * search.iterations),
    "de": Optimiser(differential_evolution, 100, lambda search: search.population * (1 + search.iterations)),
}


def _why(converged: bool, limited: bool) -> str:
    """Why a search of scipy's ended, in words: its own name variables of its sources."""
    if converged:
        return "Converged: no step lowers the energy by more than the tolerance"
    if limited:
        return "The iterations allowed are over"
    return "No lower energy was found: the noise of the shots, or rounding, is larger than the gain"
