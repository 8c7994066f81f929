"""The queue of one emulated device: one circuit at a time, at the pace and with the failures of its options."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qiskit import QuantumCircuit

from launch.emulator.chip import Chip
from launch.emulator.faults import Faults
from launch.emulator.options import DeviceOptions

QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED, TOO_LONG = (
    "queued", "running", "completed", "failed", "cancelled", "too long",
)  # fmt: skip
PENDING = (QUEUED, RUNNING)
_LOOK_S = 0.02


@dataclass
class Job:
    """One job: what was asked, how it fares, what came out and what it cost."""

    id: str
    work: list[tuple[Callable[[], QuantumCircuit], int]]  # (reader of the circuit, shots)
    session: str = ""
    tag: str = ""
    status: str = QUEUED
    reason: str = ""
    memory: list[np.ndarray] = field(default_factory=list)  # of each circuit, (shot, classical bit) uint8
    circuits: list[QuantumCircuit] = field(default_factory=list)
    charged: float = 0.0
    created: float = field(default_factory=time.time)
    extra: dict[str, Any] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)


class Device:
    """An emulated QPU: its chip, its queue and the one worker that empties it."""

    def __init__(self, options: DeviceOptions, faults: Faults) -> None:
        self.options, self.faults = options, faults
        self.chip = Chip(options)
        self.jobs: dict[str, Job] = {}
        self.started = time.monotonic()
        self._random = random.Random(options.seed + 2)
        self._waiting: list[Job] = []
        self._wake = threading.Condition()
        self.most_at_once = self._running = 0
        self.received = 0  # jobs that were accepted, the lost ones too
        threading.Thread(target=self._work, name=f"qpu-{options.name}", daemon=True).start()

    @property
    def reachable(self) -> bool:
        """False during a drop-out."""
        options = self.options
        if not (options.up and options.down):
            return True
        return (time.monotonic() - self.started) % (options.up + options.down) < options.up

    def pending(self, session: str | None = None) -> list[Job]:
        """Jobs not finished yet, all or those of one session."""
        return [job for job in self.jobs.values() if job.status in PENDING and session in (None, job.session)]

    def submit(self, job: Job) -> None:
        """Put a job at the end of the queue."""
        self.jobs[job.id] = job
        self.received += 1
        with self._wake:
            self._waiting.append(job)
            self._wake.notify()

    def cancel(self, job: Job) -> None:
        """Stop a job; what it used so far stays charged."""
        if job.status in PENDING:
            job.stop.set()
            if job.status == QUEUED:
                job.status = CANCELLED

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: bool(self._waiting))
                job = self._waiting.pop(0)
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
            try:
                self._run(job)
            except Exception as error:  # a job that cannot run ends as a failed job, never the service
                job.status, job.reason = FAILED, f"{type(error).__name__}: {error}"
            self._running -= 1

    def _run(self, job: Job) -> None:
        fault = self.faults.at("job")
        stall = fault.amount if fault is not None and fault.kind == "stall" else None
        begun = time.monotonic()
        # Looked at again and again: who changes the device's queue changes it for the job that waits, too.
        while (left := begun + (self.options.queue if stall is None else stall) - time.monotonic()) > 0:
            if job.stop.wait(min(left, _LOOK_S)):
                break
        if job.stop.is_set() or job.status != QUEUED:
            job.status = CANCELLED
            return
        if fault is not None and fault.kind == "lose":
            del self.jobs[job.id]
            return
        job.status = RUNNING
        if fault is not None and fault.kind == "fail":
            job.status, job.reason = FAILED, "Internal error on the control electronics."
            return
        if self._random.random() < self.options.fail:
            job.status, job.reason = FAILED, "Internal error."
            return
        for read, shots in job.work:
            begun = time.monotonic()
            circuit = read()
            memory = self.chip.sample(circuit, shots)
            if fault is not None and fault.kind == "zeros":
                memory[:] = 0
            pace = self.options.overhead + shots * self.options.shot
            job.charged += pace
            if job.stop.wait(max(0.0, pace - (time.monotonic() - begun))):
                job.status = CANCELLED
                return
            if self.options.seconds and job.charged > self.options.seconds:
                job.status, job.reason = TOO_LONG, "The job ran longer than the service allows."
                return
            job.circuits.append(circuit)
            job.memory.append(memory)
            if fault is not None and fault.kind == "calibrate":
                self.chip.calibrate()
            if fault is not None and fault.kind == "worsen":
                self.chip.worsen(fault.amount)
            if fault is not None and fault.kind == "publish":
                self.chip.worsen(fault.amount or 1.0)
                self.chip.publish()
                fault = None  # once, after the job's first circuit
        job.status = COMPLETED


def new_id() -> str:
    """A fresh identifier, a UUID as both interfaces use."""
    return str(uuid.uuid4())
