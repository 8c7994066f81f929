"""What goes into a call to a QPU and what comes out of it, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from qiskit import QuantumCircuit

from tasks.execution.cache.cache import Cache
from tasks.execution.qpu.errors import QpuError
from tasks.execution.qpu.programs import LEVEL, Program
from tasks.execution.qpu.queue_monitor import QueueMonitor
from tasks.execution.qpu.retry import PRESENT_SECONDS
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
        run: names the run. A result that an earlier process of the same run collected but may not have stored is used;
            one of another run never is, since that run may have used it: two estimates would share their shots.
        believe: seconds for which a calibration just read is taken for the present one when a job ends.
        monitor: says when jobs that wait should be cancelled; None where they stay, whatever happens.
        look: seconds between looks at the device while a job waits in its queue.
        cache: where counts are kept for later runs, None for nowhere.
        share_meaning: on a noisy device, also use counts of circuits that are equal only in the ideal.
        reserve: reserves a unit of the device for as long as something runs on it.
    """

    time_limit: float = 3600.0
    patience: float = 30.0
    level: int = LEVEL
    journal: Path | None = None
    call_seconds: float = 60.0
    run: str = ""
    believe: float = PRESENT_SECONDS
    monitor: QueueMonitor | None = None
    look: float = 15.0
    cache: Cache | None = None
    share_meaning: bool = False
    reserve: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True)
class CircuitRequest:
    """One circuit that a QPU is asked to run.

    Attributes:
        circuit: a variant; or a program, which runs as it is.
        shots: at least so many.
        stream: names the sequence of shots that it draws from: two requests of one stream may get the same shots, and
            what an earlier process of a run collected for a stream is that stream's. Without one nothing is kept.
    """

    circuit: QuantumCircuit | Program
    shots: int
    stream: str = ""


@dataclass(frozen=True)
class Source:
    """Where some shots of a circuit come from.

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
class CircuitResult:
    """What came of one request.

    Attributes:
        counts: None where it failed.
        failure: why it failed.
        program: what ran, None where nothing is measured.
        sources: where its shots come from; none where it has no counts or measures nothing.
        origin: what the cache says of who measured them, empty where it was this call.
    """

    counts: VariantCounts | None = None
    failure: QpuError | None = None
    program: Program | None = None
    sources: list[Source] = field(default_factory=list)
    origin: Mapping[str, str] = field(default_factory=dict)

    def fail(self, error: QpuError) -> None:
        """It has no counts, or not all of its shots."""
        self.counts, self.failure, self.sources = None, error, []


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
        unwanted: of its shots, those of circuits that nobody wants now.
    """

    job: str
    circuits: int
    shots: int
    seconds: float
    polls: int
    epoch: str
    epoch_after: str
    recovered: bool = False
    unwanted: int = 0


@dataclass
class QpuRun:
    """What came back.

    Attributes:
        results: (request,) in the order asked for.
        jobs: those collected.
        target: of the device, as last read.
        targets: the device at each calibration seen, by epoch.
        notes: sentences for the run record: jobs found again, cancelled, recalibrations.
        waited: seconds during which the first of its jobs waited in the service's queue.
        readout_shots: taken to measure the readout, beside those asked for.
    """

    results: list[CircuitResult]
    jobs: list[JobRecord] = field(default_factory=list)
    target: QpuTarget | None = None
    targets: dict[str, QpuTarget] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    waited: float = 0.0
    readout_shots: int = 0

    @property
    def failures(self) -> list[QpuError]:
        """Why requests have no counts, in their order."""
        return [result.failure for result in self.results if result.failure is not None]

    def add(self, other: QpuRun) -> None:
        """Take over the jobs and notes of a further call; its results are the caller's."""
        self.jobs += other.jobs
        self.notes += other.notes
        self.target = other.target or self.target
        self.targets |= other.targets
        self.waited += other.waited
