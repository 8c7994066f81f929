"""What is asked of a fragment and what a task says became of it: small plain data, without circuits or counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from tasks.runtime.outcome import Failure, Outcome, Reason, Span


@dataclass(frozen=True)
class Piece:
    """A fragment's whole tensor, or shots of consecutive variants of it.

    Attributes:
        fragment: index of the fragment in its plan.
        round_index: which round of shots it belongs to.
        first: place of its first variant among the variants of its fragment and round.
        shots: (variant,) of each variant; empty where the whole tensor is asked for.
    """

    fragment: int
    round_index: int = 0
    first: int = 0
    shots: tuple[int, ...] = ()

    def __str__(self) -> str:
        """For the log."""
        if self.exact:
            return f"fragment {self.fragment}"
        last = self.first + self.count - 1
        return (
            f"fragment {self.fragment} round {self.round_index} variants {self.first}-{last}, {sum(self.shots)} shots"
        )

    @property
    def exact(self) -> bool:
        """Whether the whole tensor is asked for."""
        return not self.shots

    @property
    def count(self) -> int:
        """How many variants it has, 0 where the whole tensor is asked for."""
        return len(self.shots)

    @property
    def key(self) -> tuple[int, int, int]:
        """Fragment, round, first variant: unique among the pieces of a run that are in work."""
        return self.fragment, self.round_index, self.first

    def share(self, first: int, count: int) -> Piece:
        """Its variants ``first`` to ``first + count - 1``, counted as ``self.first`` is; an exact one stays whole."""
        start = first - self.first
        return self if self.exact else replace(self, first=first, shots=self.shots[start : start + count])

    def as_exact(self) -> Piece:
        """The piece that asks a simulator for the whole tensor instead."""
        return Piece(self.fragment)

    def parts(self, number: int) -> list[Piece]:
        """Up to ``number`` parts of about equal size; an exact one stays whole."""
        number = min(self.count, number)
        if number <= 1:
            return [self]
        bounds = np.linspace(self.first, self.first + self.count, number + 1).astype(int).tolist()
        return [self.share(a, b - a) for a, b in pairwise(bounds)]

    def missing(self, done: Sequence[tuple[int, int]]) -> list[Piece]:
        """What of it is not covered by the given (first, count) ranges."""
        if self.exact:
            return [] if done else [self]
        covered = np.zeros(self.count, dtype=bool)
        for first, count in done:
            covered[max(0, first - self.first) : max(0, first - self.first + count)] = True
        edges = np.flatnonzero(np.diff(np.concatenate([[True], covered, [True]]).astype(np.int8)))
        return [self.share(int(a) + self.first, int(b - a)) for a, b in zip(edges[0::2], edges[1::2], strict=True)]


@dataclass(frozen=True)
class Done:
    """A piece that has a result.

    Attributes:
        piece: which.
        key: names its result in the run's folder.
        meta: what the record says of it: device, digest, provider's jobs, what the cache gave.
        stored: whether the task put it into the run's folder.
    """

    piece: Piece
    key: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    stored: bool = False

    @property
    def paid(self) -> bool:
        """Whether a device worked for it; false where the cache, or an equal fragment, had all of it."""
        return self.meta.get("cache") != "hit" and "same_as" not in self.meta

    @property
    def readout_shots(self) -> int:
        """Shots that a QPU took beside it to measure its readout."""
        return int(self.meta.get("readout_shots", 0))

    @property
    def jobs(self) -> dict[str, tuple[int, int]] | None:
        """Jobs of the task that it comes from (see ``Report``); None where nothing says how many shots they took."""
        if "provider_shots" not in self.meta:
            return None
        jobs, shots = (filter(None, str(self.meta[name]).split(",")) for name in ("provider_jobs", "provider_shots"))
        return {job: (int(own), 0) for job, own in zip(jobs, shots, strict=True)}


@dataclass(frozen=True)
class Report:
    """What a task says of its pieces; their counts and tensors travel apart from it.

    Attributes:
        done: what has a result; parts of a sampled piece that failed are missing.
        notes: sentences for the record.
        failure: why something is missing, "" where nothing is or all that is was taken back.
        left: why what is missing was taken back from a queue before it started, "" where it was not.
        waited: seconds spent waiting, for a unit of the device and in its queue.
        cache: what the cache did (``Cache.numbers``).
        bytes: of all results together, in memory.
        readout_shots: that measured a QPU's readout, where nothing that is done bears them.
        jobs: by a QPU's name for it, shots of each job that was collected, and how many of them nobody wanted now.
    """

    done: tuple[Done, ...] = ()
    notes: tuple[str, ...] = ()
    failure: str = ""
    left: str = ""
    waited: float = 0.0
    cache: Mapping[str, float] = field(default_factory=dict)
    bytes: int = 0
    readout_shots: int = 0
    jobs: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """An outcome whose value is a Report, as JSON values."""
    return asdict(outcome)


def outcome_from(document: Mapping[str, Any]) -> Outcome:
    """The inverse of ``outcome_document``."""
    report, failure = document["value"], document["failure"]
    if report is not None:
        done = [
            Done(Piece(**{**entry["piece"], "shots": tuple(entry["piece"]["shots"])}), *list(entry.values())[1:])
            for entry in report["done"]
        ]
        report = Report(**{**report, "done": tuple(done), "notes": tuple(report["notes"])})
    if failure is not None:
        failure = Failure(**{**failure, "reason": Reason(failure["reason"])})
    inputs = tuple(Span(**span) for span in document["inputs"])
    return Outcome(**{**document, "value": report, "failure": failure, "inputs": inputs})
