"""What the service of a QPU bills for a round: jobs and shots, as circuits are packed into jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scheduler_policies import Device
from scheduler_policies.jobs import jobs_and_shots

_UNKNOWN_SPREAD = 30.0  # between most and fewest shots of a circuit, where nothing says how uneven a round is
_ROUNDING = 1e-6


@dataclass(frozen=True)
class RoundShots:
    """How many shots the variants of a fragment take in a round; those that read no bit are no circuits.

    Attributes:
        numbers: (different number,) shots of a variant.
        variants: (different number,) how many take it, on average.
    """

    numbers: np.ndarray
    variants: np.ndarray

    @classmethod
    def even(cls, each: float, variants: int) -> RoundShots:
        """All the same, but for a remainder."""
        whole = float(np.floor(each))
        more = (each - whole) * variants
        return cls(np.array([whole, whole + 1]), np.array([variants - more, more])).there

    @classmethod
    def uneven(cls, each: float, variants: int) -> RoundShots:
        """As uneven as rounds often are, ``each`` on average."""
        numbers = np.geomspace(1.0, _UNKNOWN_SPREAD, min(variants, 100))
        parts = np.diff(np.round(np.linspace(0, variants, len(numbers) + 1)))
        return cls(numbers * each * variants / max(1.0, float(numbers @ parts)), parts).there

    @classmethod
    def of(cls, shots: np.ndarray) -> RoundShots:
        """Shots of each variant."""
        return cls(*np.unique(shots, return_counts=True)).there

    def times(self, factor: float) -> RoundShots:
        """So many times as many of each variant."""
        return RoundShots(self.numbers * factor, self.variants)

    @property
    def there(self) -> RoundShots:
        """Without those that are none."""
        kept = (self.numbers > _ROUNDING) & (self.variants > _ROUNDING)
        return RoundShots(self.numbers[kept], self.variants[kept])


def billed(device: Device, asked: Sequence[RoundShots], shares: Sequence[float], readout: int) -> tuple[int, float]:
    """Jobs, and shots of them all.

    Args:
        device: a QPU.
        asked: of the fragments that it runs.
        shares: parts of a variant's shots that circuits of their own take (``noise_shares``).
        readout: shots of two circuits besides that measure the readout.
    """
    limits = device.limits
    numbers = np.concatenate([*(share * own.numbers for own in asked for share in shares), [readout / 2]])
    circuits = np.concatenate([*(own.variants for own in asked for _ in shares), [2 if readout else 0]])
    if limits.shots_per_job is not None:
        parts = np.maximum(1, np.ceil(numbers / limits.shots_per_job))
        numbers, circuits = numbers / parts, circuits * parts
    kept = circuits > 0
    numbers, circuits = np.round(numbers[kept], 0 if limits.common_shots else 9), circuits[kept]
    many_of: dict[float, float] = {}
    for number, many in zip(numbers.tolist(), circuits.tolist(), strict=True):
        many_of[number] = many_of.get(number, 0.0) + many
    return jobs_and_shots(limits, many_of)
