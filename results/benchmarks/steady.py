"""Timing where other machines share the processor: what work takes at full speed, as a loop run beside it tells.

Where two virtual machines sit on the two threads of one core, each takes nearly twice as long while the other computes,
for tenths of a second or for minutes, and its own clock does not tell. A loop of known work just before and just after
does: short work waits until it runs at full speed. Longer work, or any where that does not come, is scaled by it: not
all of the work is slowed down as a loop of interpreted code is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from threadpoolctl import threadpool_limits

from tasks.runs import RunDirectory

STAGES = ("execute", "reconstruct")
_TURNS = 20_000  # of the loop: about a millisecond
_FIRST_S = 3.0  # of loops whose least is full speed to begin with
_AFTER = 4  # of loops the first ones of which find the caches full of other things
_DIFFER = 1.15  # times the one is the other: the speed changed meanwhile
_SLOWED = 0.45  # of a loop's slowing that of runs is: the median of 21 problems that ran at both speeds


class SteadyClock:
    """How fast the processor is beside some work, as part of the fastest that was seen."""

    def __init__(self) -> None:
        threadpool_limits(limits=1)  # from here on: threads that wait for each other would count as work
        began, self._least = time.perf_counter(), _loop()
        while time.perf_counter() - began < _FIRST_S:
            self._least = min(self._least, _loop())

    def before(self, wait_s: float = 0.0) -> float:
        """What the loop takes now, for ``speed``; at full speed if it comes within some seconds."""
        until = time.perf_counter() + wait_s
        while (now := _loop()) > _DIFFER * self._least and time.perf_counter() < until:
            pass
        self._least = min(self._least, now)
        return now

    def speed(self, before: float) -> tuple[float, bool]:
        """Of the processor since then, 1 at most, and whether it stayed: seconds times it are those at full speed."""
        both = sorted((before, min(_loop() for _ in range(_AFTER))))
        self._least = min(self._least, both[0])
        return 1 / _slowed(sum(both) / 2 / self._least), both[1] < _DIFFER * both[0]

    def full(self, speed: float) -> bool:
        """Whether this is full speed."""
        return speed * _slowed(_DIFFER) > 1


class ClockedRun(RunDirectory):
    """A run's folder that waits for the processor's full speed before the first stage after the plan.

    It knows the processor seconds of these stages, in this process, and the speed since then.
    """

    clock: SteadyClock
    wait_s = 0.0
    before: float | None = None
    speed = (1.0, False)
    used: dict[str, float]

    @contextlib.contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """As it is."""
        if stage in STAGES and self.before is None:
            self.before, self.used = self.clock.before(self.wait_s), dict.fromkeys(STAGES, 0.0)
        began = time.process_time()
        with super().timing(stage):
            yield
        if stage in STAGES:
            self.used[stage] += time.process_time() - began
            self.speed = self.clock.speed(self.before)


def _slowed(loop: float) -> float:
    """How many times as long runs take where the loop takes so many times as long."""
    return 1 + _SLOWED * (loop - 1)


def _loop() -> float:
    began = time.process_time()
    total = 0
    for number in range(_TURNS):
        total += number * number
    return time.process_time() - began
