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
from tasks.execution.qpu.programs import Program, make_programs
from tasks.execution.qpu.records import QpuOptions, QpuRun, Source
from tasks.execution.qpu.resources import QpuResource, describe
from tasks.execution.qpu.retry import present_target
from tasks.execution.qpu.run import run_besides, run_variants
from tasks.execution.qpu.target import QpuTarget


def run_kept(
    resource: QpuResource,
    circuits: Sequence[QuantumCircuit | Program],
    shots: Sequence[int],
    options: QpuOptions,
    streams: Sequence[str] = (),
    *,
    besides: bool = False,
) -> QpuRun:
    """``run_variants`` for what the cache does not hold; a unit of the device is reserved only while something runs.

    A variant gets whole executions: those that were stored first, as few as have the shots it wants.

    Args:
        resource: the QPU.
        circuits: variants, and programs that run as they are.
        shots: (variant,) at least this many each.
        options: with the cache.
        streams: (variant,) which sequence of shots each draws from; without them nothing is kept, nor where the
            service does not say which calibration is in force.
        besides: results of an earlier call are still to be handed over (``run_besides``).

    Raises:
        QpuError: as ``run_variants``.
    """
    cache, target = options.cache, None
    if cache is not None and streams:
        with QpuClient(resource, options.call_seconds) as client:
            target = present_target(client, options.patience, options.believe)
    if cache is None or target is None or not target.named:
        with options.reserve():
            return (run_besides if besides else run_variants)(resource, circuits, shots, options)
    return _Kept(resource, circuits, shots, options, target, besides).run(cache, streams)


class _Kept:
    """One call of ``run_kept``."""

    def __init__(
        self,
        resource: QpuResource,
        circuits: Sequence[QuantumCircuit | Program],
        shots: Sequence[int],
        options: QpuOptions,
        target: QpuTarget,
        besides: bool,
    ) -> None:
        self._run = run_besides if besides else run_variants
        self._resource, self._options, self._target = resource, options, target
        self._circuits, self._shots = circuits, shots
        self._wanted = [index for index, circuit in enumerate(circuits) if circuit.num_clbits]
        made = make_programs([circuits[index] for index in self._wanted], target, options.level)
        self._programs = dict(zip(self._wanted, made, strict=True))
        self._out = QpuRun(
            [nothing_measured(n) if not c.num_clbits else None for c, n in zip(circuits, shots, strict=True)],
            programs=[self._programs.get(index) for index in range(len(circuits))],
            sources=[[] for _ in circuits],
            origins=[{} for _ in circuits],
            target=target,
            targets={target.epoch: target},
        )

    def run(self, cache: Cache, streams: Sequence[str]) -> QpuRun:
        out = self._out
        requests = [self._request(index, streams[index]) for index in self._wanted]
        answers = cache.counts(requests, self._cache_target(), self._measure)
        for index, answer in zip(self._wanted, answers, strict=True):
            if answer is not None:
                out.counts[index] = answer.counts
                out.origins[index] = {**answer.origin, "from_cache": "yes"} if answer.from_cache else {}
                stored = answer.counts.shots - sum(source.shots for source in out.sources[index])
                if stored > 0:
                    measured = self._programs[index].measured
                    out.sources[index].insert(0, Source(stored, measured, (self._target.epoch,)))
        held = [index for index in self._wanted if out.origins[index]]
        if held:
            total = sum(found.shots for found in (out.counts[index] for index in held) if found is not None)
            out.notes.append(f"{len(held)} of {len(requests)} circuits are from the cache: {total} shots paid earlier")
        return out

    def _request(self, index: int, stream: str) -> CountsRequest:
        circuit = self._circuits[index]
        meant = self._options.share_meaning and not isinstance(circuit, Program)
        program = self._programs[index]
        written = circuit if meant and isinstance(circuit, QuantumCircuit) else program.circuit
        if meant:  # readout errors are those of the qubits that were read, which the meaning does not say
            stream = f"{stream} on {','.join(map(str, program.measured))}"
        return CountsRequest(written, int(self._shots[index]), stream=stream, as_written=not meant)

    def _cache_target(self) -> Target:
        about = json.dumps(describe(self._resource), sort_keys=True)
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
        out, indices = self._out, [self._wanted[job.place] for job in jobs]
        with self._options.reserve():
            ran = self._run(
                self._resource, [self._circuits[i] for i in indices], [job.shots for job in jobs], self._options
            )
        self._run = run_besides  # a call after this one comes before these results are handed over
        out.jobs += ran.jobs
        out.notes += ran.notes
        out.target = ran.target or out.target
        out.targets |= ran.targets
        out.waited += ran.waited
        origin = {"device": self._resource.name, "provider_jobs": ",".join(job.job for job in ran.jobs),
                  "calibration": self._target.epoch}  # fmt: skip
        found: list[NewCounts | None] = []
        for place, index in enumerate(indices):
            out.programs[index], counts = ran.programs[place], ran.counts[place]
            if place in ran.failures:
                out.failures[index] = ran.failures[place]
            out.sources[index] = list(ran.sources[place])
            measured = self._programs[index].measured
            # In the calibration of the key for certain, and on the qubits of the keyed circuit.
            as_keyed = all(s.epochs == (self._target.epoch,) and s.measured == measured for s in ran.sources[place])
            found.append(None if counts is None else NewCounts(counts, as_keyed, origin))
        return found
