"""Counts of a QPU through the cache: what a device has measured in its present calibration is not paid twice.

The key is the exact circuit that runs there, on its physical qubits and in its gates, with the device, its calibration
epoch, the transpiler's level, and a *stream*: the variant, the round of shots and the seed. So two variants that are
written alike, and two rounds of one run, never get the same shots; the same run again gets the very same ones; and
another seed is another repetition. Mitigation is computed from counts afterwards and is in no key; circuits that it
adds (folded gates, readout) are keyed like the others, and never by meaning: a folded one means what a plain one does.

``QpuOptions.share_meaning`` keys variants by what they mean instead, and by the qubits that are read: an explicit
choice, because on a noisy device circuits that are equal in the ideal have different results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from qiskit import QuantumCircuit

from tasks.execution.cache.cache import Cache
from tasks.execution.cache.keys import Target
from tasks.execution.cache.requests import CountsRequest, MissingShots, NewCounts
from tasks.execution.qpu.client import QpuClient
from tasks.execution.qpu.plausible import nothing_measured
from tasks.execution.qpu.programs import make_programs
from tasks.execution.qpu.records import CircuitRequest, CircuitResult, QpuOptions, QpuRun, Source
from tasks.execution.qpu.resources import QpuResource, shown_variables
from tasks.execution.qpu.retry import present_target
from tasks.execution.qpu.run import run_requests
from tasks.execution.qpu.target import QpuTarget


def run_cached(
    resource: QpuResource, requests: Sequence[CircuitRequest], options: QpuOptions, *, further: bool = False
) -> QpuRun:
    """``run_requests`` for what the cache does not hold; a unit of the device is reserved only while something runs.

    A circuit gets whole executions: those that were stored first, as few as have the shots it wants.

    Args:
        resource: the QPU.
        requests: circuits, and programs that run as they are. Nothing is kept without streams, nor where the service
            does not say which calibration is in force.
        options: with the cache.
        further: results of an earlier call are still to be handed over (``run_requests``).

    Raises:
        QpuError: as ``run_requests``.
    """
    cache, target = options.cache, None
    if cache is not None and all(request.stream for request in requests):
        with QpuClient(resource, options.call_seconds) as client:
            target = present_target(client, options.patience, options.believe)
    if cache is None or target is None or not target.named:
        return run_requests(resource, requests, options, further=further)
    return _CachedRun(resource, requests, options, target, further).run(cache)


class _CachedRun:
    """One call of ``run_cached``."""

    def __init__(
        self,
        resource: QpuResource,
        requests: Sequence[CircuitRequest],
        options: QpuOptions,
        target: QpuTarget,
        further: bool,
    ) -> None:
        self._resource, self._requests, self._options, self._target = resource, requests, options, target
        self._further = further
        self._out = QpuRun([CircuitResult() for _ in requests], target=target, targets={target.epoch: target})
        self._wanted: list[int] = []
        for index, (request, result) in enumerate(zip(requests, self._out.results, strict=True)):
            if request.circuit.num_clbits:
                self._wanted.append(index)
            else:
                result.counts = nothing_measured(request.shots)
        made = make_programs([requests[index].circuit for index in self._wanted], target, options.level)
        self._programs = dict(zip(self._wanted, made, strict=True))  # as they are keyed, whatever runs in the end
        for index, program in self._programs.items():
            self._out.results[index].program = program

    def run(self, cache: Cache) -> QpuRun:
        keyed = [self._keyed(index) for index in self._wanted]
        answers = cache.counts(keyed, self._cache_target(), self._measure)
        found, total = 0, 0
        for index, answer in zip(self._wanted, answers, strict=True):
            if answer is None:
                continue
            result = self._out.results[index]
            result.counts = answer.counts
            stored = answer.counts.shots - sum(source.shots for source in result.sources)
            if stored > 0:
                result.sources.insert(0, Source(stored, self._programs[index].measured, (self._target.epoch,)))
            if answer.from_cache:
                result.origin = {**answer.origin, "from_cache": "yes"}
                found, total = found + 1, total + answer.counts.shots
        if found:
            self._out.notes.append(f"{found} of {len(keyed)} circuits are from the cache: {total} shots paid earlier")
        return self._out

    def _keyed(self, index: int) -> CountsRequest:
        """What the cache is asked: the exact program, or the circuit's meaning where that is chosen."""
        request, program = self._requests[index], self._programs[index]
        if not (self._options.share_meaning and isinstance(request.circuit, QuantumCircuit)):
            return CountsRequest(program.circuit, request.shots, stream=request.stream, as_written=True)
        # Readout errors are those of the qubits that were read, which the meaning does not say.
        stream = f"{request.stream} on {','.join(map(str, program.measured))}"
        return CountsRequest(request.circuit, request.shots, stream=stream, as_written=False)

    def _cache_target(self) -> Target:
        about = json.dumps(shown_variables(self._resource), sort_keys=True)
        device = hashlib.blake2b(about.encode(), digest_size=8).hexdigest()  # two services may use one name
        return Target(
            f"{self._resource.type} {self._resource.name}",
            method=device,
            calibration=self._target.epoch,
            options=(("level", str(self._options.level)),),
            share_meaning=self._options.share_meaning,
        )

    def _measure(self, jobs: list[MissingShots]) -> list[NewCounts | None]:
        """Run what is missing; what was not measured in the calibration of its key is used and not kept."""
        indices = [self._wanted[job.place] for job in jobs]
        missing = [
            CircuitRequest(self._requests[index].circuit, job.shots, self._requests[index].stream)
            for index, job in zip(indices, jobs, strict=True)
        ]
        ran = run_requests(self._resource, missing, self._options, further=self._further)
        self._further = True  # a call after this one comes before these results are handed over
        self._out.add(ran)
        origin = {"device": self._resource.name, "provider_jobs": ",".join(job.job for job in ran.jobs),
                  "calibration": self._target.epoch}  # fmt: skip
        made: list[NewCounts | None] = []
        for index, result in zip(indices, ran.results, strict=True):
            self._out.results[index] = result
            measured = self._programs[index].measured
            # In the calibration of the key for certain, and on the qubits of the keyed circuit.
            as_keyed = all(s.epochs == (self._target.epoch,) and s.measured == measured for s in result.sources)
            made.append(None if result.counts is None else NewCounts(result.counts, as_keyed, origin))
        return made
