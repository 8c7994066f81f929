"""What a simulated run is given, what it gives, and which variants of a fragment are still to be placed."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler_policies.device import Device, Work
from scheduler_policies.errors import PolicyError
from scheduler_policies.simulator.world import Behaviour


@dataclass(frozen=True)
class Scenario:
    """A pool with its hidden behaviour, and the work to do on it.

    Attributes:
        name: for the table.
        devices: each device and how it really behaves.
        works: whole fragments.
        seed: of everything random.
        start: time of day at which the run begins, in seconds; queues and drift depend on it.
    """

    name: str
    devices: tuple[tuple[Device, Behaviour], ...]
    works: tuple[Work, ...]
    seed: int
    start: float = 0.0


@dataclass(frozen=True)
class SimulatedRun:
    """What a simulated run took.

    Attributes:
        makespan: seconds until the last piece was done.
        error: predicted error of the final estimate, from the noise each piece really met.
        price: money spent, failed pieces included.
        qpu_busy: share of all QPU units' time in which they ran pieces of ours.
        pieces: how many were completed.
        failures: how many failed and were placed again.
        moved: how many left a queue and were placed again.
        decisions: how often the policy was asked.
        by_device: (device, pieces completed), of those with any.
    """

    makespan: float
    error: float
    price: float
    qpu_busy: float
    pieces: int
    failures: int
    moved: int
    decisions: int
    by_device: tuple[tuple[str, int], ...]


def take_variants(ranges: list[tuple[int, int]], first: int, count: int) -> None:
    """Take variants out of (first, count) ranges; raises PolicyError where they are not in one."""
    for position, (begin, length) in enumerate(ranges):
        if begin <= first and first + count <= begin + length:
            rest = [(begin, first - begin), (first + count, begin + length - first - count)]
            ranges[position : position + 1] = [item for item in rest if item[1] > 0]
            return
    raise PolicyError(f"variants {first} to {first + count - 1} are not among those to be placed")


def give_variants_back(ranges: list[tuple[int, int]], work: Work) -> None:
    """Put a piece's variants back into (first, count) ranges, in order and joined."""
    ranges.append((work.first, work.variants))
    ranges.sort()
    merged: list[tuple[int, int]] = []
    for first, count in ranges:
        if merged and merged[-1][0] + merged[-1][1] == first:
            merged[-1] = (merged[-1][0], merged[-1][1] + count)
        else:
            merged.append((first, count))
    ranges[:] = merged
