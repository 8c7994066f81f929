"""Whether looking for results pays, from what looking has found and cost so far: counts and seconds, no clock."""

from __future__ import annotations

from collections.abc import Callable

_BELIEVED_LOOKED, _BELIEVED_FOUND = 20.0, 1.0
"""What is taken for known before anything is: enough to wait for hits as long as one execution takes."""
_REMEMBERED = 200.0  # looks; what is older counts ever less
_LEAST_FOUND = 1e-6
_MOST_SPENT = 0.005  # of an execution's seconds, on average, where looking does not pay
_WEIGHT = 1 / 16  # of the last cost among those before
_MOST_TIMES = 4.0  # the cost so far, that one look is taken for: the machine was busy with something else


class Payoff:
    """Says of each result whether it is looked for.

    A look costs its seconds whether it finds something or not, and spares an execution's where it does. So it pays
    where the share of looks that found something, lately, times the execution's seconds is at least the cost. Where it
    does not, part of all results is still looked for and kept, so that hits are noticed when they begin: so few that
    all executions together lose one in two hundred. By what it is a result is in that part or not, and what was kept is
    looked for again. Looking in vain so costs as much as one execution, and one in two hundred from then on.

    Args:
        looked: looks that are taken for known.
        found: how many of them found something.

    Attributes:
        cost: seconds of a look, as a multiple of what is predicted.
    """

    def __init__(self, looked: float = _BELIEVED_LOOKED, found: float = _BELIEVED_FOUND) -> None:
        self.cost = 1.0
        self._looked, self._found = looked, found

    def looks(self, name: Callable[[], bytes], seconds: float, predicted: float) -> bool:
        """Say whether to look for a result.

        Args:
            name: returns the same for the same result, spread evenly over all, 8 bytes or more; asked where it matters.
            seconds: that its execution is predicted to take.
            predicted: seconds that a look is, see ``spent``.
        """
        cost = self.cost * predicted
        if self._found / self._looked * seconds >= cost:
            return True
        return int.from_bytes(name()[:8], "big") * cost < _MOST_SPENT * seconds * 2.0**64

    def note(self, found: bool) -> None:
        """A result was looked for, and found or not."""
        if self._looked >= _REMEMBERED:
            kept = 1 - 1 / _REMEMBERED
            self._looked, self._found = self._looked * kept, max(_LEAST_FOUND, self._found * kept)
        self._looked += 1
        self._found += found

    def spent(self, seconds: float, predicted: float) -> None:
        """A look took so long where so much was predicted."""
        times = min(max(0.0, seconds) / predicted, _MOST_TIMES * self.cost)
        self.cost += _WEIGHT * (times - self.cost)
