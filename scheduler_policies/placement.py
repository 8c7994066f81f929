"""What a policy is asked and what it answers: goals, candidates, placements, schedules."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Protocol

from scheduler_policies.cost import squared_error, start_delays, steady_pace, why_not, work_price, work_seconds
from scheduler_policies.device import Device, DeviceState, Work
from scheduler_policies.errors import NoDeviceError, PolicyError


class Candidate(NamedTuple):
    """A device and how it is doing."""

    device: Device
    state: DeviceState


@dataclass(frozen=True)
class Goal:
    """What the user asked of a run besides being fast.

    Attributes:
        max_error: bound on the predicted error of the final estimate, None where there is none.
        budget: bound on the money spent, None where there is none.
        cheapest: whether to spend as little as can be, whatever time and noise that costs.
    """

    max_error: float | None = None
    budget: float | None = None
    cheapest: bool = False


@dataclass(frozen=True)
class Placement:
    """A piece of work on a device.

    Attributes:
        work: the piece.
        device: name of the device.
        start: predicted seconds from now until it runs, the wait for others' jobs counted.
        seconds: predicted length.
        unit: which of the device's units; those that are free now come first. Pieces of one unit are best submitted
            together, as they then wait in the device's queue only once.
    """

    work: Work
    device: str
    start: float = 0.0
    seconds: float = 0.0
    unit: int = 0


@dataclass(frozen=True)
class Decision:
    """A decision: every variant placed once, and what it is predicted to take.

    Attributes:
        placements: in order of start.
        makespan: seconds until all is done.
        error: of the final estimate, from the pieces placed and ``spent_error`` of those done before.
        price: of the pieces placed.
        notes: what could not be kept of the bound on the error, in sentences for the user.
        waiting: works that only devices at rest or on trial could take; place them again at ``retry_at`` or when a
            trial ends.
        retry_at: when the first device at rest comes back, on the caller's clock; None when none rests.
    """

    placements: tuple[Placement, ...]
    makespan: float
    error: float
    price: float
    notes: tuple[str, ...] = ()
    waiting: tuple[Work, ...] = ()
    retry_at: float | None = None


class Policy(Protocol):
    """Decides which device runs which work.

    Pure: no clock, no I/O, no randomness of its own. It gets only devices in use and returns (work or share of a work,
    device name) in the order in which each device should start them. Every variant must be placed once.
    """

    def __call__(self, works: Sequence[Work], pool: Sequence[Candidate], goal: Goal, /) -> Sequence[tuple[Work, str]]:
        """Place the work."""


def alike(pool: Sequence[Candidate], apart: frozenset[str] = frozenset()) -> list[int]:
    """For each candidate the index of the first one that differs from it in name and leases only.

    A thousand equal nodes are then one row of a cost table.

    Args:
        pool: the candidates.
        apart: names of devices that are like no other.
    """
    first: dict[tuple[Device, DeviceState], int] = {}
    rows = []
    for index, (device, state) in enumerate(pool):
        name = device.name if device.name in apart else ""
        same = replace(device, name=name, node="", processor="")
        key = (same, replace(state, free_units=0, busy=(), pace=steady_pace(state)))
        rows.append(first.setdefault(key, index))
    return rows


class Loads:
    """When each unit of each device is done with what it has while a schedule is being built.

    Args:
        pool: the candidates.
        queues: whether the waits for others' jobs are known.
    """

    def __init__(self, pool: Sequence[Candidate], queues: bool = True) -> None:
        self._units: list[list[tuple[float, int]]] = []
        for device, state in pool:
            known = state if queues else replace(state, expected_wait=0.0)
            self._units.append([(delay, unit) for unit, delay in enumerate(start_delays(device, known))])

    def free_at(self, device: int) -> float:
        """When the device's first unit is free, in seconds from now."""
        return self._units[device][0][0]

    def add(self, device: int, seconds: float) -> tuple[float, int]:
        """Occupies the first free unit for that long; returns when it starts and which unit it is."""
        start, unit = self._units[device][0]
        heapq.heapreplace(self._units[device], (start + seconds, unit))
        return start, unit


def fitting(work: Work, pool: Sequence[Candidate]) -> list[int]:
    """Indices of the candidates that can run a piece of work.

    Raises:
        NoDeviceError: none can; the message says why not for each.
    """
    reasons = [why_not(device, work) for device, _ in pool]
    fits = [index for index, reason in enumerate(reasons) if reason is None]
    if not fits:
        words = "; ".join(f"{device.name} {reason}" for (device, _), reason in zip(pool, reasons, strict=True))
        raise NoDeviceError(
            f"fragment {work.fragment} ({work.width} qubits) fits no device in use: {words or 'there is none'}; "
            f"cut into narrower fragments or add a device"
        )
    return fits


def placed_seconds(candidate: Candidate, work: Work) -> float:
    """Seconds a piece runs on a unit, as fast as the device has been of late."""
    return steady_pace(candidate.state) * work_seconds(candidate.device, work)


def evaluate(
    choices: Sequence[tuple[Work, str]],
    pool: Sequence[Candidate],
    spent_error: float = 0.0,
) -> Decision:
    """Predicts what a policy's choices take, starting each device's pieces in the order given.

    Args:
        choices: what the policy returned.
        pool: the candidates it chose from.
        spent_error: predicted error of what is already done, which no choice can undo.

    Raises:
        PolicyError: a choice names a device that is not in the pool or cannot run its work.
    """
    by_name = {candidate.device.name: index for index, candidate in enumerate(pool)}
    loads = Loads(pool)
    placements = []
    squares, price, makespan = spent_error**2, 0.0, 0.0
    for work, name in choices:
        index = by_name.get(name)
        if index is None:
            raise PolicyError(f"the policy placed fragment {work.fragment} on {name}, which is not in use")
        candidate = pool[index]
        reason = why_not(candidate.device, work)
        if reason is not None:
            raise PolicyError(f"the policy placed fragment {work.fragment} on {name}, which {reason}")
        seconds = placed_seconds(candidate, work)
        start, unit = loads.add(index, seconds)
        placements.append(Placement(work, name, start, seconds, unit))
        squares += squared_error(candidate.device, candidate.state, work)
        price += work_price(candidate.device, work)
        makespan = max(makespan, start + seconds)
    placements.sort(key=lambda placement: placement.start)
    return Decision(tuple(placements), makespan, math.sqrt(squares), price)


def usual_bound(works: Sequence[Work], pool: Sequence[Candidate]) -> float:
    """The bound on the estimate's error for a user who names none: noise may double what cannot be avoided anyway.

    Not to be avoided is the larger of the statistical error of the shots asked for, all works sampled, and the error
    of the least noisy device for each work.
    """
    shots = math.fsum(work.weight**2 / work.shots for work in works)
    least = math.fsum(min(squared_error(*pool[i], work) for i in fitting(work, pool)) for work in works)
    return 2.0 * math.sqrt(max(shots, least))


def check_complete(works: Sequence[Work], choices: Sequence[tuple[Work, str]]) -> None:
    """Checks that choices place every variant of every work exactly once.

    Raises:
        PolicyError: a variant is placed never or twice; a policy that a user added is then at fault.
    """
    wanted = sorted((work.fragment, v) for work in works for v in range(work.first, work.first + work.variants))
    placed = sorted((work.fragment, v) for work, _ in choices for v in range(work.first, work.first + work.variants))
    if wanted != placed:
        wrong = sorted(set(wanted) ^ set(placed)) or [b for a, b in pairwise(placed) if a == b]
        fragment, variant = wrong[0]
        raise PolicyError(
            f"the policy placed variant {variant} of fragment {fragment} "
            f"{sum(1 for item in placed if item == (fragment, variant))} times and must place it once; "
            f"{len(wrong)} variants are affected"
        )
