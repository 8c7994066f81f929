"""Cache benchmark 4: executions avoided, wall time and wrong values on whole workloads; both stores, 1 and 8 workers.

Every answer is compared with the exact distribution: wrong is an outcome that cannot
occur, or a parity more than six standard deviations off.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, stdev

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator

from results.benchmarks.cache_circuits import SHOTS, WORKLOADS, Rounds, gate_cut_qaoa, naive_wire_cutting
from results.benchmarks.cache_on_qpu import on_emulator
from results.benchmarks.cache_peer_work import peer_keys_on, peer_wire_cutting
from tasks.execution.cache.cache import open_cache
from tasks.execution.cache.keys import KeyMaker, Target
from tasks.execution.cache.requests import CountsRequest, MissingShots
from tasks.execution.simulators.as_circuits import run_circuits
from tasks.model.tensor import VariantCounts
from tests.execution.cache.conftest import RedisServer

logger = logging.getLogger(__name__)

TARGET = Target("aer", "statevector")
_TRIED, _TURNS = 20, 7


@dataclass
class Runner:
    """Runs jobs on Aer, each at least ``pace`` seconds long, as a QPU would."""

    pace: float = 0.0
    seed: int = 0

    def __call__(self, jobs: Sequence[MissingShots]) -> list[VariantCounts]:
        """Counts of every job."""
        simulator = AerSimulator(method="statevector", max_parallel_threads=1)
        out = []
        for job in jobs:
            self.seed += 1
            out += run_circuits([job.circuit], [job.shots], [self.seed], simulator)
            time.sleep(self.pace)
        return out


def measure(quick: bool, peer: str | None) -> dict:
    """All workloads without a cache, with it cold and after a restart, on both stores, in 1 and 8 processes."""
    out: dict = {}
    on_ours: dict = {}
    for name, make in WORKLOADS.items():
        if quick and name != "wire cutting, 2 cuts, naive 8^k":
            continue
        logger.info("%s", name)
        rounds = make()
        circuits = [c for part in rounds for c in part]
        row: dict = {"requests": len(circuits), **_distinct(circuits)}
        row["off, 1 worker"] = _timed("off", rounds, 1)
        for store in ("LMDB", "Redis"):
            for workers in (1, 8):
                with tempfile.TemporaryDirectory() as directory:
                    server = RedisServer(Path(directory)) if store == "Redis" else None
                    where = server.url if server else f"{directory}/cache"
                    row[f"{store}, {workers} worker{'s' * (workers > 1)}"] = _timed(where, rounds, workers)
                    if workers == 1:
                        row[f"{store}, after a restart"] = _timed(where, rounds, 1)
                    if server:
                        server.stop()
        row["off, 8 workers"] = _timed("off", rounds, 8)
        row["as a run, LMDB"] = as_a_run(rounds)
        out[name] = row
        if peer:
            on_ours[name] = peer_keys_on(peer, circuits)
    out["at a QPU's pace"] = _paced(naive_wire_cutting(2), 0.05 if quick else 0.3)
    out["QPU emulator"] = on_emulator(gate_cut_qaoa()[0])
    if peer:
        out["qdislib"] = {"wire cutting": peer_wire_cutting(peer), "keys": on_ours}
    return out


def as_a_run(rounds: Rounds) -> dict[str, float]:
    """Seconds without the cache over those with one on LMDB that is told what executions take; both in turn."""
    circuits = [circuit for part in rounds for circuit in part]
    began = time.perf_counter()
    Runner()([MissingShots(circuit, SHOTS, None, 0) for circuit in circuits[:_TRIED]])
    each = (time.perf_counter() - began) / min(_TRIED, len(circuits))
    ratios = []
    for turn in range(_TURNS):
        seconds = {}
        with tempfile.TemporaryDirectory() as directory:
            for where in ("off", f"{directory}/cache")[:: 1 if turn % 2 else -1]:
                began = time.perf_counter()
                _work(where, rounds, 0, 1, 0.0, each)
                seconds[where] = time.perf_counter() - began
            ratios.append(seconds["off"] / seconds[f"{directory}/cache"])
    return {"seconds an execution": each, "ratio": median(ratios), "error": stdev(ratios) / len(ratios) ** 0.5}


def _distinct(circuits: Sequence[QuantumCircuit]) -> dict[str, int]:
    keys = KeyMaker()
    written = {keys.counts_key(c, TARGET, as_written=True).digest for c in circuits}
    meaning = {keys.counts_key(c, TARGET).digest for c in circuits}
    return {"distinct as written": len(written), "distinct by meaning": len(meaning)}


def _timed(where: str, rounds: Rounds, workers: int, pace: float = 0.0) -> dict[str, float]:
    """Executions, wall seconds and wrong values. Equal circuits share counts here, as in the published caches."""
    began = time.perf_counter()
    if workers == 1:
        results = [_work(where, rounds, 0, 1, pace)]
    else:
        context = multiprocessing.get_context("fork")
        with context.Pool(workers) as pool:
            results = pool.starmap(_work, [(where, rounds, k, workers, pace) for k in range(workers)])
    seconds = time.perf_counter() - began
    answers = [answer for _, own in results for answer in own]
    return {
        "executions": sum(executed for executed, _ in results),
        "seconds": seconds,
        "wrong": wrong_values(answers),
    }


def _work(
    where: str, rounds: Rounds, worker: int, workers: int, pace: float, seconds: float = math.inf
) -> tuple[int, list[tuple[QuantumCircuit, VariantCounts]]]:
    cache, run = open_cache(where), Runner(pace, 10_000 * worker)
    answers = []
    for part in rounds:
        mine = part[worker::workers]
        for start in range(0, len(mine), 8):
            for circuit in mine[start : start + 8]:
                draw = cache.counts([CountsRequest(circuit, SHOTS, seconds=seconds)], TARGET, run)[0]
                assert draw is not None
                answers.append((circuit, draw.counts))
    cache.close()
    return cache.tally.executed, answers


def wrong_values(answers: Sequence[tuple[QuantumCircuit, VariantCounts]]) -> int:
    """How many counts cannot be their circuit's."""
    return sum(_wrong(circuit, counts) for circuit, counts in answers)


def _wrong(circuit: QuantumCircuit, counts: VariantCounts) -> bool:
    bare = circuit.remove_final_measurements(inplace=False)
    qubit_of = {}
    for item in circuit.data:
        if item.operation.name == "measure":
            qubit_of[circuit.find_bit(item.clbits[0]).index] = circuit.find_bit(item.qubits[0]).index
    order = [qubit_of[bit] for bit in range(circuit.num_clbits)]
    exact = Statevector(_unitary_part(circuit, bare)).probabilities(order)
    rows = np.unpackbits(counts.outcomes, axis=1, count=counts.num_bits, bitorder="little").astype(np.int64)
    index = rows @ (1 << np.arange(counts.num_bits))
    if (exact[index] < 1e-12).any():
        return True
    signs = 1 - 2 * (np.bitwise_count(np.arange(len(exact))) & 1).astype(float)
    expected = float(exact @ signs)
    seen = float((counts.counts * signs[index]).sum() / counts.shots)
    return bool(abs(seen - expected) > 6 * np.sqrt(max(1 - expected**2, 1e-9) / counts.shots) + 1e-9)


def _unitary_part(circuit: QuantumCircuit, bare: QuantumCircuit) -> QuantumCircuit:
    out = QuantumCircuit(circuit.num_qubits)
    for item in circuit.data:
        if item.operation.name not in ("measure", "barrier"):
            out.append(item.operation, [circuit.find_bit(q).index for q in item.qubits])
    return out if bare.num_qubits <= out.num_qubits else bare


def _paced(rounds: Rounds, pace: float) -> dict[str, float]:
    """The first workload where every execution takes as long as on a QPU."""
    circuits = [rounds[0][:128]]
    with tempfile.TemporaryDirectory() as directory:
        cached = _timed(f"{directory}/cache", circuits, 1, pace)
        again = _timed(f"{directory}/cache", circuits, 1, pace)
    plain = _timed("off", circuits, 1, pace)
    return {
        "seconds an execution": pace,
        "requests": len(circuits[0]),
        "executions": cached["executions"],
        "ratio": plain["seconds"] / cached["seconds"],
        "ratio again": plain["seconds"] / again["seconds"],
        "wrong": cached["wrong"] + again["wrong"],
    }
