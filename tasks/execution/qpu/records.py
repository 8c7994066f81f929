"""What goes into a call to a QPU and what comes out of it, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tasks.execution.cache.cache import Cache
from tasks.execution.qpu.errors import QpuError
from tasks.execution.qpu.programs import LEVEL, Program
from tasks.execution.qpu.queue_monitor import Watch
from tasks.execution.qpu.target import QpuTarget
from tasks.model.tensor import VariantCounts


@dataclass(frozen=True)
class QpuOptions:
    """How to run on a QPU.

    Attributes:
        time_limit: seconds for everything, from the first call to the last result.
        patience: seconds to go on asking a service that cannot be reached.
        level: optimisation level of the transpiler.
        journal: folder of the journal, None for the user's own.
        call_seconds: time limit of one call to the service.
        run: names the run and, after a slash, its piece of work in it. A result that an earlier process collected for
            the same piece but may not have stored is used; another one never is, since it may have been used: two
            estimates would share their shots.
        believe: seconds for which a calibration just read is taken for the present one when a job ends.
        watch: says when jobs that wait should be taken back; None where they stay, whatever happens.
        look: seconds between looks at the device while a job waits in its queue.
        cache: where counts are kept for later runs, None for nowhere.
        streams: (variant,) the sequence of shots that each draws from there.
        share_meaning: on a noisy device, also use counts of circuits that are equal only in the ideal.
        reserve: reserves a unit of the device for as long as something runs on it.
    """

    time_limit: float = 3600.0
    patience: float = 30.0
    level: int = LEVEL
    journal: Path | None = None
    call_seconds: float = 60.0
    run: str = ""
    believe: float = 2.0
    watch: Watch | None = None
    look: float = 15.0
    cache: Cache | None = None
    streams: tuple[str, ...] = ()
    share_meaning: bool = False
    reserve: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True)
class JobRecord:
    """One job as the run record keeps it.

    Attributes:
        job: the provider's id.
        circuits: how many it had.
        shots: in all.
        seconds: from submission to result.
        polls: how often its status was asked for.
        epoch: calibration it was written for.
        epoch_after: calibration in force when it was collected; another one if the device was recalibrated meanwhile.
        recovered: whether an earlier run submitted it.
    """

    job: str
    circuits: int
    shots: int
    seconds: float
    polls: int
    epoch: str
    epoch_after: str
    recovered: bool = False


@dataclass(frozen=True)
class Source:
    """Where some shots of a variant come from.

    Attributes:
        shots: how many.
        measured: (bit,) physical qubit that gave each bit.
        epochs: calibrations under which they may have been taken: one where that is certain, two where the device was
            recalibrated while the job may have run.
    """

    shots: int
    measured: tuple[int, ...]
    epochs: tuple[str, ...]


@dataclass
class QpuRun:
    """What came back.

    Attributes:
        counts: (variant,) or None where it failed.
        failures: variant -> why it has no counts.
        jobs: those collected.
        programs: (variant,) what ran, None for variants that measure nothing.
        sources: (variant,) where its shots come from; none where it has no counts or measures nothing.
        target: of the device, as last read.
        targets: the device at each calibration seen, by epoch.
        notes: sentences for the run record: jobs found again, cancelled, recalibrations.
        waited: seconds during which the first of its jobs waited in the service's queue.
        origins: (variant,) of counts from the cache what is stored about where they come from; empty for the others.
    """

    counts: list[VariantCounts | None]
    failures: dict[int, QpuError] = field(default_factory=dict)
    jobs: list[JobRecord] = field(default_factory=list)
    programs: list[Program | None] = field(default_factory=list)
    sources: list[list[Source]] = field(default_factory=list)
    target: QpuTarget | None = None
    targets: dict[str, QpuTarget] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    waited: float = 0.0
    origins: list[Mapping[str, str]] = field(default_factory=list)
