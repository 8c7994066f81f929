"""How many shots an evaluation takes: more as soon as the noise of few hides what the optimiser still gains."""

from __future__ import annotations

import math
from collections import deque

_CLEAR = 2.0  # standard errors that a gain must have to be one


class Effort:
    """A level that rises from 0, by the energies and standard errors of the evaluations alone.

    Args:
        levels: above 0; none on the exact path.
        window: evaluations that are compared with as many before them.
    """

    def __init__(self, levels: int, window: int) -> None:
        self.level, self._most, self._window = 0, levels, window
        self._seen: deque[tuple[float, float]] = deque(maxlen=2 * window)

    def follow(self, energy: float, error: float) -> None:
        """Take note of an evaluation; the next one may be at a higher level."""
        if self.level >= self._most:
            return
        self._seen.append((energy, error))
        if len(self._seen) < 2 * self._window:
            return
        before, after = list(self._seen)[: self._window], list(self._seen)[self._window :]
        gain = (sum(e for e, _ in before) - sum(e for e, _ in after)) / self._window
        noise = math.sqrt(sum(s * s for _, s in self._seen)) / self._window
        if gain < _CLEAR * noise:
            self.level += 1
            self._seen.clear()


def levels_between(first: float, most: float) -> int:
    """Doublings from one number of shots to another."""
    return max(0, math.ceil(math.log2(most / first) - 1e-9)) if first > 0 else 0
