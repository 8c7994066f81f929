"""What really happens on simulated devices: queues, drift, failures and drop-outs, from seeds and traces."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scheduler_policies.device import Device, Kind

_DAY = 86_400.0
_GRID = 300.0
_STEPS = int(_DAY / _GRID)


@dataclass(frozen=True)
class Behaviour:
    """How a device really behaves, which no policy sees.

    Attributes:
        slowness: what it takes over what its speed model says.
        jitter: standard deviation of the logarithm of one circuit's length; n circuits together have 1/sqrt(n) of it.
        wait: mean wait in its queue, in seconds.
        wait_spread: standard deviation of the logarithm of that wait over the day.
        wait_trace: (time, wait) pairs that replace mean and spread, linear in between.
        surge: probability that a wait turns out ten times what was reported.
        failure: probability that a piece fails.
        dropouts: (begin, end) of times at which the device answers nothing.
        drift: growth of its error rates an hour, relative to those calibrated.
        calibration: seconds between calibrations, each of which ends the drift.
    """

    slowness: float = 1.0
    jitter: float = 0.05
    wait: float = 0.0
    wait_spread: float = 0.0
    wait_trace: tuple[tuple[float, float], ...] = ()
    surge: float = 0.0
    failure: float = 0.0
    dropouts: tuple[tuple[float, float], ...] = ()
    drift: float = 0.0
    calibration: float = _DAY


class Seen(NamedTuple):
    """What a device reports, or what is noticed, at one moment."""

    wait: float
    queue_length: int
    drift: float


class Fate(NamedTuple):
    """What becomes of one piece: seconds on the device, whether it succeeds, and whether the device is gone."""

    run: float
    succeeds: bool
    gone: bool = False


# Seconds after which a device that answers nothing counts as failed.
_DETECTION = 10.0
_SURGE = 10.0
# A job of others is this long when a wait is told as a queue's length.
_OTHERS_JOB = 60.0


class World:
    """The hidden truth of a pool: pure in (device, time, how many pieces the device had before)."""

    def __init__(self, devices: Sequence[tuple[Device, Behaviour]], seed: int, start: float) -> None:
        self._devices = devices
        self._seed = seed
        self._start = start
        self._pieces = [0] * len(devices)
        self._submissions = [0] * len(devices)
        self._waves: dict[int, np.ndarray] = {}

    def wait(self, device: int, now: float) -> float:
        """Seconds a piece submitted now would wait, surges aside."""
        behaviour = self._devices[device][1]
        time = self._start + now
        if behaviour.wait_trace:
            return _interpolate(behaviour.wait_trace, time)
        if behaviour.wait <= 0.0:
            return 0.0
        wave = self._wave(device)
        step = time / _GRID
        low = math.floor(step)
        part = step - low
        level = (1 - part) * wave[low % _STEPS] + part * wave[(low + 1) % _STEPS]
        spread = behaviour.wait_spread
        return behaviour.wait * math.exp(spread * float(level) - spread**2 / 2)

    def drift(self, device: int, now: float) -> float:
        """Error rates over those calibrated, minus 1."""
        behaviour = self._devices[device][1]
        phase = self._uniform(device, 0, 3)
        age = (self._start + now + phase * behaviour.calibration) % behaviour.calibration
        return behaviour.drift * age / 3600.0

    def seen(self, device: int, now: float) -> Seen:
        """What can be known of a device: its reported wait and the drift noticed, each off by about a tenth."""
        if self._devices[device][0].kind is not Kind.QPU:
            return Seen(0.0, 0, 0.0)
        hour = int((self._start + now) / 3600.0)
        noise = math.exp(0.2 * (self._uniform(device, hour, 1) - 0.5) * 2)
        wait = self.wait(device, now) * noise
        drift = self.drift(device, now) * math.exp(0.2 * (self._uniform(device, hour, 2) - 0.5) * 2)
        return Seen(wait, round(wait / _OTHERS_JOB), drift)

    def queue(self, device: int, now: float) -> float:
        """Seconds that what is submitted now waits, surges included."""
        number = self._submissions[device]
        self._submissions[device] += 1
        surge = float(np.random.default_rng((self._seed, 13, device, number)).random())
        return self.wait(device, now) * (_SURGE if surge < self._devices[device][1].surge else 1.0)

    def fate(self, device: int, now: float, predicted: float, circuits: int) -> Fate:
        """What becomes of a piece of so many circuits that starts now and is predicted to run so many seconds."""
        behaviour = self._devices[device][1]
        number = self._pieces[device]
        self._pieces[device] += 1
        rng = np.random.default_rng((self._seed, 17, device, number))
        jitter, failure, part = rng.standard_normal(), *rng.random(2)
        run = predicted * behaviour.slowness * math.exp(behaviour.jitter * jitter / math.sqrt(circuits))
        succeeds = bool(failure >= behaviour.failure)
        run = run if succeeds else run * part
        for begin, end in behaviour.dropouts:
            if begin < now + run and now < end:
                return Fate(max(begin - now, 0.0) + _DETECTION, False, True)
        return Fate(run, succeeds)

    def _wave(self, device: int) -> np.ndarray:
        """A smooth, periodic, standard normal series over a day: an hour's memory."""
        known = self._waves.get(device)
        if known is None:
            white = np.random.default_rng((self._seed, 29, device)).standard_normal(_STEPS)
            lag = np.minimum(np.arange(_STEPS), _STEPS - np.arange(_STEPS)) * _GRID
            kernel = np.exp(-0.5 * (lag / 3600.0) ** 2)
            smooth = np.fft.irfft(np.fft.rfft(white) * np.fft.rfft(kernel), _STEPS)
            known = (smooth - smooth.mean()) / smooth.std()
            self._waves[device] = known
        return known

    def _uniform(self, device: int, number: int, purpose: int) -> float:
        return float(np.random.default_rng((self._seed, 41, purpose, device, number)).random())


def _interpolate(trace: Sequence[tuple[float, float]], time: float) -> float:
    times = [point[0] for point in trace]
    position = bisect.bisect_right(times, time)
    if position == 0:
        return trace[0][1]
    if position == len(trace):
        return trace[-1][1]
    (begin, low), (end, high) = trace[position - 1], trace[position]
    return low + (high - low) * (time - begin) / (end - begin)
