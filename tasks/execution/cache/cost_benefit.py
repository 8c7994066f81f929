"""Whether a key by meaning is worth making: its cost against the predicted time of the execution it may spare."""

from __future__ import annotations

from tasks.cutting.plan import Fragment

_SECONDS_A_GATE = 2e-4
"""Of making a key by meaning, on one core, from above (results/benchmarks/cache.md: 40 to 160 microseconds)."""

_MOST_SHARE = 0.05


def meaning_pays(fragment: Fragment, seconds: float) -> bool:
    """Say whether a key by meaning costs at most a twentieth of what computing the fragment is predicted to take.

    A run then loses at most that twentieth where nothing is found, and gains the execution where something is.

    Args:
        fragment: what would be keyed.
        seconds: predicted, for computing it.
    """
    gates = len(fragment.circuit.data) + fragment.num_factors + 2 * len(fragment.legs)
    return gates * _SECONDS_A_GATE <= _MOST_SHARE * seconds
