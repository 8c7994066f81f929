"""What is worth looking for, and by what key: their cost against the predicted time of the execution they may spare."""

from __future__ import annotations

from tasks.cutting.plan import Fragment

_SECONDS_A_KEY = 3e-4
_SECONDS_A_GATE = 6e-5
"""Of making a key by meaning, on one core, from above: 10 to 830 gates took a third to two thirds of their sum."""

LOOK_SECONDS = 3e-4
"""Of a look into the store and of keeping what was not found, before any is measured."""

_MOST_SHARE = 0.05
_LEAST_SECONDS = 0.01
_LEAST_CLAIMED_SECONDS = 0.05


def meaning_pays(fragment: Fragment, seconds: float) -> bool:
    """Say whether a key by meaning costs at most a twentieth of what computing the fragment is predicted to take.

    A run then loses at most that twentieth where nothing is found, and gains the execution where something is.

    Args:
        fragment: what would be keyed.
        seconds: predicted, for computing it.
    """
    return meaning_of_gates_pays(keyed_gates(fragment), seconds)


def keyed_gates(fragment: Fragment) -> int:
    """Return how many instructions a circuit has whose key by meaning takes as long as the fragment's."""
    return len(fragment.circuit.data) + fragment.num_factors + 2 * len(fragment.legs)


def meaning_of_gates_pays(gates: int, seconds: float) -> bool:
    """As ``meaning_pays``, of a circuit of so many instructions."""
    return meaning_seconds(gates) <= _MOST_SHARE * seconds


def meaning_seconds(gates: int) -> float:
    """Return the seconds that a key by meaning of so many instructions takes at most."""
    return _SECONDS_A_KEY + gates * _SECONDS_A_GATE


def claiming_pays(seconds: float) -> bool:
    """Say whether what is predicted to take so long is claimed first, so that no other worker does it meanwhile.

    A claim takes half of what looking costs, 0.2 ms in all on LMDB, and spares an execution where two workers want
    the same at once.
    """
    return seconds >= _LEAST_CLAIMED_SECONDS


def finding_pays(seconds: float) -> bool:
    """Say whether what is predicted to take so long is looked for at all: less is run again sooner than it is found."""
    return seconds >= _LEAST_SECONDS
