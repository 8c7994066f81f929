"""What a run says about its jobs on a device of any kind, and what comes of them there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from scheduler_policies import DeviceState
from tasks.execution.cache.cache import OFF, Cache, open_cache
from tasks.execution.held import Held
from tasks.execution.jobs import FragmentJob


@dataclass(frozen=True)
class ExecutionOptions:
    """What a run says about its jobs on any device.

    Attributes:
        cache: where results of earlier runs are kept (``--cache``), or "off".
        mitigation: what is done against the errors of QPUs (``mitigation_of``).
        placed: how a QPU did when the jobs were placed on it; they leave its queue when it got much worse since
            (``scheduler_policies.why_leave``). None: they stay.
        share_meaning: on QPUs, also use stored counts of circuits that are equal only in the ideal.
        held: what of which QPU the application holds for all its runs.
        memory_bytes: what drawing variants on a simulator may take, None for as much as makes it quick.
        run: names the run, also when it is resumed; two runs never share a QPU's shots except through the cache.
    """

    cache: str = OFF
    mitigation: str = "none"
    placed: DeviceState | None = None
    share_meaning: bool = False
    held: Mapping[str, Held] = field(default_factory=dict)
    memory_bytes: int | None = None
    run: str = ""


@dataclass(frozen=True)
class JobResult:
    """A job, or the part of it that was done, and its arrays.

    Attributes:
        job: what was done.
        arrays: as ``run_job`` returns them.
        origin: what the record says beside the device: provider job ids, calibration epoch, what the cache gave.
    """

    job: FragmentJob
    arrays: dict[str, np.ndarray]
    origin: dict[str, str]


@dataclass(frozen=True)
class DeviceResults:
    """What came of a batch of jobs.

    Attributes:
        results: what was done; parts of a sampled job that failed are missing.
        notes: sentences for the record.
        failure: why something is missing, "" where nothing is or all that is has left.
        left: why what is missing was cancelled before it started, to go elsewhere, "" where it was not.
        waited: seconds spent waiting, for a unit of the device and in its queue.
        cache: what the cache did for them (``Cache.numbers``).
        readout_shots: that measured a QPU's readout, where no result bears them.
        jobs: collected from a QPU (``Report``).
    """

    results: tuple[JobResult, ...]
    notes: tuple[str, ...] = ()
    failure: str = ""
    left: str = ""
    waited: float = 0.0
    cache: Mapping[str, float] = field(default_factory=dict)
    readout_shots: int = 0
    jobs: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def numbers_since(before: Mapping[str, float], cache: str) -> dict[str, float]:
    """What this process's cache did since then: the process lives on from task to task."""
    return {name: number - before[name] for name, number in opened_cache(cache).numbers().items()} if before else {}


@lru_cache(maxsize=4)
def opened_cache(cache: str) -> Cache:
    """The cache at a place, opened once in this process."""
    return open_cache(cache)
